"""Payload by digest: user-data, dumps and bodies that must stay byte for byte as they are.

Enters: bytes. Leaves: their SHA-256 in hex, and later the same bytes, checked again on the way out.
A blob is written to a temporary file, synced and renamed, so a name that exists is always whole.
The folder is 0700 and each file 0600, because payload may hold the app's own secrets.

Raises :class:`~toolkit.errors.NotFound` for an unknown digest and
:class:`~toolkit.errors.Conflict` for bytes that no longer are what their name says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import Conflict, NotFound, RehostError
from toolkit.files import write_atomic
from toolkit.model import sha256_hex

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Blobs:
    """A folder of payload files, each named by the SHA-256 of its bytes."""

    folder: Path

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its digest; storing it again changes nothing."""
        digest = sha256_hex(data)
        path = self.path(digest)
        try:
            if path.is_file() and path.stat().st_size == len(data) and sha256_hex(path.read_bytes()) == digest:
                return digest
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            write_atomic(path, data)
        except OSError as exc:
            raise RehostError(
                f"cannot store payload {digest[:12]} in {self.folder}: {exc.strerror}",
                "free space or permissions of the folder, then run the same command again",
            ) from exc
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of ``digest`` after checking that they still are those bytes."""
        path = self.path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as exc:
            raise NotFound(f"payload {digest[:12]} is not in {self.folder}", "run discover or plan again") from exc
        except OSError as exc:
            raise RehostError(f"cannot read payload {path}: {exc.strerror}", "check the file's owner and mode") from exc
        if sha256_hex(data) != digest:
            raise Conflict(f"payload {path} was altered", "delete that file, then run discover or plan again")
        return data

    def has(self, digest: str) -> bool:
        """Say whether ``digest`` is stored (its bytes are checked by :meth:`get`)."""
        return self.path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Return where ``digest`` is or would be stored; refuses what is no digest."""
        if not _DIGEST.fullmatch(digest):
            raise NotFound(f"{digest[:80]!r} is not a SHA-256 in lower-case hex", "name payload by its digest")
        return self.folder / digest

    def __iter__(self) -> Iterator[str]:
        """Yield the stored digests in order."""
        if self.folder.is_dir():
            yield from sorted(path.name for path in self.folder.iterdir() if _DIGEST.fullmatch(path.name))
