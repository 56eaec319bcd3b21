"""What a running lab offers: addresses, and credentials by file reference.

Enters and leaves: ``lab.json`` (0600) in the lab's folder. May raise: ``Refused`` when that file is
not one of ours, ``OSError`` never (translated).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit.errors import Refused
from toolkit.model import Json
from toolkit.rehearsal.lab.process import private

SCHEMA = "rehost.lab/1"
FILE = "lab.json"

#: Every lab is a network of its own, so all labs have the same addresses.
BRIDGE = "lab0"
PREFIX = 24
GATEWAY = "10.77.0.1"
S3_ADDRESS = "10.77.0.2"
DNS_ADDRESSES = ("10.77.0.3", "10.77.0.4")
POOL = "10.77.0.16/28"


@dataclass(frozen=True, slots=True)
class S3:
    """The object store. ``system_*`` may set version ids, ``admin_*`` may make users and their policies."""

    endpoint: str
    region: str
    key_file: str
    secret_file: str
    system_key_file: str
    system_secret_file: str
    admin_key_file: str = ""
    admin_secret_file: str = ""


@dataclass(frozen=True, slots=True)
class PowerDns:
    """The name servers: zones are written at ``api`` and served by all ``nameservers``."""

    api: str
    key_file: str
    nameservers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Libvirt:
    """The hypervisor. ``domain_type`` is what ``<domain type=…>`` must say on this machine."""

    uri: str
    domain_type: str
    bridge: str
    gateway: str
    prefix: int
    nameserver: str
    pool: str
    images: str  # folder for disks, inside the lab
    disk: str
    kernel: str
    initrd: str
    cmdline: str


@dataclass(frozen=True, slots=True)
class Sshd:
    """A host reachable over ssh inside the lab."""

    host: str
    port: int
    user: str
    key_file: str
    known_hosts: str


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the host, told apart from a later one with the same number by its start time."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class LabInfo:
    """One lab. ``init`` is the process whose namespaces are the lab's; ``dead`` are fallen daemons."""

    folder: str
    parts: tuple[str, ...]
    ready: bool
    holder: Process
    init: Process
    s3: S3 | None = None
    powerdns: PowerDns | None = None
    libvirt: Libvirt | None = None
    sshd: Sshd | None = None
    seconds: Mapping[str, float] | None = None
    dead: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """Return the ``REHOST_LAB_*`` variables the lab's tests read. Holds secrets: never log it."""
        values = {"REHOST_LAB_INFO": str(Path(self.folder) / FILE)}
        if self.s3:
            values |= {
                "REHOST_LAB_S3": self.s3.endpoint,
                "REHOST_LAB_S3_KEY": _secret(self.s3.key_file),
                "REHOST_LAB_S3_SECRET": _secret(self.s3.secret_file),
                "REHOST_LAB_S3_SYSTEM_KEY": _secret(self.s3.system_key_file),
                "REHOST_LAB_S3_SYSTEM_SECRET": _secret(self.s3.system_secret_file),
            }
        if self.s3 and self.s3.admin_key_file:
            values |= {
                "REHOST_LAB_S3_ADMIN_KEY": _secret(self.s3.admin_key_file),
                "REHOST_LAB_S3_ADMIN_SECRET": _secret(self.s3.admin_secret_file),
            }
        if self.powerdns:
            values |= {
                "REHOST_LAB_POWERDNS": self.powerdns.api,
                "REHOST_LAB_POWERDNS_KEY": _secret(self.powerdns.key_file),
                "REHOST_LAB_DNS_SERVERS": ",".join(self.powerdns.nameservers),
            }
        if self.libvirt:
            values["REHOST_LAB_LIBVIRT"] = json.dumps(self._hypervisor(self.libvirt))
        if self.sshd:
            values["REHOST_LAB_SSH"] = f"{self.sshd.user}@{self.sshd.host}:{self.sshd.port}"
        return values

    def _hypervisor(self, part: Libvirt) -> dict[str, Json]:
        """Describe the hypervisor the way a provider entry of site.yaml does."""
        return {
            "uri": part.uri,
            "folder": part.images,
            "accelerator": part.domain_type,
            "images": {"default": {name: getattr(part, name) for name in ("disk", "kernel", "initrd", "cmdline")}},
            "network": {name: getattr(part, name) for name in ("bridge", "prefix", "gateway", "nameserver")},
            "access": {"user": "root", "key_file": self.sshd.key_file} if self.sshd else {},
        }

    def to_json(self) -> dict[str, Json]:
        return {"schema": SCHEMA, **asdict(self)}


def save(info: LabInfo) -> None:
    """Write ``lab.json`` atomically, 0600."""
    private(Path(info.folder) / FILE, json.dumps(info.to_json(), indent=2) + "\n")


def load(folder: Path) -> LabInfo | None:
    """Return what ``lab.json`` says, or ``None`` when there is no such file."""
    try:
        data = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise Refused(f"{folder / FILE} cannot be read: {exc}", "Remove the folder, or name another one.") from exc
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise Refused(f"{folder / FILE} was not written by this version", "Name another folder.")
    return LabInfo(
        folder=data["folder"],
        parts=tuple(data["parts"]),
        ready=data["ready"],
        holder=Process(**data["holder"]),
        init=Process(**data["init"]),
        seconds=data["seconds"],
        dead=tuple(data["dead"]),
        **parts_from_json(data),
    )


def parts_from_json(data: Mapping[str, Json]) -> dict[str, Json]:
    """Build the part records out of plain JSON."""
    dns = data.get("powerdns")
    return {
        "s3": S3(**data["s3"]) if data.get("s3") else None,
        "powerdns": PowerDns(**{**dns, "nameservers": tuple(dns["nameservers"])}) if dns else None,
        "libvirt": Libvirt(**data["libvirt"]) if data.get("libvirt") else None,
        "sshd": Sshd(**data["sshd"]) if data.get("sshd") else None,
    }


def _secret(file: str) -> str:
    return Path(file).read_text().strip()
