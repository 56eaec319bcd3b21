"""What a libvirt host keeps for us in files: key pairs, firewall definitions, disks, guests' host keys.

Enters: the driver's folder. Leaves: paths, public key lines, :class:`Found`. Raises :class:`ApplyError`
when ``qemu-img`` fails, :class:`Conflict` for a name that is taken, :class:`Refused` for an unusable key.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from toolkit.compute.model import Found, Kind, digest
from toolkit.errors import ApplyError, Conflict, Refused
from toolkit.files import write_atomic
from toolkit.model import Json, canonical, sha256_hex
from toolkit.secrets import Secret

# key pairs and firewalls -----------------------------------------------------------------------


def entry(folder: Path, kind: Kind, address: str) -> Path:
    """Return the file of one definition; its name is a digest, because addresses may hold anything."""
    return folder / f"{kind}s" / f"{sha256_hex(address.encode())}.json"


def entries(folder: Path, kind: Kind) -> Iterator[Found]:
    """Yield the stored definitions of one kind."""
    for path in sorted((folder / f"{kind}s").glob("*.json")):
        stored = json.loads(path.read_bytes())
        yield Found(kind, stored["provenance"]["address"], stored["body"], {}, stored["provenance"])


def store(folder: Path, kind: Kind, address: str, body: Mapping[str, Json]) -> str:
    """Keep one definition and return its id.

    Raises:
        Conflict: another one has its name.
    """
    for item in entries(folder, kind):
        if item.name == body["name"] and item.id != address:
            raise Conflict(f"a {kind} {item.name} exists and is not ours", "rename ours with `to: {name: …}`")
    made = {"body": dict(body), "provenance": {"by": "rehost", "address": address, "digest": digest(body)}}
    write_atomic(entry(folder, kind, address), canonical(made))
    return address


# disks -------------------------------------------------------------------------------------------


def make_disks(home: Path, image: str, disks: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Create what is missing: an overlay over the image, and empty disks beside it. Existing ones stay."""
    root = home / "disk.qcow2"
    if not root.exists():
        aside = home / ".disk.qcow2"
        _qemu_img(["create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", str(aside)])
        if disks:
            _grow(aside, int(disks[0]["gib"]))
        aside.replace(root)  # a disk that exists is whole
    result = [(str(root), "qcow2")]
    for index, disk in enumerate(disks[1:], start=1):
        path = home / f"disk-{index}.qcow2"
        if not path.exists():
            _qemu_img(["create", "-q", "-f", "qcow2", str(path), f"{int(disk['gib'])}G"])
        result.append((str(path), "qcow2"))
    return result


def _grow(path: Path, gib: int) -> None:
    size = json.loads(_qemu_img(["info", "--output=json", str(path)]))["virtual-size"]
    if gib << 30 > size:
        _qemu_img(["resize", "-q", str(path), f"{gib}G"])


def _qemu_img(arguments: list[str]) -> str:
    try:
        done = subprocess.run(["qemu-img", *arguments], capture_output=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ApplyError(f"qemu-img cannot run: {exc}", "install qemu-utils on the host") from exc
    if done.returncode:
        message = done.stderr.decode("utf-8", "replace").strip()
        raise ApplyError(f"qemu-img {arguments[0]} failed: {message}", "check the image path and the free space")
    return done.stdout.decode()


# keys --------------------------------------------------------------------------------------------


def host_key(home: Path) -> tuple[Secret, str]:
    """Return the SSH host key that a guest will show: made here, so that it is known beforehand."""
    path = home / "host_key"
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        openssh, plain = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        write_atomic(path, made.private_bytes(serialization.Encoding.PEM, openssh, plain))
    private = Secret(path.read_text("ascii"))
    return private, public_line(private)


def public_line(private: Secret) -> str:
    """Return the public key line of a private key.

    Raises:
        Refused: it cannot be read.
    """
    try:
        key = serialization.load_ssh_private_key(private.reveal().encode(), None)
    except (ValueError, TypeError) as exc:
        raise Refused("the SSH key of `access` cannot be read", "use an unencrypted OpenSSH private key") from exc
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode("ascii")
