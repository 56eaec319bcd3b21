"""A libcloud driver that answers the engine's requests in this process, as an S3 store would over HTTP.

Enters: method, URL, headers and body as the engine sends them. Leaves: an answer with status, headers and a
body that streams. So the one engine (journal, digests, retries, verify) also serves stores that speak no S3.

A store that gives no MD5 proves nothing, so every object written is read back and hashed, its Content-Type
and metadata compared, and taken away again if anything differs. What libcloud has no word for is answered
``501 NotImplemented`` before anything is written. A listing is held in memory and sorted: not every driver
lists in the order of bytes.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, quote_from_bytes, unquote_to_bytes
from xml.sax.saxutils import escape

from libcloud.storage.base import StorageDriver

from toolkit.storage.drivers.whole import Listed, Refusal, Whole, judged
from toolkit.storage.engine.connection import Headers

Body = bytes | AsyncIterator[bytes] | None
_THREADS = 128  # each request holds one while it streams; both ends of a copy may be this driver
_PAGE = 1000
#: libcloud does not tell a store's time. The beginning of all time makes every pass look at everything again.
_NO_CLOCK = formatdate(0, usegmt=True)


class Answer:
    """What the engine sees of an answer: as one of HTTP, as far as it is used."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.status = status
        self.headers = Headers({name.lower(): value for name, value in headers.items()})
        self.content = self
        self._body = body

    async def read(self, most: int = 0) -> bytes:
        """Return the body, at most ``most`` bytes of it."""
        whole = b"".join([chunk async for chunk in self.iter_chunked(1 << 20)])
        return whole[:most] if most else whole

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield the body."""
        for start in range(0, len(self._body), size):
            yield self._body[start : start + size]


class Streaming(Answer):
    """An answer whose body is read from the driver as it is asked for."""

    def __init__(self, headers: Mapping[str, str], chunks: Iterator[bytes], run: Callable[..., Any]) -> None:
        super().__init__(206 if "Content-Range" in headers else 200, headers)
        self._chunks = chunks
        self._run = run

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield the body in the portions that the driver delivers, none larger than ``size``."""
        while (chunk := await self._run(next, self._chunks, None)) is not None:
            for start in range(0, len(chunk), size):
                yield chunk[start : start + size]


class Dialect:
    """The requests that the engine sends, answered by libcloud drivers: one each at a time, for they are not shared."""

    def __init__(self, make: Callable[[], StorageDriver]) -> None:
        self._make = make
        self._idle: list[Whole] = []
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="libcloud")
        self._listings: dict[str, list[Listed]] = {}

    @asynccontextmanager
    async def request(
        self, method: str, path: str, query: str, *, headers: Mapping[str, str], data: Body = None
    ) -> AsyncIterator[Answer]:
        """Answer one request. Errors become answers; what the network does is raised as it comes."""
        bucket, _, key = path.removeprefix("/").partition("/")
        asked: dict[str, str] = dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))
        where = unquote_to_bytes(bucket).decode()
        loop = asyncio.get_running_loop()

        def run(function: Callable[..., Any], *arguments: Any) -> Any:
            return loop.run_in_executor(self._threads, function, *arguments)

        driver = await run(self._take)
        try:
            answer = await self._answer(run, driver, method, where, unquote_to_bytes(key), asked, headers, data)
        except Refusal as refusal:
            self._give(driver)
            yield _refused(refusal)
            return
        yield answer
        # A body that was not read to its end leaves the connection unusable: then the driver is dropped.
        if not isinstance(answer, Streaming) or await run(next, answer._chunks, None) is None:
            self._give(driver)

    async def _answer(
        self,
        run: Callable[..., Any],
        driver: Whole,
        method: str,
        bucket: str,
        key: bytes,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        data: Body,
    ) -> Answer:
        if not key and method == "GET" and ("list-type" in query or "versions" in query):
            return Answer(200, {}, await run(self._list, driver, bucket, query))
        if not key and method == "HEAD" and not query:
            await run(driver.exists, bucket)
            return Answer(200, {"Date": _NO_CLOCK})
        extra = query.keys() - {"versionId"}
        if not key or extra or query.get("versionId", "null") not in ("", "null"):
            raise Refusal(501, "NotImplemented", f"libcloud has no word for {method} ?{'&'.join(sorted(query))}")
        if method == "PUT":
            chunks = _in_thread(data, asyncio.get_running_loop())
            return Answer(200, await run(driver.write, bucket, key, headers, chunks))
        if method == "DELETE":
            await run(driver.delete, bucket, key)
            return Answer(204, {})
        told = await run(driver.head, bucket, key, headers)
        if method == "HEAD":
            return Answer(200, told)
        if method == "GET":
            spans, chunks = await run(driver.read, bucket, key, headers)
            return Streaming({**told, **spans}, chunks, run)
        raise Refusal(501, "NotImplemented", f"libcloud has no word for {method}")

    def _list(self, driver: Whole, bucket: str, query: Mapping[str, str]) -> bytes:
        versions = "versions" in query
        prefix = query.get("prefix", "").encode("utf-8", "surrogateescape")
        token = query.get("continuation-token", query.get("version-id-marker", ""))
        name, _, start = token.partition(".")
        begin = int(start or 0)
        with self._lock:
            listed = self._listings.get(name)
        if listed is None:
            name, listed = uuid.uuid4().hex, driver.listing(bucket, prefix)
            after = query.get("start-after", query.get("key-marker", "")).encode("utf-8", "surrogateescape")
            listed = [item for item in listed if item.key > after]
        page, more = listed[begin : begin + _PAGE], begin + _PAGE < len(listed)
        with self._lock:
            if more:
                self._listings[name] = listed
            else:
                self._listings.pop(name, None)
        return _page(page, f"{name}.{begin + _PAGE}" if more else "", versions=versions)

    def _take(self) -> Whole:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        with judged():
            return Whole(self._make())

    def _give(self, driver: Whole) -> None:
        with self._lock:
            self._idle.append(driver)


def _refused(refusal: Refusal) -> Answer:
    body = f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.text)}</Message></Error>"
    return Answer(refusal.status, {}, body.encode("utf-8", "replace"))


def _page(items: list[Listed], onward: str, *, versions: bool) -> bytes:
    word = "Version" if versions else "Contents"
    lines = []
    for item in items:
        version = "<VersionId>null</VersionId><IsLatest>true</IsLatest>" if versions else ""
        lines.append(
            f"<{word}><Key>{quote_from_bytes(item.key, safe='/')}</Key>{version}<Size>{item.size}</Size>"
            f"<ETag>{escape(item.etag)}</ETag></{word}>"
        )
    more = ""
    if onward and versions:
        last = quote_from_bytes(items[-1].key, safe="/")
        more = f"<NextKeyMarker>{last}</NextKeyMarker><NextVersionIdMarker>{onward}</NextVersionIdMarker>"
    elif onward:
        more = f"<NextContinuationToken>{onward}</NextContinuationToken>"
    truncated = "true" if onward else "false"
    head = f"<EncodingType>url</EncodingType><IsTruncated>{truncated}</IsTruncated>{more}"
    return f"<List>{head}{''.join(lines)}</List>".encode()


def _in_thread(data: Body, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """Turn a body of the event loop into an iterator for a thread."""
    if data is None or isinstance(data, bytes):
        yield from [data] if data else []
        return
    chunks = aiter(data)

    async def following() -> bytes | None:
        return await anext(chunks, None)

    while (chunk := asyncio.run_coroutine_threadsafe(following(), loop).result()) is not None:
        yield chunk
