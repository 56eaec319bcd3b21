"""What the store simulator holds: numbered synthetic objects in any number, and what was put there."""

from __future__ import annotations

import bisect
import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.bench import synthetic
from tests.bench.synthetic import Body

WHEN = "2021-01-11T08:00:00.000Z"
DATE = "Mon, 11 Jan 2021 08:00:00 GMT"


class Thing(NamedTuple):
    """One object. ``data``: its bytes as a body of the pattern, several in a row, raw, or ``None`` (lost)."""

    etag: str
    size: int
    data: tuple[Body, ...] | bytes | None
    headers: dict[str, str]
    parts: tuple[int, ...] = ()

    def read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the bytes of ``[start, stop)``."""
        if isinstance(self.data, bytes):
            yield memoryview(self.data)[start:stop]
            return
        assert self.data is not None
        at = 0
        for body in self.data:
            low, high = max(start - at, 0), min(stop - at, body.size)
            if low < high:
                yield from body.slices(low, high)
            at += body.size


@dataclass(frozen=True)
class Fill:
    """``count`` objects named ``<prefix><number, nine digits>``."""

    prefix: bytes
    count: int
    size: int
    parts: tuple[int, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    def name(self, number: int) -> bytes:
        return b"%b%09d" % (self.prefix, number)

    def number(self, key: bytes) -> int:
        """Return the number of a key, -1 if it is none of these."""
        digits = key[len(self.prefix) :]
        if not key.startswith(self.prefix) or len(digits) != 9 or not digits.isdigit():
            return -1
        return int(digits) if int(digits) < self.count else -1

    def thing(self, number: int) -> Thing:
        body = synthetic.numbered(number, self.size)
        return Thing(synthetic.etag(body, self.parts), self.size, (body,), dict(self.headers), self.parts)

    def after(self, key: bytes) -> Iterator[tuple[bytes, Thing]]:
        """Yield what comes after ``key``."""
        first = bisect.bisect_right(range(self.count), key, key=self.name)
        for number in range(first, self.count):
            yield self.name(number), self.thing(number)


@dataclass
class Bucket:
    """One bucket: fills, and above them what was put and deleted."""

    fills: list[Fill] = field(default_factory=list)
    objects: dict[bytes, Thing | None] = field(default_factory=dict)  # None: deleted
    names: list[bytes] = field(default_factory=list)  # the keys of ``objects``, sorted

    def get(self, key: bytes) -> Thing | None:
        if key in self.objects:
            return self.objects[key]
        for fill in self.fills:
            if (number := fill.number(key)) >= 0:
                return fill.thing(number)
        return None

    def put(self, key: bytes, thing: Thing | None) -> None:
        if key not in self.objects:
            bisect.insort(self.names, key)
        self.objects[key] = thing

    def after(self, key: bytes) -> Iterator[tuple[bytes, Thing]]:
        """Yield what comes after ``key`` in order."""
        if self.fills and not self.names and len(self.fills) == 1:
            yield from self.fills[0].after(key)
            return
        own = ((name, self.objects[name]) for name in self.names[bisect.bisect_right(self.names, key) :])
        last = None
        # Of equal keys the one that was put comes first and hides the other.
        for name, thing in heapq.merge(own, *(fill.after(key) for fill in self.fills), key=lambda item: item[0]):
            if name != last and thing is not None:
                yield name, thing
            last = name


@dataclass
class Upload:
    """A multipart upload under way."""

    bucket: str
    key: bytes
    headers: dict[str, str]
    parts: dict[int, tuple[bytes, int, Body | bytes | None]] = field(default_factory=dict)  # MD5, size, bytes

    def joined(self, numbers: list[int]) -> Thing:
        """Return the object made of these parts."""
        chosen = [self.parts[number] for number in numbers]
        etag = f"{hashlib.md5(b''.join(part[0] for part in chosen)).hexdigest()}-{len(chosen)}"
        sizes = tuple(part[1] for part in chosen)
        kept = [part[2] for part in chosen]
        data: tuple[Body, ...] | bytes | None = None
        if all(isinstance(item, Body) for item in kept):
            data = tuple(item for item in kept if isinstance(item, Body))
        elif all(isinstance(item, bytes) for item in kept):
            data = b"".join(item for item in kept if isinstance(item, bytes))
        elif all(item is not None for item in kept):
            raw = [item if isinstance(item, bytes) else b"".join(item.slices()) for item in kept if item is not None]
            data = b"".join(raw) if sum(sizes) < 1 << 26 else None
        return Thing(etag, sum(sizes), data, self.headers, sizes)
