"""A store that costs next to nothing: S3 over HTTP with synthetic bodies, and a latency to choose.

For benches, and for objects no disk here could hold. Run as ``python -m tests.bench.simulator
[PORT [LATENCY_MS]]`` (port 0: any; the first line of output is the endpoint), or use :func:`running`.
Every answer comes ``latency`` after its request was complete. Nothing is signed or refused; bodies of
the pattern of ``synthetic`` are recognised and kept as (phase, size), others up to 1 MiB as they are.

``/_sim``: GET returns counts of requests, the process's CPU seconds, open uploads; POST takes
``{"latency": s}``, ``{"reset": true}`` or ``{"fill": {bucket, prefix, count, size, parts, headers}}``.
"""

from __future__ import annotations

import asyncio
import base64
import email.utils
import functools
import json
import re
import resource
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import httptools
import uvloop

from tests.bench.buckets import DATE, WHEN, Bucket, Fill, Thing, Upload
from tests.bench.synthetic import Body, Incoming

_XML = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_LISTING = {
    *("list-type", "prefix", "delimiter", "marker", "max-keys", "encoding-type", "start-after", "x-id"),
    *("continuation-token", "fetch-owner", "versions", "key-marker", "version-id-marker"),
}
_KEPT = re.compile(
    r"content-(type|encoding|disposition|language)|cache-control|expires|x-amz-(meta-.*|website-redirect-location)"
)


@dataclass
class World:
    """Everything the simulator knows."""

    latency: float = 0.0
    buckets: dict[str, Bucket] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    known: dict[bytes, Body] = field(default_factory=dict)  # MD5 → body, of what small GETs have sent
    active: int = 0
    most_at_once: int = 0
    began: float = 0.0

    def control(self, order: dict[str, Any]) -> None:
        self.latency = float(order.get("latency", self.latency))
        if order.get("reset"):
            self.calls.clear()
            self.most_at_once = 0
            self.began = _cpu()
        if order.get("clear"):
            self.buckets.pop(order["clear"], None)
        if fill := order.get("fill"):
            extra = tuple(dict(fill.get("headers", {})).items())
            made = Fill(fill["prefix"].encode(), fill["count"], fill["size"], tuple(fill.get("parts", ())), extra)
            self.buckets.setdefault(fill["bucket"], Bucket()).fills.append(made)

    def report(self) -> dict[str, Any]:
        return {
            "calls": dict(self.calls),
            "cpu": _cpu() - self.began,
            "most_at_once": self.most_at_once,
            "uploads": [[up.bucket, up.key.decode("latin-1"), len(up.parts)] for up in self.uploads.values()],
        }


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    return email.utils.formatdate(second, usegmt=True)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass
class Request:
    """One request as received; its body was digested while it came."""

    method: str
    bucket: str
    key: bytes
    query: dict[str, str]
    raw: dict[str, bytes]  # query values as bytes: keys in markers need not be UTF-8
    headers: dict[str, str]
    body: Incoming


@dataclass
class Answer:
    """Status, headers and bytes."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: Iterator[memoryview] | None = None
    length: int = -1


class Server(asyncio.Protocol):
    """One connection."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._can_write = asyncio.Event()
        self._can_write.set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=4 << 20)

    def connection_lost(self, exc: Exception | None) -> None:
        self._can_write.set()

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            print(f"simulator: {exc}", file=sys.stderr)
            self._transport.close()

    # -- of the parser

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = Incoming()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._loop.call_later(self._world.latency, self._transport.write, b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._body.feed(data)

    def on_message_complete(self) -> None:
        path, _, query = self._url.partition(b"?")
        bucket, _, key = path.lstrip(b"/").partition(b"/") if not path.startswith(b"//") else (b"", b"", path)
        raw = {}
        for pair in query.split(b"&") if query else ():
            name, _, value = pair.partition(b"=")
            raw[name.decode()] = unquote_to_bytes(value.replace(b"+", b" "))
        request = Request(
            self._parser.get_method().decode(),
            bucket.decode(),
            unquote_to_bytes(key),
            {name: value.decode("utf-8", "replace") for name, value in raw.items()},
            raw,
            self._headers,
            self._body,
        )
        world = self._world
        answer = respond(world, request)
        if bucket == b"_sim":
            self._send(request.method, answer)
            return
        world.active += 1
        world.most_at_once = max(world.most_at_once, world.active)
        self._loop.call_later(world.latency, self._later, request.method, answer)

    def _later(self, method: str, answer: Answer) -> None:
        self._world.active -= 1
        self._send(method, answer)

    def _send(self, method: str, answer: Answer) -> None:
        length = answer.length if answer.length >= 0 else len(answer.body)
        lines = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {length}", f"Date: {_date(int(time.time()))}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if method == "HEAD":
            self._transport.write(head)
        elif answer.stream is None:
            self._transport.write(head + answer.body)
        elif length <= 1 << 18:
            self._transport.write(head + b"".join(answer.stream))
        else:
            self._transport.write(head)
            self._streaming = self._loop.create_task(self._stream(answer.stream))

    async def _stream(self, pieces: Iterator[memoryview]) -> None:
        for piece in pieces:
            for at in range(0, len(piece), 1 << 20):
                if self._transport.is_closing():
                    return
                self._transport.write(piece[at : at + (1 << 20)])
                await self._can_write.wait()


def respond(world: World, request: Request) -> Answer:
    """Answer one request."""
    if request.bucket == "_sim":
        _, sent = request.body.end({})
        if request.method == "POST" and isinstance(sent, bytes):
            world.control(json.loads(sent))
        return Answer(body=json.dumps(world.report()).encode())
    if not request.bucket:
        names = "".join(
            f"<Bucket><Name>{name}</Name><CreationDate>{WHEN}</CreationDate></Bucket>" for name in sorted(world.buckets)
        )
        return _xml(f"<ListAllMyBucketsResult {_XML}><Buckets>{names}</Buckets></ListAllMyBucketsResult>")
    kind = next(
        (word for word in ("uploads", "uploadId", "versioning", "location", "acl") if word in request.query), ""
    )
    world.calls[f"{request.method} {'object' if request.key else 'bucket'}{kind and ' ' + kind}"] += 1
    bucket = world.buckets.get(request.bucket)
    if bucket is None:
        if request.method == "PUT" and not request.key:
            world.buckets[request.bucket] = Bucket()
            return Answer()
        return _error(404, "NoSuchBucket")
    if not request.key:
        return _of_bucket(world, bucket, request)
    if "uploads" in request.query or "uploadId" in request.query:
        return _multipart(world, bucket, request)
    if request.method in ("GET", "HEAD"):
        return _read(world, bucket, request)
    if request.method == "PUT":
        return _put(world, bucket, request)
    if request.method == "DELETE":
        bucket.put(request.key, None)
        return Answer(204)
    return _error(501, "NotImplemented")


def _of_bucket(world: World, bucket: Bucket, request: Request) -> Answer:
    query = request.query
    if request.method == "PUT":
        return Answer() if not query else _error(501, "NotImplemented")
    if request.method in ("HEAD", "DELETE"):
        return Answer(200 if request.method == "HEAD" else 204, {"x-amz-bucket-region": "us-east-1"})
    if "location" in query:
        return _xml(f"<LocationConstraint {_XML}/>")
    if "versioning" in query:
        return _xml(f"<VersioningConfiguration {_XML}/>")
    if "acl" in query:
        return _acl()
    if "uploads" in query:
        mine = [(name, up) for name, up in world.uploads.items() if up.bucket == request.bucket]
        found = "".join(
            f"<Upload><Key>{up.key.decode()}</Key><UploadId>{name}</UploadId></Upload>" for name, up in mine
        )
        return _xml(f"<ListMultipartUploadsResult {_XML}>{found}</ListMultipartUploadsResult>")
    if set(query) <= _LISTING:
        return _listing(bucket, request)
    return _error(404, "NoSuchConfiguration")


def _listing(bucket: Bucket, request: Request) -> Answer:
    raw, versions, second = request.raw, "versions" in request.query, request.query.get("list-type") == "2"
    prefix, delimiter = raw.get("prefix", b""), raw.get("delimiter", b"")
    most = min(int(request.query.get("max-keys") or 1000), 1000)
    after = max(raw.get(name, b"") for name in ("marker", "start-after", "continuation-token", "key-marker"))
    begin = max(after, prefix[:-1] + bytes([prefix[-1] - 1]) + b"\xff" * 8) if prefix and prefix[-1] else after
    tag, items, common, last, more = "Version" if versions else "Contents", [], [], b"", False
    version = "<VersionId>null</VersionId><IsLatest>true</IsLatest>" if versions else ""
    at = bucket.after(begin)
    while (found := next(at, None)) is not None:
        key, thing = found
        if key < prefix or (delimiter and after.endswith(delimiter) and key.startswith(after)):
            continue
        if not key.startswith(prefix):
            break
        if len(items) + len(common) == most:
            more = True
            break
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut >= 0:
            last = key[: cut + len(delimiter)]
            common.append(f"<CommonPrefixes><Prefix>{quote_from_bytes(last)}</Prefix></CommonPrefixes>")
            at = bucket.after(last + b"\xff" * 8)
            continue
        last = key
        items.append(
            f"<{tag}><Key>{quote_from_bytes(key)}</Key>{version}<LastModified>{WHEN}</LastModified>"
            f'<ETag>"{thing.etag}"</ETag><Size>{thing.size}</Size><StorageClass>STANDARD</StorageClass></{tag}>'
        )
    name = "NextContinuationToken" if second else "NextKeyMarker" if versions else "NextMarker"
    # Always URL-encoded, as every client here asks for: keys are bytes.
    on = f"<{name}>{quote_from_bytes(last)}</{name}>" if more else ""
    root = "ListVersionsResult" if versions else "ListBucketResult"
    end = f"<EncodingType>url</EncodingType><MaxKeys>{most}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
    return _xml(f"<{root} {_XML}>{end}{on}{''.join(items)}{''.join(common)}</{root}>")


def _read(world: World, bucket: Bucket, request: Request) -> Answer:
    thing = bucket.get(request.key)
    if thing is None:
        return _error(404, "NoSuchKey")
    if "tagging" in request.query:
        return _xml(f"<Tagging {_XML}><TagSet/></Tagging>")
    if "acl" in request.query:
        return _acl()
    asked = request.headers.get("if-match", "").strip('"')
    if asked and asked not in ("*", thing.etag):
        return _error(412, "PreconditionFailed")
    headers = {**thing.headers, "ETag": f'"{thing.etag}"', "Last-Modified": DATE, "Accept-Ranges": "bytes"}
    start, stop, status = 0, thing.size, 200
    if (number := request.query.get("partNumber", "")) and thing.parts:
        start = sum(thing.parts[: int(number) - 1])
        stop, status = start + thing.parts[int(number) - 1], 206
        headers["x-amz-mp-parts-count"] = str(len(thing.parts))
    elif ranged := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
        start, stop = int(ranged[1]), min(int(ranged[2] or thing.size) + 1, thing.size)
        status = 206
        if start >= thing.size:
            return _error(416, "InvalidRange")
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{thing.size}"
    if thing.data is None and request.method == "GET":
        return _error(500, "InternalError", "the simulator did not keep these bytes")
    if isinstance(thing.data, tuple) and len(thing.data) == 1 and thing.size <= 1 << 20 and not thing.parts:
        world.known[bytes.fromhex(thing.etag)] = thing.data[0]
    stream = thing.read(start, stop) if thing.data is not None else None
    return Answer(status, headers, stream=stream, length=stop - start)


def _acl() -> Answer:
    grant = "<Grant><Grantee><ID>o</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>"
    owner = "<Owner><ID>o</ID></Owner>"
    body = f"{owner}<AccessControlList>{grant}</AccessControlList>"
    return _xml(f"<AccessControlPolicy {_XML}>{body}</AccessControlPolicy>")


def _put(world: World, bucket: Bucket, request: Request) -> Answer:
    if "x-amz-copy-source" in request.headers or request.headers.get("x-amz-content-sha256", "").startswith("STREAM"):
        return _error(501, "NotImplemented")
    if "tagging" in request.query or "acl" in request.query:
        return Answer()
    if request.headers.get("if-none-match") == "*" and bucket.get(request.key) is not None:
        return _error(412, "PreconditionFailed")
    digest, data = request.body.end(world.known)
    if not _intact(request, digest):
        return _error(400, "BadDigest")
    kept = {name: value for name, value in request.headers.items() if _KEPT.fullmatch(name)}
    bucket.put(request.key, Thing(digest.hex(), request.body.size, (data,) if isinstance(data, Body) else data, kept))
    return Answer(headers={"ETag": f'"{digest.hex()}"'})


def _intact(request: Request, digest: bytes) -> bool:
    said = request.headers.get("content-md5")
    return said is None or base64.b64decode(said) == digest


def _multipart(world: World, bucket: Bucket, request: Request) -> Answer:
    if request.method == "POST" and "uploads" in request.query:
        name = uuid.uuid4().hex
        kept = {name: value for name, value in request.headers.items() if _KEPT.fullmatch(name)}
        world.uploads[name] = Upload(request.bucket, request.key, kept)
        return _xml(
            f"<InitiateMultipartUploadResult {_XML}><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
        )
    name = request.query.get("uploadId", "")
    upload = world.uploads.get(name)
    if upload is None or upload.key != request.key:
        return _error(404, "NoSuchUpload")
    match request.method:
        case "PUT":
            digest, data = request.body.end(world.known)
            if not _intact(request, digest):
                return _error(400, "BadDigest")
            upload.parts[int(request.query["partNumber"])] = (digest, request.body.size, data)
            return Answer(headers={"ETag": f'"{digest.hex()}"'})
        case "GET":
            return _parts(upload, request)
        case "DELETE":
            del world.uploads[name]
            return Answer(204)
    _, sent = request.body.end({})
    if not isinstance(sent, bytes):
        return _error(400, "MalformedXML")
    chosen = [
        (int(number), etag)
        for number, etag in re.findall(
            r'<PartNumber>(\d+)</PartNumber><ETag>(?:"|&quot;|&#34;)?([0-9a-f]{32})', sent.decode()
        )
    ]
    if not chosen or any(n not in upload.parts or upload.parts[n][0].hex() != etag for n, etag in chosen):
        return _error(400, "InvalidPart")
    thing = upload.joined([number for number, _ in chosen])
    bucket.put(request.key, thing)
    del world.uploads[name]
    return _xml(f'<CompleteMultipartUploadResult {_XML}><ETag>"{thing.etag}"</ETag></CompleteMultipartUploadResult>')


def _parts(upload: Upload, request: Request) -> Answer:
    after, most = int(request.query.get("part-number-marker") or 0), int(request.query.get("max-parts") or 1000)
    numbers = sorted(number for number in upload.parts if number > after)
    shown = numbers[:most]
    items = "".join(
        f'<Part><PartNumber>{n}</PartNumber><ETag>"{upload.parts[n][0].hex()}"</ETag>'
        f"<Size>{upload.parts[n][1]}</Size></Part>"
        for n in shown
    )
    more = str(len(numbers) > len(shown)).lower()
    on = f"<NextPartNumberMarker>{shown[-1] if shown else 0}</NextPartNumberMarker>"
    return _xml(f"<ListPartsResult {_XML}>{on}<IsTruncated>{more}</IsTruncated>{items}</ListPartsResult>")


def _xml(text: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()
    return Answer(200, {"Content-Type": "application/xml"}, body)


def _error(status: int, code: str, text: str = "simulated") -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>".encode()
    return Answer(status, {"Content-Type": "application/xml"}, body)


class Simulator:
    """A running simulator, seen from a test."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def tell(self, **order: Any) -> dict[str, Any]:
        """Give an order (see the module) and return the report."""
        data = json.dumps(order).encode() if order else None
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/_sim", data), timeout=60) as answer:
            return dict(json.loads(answer.read()))

    def fill(self, bucket: str, count: int, size: int, prefix: str = "k", parts: tuple[int, ...] = ()) -> None:
        """Put numbered synthetic objects into a bucket, however many; it costs nothing."""
        self.tell(fill={"bucket": bucket, "count": count, "size": size, "prefix": prefix, "parts": parts})


@contextmanager
def running(latency: float = 0.0) -> Iterator[Simulator]:
    """Run a simulator in a process of its own."""
    argv = [sys.executable, "-m", "tests.bench.simulator", "0", str(latency * 1000)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        try:
            yield Simulator(process.stdout.readline().strip())
        finally:
            process.kill()


async def serve(port: int, latency: float) -> None:
    """Serve until killed."""
    world = World(latency=latency)
    world.began = _cpu()
    server = await asyncio.get_running_loop().create_server(lambda: Server(world), "127.0.0.1", port, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    told = [float(word) for word in sys.argv[1:]]
    uvloop.run(serve(int(told[0]) if told else 0, (told[1] if len(told) > 1 else 0.0) / 1000))
