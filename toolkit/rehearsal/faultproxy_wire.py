"""HTTP/1.1 for the fault proxy, byte for byte: heads as they came, bodies as they pass.

Enters: asyncio streams. Leaves: :class:`Head` and pieces of bodies. Raises :class:`BadMessage` for what
is no HTTP, and the connection errors of asyncio. An HTTP library would normalise names, order and
bytes of headers; a proxy that stands before signatures must not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

MOST_HEAD = 128 * 1024  # bytes of a head; also the limit of the streams
PIECE = 64 * 1024


class BadMessage(Exception):
    """The peer does not speak HTTP/1.1, or announces a body of a length nobody understands."""


@dataclass(frozen=True, slots=True)
class Head:
    """A start line and header lines, without their line ends."""

    start: bytes
    lines: tuple[bytes, ...]

    def get(self, name: str) -> str | None:
        """Return the value of the first header of that name (lower case), or None."""
        for line in self.lines:
            label, _, value = line.partition(b":")
            if label.strip().lower() == name.encode():
                return value.strip().decode("utf-8", "surrogateescape")
        return None

    def without(self, *names: str) -> Head:
        """Return the head without these headers (lower case)."""
        gone = {name.encode() for name in names}
        return Head(self.start, tuple(line for line in self.lines if line.partition(b":")[0].lower() not in gone))

    def names(self) -> list[str]:
        """Return the names of all headers, lower case, in order."""
        return [line.partition(b":")[0].strip().lower().decode("latin-1") for line in self.lines]

    def put(self, name: str, value: str) -> Head:
        """Return the head with this header instead of those of the same name."""
        line = f"{name}: {value}".encode("utf-8", "surrogateescape")
        return Head(self.start, (*self.without(name.lower()).lines, line))

    def raw(self) -> bytes:
        """Return the bytes to send."""
        return b"\r\n".join((self.start, *self.lines, b"", b""))

    @property
    def status(self) -> int:
        """The status of an answer."""
        parts = self.start.split(b" ", 2)
        if len(parts) < 2 or not parts[1].isdigit():
            raise BadMessage(f"no status in {self.start[:80]!r}")
        return int(parts[1])

    @property
    def chunked(self) -> bool:
        """Is the body sent in chunks?"""
        return "chunked" in (self.get("transfer-encoding") or "").lower()

    @property
    def length(self) -> int | None:
        """The announced length of the body."""
        text = self.get("content-length")
        if text is None:
            return None
        if not text.isdecimal():
            raise BadMessage(f"Content-Length is {text[:40]!r}")
        return int(text)

    @property
    def closes(self) -> bool:
        """Does the peer end the connection after this message?"""
        return "close" in (self.get("connection") or "").lower() or self.start.endswith(b"HTTP/1.0")


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read a head; None when the peer has closed between messages."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        if not exc.partial.strip():
            return None
        raise BadMessage("the connection ended inside a head") from exc
    except asyncio.LimitOverrunError as exc:
        raise BadMessage(f"a head of more than {MOST_HEAD} bytes") from exc
    start, *lines = raw.lstrip(b"\r\n")[:-4].split(b"\r\n")
    return Head(start, tuple(lines))


async def pieces(reader: asyncio.StreamReader, head: Head, *, to_end: bool = False) -> AsyncIterator[bytes]:
    """Yield the body of a message. ``to_end``: without a length it lasts until the connection ends."""
    if head.chunked:
        async for piece in _chunks(reader):
            yield piece
        return
    left = head.length
    if left is None:
        while to_end and (piece := await reader.read(PIECE)):
            yield piece
        return
    while left:
        piece = await reader.read(min(PIECE, left))
        if not piece:
            raise ConnectionResetError(f"{left} bytes of the body are missing")
        left -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        line = await reader.readline()
        try:
            left = int(line.partition(b";")[0].strip(), 16)
        except ValueError as exc:
            raise BadMessage(f"no chunk size in {line[:40]!r}") from exc
        if left == 0:
            while (await reader.readline()).strip():
                continue  # trailers of the transfer: nobody uses them
            return
        while left:
            piece = await reader.read(min(PIECE, left))
            if not piece:
                raise ConnectionResetError("the connection ended inside a chunk")
            left -= len(piece)
            yield piece
        await reader.readexactly(2)


def framed(piece: bytes, head: Head) -> bytes:
    """Return a piece of a body as the head says it is sent."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if head.chunked else piece


def ending(head: Head) -> bytes:
    """Return what ends the body."""
    return b"0\r\n\r\n" if head.chunked else b""


def answer(status: int, reason: str, headers: dict[str, str], body: bytes) -> tuple[Head, bytes]:
    """Make an answer of our own."""
    start = f"HTTP/1.1 {status} {reason}".encode()
    lines = {**headers, "Content-Length": str(len(body))}
    return Head(start, tuple(f"{name}: {value}".encode() for name, value in lines.items())), body
