"""What faults do to messages: bodies cut, padded and flipped, pages that lie, requests signed anew.

Enters: a head or the pieces of a body, and a rule. Leaves: the harmed one. :class:`Broken` says that
the connection must be broken at this place.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate, parsedate_to_datetime
from fnmatch import fnmatchcase

from toolkit.rehearsal.faultproxy_rules import Rule
from toolkit.rehearsal.faultproxy_wire import Head
from toolkit.storage.sign import Signer

#: Faults of the body that is read; without a body they do nothing.
BODIES = frozenset({"cut", "short", "pad", "flip", "stall", "drip"})
PAGES = frozenset({"stale-page", "same-token", "no-token", "unsorted"})

#: Waits so many seconds, or until the client has gone.
Wait = Callable[[float], Awaitable[None]]


class Broken(Exception):
    """Here the connection breaks."""


def place(length: int, share: float) -> int:
    """Return how many bytes of a body come before the fault: at least the last byte is left."""
    return max(0, min(int(length * share), length - 1))


def announced(head: Head, rule: Rule, length: int) -> Head:
    """Return the head of an answer whose body will be harmed."""
    if rule.fault == "short":
        return head.without("transfer-encoding").put("Content-Length", str(place(length, rule.at)))
    return head.without("transfer-encoding").put("Content-Length", str(length))


async def harmed(body: AsyncIterator[bytes], length: int, rule: Rule, wait: Wait) -> AsyncIterator[bytes]:
    """Yield the body as the fault leaves it."""
    if rule.fault == "drip":
        async for piece in body:
            for start in range(0, len(piece), rule.speed):
                yield piece[start : start + rule.speed]
                await wait(1.0)
        return
    if rule.fault == "flip":
        async for piece in flipped(body, place(length, rule.at)):
            yield piece
        return
    left = place(length, rule.at)
    async for piece in body:  # read to its end, so that the connection to the store stays in order
        if left:
            yield piece[:left]
        left -= min(left, len(piece))
    if rule.fault == "pad":
        missing = length - place(length, rule.at)
        while missing:
            yield bytes(min(missing, 1 << 16))
            missing -= min(missing, 1 << 16)
    elif rule.fault == "stall":
        await wait(rule.seconds)
        raise Broken
    elif rule.fault == "cut":
        raise Broken


async def flipped(body: AsyncIterator[bytes], at: int) -> AsyncIterator[bytes]:
    """Yield the body with the lowest bit of the byte at ``at`` inverted."""
    seen = 0
    async for piece in body:
        here = at - seen
        seen += len(piece)
        if 0 <= here < len(piece):
            yield piece[:here] + bytes([piece[here] ^ 1]) + piece[here + 1 :]
        else:
            yield piece


class Digest:
    """The MD5 of a body that passes."""

    def __init__(self) -> None:
        self._running = hashlib.md5(usedforsecurity=False)

    async def of(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass a body on."""
        async for piece in body:
            self._running.update(piece)
            yield piece

    @property
    def etag(self) -> str:
        """The ETag that these bytes deserve."""
        return f'"{self._running.hexdigest()}"'


def shifted(head: Head, seconds: float) -> Head:
    """Return the head of an answer by a clock that is wrong."""
    date = head.get("date")
    return head if date is None else head.put("Date", formatdate(_time(date) + seconds, usegmt=True))


def _time(date: str) -> float:
    return parsedate_to_datetime(date).timestamp()


def edited(head: Head, rule: Rule) -> Head:
    """Return the head with headers dropped and set."""
    gone = [name for name in head.names() if any(fnmatchcase(name, pattern.lower()) for pattern in rule.drop)]
    head = head.without(*gone)
    for name, value in rule.set.items():
        head = head.put(name, value)
    return head


_ITEM = re.compile(rb"<(?:Contents|Version|DeleteMarker)>.*?</(?:Contents|Version|DeleteMarker)>", re.DOTALL)
_ONWARD = re.compile(rb"<(NextContinuationToken|NextKeyMarker|NextVersionIdMarker|NextMarker)>[^<]*</\1>")


def lied(page: bytes, rule: Rule, token: bytes) -> bytes:
    """Return a page of a listing that lies about its order or about how to go on.

    ``token``: the continuation token that was asked with, empty on the first page.
    """
    if rule.fault == "no-token":
        return _ONWARD.sub(b"", page)
    if rule.fault == "same-token":
        again = b"<NextContinuationToken>%b</NextContinuationToken>" % token
        return _ONWARD.sub(lambda found: again if found.group(1) == b"NextContinuationToken" else found.group(), page)
    items = _ITEM.findall(page)
    turned = iter(items[::-1])
    return _ITEM.sub(lambda _: next(turned), page)


async def pause(reader: asyncio.StreamReader, seconds: float) -> None:
    """Wait, but not for a client that has gone."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not reader.at_eof() and (left := deadline - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(min(0.05, left))


_SIGNATURE = frozenset({"authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"})


def resigned(head: Head, rule: Rule, signer: Signer) -> Head:
    """Return a request without its digests (``store-framing``: as if its framing were its body), signed anew."""
    method, uri, _ = head.start.decode("latin-1").split(" ", 2)
    path, _, query = uri.partition("?")
    gone = {"content-md5", "x-amz-decoded-content-length", "x-amz-trailer", "x-amz-sdk-checksum-algorithm"}
    gone |= {name for name in head.names() if name.startswith("x-amz-checksum-")}
    if rule.fault == "store-framing" and "aws-chunked" in (head.get("content-encoding") or ""):
        gone.add("content-encoding")
    bare = head.without(*gone, *_SIGNATURE)
    extra = {name: bare.get(name) or "" for name in bare.names() if name.startswith("x-amz-")}
    canonical = "&".join(sorted(part if "=" in part else f"{part}=" for part in query.split("&") if part))
    signed = signer.headers(method, bare.get("host") or "", path, canonical, extra)
    for name in ("Authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"):
        if name in signed:
            bare = bare.put(name, signed[name])
    return bare
