"""A store in this process that lies on command: the faults no honest store shows.

Objects live in a dict. ``plan`` maps (method, key) to a list of tricks; each request takes the next
trick off its list, and an empty list means honesty again.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote_from_bytes, unquote_to_bytes
from xml.sax.saxutils import escape

from aiohttp import web

from toolkit.storage.model import DataPlane
from toolkit.storage.sign import Keys, Signer

Trick = Callable[[web.Request, "Fake"], "asyncio.Future[web.StreamResponse] | web.StreamResponse | None"]


@dataclass
class Fake:
    """One bucket ``b`` over HTTP."""

    objects: dict[bytes, bytes] = field(default_factory=dict)
    plan: dict[tuple[str, bytes], list[str]] = field(default_factory=dict)
    always: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    page: int = 1000
    port: int = 0
    _now: int = 0

    @property
    def plane(self) -> DataPlane:
        signer = Signer(lambda: Keys("AK", "secret"), "us-east-1")
        return DataPlane(f"http://127.0.0.1:{self.port}", signer, "path", f"fake {self.port}")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            body = await request.read()
            key = unquote_to_bytes(request.raw_path.split("?")[0])[len("/b/") :]
            self.calls[request.method] += 1
            tricks = self.plan.get((request.method, key), [])
            trick = tricks.pop(0) if tricks else self.always
            return await self.answer(request, key, body, trick)
        finally:
            self._now -= 1

    async def answer(self, request: web.Request, key: bytes, body: bytes, trick: str) -> web.StreamResponse:
        if trick.isdigit() or ":" in trick:
            status, _, code = trick.partition(":")
            return web.Response(status=int(status), text=f"<Error><Code>{code}</Code><Message>m</Message></Error>")
        if trick == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if not key:
            return self.listing(request, trick)
        match request.method:
            case "GET" | "HEAD":
                return await self.get(request, key, trick)
            case "PUT":
                return self.put(request, key, body, trick)
            case "DELETE":
                self.objects.pop(key, None)
                return web.Response(status=204)
        return web.Response(status=501)

    async def get(self, request: web.Request, key: bytes, trick: str) -> web.StreamResponse:
        if key not in self.objects:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        body = self.objects[key]
        etag = hashlib.md5(body).hexdigest()
        asked = request.headers.get("If-Match", "").strip('"')
        if asked and asked != etag:
            return web.Response(status=412, text="<Error><Code>PreconditionFailed</Code></Error>")
        headers = {"ETag": f'"{etag}"'}
        match trick:
            case "flip":
                body = bytes([body[0] ^ 1]) + body[1:]
            case "short":
                body = body[:-1]
            case "padded":
                body = body[:-1] + b"\0"
            case "stall":
                answer = web.StreamResponse(headers={**headers, "Content-Length": str(len(body))})
                await answer.prepare(request)
                await asyncio.sleep(30)
                return answer
            case "cut":
                answer = web.StreamResponse(headers={**headers, "Content-Length": str(len(body))})
                await answer.prepare(request)
                await answer.write(body[: len(body) // 2])
                assert request.transport is not None
                request.transport.abort()
                return answer
        return web.Response(body=body, headers=headers)

    def put(self, request: web.Request, key: bytes, body: bytes, trick: str) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == "*" and key in self.objects:
            return web.Response(status=412, text="<Error><Code>PreconditionFailed</Code></Error>")
        if trick == "store-wrong":
            body = b"!" + body[1:]
        self.objects[key] = body
        if trick == "lost-answer":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def listing(self, request: web.Request, trick: str) -> web.StreamResponse:
        after = request.query.get("continuation-token", "").encode()
        keys = sorted(key for key in self.objects if key > after)
        page = keys[: self.page]
        more = len(keys) > len(page)
        if trick == "unsorted":
            page = page[::-1]
        token = page[-1].decode() if more else ""
        if trick == "no-token":
            token = ""
        elif trick == "same-token":
            token = "k000"
        items = "".join(
            f"<Contents><Key>{quote_from_bytes(key)}</Key><LastModified>2021-01-01T00:00:00.000Z</LastModified>"
            f'<ETag>"{hashlib.md5(self.objects[key]).hexdigest()}"</ETag><Size>{len(self.objects[key])}</Size></Contents>'
            for key in page
        )
        on = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
        end = f"<IsTruncated>{str(more).lower()}</IsTruncated><EncodingType>url</EncodingType>"
        return web.Response(
            text=f"<ListBucketResult>{items}{on}{end}</ListBucketResult>", content_type="application/xml"
        )


@contextmanager
def running(*stores: Fake) -> Iterator[None]:
    """Serve the stores from a thread of their own."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def start() -> None:
        for store in stores:
            app = web.Application(client_max_size=1 << 30)
            app.router.add_route("*", "/{tail:.*}", store.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            store.port = runner.addresses[0][1]
        ready.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
