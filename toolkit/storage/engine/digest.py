"""Digests of bytes as they pass: whole MD5, and the ETag that a store gives to parts.

Nothing here is a protection against malice; MD5 is what S3 computes, and equal digests computed by
two stores and by us over the same bytes are what *verified* means.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence

MIB = 1 << 20
#: Part sizes of well-known uploaders (SDKs, aws cli, rclone, s3cmd, s5cmd, mc, Hadoop), in MiB.
_USUAL = (5, 6, 7, 8, 10, 12, 15, 16, 17, 20, 24, 25, 30, 32, 40, 48, 50, 64, 80, 96, 100, 128, 200, 256, 512, 1024)
_SINGLE = re.compile(r"[0-9a-f]{32}")
_PARTS = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,4})")


def md5(data: bytes = b"") -> hashlib._Hash:
    """Return an MD5 object that also works where MD5 is barred from security use."""
    return hashlib.md5(data, usedforsecurity=False)


def content_md5(digest: bytes) -> str:
    """Return a digest as the Content-MD5 header."""
    return base64.b64encode(digest).decode()


def is_single(etag: str) -> bool:
    """Say whether the ETag looks like the MD5 of the whole object."""
    return _SINGLE.fullmatch(etag) is not None


def parts_of(etag: str) -> int:
    """Return the number of parts that the ETag names, 0 if it is not one of a multipart object."""
    found = _PARTS.fullmatch(etag)
    return int(found.group(1)) if found else 0


def composite(digests: Sequence[bytes]) -> str:
    """Return the ETag of an object made of parts with these MD5 digests."""
    return f"{md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def candidates(size: int, count: int) -> list[int]:
    """Return uniform part sizes that would cut ``size`` bytes into ``count`` parts, likely ones first."""
    if count == 1:
        return [max(size, 1)]
    least = -(-size // count)  # the smallest size that needs no more than count parts
    exact = [unit for unit in (least, -(-least // MIB) * MIB) if unit > 0]
    sizes = [n * MIB for n in _USUAL] + [n * 1_000_000 for n in _USUAL] + exact
    return [unit for unit in dict.fromkeys(sizes) if -(-size // unit) == count]


def cut(size: int, unit: int) -> list[tuple[int, int]]:
    """Return the uniform parts of an object as ``(start, stop)``."""
    return [(start, min(start + unit, size)) for start in range(0, max(size, 1), unit)]


class Composites:
    """Computes, in one pass over the bytes, the multipart ETag for several part sizes at once."""

    def __init__(self, units: Sequence[int]) -> None:
        self._lanes: list[tuple[int, hashlib._Hash, list[bytes]]] = [(unit, md5(), []) for unit in units]
        self._fill = [0] * len(units)

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        for n, (unit, running, done) in enumerate(self._lanes):
            view = memoryview(data)
            while view:
                take = min(len(view), unit - self._fill[n])
                running.update(view[:take])
                self._fill[n] += take
                view = view[take:]
                if self._fill[n] == unit:
                    done.append(running.digest())
                    running = md5()
                    self._fill[n] = 0
            self._lanes[n] = (unit, running, done)

    def find(self, etag: str) -> int:
        """Return the part size that gives ``etag``, 0 if none does."""
        for n, (unit, running, done) in enumerate(self._lanes):
            digests = [*done, running.digest()] if self._fill[n] or not done else done
            if composite(digests) == etag:
                return unit
        return 0
