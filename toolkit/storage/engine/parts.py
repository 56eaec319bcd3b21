"""Copy an object that was uploaded in parts, cut at the same places, so that its ETag comes out equal.

The boundaries are asked for (HEAD with partNumber, GetObjectAttributes); where a store cannot say,
usual part sizes are tried against the ETag in one read. Where nothing fits, the object is written in
parts of our own, read back, and noted as converted: same bytes, another ETag.
"""

from __future__ import annotations

import asyncio
import re

from toolkit.storage.engine.copy import Copied, Lane, Trust, attire, dressed, judge, pin, plain, withdraw
from toolkit.storage.engine.digest import Composites, candidates, cut, md5, parts_of
from toolkit.storage.engine.faults import READ, SIZE, STORED, Fault
from toolkit.storage.engine.http import Store, persist
from toolkit.storage.engine.replay import OTHER, Span, read_span, upload
from toolkit.storage.model import Entry, Written, shown

_TOGETHER = 4  # questions at once
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
    raise Fault("corrupt", lane.source.where, f"{shown(entry.key)}: the bytes read do not match the ETag", code=READ)


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
        async for chunk in read_span(lane, entry, (0, entry.size)):
            composites.update(chunk)
        return composites.find(entry.etag)

    return await persist(attempt, lane.source)


async def _replay(lane: Lane, entry: Entry, trust: Trust, spans: list[Span]) -> Written | None:
    """Upload in these parts. Returns ``None``, with nothing left behind, if the ETag would differ."""
    try:
        return await upload(lane, entry, trust, spans, entry.etag)
    except Fault as fault:
        if fault.code_name == OTHER:
            return None
        raise


async def _convert(lane: Lane, entry: Entry, trust: Trust) -> Copied:
    """Upload in parts of our own and read everything back."""
    done = await upload(lane, entry, trust, cut(entry.size, max(lane.knobs.part, -(-entry.size // 10_000))), "")
    mine = await persist(lambda: _whole_digest(lane, entry), lane.source)
    there = Entry(entry.key, done.target_version, True, False, entry.size, done.target_etag, "", "")
    theirs = await persist(lambda: _digest_of(lane.target, there, lane.knobs.chunk), lane.target)
    if mine != theirs:
        await withdraw(lane, entry.key, done.target_version)
        raise Fault(
            "corrupt", lane.target.where, f"{shown(entry.key)}: the copy read back differs from the source", code=STORED
        )
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
        raise Fault("corrupt", store.where, f"{shown(entry.key)}: {entry.size} bytes expected, {seen} read", code=SIZE)
    return running.hexdigest()
