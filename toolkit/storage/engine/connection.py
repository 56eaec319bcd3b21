"""HTTP/1.1, as much of it as a store needs: connections kept alive, answers streamed, nothing copied twice.

Enters: a request's head and body. Leaves: an :class:`Answer`. Raises :class:`NoConnection` when none can
be made, :class:`Broken` when one ends or speaks nonsense in the middle, ``TimeoutError`` when no byte
comes, ``ssl.SSLError`` when TLS is refused.

Why not a general client: it costs three times the CPU per request of what is here, and a migration is
bound by that (docs/decisions/0007-http-client.md). Redirects are never followed, nothing is decompressed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import NamedTuple, cast

import httptools

Body = bytes | AsyncIterator[bytes] | None
_BUFFERED = 1 << 20  # bytes of an answer that may wait for their reader
_HEAD_MOST = 256 << 10


class NoConnection(OSError):
    """No connection could be made."""


class Broken(ConnectionError):
    """The connection ended, or what came is no HTTP, before the answer was complete."""


class Origin(NamedTuple):
    """Where to connect to."""

    scheme: str
    host: str
    port: int


class Headers(dict[str, str]):
    """Headers by name in any case; several of one name are one value with commas (RFC 9110)."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """Return the value, or ``default``."""
        return super().get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())


def head_of(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return the head of a request. Raises ``ValueError`` for a header that would begin another line."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("a header holds a line break and cannot be sent")
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape")


class Answer:
    """The answer to one request: its head is here, its body may still be coming."""

    __slots__ = ("_chunks", "_connection", "_held", "_waiter", "complete", "fault", "headers", "started", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        self.headers = Headers()
        self.started = False  # the head is complete
        self.complete = False
        self.fault: Exception | None = None

    @property
    def content(self) -> Answer:
        """The body, to iterate over."""
        return self

    async def read(self, most: int = 0) -> bytes:
        """Return the whole body, or what came until it exceeded ``most`` bytes."""
        while not self.complete and not (most and self._held >= most):
            await self._more(hold=not most)
        found = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return found

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield the body as it comes, in pieces of at most ``size`` bytes."""
        while True:
            while self._chunks:
                chunk = self._take(size)
                self._held -= len(chunk)
                if len(chunk) <= size:
                    yield chunk
                else:
                    for at in range(0, len(chunk), size):
                        yield chunk[at : at + size]
            if self.complete:
                return
            self._connection.hold(False)
            await self._more()

    def _take(self, size: int) -> bytes:
        """Return what is here, joined up to about ``size`` bytes: few large pieces cost least."""
        first = self._chunks.popleft()
        if not self._chunks or len(first) >= size:
            return first
        taken, total = [first], len(first)
        while self._chunks and total + len(self._chunks[0]) <= size:
            taken.append(self._chunks.popleft())
            total += len(taken[-1])
        return b"".join(taken)

    def close(self) -> None:
        """Drop the connection instead of reading on."""
        if not self.complete:
            self._connection.abort(Broken("given up"))

    async def _more(self, *, hold: bool = False) -> None:
        if self.fault is not None:
            raise self.fault
        if hold:
            self._connection.hold(False)  # the whole body is wanted: it will be held anyway
        self._waiter = self._connection.loop.create_future()
        await self._waiter
        if self.fault is not None:
            raise self.fault

    async def head(self) -> None:
        """Wait until status and headers are here."""
        while not self.started:
            await self._more()

    def take(self, chunk: bytes) -> bool:
        """Take a piece of the body; say whether enough waits for its reader."""
        self._chunks.append(chunk)
        self._held += len(chunk)
        return self._held > _BUFFERED

    def wake(self) -> None:
        """Something has come, or nothing more will."""
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None


class Connection(asyncio.Protocol):
    """One connection; one request after another."""

    def __init__(self, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self.origin = origin
        self.loop = loop
        self.touched = loop.time()
        self.lost = False
        self._answer: Answer | None = None
        self._headless = False  # the answer to HEAD has no body whatever it announces
        self._sent = True  # the whole request is on its way
        self._fed = True  # the body's next piece is at hand
        self._keep = True
        self._head_size = 0
        self._reading = True
        self._room: asyncio.Future[None] | None = None
        self._full = False
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anybody sees us

    @property
    def busy(self) -> bool:
        """A request is under way."""
        return self._answer is not None

    @property
    def reusable(self) -> bool:
        """The next request may go over this connection."""
        return self._keep and self._sent and not self.lost and not self._transport.is_closing()

    async def exchange(self, method: str, head: bytes, body: Body) -> Answer:
        """Send a request and return the answer when its head is here."""
        answer = self._answer = Answer(self)
        self._headless = method == "HEAD"
        self._head_size = 0
        self.touched = self.loop.time()
        if body is None or isinstance(body, bytes):
            self._transport.write(head + body if body else head)
        else:
            self._sent = False
            self._transport.write(head)
            await self._stream(answer, body)
        await answer.head()
        return answer

    async def _stream(self, answer: Answer, body: AsyncIterator[bytes]) -> None:
        self._fed = False
        async for chunk in body:
            self._fed = True
            if answer.started or answer.fault is not None:
                return  # answered early, which is a refusal: the rest is not wanted
            self._transport.write(chunk)
            self.touched = self.loop.time()
            if self._full:
                self._room = self.loop.create_future()
                await self._room
            self._fed = False
        self._fed = self._sent = True
        self.touched = self.loop.time()

    def finish(self) -> None:
        """The request is over; an answer that is not complete takes the connection with it."""
        answer, self._answer = self._answer, None
        if answer is None or not answer.complete or answer.fault is not None or not self.reusable:
            self._keep = False
            self._transport.abort()
        self.hold(False)  # the end may have come while its reader was behind

    def abort(self, why: Exception) -> None:
        """End the connection now and tell whoever waits."""
        self._keep = False
        self._fail(why)
        self._transport.abort()

    def hold(self, stop: bool) -> None:
        """Stop or go on reading from the network."""
        if self._reading == stop and not self.lost:
            self._reading = not stop
            self.touched = self.loop.time()
            with suppress(RuntimeError):  # closing
                (self._transport.pause_reading if stop else self._transport.resume_reading)()

    @property
    def held(self) -> bool:
        """Nothing moves because our side is slow, not the store."""
        return not self._reading or not self._fed

    def _fail(self, why: Exception) -> None:
        answer = self._answer
        if answer is not None:
            if not answer.complete and answer.fault is None:
                answer.fault = why
            answer.wake()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # -- of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.set_write_buffer_limits(high=1 << 20)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.lost = True
        if self._answer is not None and not self._answer.complete:
            with suppress(httptools.HttpParserError):
                self._parser.feed_data(b"")  # an answer without a length ends with the connection
        self._fail(Broken(str(exc) if exc else "the connection was closed before the answer was complete"))

    def pause_writing(self) -> None:
        """The send buffer is full."""
        self._full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._full = False
        self.touched = self.loop.time()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self.touched = self.loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self.abort(Broken(f"no HTTP: {exc}"))
            return
        if self._answer is not None and (self._answer.started or self._answer.complete):
            self._answer.wake()

    # -- of the parser

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._answer is None or self._answer.complete:
            raise httptools.HttpParserError("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header."""
        answer = self._answer
        self._head_size += len(name) + len(value)
        if answer is None or self._head_size > _HEAD_MOST:
            raise httptools.HttpParserError("headers without end")
        headers, text = answer.headers, value.decode("utf-8", "surrogateescape")
        word = name.decode("latin-1").lower()
        dict.__setitem__(headers, word, f"{headers[word]},{text}" if word in headers else text)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        answer = self._answer
        if answer is None:
            raise httptools.HttpParserError("an answer without a question")
        status = self._parser.get_status_code()
        if status < 200:
            answer.headers.clear()
            return
        answer.status = status
        answer.started = True
        if self._headless:
            self._keep = self._parser.should_keep_alive()
            answer.complete = True
            self._parser = httptools.HttpResponseParser(self)

    def on_body(self, data: bytes) -> None:
        """Pass on a piece of the body."""
        if self._answer is not None and self._answer.take(data):
            self.hold(True)

    def on_message_complete(self) -> None:
        """The answer is complete."""
        if self._answer is not None and self._answer.started:
            self._keep = self._parser.should_keep_alive()
            self._answer.complete = True
