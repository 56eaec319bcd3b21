"""One request through the fault proxy and its answer, with the fault of the rule that strikes it.

Enters: the head of a request, the connections to client and store, and what the proxy holds
(:class:`Stand`). Leaves: one :class:`Seen` a request. Raises ``Broken`` where the client's connection is
to break, and the errors of asyncio and ``BadMessage``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from toolkit.rehearsal import faultproxy_harm as harm
from toolkit.rehearsal import faultproxy_wire as wire
from toolkit.rehearsal.faultproxy_rules import ANSWERS, RESIGNED, Asked, Rule, Rules
from toolkit.rehearsal.mockaws_calls import identify
from toolkit.rehearsal.mockaws_errors import s3_error
from toolkit.storage.sign import Signer

log = logging.getLogger(__name__)
_MOST_SEEN = 100_000
_NO_BODY = frozenset({204, 304})


class Seen(NamedTuple):
    """One request that passed, and what became of it. Status 0: no answer was given."""

    asked: Asked
    fault: str
    status: int


@dataclass(slots=True)
class Link:
    """The connection to the store that belongs to one connection of a client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def usable(self) -> bool:
        return not self.reader.at_eof() and not self.writer.is_closing()


@dataclass(slots=True)
class Stand:
    """What all exchanges of one proxy share."""

    side: str
    signer: Signer | None
    rules: Rules = field(default_factory=Rules)
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=_MOST_SEEN))
    pages: dict[str, bytes] = field(default_factory=dict)  # the first page of each listing, for stale ones


class Exchange:
    """One request and its answer."""

    def __init__(
        self,
        stand: Stand,
        head: wire.Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: Link,
    ) -> None:
        self._stand = stand
        self._head = head
        self._reader = reader
        self._writer = writer
        self._link = link
        self._asked, self._uri = _asked(stand.side, head)
        self._sent = harm.Digest()
        self._continued = False

    async def run(self) -> bool:
        """Carry the exchange out; return whether the connection may carry another."""
        rule = self._stand.rules.pick(self._asked)
        status = 0
        try:
            if rule is not None and (rule.fault in ANSWERS or (rule.fault == "ok-error" and not rule.deed)):
                status = rule.answer[0]
                return await self._instead(rule)
            if rule is not None and rule.fault == "reset":
                raise harm.Broken
            if rule is not None and rule.fault == "hang":
                await harm.pause(self._reader, rule.seconds)
                raise harm.Broken
            up = asyncio.create_task(self._up(rule))
            try:
                answer = await self._answer()
                status = answer.status
                goes_on = await self._down(answer, rule)
                return goes_on and await self._settled(up)
            finally:
                up.cancel()
                await asyncio.gather(up, return_exceptions=True)
        finally:
            self._stand.seen.append(Seen(self._asked, rule.fault if rule else "", status))

    async def _instead(self, rule: Rule) -> bool:
        """Answer in place of the store, after the request was read to its end."""
        if (self._head.get("expect") or "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async for _ in wire.pieces(self._reader, self._head):
            continue
        await self._send(*_refusal(rule, self._asked))
        return not self._head.closes

    async def _send(self, head: wire.Head, body: bytes) -> None:
        self._writer.write(head.raw() + (b"" if self._asked.method == "HEAD" else body))
        await self._writer.drain()

    # -- towards the store -----------------------------------------------------------------------

    async def _up(self, rule: Rule | None) -> None:
        head, body = self._head, wire.pieces(self._reader, self._head)
        if rule is not None and rule.fault in RESIGNED and self._stand.signer is not None:
            head = harm.resigned(head, rule, self._stand.signer)
        if rule is not None and rule.fault in ("flip-up", "store-wrong"):
            body = harm.flipped(self._sent.of(body), harm.place(head.length or 1, rule.at))
        self._link.writer.write(head.raw())
        async for piece in body:
            self._link.writer.write(wire.framed(piece, head))
            await self._link.writer.drain()
        self._link.writer.write(wire.ending(head))
        await self._link.writer.drain()

    async def _answer(self) -> wire.Head:
        while True:
            answer = await wire.read_head(self._link.reader)
            if answer is None:
                raise ConnectionResetError("the store closed the connection without an answer")
            if answer.status >= 200:
                return answer
            self._continued = True
            self._writer.write(answer.raw())
            await self._writer.drain()

    async def _settled(self, up: asyncio.Task[None]) -> bool:
        """Say whether the request was sent to its end, so that both connections are in order."""
        if self._head.get("expect") and not self._continued and not up.done():
            return False  # the body was never asked for, and may never come
        try:
            await up
        except OSError as exc:
            log.info("the store took no more of the request: %s", exc)
            return False
        return True

    # -- towards the client ----------------------------------------------------------------------

    async def _down(self, answer: wire.Head, rule: Rule | None) -> bool:
        empty = self._asked.method == "HEAD" or answer.status in _NO_BODY
        to_end = answer.length is None and not answer.chunked and not empty
        body = _nothing() if empty else wire.pieces(self._link.reader, answer, to_end=to_end)
        if rule is None:
            answer, body = await self._remembered(answer, body)
        else:
            answer, body = await self._struck(answer, body, rule, empty=empty)
        self._writer.write(answer.raw())
        async for piece in body:
            self._writer.write(wire.framed(piece, answer))
            await self._writer.drain()
        if not empty:
            self._writer.write(wire.ending(answer))
        await self._writer.drain()
        return not (to_end or answer.closes or self._head.closes)

    async def _struck(
        self, answer: wire.Head, body: AsyncIterator[bytes], rule: Rule, *, empty: bool
    ) -> tuple[wire.Head, AsyncIterator[bytes]]:
        """Return the answer as the fault leaves it."""
        if rule.fault == "lost":
            async for _ in body:
                continue
            raise harm.Broken
        if rule.fault == "ok-error":
            async for _ in body:
                continue
            head, text = _refusal(rule, self._asked)
            return head, _one(text)
        if rule.fault == "clock":
            return harm.shifted(answer, rule.seconds), body
        if rule.fault == "headers":
            return harm.edited(answer, rule), body
        if rule.fault == "store-wrong" and rule.lie and answer.status < 300:
            return answer.put("ETag", self._sent.etag), body
        if empty or answer.status >= 300:
            return answer, body
        if rule.fault in harm.PAGES:
            return await self._page(answer, body, rule)
        if rule.fault in harm.BODIES:
            length = answer.length
            if length is None:
                whole = b"".join([piece async for piece in body])
                length, body = len(whole), _one(whole)
            if length:
                head = harm.announced(answer, rule, length)
                return head, harm.harmed(body, length, rule, lambda left: harm.pause(self._reader, left))
        return answer, body

    async def _page(
        self, answer: wire.Head, body: AsyncIterator[bytes], rule: Rule
    ) -> tuple[wire.Head, AsyncIterator[bytes]]:
        page = b"".join([piece async for piece in body])
        if rule.fault == "stale-page":
            page = self._stand.pages.get(self._listing(), page)
        else:
            token = parse_qs(self._uri.partition("?")[2]).get("continuation-token", [""])[0]
            page = harm.lied(page, rule, token.encode())
        return answer.without("transfer-encoding").put("Content-Length", str(len(page))), _one(page)

    async def _remembered(
        self, answer: wire.Head, body: AsyncIterator[bytes]
    ) -> tuple[wire.Head, AsyncIterator[bytes]]:
        """Keep the first page of a listing, where a rule will show it again."""
        stale = any(rule.fault == "stale-page" for rule in self._stand.rules.rules)
        first = "continuation-token" not in self._uri and "marker" not in self._uri
        if not (stale and first and answer.status == 200 and self._asked.operation.startswith("ListObject")):
            return answer, body
        page = b"".join([piece async for piece in body])
        self._stand.pages[self._listing()] = page
        return answer.without("transfer-encoding").put("Content-Length", str(len(page))), _one(page)

    def _listing(self) -> str:
        return f"{self._asked.operation} {self._asked.bucket}"


def _asked(side: str, head: wire.Head) -> tuple[Asked, str]:
    parts = head.start.split(b" ")
    if len(parts) != 3:
        raise wire.BadMessage(f"no request line: {head.start[:80]!r}")
    method, uri = parts[0].decode("latin-1"), parts[1].decode("latin-1")
    names = {name: head.get(name) or "" for name in head.names()}
    call = identify(method, uri, names, b"")
    bucket, _, key = uri.partition("?")[0].lstrip("/").partition("/")
    asked = Asked(
        side,
        method,
        call.operation if call.service == "s3" else f"{call.service}:{call.operation}",
        unquote(bucket),
        unquote(key, errors="surrogateescape"),
        "TRAILER" in names.get("x-amz-content-sha256", ""),
        bool(head.length) or head.chunked,
    )
    return asked, uri


def _refusal(rule: Rule, asked: Asked) -> tuple[wire.Head, bytes]:
    status, code = rule.answer
    error = s3_error(status, code, rule.message, resource=f"/{asked.bucket}/{asked.key}")
    headers = {**error.headers, "Date": formatdate(usegmt=True), "Server": "AmazonS3", **rule.set}
    return wire.answer(status, code if status >= 300 else "OK", headers, error.body)


async def _nothing() -> AsyncIterator[bytes]:
    empty: tuple[bytes, ...] = ()
    for piece in empty:
        yield piece


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece
