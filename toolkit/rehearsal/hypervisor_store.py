"""What the embedded hypervisor remembers: definitions on disk, nothing secret among them.

Enters: a folder. Leaves: plain dicts. One folder for each server (``definition.json``,
``user-data``, ``files/``, ``disk/``, ``console.log``), one JSON file for each key pair and firewall.
Raises :class:`NotFound` and :class:`Conflict`; a definition that cannot be trusted raises :class:`Refused`.
"""

from __future__ import annotations

import base64
import binascii
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from toolkit.errors import Conflict, NotFound, Refused
from toolkit.files import write_atomic
from toolkit.model import canonical, sha256_hex

COLLECTIONS = ("keypairs", "firewalls")


def safe_relative(name: str) -> PurePosixPath:
    """Return ``name`` as a path that stays below its folder.

    Raises:
        Refused: it is absolute, empty, or climbs out.
    """
    path = PurePosixPath(name)
    if not name or "\0" in name or path.is_absolute() or ".." in path.parts or path.parts == ():
        raise Refused(f"file name {name!r} leaves the folder of its server", "use a relative name without '..'")
    return path


def decode(text: str) -> bytes:
    """Decode base64 strictly.

    Raises:
        Refused: it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Refused("a payload is not base64", "send payload bytes base64-encoded") from exc


class Store:
    """The definitions of one hypervisor, kept in ``folder`` (mode 0700)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("servers", *COLLECTIONS):
            (folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)

    # servers -----------------------------------------------------------------------------

    def servers(self) -> Iterator[dict[str, Any]]:
        for path in sorted((self.folder / "servers").glob("*/definition.json")):
            yield json.loads(path.read_bytes())

    def server(self, ident: str) -> dict[str, Any]:
        for definition in self.servers():
            if ident in (definition["id"], definition["name"]):
                return definition
        raise NotFound(f"no server {ident}", "list the servers")

    def home(self, definition: Mapping[str, Any]) -> Path:
        return self.folder / "servers" / str(definition["id"])

    def define(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Create a server, or return the one that the same idempotency token made before."""
        name, token = str(request["name"]), str(request.get("token") or "")
        for other in self.servers():
            if token and other["token"] == token:
                return other
            if other["name"] == name:
                raise Conflict(f"a server named {name} exists", "choose another name, or remove it")
        return self._save({"id": str(uuid.uuid4()), "name": name, "token": token}, request)

    def redefine(self, ident: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Replace body, payload and provenance of a server; its disk stays."""
        old = self.server(ident)
        return self._save({"id": old["id"], "name": old["name"], "token": old["token"]}, request)

    def _save(self, head: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
        payload: Mapping[str, Any] = request.get("payload") or {}
        files = {str(safe_relative(n)): decode(v) for n, v in (payload.get("files") or {}).items()}
        raw = payload.get("user_data")
        user_data = None if raw is None else decode(raw)
        definition = {
            **head,
            "body": request["body"],
            "provenance": request.get("provenance") or {},
            "user_data": None if user_data is None else sha256_hex(user_data),
            "files": {name: sha256_hex(data) for name, data in sorted(files.items())},
        }
        home = self.home(definition)
        home.mkdir(mode=0o700, exist_ok=True)
        if user_data is not None:
            write_atomic(home / "user-data", user_data)
        for name, data in files.items():
            write_atomic(home / "files" / name, data)
        write_atomic(home / "definition.json", canonical(definition))  # last: it is the commit mark
        return definition

    def files(self, definition: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the files of a server's app as they were given."""
        home = self.home(definition) / "files"
        return {name: (home / name).read_bytes() for name in definition["files"]}

    def user_data(self, definition: Mapping[str, Any]) -> bytes | None:
        if definition["user_data"] is None:
            return None
        return (self.home(definition) / "user-data").read_bytes()

    def materialise(self, definition: Mapping[str, Any], workdir: Path) -> None:
        """Put the app's files in place as they were uploaded; other files there (its data) stay."""
        workdir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, digest in definition["files"].items():
            data = (self.home(definition) / "files" / name).read_bytes()
            if sha256_hex(data) != digest:
                raise Refused(f"file {name} of server {definition['name']} was altered on disk", "define it again")
            write_atomic(workdir / name, data)

    def undefine(self, definition: Mapping[str, Any], *, disks: bool) -> None:
        """Forget a server; with ``disks`` its files and data go as well."""
        home = self.home(definition)
        (home / "definition.json").unlink()
        if disks:
            shutil.rmtree(home)

    # key pairs and firewalls -------------------------------------------------------------

    def entries(self, collection: str) -> list[dict[str, Any]]:
        paths = sorted((self.folder / collection).glob("*.json"))
        return [json.loads(path.read_bytes()) for path in paths]

    def put(self, collection: str, name: str, entry: Mapping[str, Any]) -> None:
        write_atomic(self._path(collection, name), canonical({**entry, "name": name}))

    def drop(self, collection: str, name: str) -> None:
        try:
            self._path(collection, name).unlink()
        except FileNotFoundError as exc:
            raise NotFound(f"no {collection[:-1]} {name}", f"list the {collection}") from exc

    def _path(self, collection: str, name: str) -> Path:
        # the digest, because names come from a cloud and may hold anything
        return self.folder / collection / f"{sha256_hex(name.encode())}.json"
