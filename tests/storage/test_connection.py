"""The HTTP client against a server that writes bytes by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from toolkit.storage.engine.connection import Broken, NoConnection, Origin, head_of
from toolkit.storage.engine.pool import Pool

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Serve = Callable[[Reader, Writer], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def served(serve: Serve, read_timeout: float = 60.0) -> AsyncIterator[tuple[Pool, Origin]]:
    async def guarded(reader: Reader, writer: Writer) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    pool = Pool(read_timeout)
    try:
        yield pool, Origin("http", "127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        pool.close()
        server.close()


async def ask(pool: Pool, origin: Origin, method: str = "GET", head: bytes = GET) -> bytes:
    connection = await pool.take(origin)
    try:
        answer = await connection.exchange(method, head, None)
        return await answer.read()
    finally:
        pool.give(connection)


def answering(*answers: bytes) -> Serve:
    """Give these answers one after another, then close."""

    async def serve(reader: Reader, writer: Writer) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


def head(length: int, *more: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in (f"Content-Length: {length}", *more))
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode()


def test_one_connection_serves_many_requests() -> None:
    async def run() -> None:
        async with served(answering(head(1) + b"a", head(5), b"HTTP/1.1 204 N\r\n\r\n", head(1) + b"d")) as (pool, to):
            assert await ask(pool, to) == b"a"
            assert await ask(pool, to, "HEAD") == b""  # announces five bytes that never come
            assert await ask(pool, to) == b""
            assert await ask(pool, to) == b"d"

    asyncio.run(run())


def test_an_answer_that_ends_while_its_reader_is_behind_leaves_a_good_connection() -> None:
    big = b"x" * (5 << 20)

    async def run() -> None:
        async with served(answering(head(len(big)) + big, head(2) + b"ok")) as (pool, to):
            connection = await pool.take(to)
            answer = await connection.exchange("GET", GET, None)
            size = 0
            async for chunk in answer.iter_chunked(1 << 16):
                assert len(chunk) <= 1 << 16
                size += len(chunk)
                await asyncio.sleep(0.001)
            pool.give(connection)
            assert size == len(big)
            async with asyncio.timeout(10):
                assert await ask(pool, to) == b"ok"

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        head(10) + b"short",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-amz-meta-a: 1234567890\r\n" * 20_000 + b"\r\n",
        b"",
    ],
    ids=["truncated", "unfinished-chunks", "bad-chunk", "no-http", "endless-head", "closed"],
)
def test_what_is_no_whole_answer_is_broken(answer: bytes) -> None:
    async def run() -> None:
        async with served(answering(answer)) as (pool, to):
            with pytest.raises(Broken):
                await ask(pool, to)

    asyncio.run(run())


def test_bytes_nobody_asked_for_end_the_connection() -> None:
    async def run() -> None:
        async with served(answering(head(2) + b"ok" + head(3) + b"bad", head(2) + b"no")) as (pool, to):
            assert await ask(pool, to) == b"ok"
            assert await ask(pool, to) == b"ok", "over another connection"

    asyncio.run(run())


def test_silence_is_a_timeout_but_a_slow_body_of_ours_is_not() -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if request.startswith(b"PUT"):
            await reader.readexactly(4)
            writer.write(head(0))
        await reader.read()

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.2)
            yield b"x"

    async def run() -> None:
        async with served(serve, read_timeout=0.3) as (pool, to):
            connection = await pool.take(to)
            put = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
            assert (await connection.exchange("PUT", put, slowly())).status == 200
            pool.give(connection)
            with pytest.raises(TimeoutError):
                await ask(pool, to)

    asyncio.run(run())


def test_an_early_refusal_is_heard_and_the_rest_is_not_sent() -> None:
    sent = 0

    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 65_536
            await asyncio.sleep(0.001)

    async def run() -> None:
        async with served(serve) as (pool, to):
            connection = await pool.take(to)
            answer = await connection.exchange("PUT", b"PUT / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", endless())
            assert (answer.status, await answer.read()) == (403, b"no")
            assert not connection.reusable
            pool.give(connection)

    asyncio.run(run())
    assert sent > 0


def test_nobody_there() -> None:
    async def run() -> None:
        pool = Pool(1.0)
        with pytest.raises(NoConnection):
            await pool.take(Origin("http", "127.0.0.1", 1))
        pool.close()

    asyncio.run(run())


def test_headers_are_found_in_any_case_and_joined() -> None:
    async def run() -> None:
        async with served(answering(head(0, "X-Amz-Meta-A: 1", "x-amz-meta-a: 2", 'ETag: "e\xe9"'))) as (pool, to):
            connection = await pool.take(to)
            answer = await connection.exchange("GET", GET, None)
            assert answer.headers["X-AMZ-meta-A"] == "1,2"
            assert answer.headers.get("etag") == '"eé"'
            assert "Etag" in answer.headers
            assert answer.headers.get("none") == ""
            pool.give(connection)

    asyncio.run(run())


def test_a_header_never_begins_another_line() -> None:
    for value in ("a\r\nx-amz-acl: public-read", "a\nb", "a\rb", "a\0"):
        with pytest.raises(ValueError, match="line break"):
            head_of("PUT", "/", {"x-amz-meta-a": value})
