"""Bytes that are computed, not stored: any slice of one endless repeated pattern, and its digests.

A body is a phase in the pattern and a size. The period is 17 x 64 KiB, so that neighbouring parts of
any usual size differ (a swap is seen) while there are only 17 different parts of one size (their MD5
is computed once): 50 GiB cost no memory and hardly any time.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

PERIOD = 17 << 16
_PATTERN = random.Random(1).randbytes(PERIOD)
_LONG = memoryview(_PATTERN * 9)
_PROBE = 32


class Body(NamedTuple):
    """``size`` bytes of the pattern from ``phase`` on."""

    phase: int
    size: int

    def slices(self, start: int = 0, stop: int | None = None) -> Iterator[memoryview]:
        """Yield the bytes of ``[start, stop)`` in pieces of up to 8 MiB, without copying."""
        at, end = start, self.size if stop is None else stop
        while at < end:
            offset = (self.phase + at) % PERIOD
            piece = _LONG[offset : offset + min(end - at, 8 * PERIOD)]
            yield piece
            at += len(piece)

    def sub(self, start: int, stop: int) -> Body:
        """Return a part of this body as a body."""
        return Body((self.phase + start) % PERIOD, stop - start)


@functools.lru_cache(maxsize=1 << 16)
def md5(body: Body) -> bytes:
    """Return the MD5 of a body."""
    running = hashlib.md5()
    for piece in body.slices():
        running.update(piece)
    return running.digest()


def numbered(number: int, size: int) -> Body:
    """Return one of 4,099 different bodies: those of neighbouring numbers differ."""
    return Body(number % 4_099 * 256 % PERIOD, size)


def etag(body: Body, parts: Sequence[int] = ()) -> str:
    """Return the ETag of a body uploaded whole or in parts of these sizes."""
    if not parts:
        return md5(body).hex()
    digests, at = [], 0
    for size in parts:
        digests.append(md5(body.sub(at, at + size)))
        at += size
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(parts)}"


class Incoming:
    """What is being received: compared with the pattern where it is known, hashed where it is not."""

    def __init__(self, keep: int = 1 << 20) -> None:
        self.size = 0
        self._keep = keep
        self._head = b""
        self._body: Body | None = None
        self._hash: hashlib._Hash | None = None
        self._raw: list[bytes] | None = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._body is None and self._hash is None:
            self._head += data
            self.size += len(data)
            if len(self._head) >= 1 << 16:
                self._begin()
            return
        self._take(data)
        self.size += len(data)

    def _begin(self) -> None:
        head, self._head, self.size = self._head, b"", 0
        at = bytes(_LONG[: PERIOD + _PROBE]).find(head[:_PROBE]) if len(head) >= 1 << 16 else -1
        if at >= 0:
            self._body = Body(at, 0)
        else:
            self._hash = hashlib.md5()
        self._take(head)
        self.size = len(head)

    def _take(self, data: bytes) -> None:
        if self._body is not None:
            offset = (self._body.phase + self.size) % PERIOD
            if bytes(_LONG[offset : offset + len(data)]) == data:
                return
            self._hash, self._raw = hashlib.md5(), None  # it left the pattern: hash what it was so far
            for piece in Body(self._body.phase, self.size).slices():
                self._hash.update(piece)
            self._body = None
        assert self._hash is not None
        self._hash.update(data)
        if self._raw is not None:
            self._raw.append(data)
            if self.size + len(data) > self._keep:
                self._raw = None

    def end(self, known: dict[bytes, Body]) -> tuple[bytes, Body | bytes | None]:
        """Return the MD5 and what is kept: a body of the pattern, small raw bytes, or nothing."""
        if self._body is None and self._hash is None:
            self._begin()
        if self._body is not None:
            body = Body(self._body.phase, self.size)
            return md5(body), body
        assert self._hash is not None
        digest = self._hash.digest()
        found = known.get(digest)
        if found is not None and found.size == self.size:
            return digest, found
        return digest, None if self._raw is None else b"".join(self._raw)
