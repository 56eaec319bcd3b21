"""Copy an object that was uploaded in parts, cut at the same places, so that its ETag comes out equal.

The boundaries are asked for (HEAD with partNumber, GetObjectAttributes); where a store cannot say,
usual part sizes are tried against the ETag in one read. Where nothing fits, the object is written in
parts of our own, read back, and noted as converted: same bytes, another ETag.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from toolkit.storage.engine.connection import Headers
from toolkit.storage.engine.copy import (
    Copied,
    Lane,
    Stream,
    Trust,
    attire,
    dressed,
    judge,
    pin,
    plain,
    put_tags,
    withdraw,
)
from toolkit.storage.engine.digest import (
    Composites,
    candidates,
    composite,
    content_md5,
    cut,
    md5,
    parts_of,
)
from toolkit.storage.engine.faults import Fault
from toolkit.storage.engine.http import Store, persist
from toolkit.storage.model import Entry, Written, shown

Span = tuple[int, int]
_OTHER = "rehost:OtherETag"  # a code no store sends
_TOGETHER = 4  # parts of one object under way at once
_MOST_CANDIDATES = 12


async def copy_parts(lane: Lane, entry: Entry) -> Copied:
    """Copy one multipart object."""
    trust = await persist(lambda: _head(lane.source, entry), lane.source)
    worn, left = await attire(lane, entry, trust)
    copied = await _in_parts(lane, entry, trust._replace(send={**trust.send, **worn}))
    return copied if plain(trust, left) else await dressed(lane, copied, trust, left)


async def _in_parts(lane: Lane, entry: Entry, trust: Trust) -> Copied:
    count = parts_of(entry.etag)
    try:
        guess = await _ask_uniform(lane.source, entry, count)
        if guess and (done := await _replay(lane, entry, trust, guess)):
            return Copied(done)
        known = await _ask_each(lane.source, entry, count) or await _ask_attributes(lane.source, entry, count)
        if not known and (unit := await _try_usual(lane, entry, count)):
            known = cut(entry.size, unit)
        if not known:
            return await _convert(lane, entry, trust)
        if done := await _replay(lane, entry, trust, known) or await _replay(lane, entry, trust, known):
            return Copied(done)
    except Fault as fault:
        if fault.code_name == "EntityTooSmall":
            return await _convert(lane, entry, trust)
        raise
    # The boundaries are certain, so it is the bytes that are wrong, twice.
    raise Fault("corrupt", lane.source.where, f"{shown(entry.key)}: the bytes read do not match the ETag")


async def _head(store: Store, entry: Entry) -> Trust:
    query, pinned = pin(entry)
    headers, _ = await store.read("HEAD", entry.key, query=query, headers=pinned)
    return judge(entry, store, headers, int(headers.get("Content-Length") or entry.size))


async def _part_size(store: Store, entry: Entry, number: int, count: int) -> int:
    """Return the size of one part, -1 if the store does not tell parts apart."""
    # Without If-Match: some stores compare it with the ETag of the part. This is only a hint anyway.
    query = [*pin(entry)[0], ("partNumber", str(number))]
    try:
        headers, _ = await persist(lambda: store.read("HEAD", entry.key, query=query), store)
    except Fault as fault:
        if fault.kind in ("refused", "unsupported") or fault.status in (400, 416):
            return -1
        raise
    if headers.get("x-amz-mp-parts-count") != str(count):
        return -1
    whole = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/[0-9]+", headers.get("Content-Range", ""))
    if whole:
        return int(whole.group(2)) - int(whole.group(1)) + 1
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() else -1


async def _ask_uniform(store: Store, entry: Entry, count: int) -> list[Span]:
    """Ask for the first part; if all but the last can be as large, say so. The ETag will tell."""
    if count == 1:
        return [(0, entry.size)]
    first = await _part_size(store, entry, 1, count)
    if first <= 0 or -(-entry.size // first) != count:
        return []
    return cut(entry.size, first)


async def _ask_each(store: Store, entry: Entry, count: int) -> list[Span]:
    """Ask for every part."""
    sizes = [0] * count
    turns = asyncio.Semaphore(_TOGETHER)

    async def one(number: int) -> None:
        async with turns:
            sizes[number - 1] = await _part_size(store, entry, number, count)

    await one(1)
    if sizes[0] < 0:
        return []
    for start in range(2, count + 1, 500):
        async with asyncio.TaskGroup() as group:
            for number in range(start, min(start + 500, count + 1)):
                group.create_task(one(number))
    return _spans(sizes, entry.size)


async def _ask_attributes(store: Store, entry: Entry, count: int) -> list[Span]:
    """Ask GetObjectAttributes, which lists the parts of objects uploaded with checksums."""
    query = [("attributes", ""), *pin(entry)[0]]
    sizes: list[int] = []
    marker = "0"
    while len(sizes) < count:
        asked = {"x-amz-object-attributes": "ObjectParts", "x-amz-part-number-marker": marker}
        try:
            _, body = await store.read("GET", entry.key, query=query, headers=asked)
        except Fault as fault:
            if fault.kind in ("refused", "unsupported", "retry", "denied", "gone"):
                return []  # a hint that this store does not give; the other ways follow
            raise
        found = re.findall(rb"<Part>.*?<Size>([0-9]+)</Size>.*?</Part>", body, re.DOTALL)
        following = re.search(rb"<NextPartNumberMarker>([0-9]+)<", body)
        if not found or following is None or following.group(1).decode() == marker:
            break
        sizes += [int(size) for size in found]
        marker = following.group(1).decode()
    return _spans(sizes, entry.size) if len(sizes) == count else []


def _spans(sizes: list[int], total: int) -> list[Span]:
    if any(size < 0 for size in sizes) or sum(sizes) != total:
        return []
    spans, start = [], 0
    for size in sizes:
        spans.append((start, start + size))
        start += size
    return spans


async def _try_usual(lane: Lane, entry: Entry, count: int) -> int:
    """Read the object once and see which usual part size gives its ETag."""
    units = candidates(entry.size, count)[:_MOST_CANDIDATES]
    if not units:
        return 0

    async def attempt() -> int:
        composites = Composites(units)
        async for chunk in _read(lane, entry, (0, entry.size)):
            composites.update(chunk)
        return composites.find(entry.etag)

    return await persist(attempt, lane.source)


async def _replay(lane: Lane, entry: Entry, trust: Trust, spans: list[Span]) -> Written | None:
    """Upload in these parts. Returns ``None``, with nothing left behind, if the ETag would differ."""
    try:
        return await _upload(lane, entry, trust, spans, entry.etag)
    except Fault as fault:
        if fault.code_name == _OTHER:
            return None
        raise


async def _convert(lane: Lane, entry: Entry, trust: Trust) -> Copied:
    """Upload in parts of our own and read everything back."""
    done = await _upload(lane, entry, trust, cut(entry.size, max(lane.knobs.part, -(-entry.size // 10_000))), "")
    mine = await persist(lambda: _whole_digest(lane, entry), lane.source)
    there = Entry(entry.key, done.target_version, True, False, entry.size, done.target_etag, "", "")
    theirs = await persist(lambda: _digest_of(lane.target, there, lane.knobs.chunk), lane.target)
    if mine != theirs:
        await withdraw(lane, entry.key, done.target_version)
        raise Fault("corrupt", lane.target.where, f"{shown(entry.key)}: the copy read back differs from the source")
    return Copied(done, "converted", "its part boundaries cannot be learned: same bytes, another ETag")


async def _whole_digest(lane: Lane, entry: Entry) -> str:
    return await _digest_of(lane.source, entry, lane.knobs.chunk)


async def _digest_of(store: Store, entry: Entry, chunk: int) -> str:
    query, pinned = pin(entry)
    running, seen = md5(), 0
    async with store.call("GET", entry.key, query=query, headers=pinned) as answer:
        async for data in answer.content.iter_chunked(chunk):
            running.update(data)
            seen += len(data)
    if seen != entry.size:
        raise Fault("corrupt", store.where, f"{shown(entry.key)}: {entry.size} bytes expected, {seen} read")
    return running.hexdigest()


async def _upload(lane: Lane, entry: Entry, trust: Trust, spans: list[Span], expected: str) -> Written:
    upload = await persist(lambda: _create(lane, entry, trust), lane.target)
    try:
        digests = await _all_parts(lane, entry, upload, spans)
        etag = composite(digests)
        if expected and etag != expected:
            # Not these boundaries, or a corrupt read: the caller looks for others before giving up.
            raise Fault("refused", lane.source.where, "other boundaries", code=_OTHER)  # noqa: TRY301
        done = await _complete(lane, entry, upload, digests)
    except BaseException:
        await _abort(lane.target, entry.key, upload)
        raise
    if trust.tags:
        await put_tags(lane, entry, done.target_version)
    return done


async def _create(lane: Lane, entry: Entry, trust: Trust) -> str:
    store, stamp = lane.door(entry)
    owner = [pair for pair in stamp if pair[0] != "rgwx-version-id"]  # the id comes when the upload is completed
    _, body = await store.read("POST", entry.key, query=[("uploads", ""), *owner], headers=trust.send)
    found = re.search(rb"<UploadId>([^<]+)</UploadId>", body)
    if found is None:
        raise Fault("retry", lane.target.where, "no upload id in the answer")
    upload = found.group(1).decode()
    lane.opened(entry.key, upload)
    return upload


async def _all_parts(lane: Lane, entry: Entry, upload: str, spans: list[Span]) -> list[bytes]:
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


async def _one_part(lane: Lane, entry: Entry, upload: str, number: int, span: Span) -> bytes:
    size = span[1] - span[0]
    query = [("partNumber", str(number + 1)), ("uploadId", upload)]
    if size <= lane.knobs.small:
        held = await lane.hold.take(size)
        try:
            body = b"".join([chunk async for chunk in _read(lane, entry, span)])
            digest = md5(body)
            send = {"Content-MD5": content_md5(digest.digest())}
            headers, _ = await lane.target.read("PUT", entry.key, query=query, headers=send, body=body)
        finally:
            lane.hold.give(held)
        seen = digest.hexdigest()
    else:
        stream = Stream(_read(lane, entry, span), size, "", lane.source.where)
        send = {"Content-Length": str(size)}
        try:
            headers, _ = await lane.target.read("PUT", entry.key, query=query, headers=send, body=stream.body())
        except Fault as fault:
            raise (stream.fault or fault) from fault
        seen = stream.digest
    if headers.get("ETag", "").strip('"') != seen:
        raise Fault("corrupt", lane.target.where, f"{shown(entry.key)}: part {number + 1} was stored wrongly")
    return bytes.fromhex(seen)


async def _read(lane: Lane, entry: Entry, span: Span) -> AsyncIterator[bytes]:
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
        raise Fault("corrupt", lane.source.where, f"{shown(entry.key)}: {size} bytes expected, {seen} read")


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


async def _abort(store: Store, key: bytes, upload: str) -> None:
    await asyncio.shield(abort(store, key, upload))


async def abort(store: Store, key: bytes, upload: str) -> None:
    """Abort an upload; that it is not there (any more) is what we want."""
    try:
        await persist(lambda: store.read("DELETE", key, query=[("uploadId", upload)]), store)
    except Fault as fault:
        if fault.kind != "gone" and fault.code_name != "NoSuchUpload":
            raise
