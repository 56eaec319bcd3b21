"""Upload an object in given parts, each proven by its MD5, and take up again what was interrupted.

Enters: an object and its spans. Leaves: :class:`~toolkit.storage.model.Written`. Raises Fault; its code is
``OTHER`` when the ETag would differ, and then nothing is left behind.

A part of an interrupted upload counts as there when the target lists it with the size of its span and with
the MD5 that our log, or reading the source again, gives for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from toolkit.storage.engine.connection import Headers
from toolkit.storage.engine.copy import Lane, Stream, Trust, pin, put_tags
from toolkit.storage.engine.digest import composite, content_md5, md5
from toolkit.storage.engine.faults import FATAL, SIZE, STORED, Fault
from toolkit.storage.engine.http import Store, persist
from toolkit.storage.model import Entry, Written, shown

Span = tuple[int, int]
OTHER = "rehost:OtherETag"  # a code no store sends
_TOGETHER = 4  # parts of one object under way at once


async def upload(lane: Lane, entry: Entry, trust: Trust, spans: list[Span], expected: str) -> Written:
    """Upload the object in these parts; ``expected``: the ETag that must come out, if it is known."""
    under = await _begin(lane, entry, trust)
    try:
        digests = await _all_parts(lane, entry, under, spans)
        etag = composite(digests)
        if expected and etag != expected:
            # Not these boundaries, or a corrupt read: the caller looks for others before giving up.
            raise Fault("refused", lane.source.where, "other boundaries", code=OTHER)  # noqa: TRY301
        done = await _complete(lane, entry, under.name, digests)
    except Fault as fault:
        # What ends the whole attempt (a side that is away, a lost lease) leaves the upload to the next one.
        if fault.kind not in FATAL:
            await _abort(lane, entry.key, under.name)
        raise
    lane.uploads.ended(under.name)
    if trust.tags:
        await put_tags(lane, entry, done.target_version)
    return done


@dataclass(frozen=True, slots=True)
class _Upload:
    """An upload under way, and what an interrupted attempt left of it, by part number."""

    name: str
    listed: dict[int, tuple[str, int]] = field(default_factory=dict)  # ETag and size that the target tells
    known: dict[int, str] = field(default_factory=dict)  # MD5 of the source's bytes that our log tells


async def _begin(lane: Lane, entry: Entry, trust: Trust) -> _Upload:
    """Take up what an interrupted attempt left of this very content with these very headers, or begin anew."""
    what = (entry.version, entry.etag, entry.size, sorted(trust.send.items()), lane.door(entry)[1])
    of = hashlib.sha256(repr(what).encode()).hexdigest()
    while (left := lane.uploads.take(entry.key, of)) is not None:
        listed = await _list_parts(lane.target, entry.key, left.upload)
        if listed is not None:
            return _Upload(left.upload, listed, left.parts)
        lane.uploads.ended(left.upload)
    name = await persist(lambda: _create(lane, entry, trust), lane.target)
    lane.uploads.began(entry.key, name, of)
    return _Upload(name)


async def _list_parts(store: Store, key: bytes, upload: str) -> dict[int, tuple[str, int]] | None:
    """Return ETag and size of each part that the target holds, ``None`` if it knows no such upload."""
    found: dict[int, tuple[str, int]] = {}
    marker = "0"
    while True:
        query: list[tuple[str, str | bytes]] = [("part-number-marker", marker), ("uploadId", upload)]
        try:
            _, body = await persist(lambda: store.read("GET", key, query=query), store)  # noqa: B023 - awaited at once
        except Fault as fault:
            if fault.kind == "gone" or fault.code_name == "NoSuchUpload":
                return None
            raise
        for part in re.findall(rb"<Part>(.*?)</Part>", body, re.DOTALL):
            number = re.search(rb"<PartNumber>([0-9]+)<", part)
            size = re.search(rb"<Size>([0-9]+)<", part)
            if number and size:
                found[int(number.group(1))] = (_joined_etag(part), int(size.group(1)))
        following = re.search(rb"<NextPartNumberMarker>([0-9]+)<", body)
        if b"<IsTruncated>true<" not in body or following is None or following.group(1).decode() == marker:
            return found
        marker = following.group(1).decode()


async def _create(lane: Lane, entry: Entry, trust: Trust) -> str:
    store, stamp = lane.door(entry)
    owner = [pair for pair in stamp if pair[0] != "rgwx-version-id"]  # the id comes when the upload is completed
    _, body = await store.read("POST", entry.key, query=[("uploads", ""), *owner], headers=trust.send)
    found = re.search(rb"<UploadId>([^<]+)</UploadId>", body)
    if found is None:
        raise Fault("retry", lane.target.where, "no upload id in the answer")
    return found.group(1).decode()


async def _all_parts(lane: Lane, entry: Entry, upload: _Upload, spans: list[Span]) -> list[bytes]:
    digests = [b""] * len(spans)
    numbers = iter(range(len(spans)))

    async def work() -> None:
        for number in numbers:
            digests[number] = await persist(
                lambda: _one_part(lane, entry, upload, number, spans[number]),  # noqa: B023 - awaited at once
                lane.source,
                lane.target,
            )

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_TOGETHER, len(spans))):
                group.create_task(work())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from several
    return digests


async def _one_part(lane: Lane, entry: Entry, upload: _Upload, number: int, span: Span) -> bytes:
    etag, size = upload.listed.get(number + 1, ("", -1))
    if size == span[1] - span[0]:
        if upload.known.get(number + 1) == etag:
            return bytes.fromhex(etag)
        # It arrived, but the log does not tell: reading it again shows whether it is the source's.
        running = md5()
        async for chunk in read_span(lane, entry, span):
            running.update(chunk)
        if running.hexdigest() == etag:
            lane.uploads.sent(upload.name, number + 1, running.digest(), 0)
            return running.digest()
    digest = await _send_part(lane, entry, upload.name, number, span)
    lane.uploads.sent(upload.name, number + 1, digest, span[1] - span[0])
    return digest


async def _send_part(lane: Lane, entry: Entry, upload: str, number: int, span: Span) -> bytes:
    size = span[1] - span[0]
    query = [("partNumber", str(number + 1)), ("uploadId", upload)]
    if size <= lane.knobs.small:
        held = await lane.hold.take(size)
        try:
            body = b"".join([chunk async for chunk in read_span(lane, entry, span)])
            digest = md5(body)
            send = {"Content-MD5": content_md5(digest.digest())}
            headers, _ = await lane.target.read("PUT", entry.key, query=query, headers=send, body=body)
        finally:
            lane.hold.give(held)
        seen = digest.hexdigest()
    else:
        stream = Stream(read_span(lane, entry, span), size, "", lane.source.where)
        send = {"Content-Length": str(size)}
        try:
            headers, _ = await lane.target.read("PUT", entry.key, query=query, headers=send, body=stream.body())
        except Fault as fault:
            raise (stream.fault or fault) from fault
        seen = stream.digest
    if headers.get("ETag", "").strip('"') != seen:
        raise Fault(
            "corrupt", lane.target.where, f"{shown(entry.key)}: part {number + 1} was stored wrongly", code=STORED
        )
    return bytes.fromhex(seen)


async def read_span(lane: Lane, entry: Entry, span: Span) -> AsyncIterator[bytes]:
    """Yield the bytes of one span of the pinned source object."""
    query, pinned = pin(entry)
    size = span[1] - span[0]
    whole = size == entry.size
    if not whole:
        pinned["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    seen = 0
    async with lane.source.call("GET", entry.key, query=query, headers=pinned) as answer:
        if not whole and answer.status != 206:
            raise Fault("unsupported", lane.source.where, "the store ignores Range")
        async for chunk in answer.content.iter_chunked(lane.knobs.chunk):
            seen += len(chunk)
            yield chunk
    if seen != size:
        raise Fault("corrupt", lane.source.where, f"{shown(entry.key)}: {size} bytes expected, {seen} read", code=SIZE)


async def _complete(lane: Lane, entry: Entry, upload: str, digests: list[bytes]) -> Written:
    parts = "".join(
        f'<Part><PartNumber>{n}</PartNumber><ETag>"{digest.hex()}"</ETag></Part>' for n, digest in enumerate(digests, 1)
    )
    body = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{parts}</CompleteMultipartUpload>'
    expected = composite(digests)

    async def attempt() -> Written:
        try:
            store, stamp = lane.door(entry)
            query: list[tuple[str, str | bytes]] = [("uploadId", upload), *stamp]
            headers, answer = await store.read(
                "POST", entry.key, query=query, headers=lane.only_new, body=body.encode()
            )
        except Fault as fault:
            if fault.code_name != "NoSuchUpload":
                raise
            # A lost answer may have completed it: the object itself tells.
            headers, answer = Headers(), b""
        if b"<Error>" in answer:  # a 200 whose body is an error
            raise Fault("retry", lane.target.where, f"{shown(entry.key)}: completing the upload failed")
        etag, version = _joined_etag(answer), headers.get("x-amz-version-id", "")
        if not etag:  # some RGW releases answer without ETag and version
            there, _ = await lane.target.read("HEAD", entry.key)
            etag, version = there.get("ETag", "").strip('"'), there.get("x-amz-version-id", "")
        if etag != expected:
            text = f"{shown(entry.key)}: the target joined the parts wrongly"
            raise Fault("refused", lane.target.where, text, code="" if answer else "NoSuchUpload")
        return Written(entry.key, entry.version, entry.etag, version, etag, entry.size, False)

    return await persist(attempt, lane.target)


def _joined_etag(answer: bytes) -> str:
    found = re.search(rb"<ETag>(?:&quot;|&#34;|\")?([^<&\"]+)", answer)
    return found.group(1).decode() if found else ""


async def _abort(lane: Lane, key: bytes, upload: str) -> None:
    await asyncio.shield(abort(lane.target, key, upload))
    lane.uploads.ended(upload)


async def abort(store: Store, key: bytes, upload: str) -> None:
    """Abort an upload; that it is not there (any more) is what we want, and no reason to try again."""

    async def attempt() -> None:
        try:
            await store.read("DELETE", key, query=[("uploadId", upload)])
        except Fault as fault:
            if fault.kind != "gone" and fault.code_name != "NoSuchUpload":
                raise

    await persist(attempt, store)
