"""One store, one bucket, over HTTP: signed requests with byte-exact keys, faults judged at the border.

Enters: a :class:`~toolkit.storage.model.DataPlane` and a bucket. Leaves: open answers. Raises
:class:`~toolkit.storage.engine.faults.Fault` only; redirects are never followed (a store must not
send our signature elsewhere) and nothing is decompressed (bytes are copied as they lie).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

from toolkit.storage.engine.connection import Answer, Body, Connection, Headers, Origin, head_of
from toolkit.storage.engine.faults import RETRIED, TRANSPORT, Fault, from_answer, from_exception
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.pool import Pool
from toolkit.storage.model import DataPlane, Knobs
from toolkit.storage.sign import path_of, query_of

T = TypeVar("T")
_ERROR_BYTES = 64 * 1024
_CAP = 20.0
_BASE = 0.2


class Store:
    """One bucket of one store inside a running event loop."""

    def __init__(self, plane: DataPlane, bucket: str, pool: Pool, gate: Gate, knobs: Knobs) -> None:
        self.pool = pool
        self.signer = plane.signer
        #: Whether objects can be written in parts, and the ETag of a PUT is the digest of what was stored.
        self.speaks_s3 = plane.transport is None
        self._transport = plane.transport
        parts = urlsplit(plane.endpoint)
        virtual = plane.addressing == "virtual"
        self.host = f"{bucket}.{parts.netloc}" if virtual else parts.netloc
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self.origin = Origin(parts.scheme, f"{bucket}.{parts.hostname}" if virtual else parts.hostname or "", port)
        self._root = "" if virtual else "/" + path_of(bucket.encode())
        self.view = plane.view
        self.where = where(plane, bucket)
        self._renew = plane.renew
        self.bucket = bucket
        self.gate = gate
        self.knobs = knobs

    def call(
        self,
        method: str,
        key: bytes = b"",
        *,
        query: Iterable[tuple[str, str | bytes]] = (),
        headers: Mapping[str, str] | None = None,
        body: Body = None,
    ) -> Call | Inside:
        """Return a context: entering it sends one request and gives the open 2xx answer."""
        # A bucket is addressed as /bucket or /; a key may itself begin with a slash.
        path = f"{self._root}/{path_of(self.view.there(key))}" if key else (self._root or "/")
        text = query_of(query) if query else ""
        if self._transport is not None:
            asked = self._transport.request(method, path, text, headers=headers or {}, data=body)
            return Inside(self, key, asked)
        return Call(self, method, key, path, text, headers or {}, body)

    def proof(self, headers: Mapping[str, str]) -> str:
        """Return the MD5 of what a PUT stored: the ETag, or what was read back where that is no digest."""
        return headers.get("ETag", "").strip('"') if self.speaks_s3 else headers.get("x-rehost-read-back", "")

    async def read(
        self,
        method: str,
        key: bytes = b"",
        *,
        query: Iterable[tuple[str, str | bytes]] = (),
        headers: Mapping[str, str] | None = None,
        body: Body = None,
    ) -> tuple[Headers, bytes]:
        """Send one request and return its headers and whole body."""
        async with self.call(method, key, query=query, headers=headers, body=body) as answer:
            return answer.headers, await answer.read()

    async def renew(self) -> bool:
        """Read the credentials anew; say whether they are others than before."""
        return self._renew is not None and await asyncio.to_thread(self._renew)


def where(plane: DataPlane, bucket: str) -> str:
    """Return how faults and messages name a bucket of a store."""
    return f"{plane.label or urlsplit(plane.endpoint).netloc}/{bucket}"


class Call:
    """One request under way: holds a place in the gate and a connection until it is left."""

    __slots__ = ("_body", "_connection", "_headers", "_key", "_method", "_path", "_query", "_store")

    def __init__(
        self, store: Store, method: str, key: bytes, path: str, query: str, headers: Mapping[str, str], body: Body
    ) -> None:
        self._store = store
        self._key = key
        self._method = method
        self._path = path
        self._query = query
        self._headers = headers
        self._body = body
        self._connection: Connection | None = None

    async def __aenter__(self) -> Answer:
        store = self._store
        await store.gate.enter()
        try:
            connection = self._connection = await store.pool.take(store.origin)
            # Signed last: the time of the signature is the time of sending.
            answer = await connection.exchange(self._method, self._head(), self._body)
            if answer.status >= 300:
                error, date = await answer.read(_ERROR_BYTES), answer.headers.get("Date")
                raise from_answer(store.where, answer.status, error, date=date, key=self._key)  # noqa: TRY301
            store.gate.quiet()
        except TRANSPORT as exc:
            self._leave()
            raise from_exception(store.where, exc) from exc
        except BaseException:
            self._leave()
            raise
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self._leave()
        if isinstance(exc, TRANSPORT):
            raise from_exception(self._store.where, exc) from exc

    def _leave(self) -> None:
        if self._connection is not None:
            self._store.pool.give(self._connection)
            self._connection = None
        self._store.gate.leave()

    def _head(self) -> bytes:
        store, body = self._store, self._body
        signed = store.signer.headers(self._method, store.host, self._path, self._query, self._headers)
        if isinstance(body, bytes):
            signed["Content-Length"] = str(len(body))
        elif body is None and self._method in ("PUT", "POST"):
            signed["Content-Length"] = "0"
        target = f"{self._path}?{self._query}" if self._query else self._path
        try:
            return head_of(self._method, target, signed)
        except ValueError as exc:
            raise Fault("refused", store.where, str(exc)) from exc


class Inside:
    """One request that a driver answers in this process: the same faults, without a connection of ours."""

    __slots__ = ("_asked", "_key", "_store")

    def __init__(self, store: Store, key: bytes, asked: AbstractAsyncContextManager[Answer]) -> None:
        self._store = store
        self._key = key
        self._asked = asked

    async def __aenter__(self) -> Answer:
        store = self._store
        await store.gate.enter()
        try:
            answer = await self._asked.__aenter__()
            if answer.status >= 300:
                error = await answer.read(_ERROR_BYTES)
                await self._asked.__aexit__(None, None, None)
                raise from_answer(store.where, answer.status, error, date="", key=self._key)  # noqa: TRY301
            store.gate.quiet()
        except OSError as exc:
            store.gate.leave()
            raise Fault("unreachable", store.where, f"no connection: {exc}") from exc
        except BaseException:
            store.gate.leave()
            raise
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._asked.__aexit__(kind, exc, trace)
        except OSError as failed:
            raise Fault("unreachable", self._store.where, f"no connection: {failed}") from failed
        finally:
            self._store.gate.leave()


async def persist(attempt: Callable[[], Awaitable[T]], *stores: Store) -> T:
    """Run ``attempt`` until it goes well, with full jitter between tries of what may pass.

    The store that asked to slow down gets fewer requests from now on; the other keeps its pace.
    """
    most = stores[0].knobs.attempts
    renewed = False
    tried = 1
    while True:
        try:
            return await attempt()
        except Fault as fault:
            failed = next((store for store in stores if store.where == fault.where), None)
            if fault.kind == "credentials" and failed is not None and not renewed and await failed.renew():
                renewed = True  # they had expired: that was no try
                continue
            if fault.kind not in RETRIED or tried >= most:
                raise
            if failed is not None:
                failed.gate.retries += 1
                failed.gate.trouble = fault.text
                if fault.kind == "throttle":
                    failed.gate.slow_down()
        await asyncio.sleep(random.uniform(0, min(_CAP, _BASE * 2**tried)))  # noqa: S311 - no secret
        tried += 1


@asynccontextmanager
async def session(knobs: Knobs) -> AsyncIterator[Pool]:
    """Open the connections that both stores of a job share."""
    pool = Pool(knobs.read_timeout)
    try:
        yield pool
    finally:
        pool.close()
