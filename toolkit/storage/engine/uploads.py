"""Multipart uploads that outlive the process that began them: remembered, taken up again, or aborted.

Enters: a shard's log, and what earlier attempts left in it. Leaves: lines in that log. An upload is taken
up again only for the same version with the same headers; what nobody took up is aborted when the shard ends.
A kill loses at most the lines since the last sync; the parts they told of are read again, not sent again.
"""

from __future__ import annotations

from collections.abc import Iterable

from toolkit.storage.engine.shardlog import Left, ShardLog

_SYNC_PARTS = 64
_SYNC_BYTES = 64 << 20


class Uploads:
    """The multipart uploads of one attempt at a shard."""

    def __init__(self, log: ShardLog, left: Iterable[Left] = ()) -> None:
        self._log = log
        self._open = {upload.upload: upload for upload in left}
        self._taken: set[str] = set()
        self._parts = self._size = 0

    def take(self, key: bytes, of: str) -> Left | None:
        """Return an upload that an earlier attempt left for the same content, ``None`` if there is none."""
        free = (left for name, left in self._open.items() if name not in self._taken)
        found = next((left for left in free if (left.key, left.of) == (key, of)), None)
        if found is not None:
            self._taken.add(found.upload)
        return found

    def rest(self) -> list[Left]:
        """Return what has not ended: when the rows of a shard are through, nobody needs it."""
        return list(self._open.values())

    def began(self, key: bytes, upload: str, of: str) -> None:
        """Remember an upload, durably, before its first part."""
        self._open[upload] = Left(key, upload, of)
        self._taken.add(upload)
        self._log.upload(key, upload, of)
        self._log.sync()

    def sent(self, upload: str, number: int, digest: bytes, size: int) -> None:
        """Remember a part that stands at the target; durable a portion at a time."""
        self._log.part(upload, number, digest)
        self._parts += 1
        self._size += size
        if self._parts >= _SYNC_PARTS or self._size >= _SYNC_BYTES:
            self._log.sync()
            self._parts = self._size = 0

    def ended(self, upload: str) -> None:
        """Remember that an upload was completed or aborted. Should a kill lose this line, aborting finds nothing."""
        self._open.pop(upload, None)
        self._taken.discard(upload)
        self._log.ended(upload)
