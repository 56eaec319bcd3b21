"""Make the NoCloud seed of a guest: user-data byte for byte, everything of ours in vendor-data.

Enters: a :class:`Definition`, the network, keys. Leaves: the files of the seed. User-data is never read
here, so it cannot be altered; the environment file, the resolver and the host key go
into vendor-data, as JSON and base64 only, so no text of a cloud can break out. Raises :class:`Refused`
for an environment value that no file format can hold.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

from toolkit.compute.model import Definition
from toolkit.errors import Refused
from toolkit.secrets import Secret

ENV_FILE = "/etc/rehost.env"
_BOUNDARY = "==rehost-vendor-data=="
_SCRIPT = """#!/usr/bin/env python3
import base64, json, os
work = json.loads(base64.b64decode("{work}"))
for item in work:
    folder = os.path.dirname(item["path"])
    os.makedirs(folder, exist_ok=True)
    aside = item["path"] + ".rehost"
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, item["mode"]), "wb") as file:
        os.fchmod(file.fileno(), item["mode"])
        file.write(base64.b64decode(item["content"]))
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, item["path"])
"""


@dataclass(frozen=True, slots=True)
class Network:
    """How a guest is attached: the bridge, its prefix length, gateway and resolvers, static host names."""

    bridge: str = ""
    prefix: int = 24
    gateway: str = ""
    nameserver: str = ""
    hosts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any]) -> Network:
        return cls(
            str(value.get("bridge") or ""),
            int(value.get("prefix") or 24),
            str(value.get("gateway") or ""),
            str(value.get("nameserver") or ""),
            dict(value.get("hosts") or {}),
        )


@dataclass(frozen=True, slots=True)
class Login:
    """The keys of one guest: who may log in as ``user``, and the host key it will show."""

    user: str
    authorized: tuple[str, ...]
    host_private: Secret
    host_public: str


def seed(definition: Definition, *, instance: str, mac: str, network: Network, login: Login) -> dict[str, bytes]:
    """Return the four files of the seed."""
    keys = list(dict.fromkeys([*definition.public_keys, *login.authorized]))
    meta = {"instance-id": instance, "local-hostname": hostname(definition.name), "public-keys": keys}
    return {
        "user-data": definition.user_data or b"",
        "meta-data": _json(meta),
        "network-config": _json(network_config(definition, mac, network)),
        "vendor-data": vendor_data(definition, network, login),
    }


def hostname(name: str) -> str:
    """Return a host name that every guest accepts."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c == "-") else "-" for c in name.lower()).strip("-")
    return kept[:63].strip("-") or "guest"


def network_config(definition: Definition, mac: str, network: Network) -> dict[str, Any]:
    """Return a static network configuration (version 1: every cloud-init of the last years reads it)."""
    subnets = []
    for index, address in enumerate(definition.body["addresses"]["private"]):
        subnet: dict[str, Any] = {"type": "static", "address": f"{address}/{network.prefix}"}
        if network.gateway and index == 0:
            subnet["gateway"] = network.gateway
        if network.nameserver:
            subnet["dns_nameservers"] = [network.nameserver]
        subnets.append(subnet)
    device = {"type": "physical", "name": "eth0", "mac_address": mac, "subnets": subnets or [{"type": "dhcp"}]}
    return {"version": 1, "config": [device]}


def vendor_data(definition: Definition, network: Network, login: Login) -> bytes:
    """Return vendor-data: a cloud-config part, and a script that puts our files in place."""
    config: dict[str, Any] = {
        "ssh_keys": {"ed25519_private": login.host_private.reveal(), "ed25519_public": login.host_public},
        "ssh_deletekeys": True,
        "ssh_genkeytypes": ["ed25519"],
        "disable_root": login.user != "root",
        "preserve_hostname": False,
    }
    whole = MIMEMultipart(boundary=_BOUNDARY)
    whole.attach(MIMEText("#cloud-config\n" + json.dumps(config, sort_keys=True) + "\n", "cloud-config", "us-ascii"))
    work = files(definition, network)
    if work:
        encoded = base64.b64encode(_json(work)).decode("ascii")
        whole.attach(MIMEText(_SCRIPT.format(work=encoded), "x-shellscript", "us-ascii"))
    return whole.as_bytes()


def files(definition: Definition, network: Network) -> list[dict[str, Any]]:
    """Return what the guest needs on its disk beside its user-data."""
    found = []
    app = definition.body.get("app")
    if network.nameserver:
        found.append(_file("/etc/resolv.conf", f"nameserver {network.nameserver}\n".encode("ascii"), 0o644))
    if network.hosts:
        lines = ["127.0.0.1 localhost", f"127.0.1.1 {hostname(definition.name)}"]
        lines += [f"{address} {name}" for name, address in sorted(network.hosts.items())]
        found.append(_file("/etc/hosts", ("\n".join(lines) + "\n").encode("ascii"), 0o644))
    if app is not None:
        bound = {"REHOST_BIND": Secret("0.0.0.0"), "PORT": Secret(str(app.get("port") or 8080))}  # noqa: S104
        text = env_file({**bound, **definition.env})
        found.append(_file(app.get("env_file") or ENV_FILE, text, 0o600))
    return found


def env_file(env: Mapping[str, Secret]) -> bytes:
    """Return an environment file that systemd and a shell read alike.

    Raises:
        Refused: a name or value cannot be written in it.
    """
    lines = []
    for name, secret in sorted(env.items()):
        value = secret.reveal()
        if not name.isidentifier() or any(c in value for c in "\n\r\0"):
            raise Refused(f"environment variable {name!r} cannot stand in a file", "use a plain name and one line")
        for special in '\\"$`':
            value = value.replace(special, "\\" + special)
        lines.append(f'{name}="{value}"\n')
    return "".join(lines).encode()


def _file(path: str, content: bytes, mode: int) -> dict[str, Any]:
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise Refused(f"{path!r} is no absolute path in the guest", "correct app.env_file or app.workdir")
    return {"path": path, "content": base64.b64encode(content).decode("ascii"), "mode": mode}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
