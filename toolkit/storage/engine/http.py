"""One store, one bucket, over HTTP: signed requests with byte-exact keys, faults judged at the border.

Enters: a :class:`~toolkit.storage.model.DataPlane` and a bucket. Leaves: open responses. Raises
:class:`~toolkit.storage.engine.faults.Fault` only; redirects are never followed (a store must not
send our signature elsewhere) and nothing is decompressed (bytes are copied as they lie).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from toolkit.storage.engine.faults import RETRIED, TRANSPORT, Fault, from_answer, from_exception
from toolkit.storage.engine.gate import Gate
from toolkit.storage.model import DataPlane, Knobs
from toolkit.storage.sign import path_of, query_of

T = TypeVar("T")
Body = bytes | AsyncIterator[bytes] | None
_ERROR_BYTES = 64 * 1024
_CAP = 20.0
_BASE = 0.2


class Store:
    """One bucket of one store inside a running event loop."""

    def __init__(self, plane: DataPlane, bucket: str, session: aiohttp.ClientSession, gate: Gate, knobs: Knobs) -> None:
        self._session = session
        self._signer = plane.signer
        parts = urlsplit(plane.endpoint)
        virtual = plane.addressing == "virtual"
        self._host = f"{bucket}.{parts.netloc}" if virtual else parts.netloc
        self._root = "" if virtual else "/" + path_of(bucket.encode())
        self._base = f"{parts.scheme}://{self._host}"
        self.view = plane.view
        self.where = where(plane, bucket)
        self._renew = plane.renew
        self.bucket = bucket
        self.gate = gate
        self.knobs = knobs

    @asynccontextmanager
    async def call(
        self,
        method: str,
        key: bytes = b"",
        *,
        query: Iterable[tuple[str, str | bytes]] = (),
        headers: Mapping[str, str] | None = None,
        body: Body = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request and yield the open response of a 2xx answer."""
        # A bucket is addressed as /bucket or /; a key may itself begin with a slash.
        path = f"{self._root}/{path_of(self.view.there(key))}" if key else (self._root or "/")
        text = query_of(query)
        url = URL(f"{self._base}{path}?{text}" if text else f"{self._base}{path}", encoded=True)
        signed = self._signer.headers(method, self._host, path, text, headers or {})
        try:
            async with (
                self.gate,
                self._session.request(method, url, headers=signed, data=body, allow_redirects=False) as answer,
            ):
                if answer.status >= 300:
                    body_of_error = await answer.content.read(_ERROR_BYTES)
                    raise from_answer(
                        self.where, answer.status, body_of_error, date=answer.headers.get("Date", ""), key=key
                    )
                self.gate.quiet()
                yield answer
        except Fault:
            raise
        except TRANSPORT as exc:
            raise from_exception(self.where, exc) from exc

    async def read(self, method: str, key: bytes = b"", **request: object) -> tuple[Mapping[str, str], bytes]:
        """Send one request and return its headers and whole body."""
        async with self.call(method, key, **request) as answer:  # type: ignore[arg-type]
            return answer.headers, await answer.read()

    async def renew(self) -> bool:
        """Read the credentials anew; say whether they are others than before."""
        return self._renew is not None and await asyncio.to_thread(self._renew)


def where(plane: DataPlane, bucket: str) -> str:
    """Return how faults and messages name a bucket of a store."""
    return f"{plane.label or urlsplit(plane.endpoint).netloc}/{bucket}"


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
async def session(knobs: Knobs) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the HTTP session that both stores of a job share."""
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=knobs.read_timeout)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
        skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    ) as opened:
        yield opened
