"""Copy one object: read it once, write it once, believe only digests.

Enters: a row of a manifest and the two stores. Leaves: :class:`Copied`. Raises
:class:`~toolkit.storage.engine.faults.Fault` when the object cannot be brought over.

A single-part object is proven when the MD5 of the bytes read equals the source's ETag and the ETag
that the target computed. Small bodies are held whole and sent with Content-MD5. Large ones stream;
their last chunk is held back until the digest is known, so a corrupt read never becomes visible at
the target. Objects made of parts are copied in ``parts``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from toolkit.storage.engine import dress
from toolkit.storage.engine import headers as kept
from toolkit.storage.engine.digest import content_md5, is_single, md5
from toolkit.storage.engine.faults import READ, SIZE, STORED, Fault, from_exception
from toolkit.storage.engine.gate import Hold
from toolkit.storage.engine.http import Store, persist
from toolkit.storage.engine.listing import history
from toolkit.storage.engine.uploads import Uploads
from toolkit.storage.model import Entry, Knobs, Written, shown

T = TypeVar("T")
TWICE = "its ETag is no MD5: read twice and compared"


def nobody(_key: bytes, _what: str) -> None:
    """Tell nobody."""


class Copied(NamedTuple):
    """What became of one row. ``note`` names what a person should know, if anything."""

    done: Written
    note: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """What every copy of a shard shares."""

    source: Store
    target: Store
    hold: Hold
    knobs: Knobs
    uploads: Uploads  # told of each multipart upload; knows what an interrupted attempt left
    place: int = -1  # where the row belongs in the target's history of its key, -1 = none is kept
    create_only: bool = False  # nothing may be there yet; the target refuses the PUT if something is
    #: Told of an object that changed since it was listed, before its newer content is written.
    followed: Callable[[bytes, str], None] = nobody
    #: By key, the ETags that an interrupted attempt was told of so.
    meant: Mapping[bytes, Collection[str]] = field(default_factory=dict)
    terms: dress.Terms = field(default_factory=dress.Terms)
    loader: Store | None = None  # the target by the eyes of a user that may choose version ids

    @property
    def only_new(self) -> dict[str, str]:
        """The header that keeps an object safe that appeared after the target was listed."""
        return {"If-None-Match": "*"} if self.create_only else {}

    def door(self, entry: Entry) -> tuple[Store, list[tuple[str, str | bytes]]]:
        """Return through which store, and with which query, a version is written under its own id.

        Ceph takes ``rgwx-version-id`` from system users; ``rgwx-uid`` leaves the object to the bucket's owner.
        """
        if self.loader is None or not self.terms.owner or entry.version in ("", "null") or self.place < 0:
            return self.target, []
        return self.loader, [("rgwx-version-id", entry.version), ("rgwx-uid", self.terms.owner)]


class Trust(NamedTuple):
    """What the headers of a source object say about it."""

    etag: str
    size: int
    trusted: bool  # its ETag is the MD5 of its bytes
    send: dict[str, str]
    tags: int
    look: dress.Look


def pin(entry: Entry) -> tuple[list[tuple[str, str | bytes]], dict[str, str]]:
    """Return the query and headers that read exactly this version with exactly this content."""
    query: list[tuple[str, str | bytes]] = [("versionId", entry.version)] if entry.version else []
    return query, {"If-Match": f'"{entry.etag}"'}


def _wrong(store: Store, entry: Entry, text: str, code: str) -> Fault:
    return Fault("corrupt", store.where, f"{shown(entry.key)}: {text}", code=code)


def judge(entry: Entry, store: Store, headers: Mapping[str, str], size: int) -> Trust:
    """Read the headers of an answer to GET or HEAD and hold them against the listing."""
    etag = headers.get("ETag", "").strip('"')
    if etag != entry.etag:
        raise Fault("changed", store.where, f"{shown(entry.key)} has changed since it was listed")
    if size != entry.size:
        raise _wrong(store, entry, f"{entry.size} bytes listed, {size} announced", SIZE)
    trusted = is_single(etag) and kept.digest_is_md5(headers)
    return Trust(etag, size, trusted, kept.sendable(headers, store.where), kept.tags(headers), dress.look(headers))


async def copy_marker(lane: Lane, entry: Entry) -> Copied:
    """Write a delete marker."""

    async def put() -> str:
        store, query = lane.door(entry)
        headers, _ = await store.read("DELETE", entry.key, query=query)
        return headers.get("x-amz-version-id", "")

    async def write() -> Written:
        return Written(entry.key, entry.version, "", await put(), "", 0, True)

    return Copied(await once(lane, entry, "", write, lane.target))


async def once(lane: Lane, entry: Entry, digest: str, write: Callable[[], Awaitable[T]], *stores: Store) -> T | Written:
    """Write until it goes well, but never twice into a history: an answer may be lost after the deed."""
    tried = False

    async def attempt() -> T | Written:
        nonlocal tried
        if tried and lane.place >= 0:
            there = await history(lane.target, entry.key)
            have = there[lane.place] if lane.place < len(there) else None
            if have is not None and have.marker == entry.marker and (entry.marker or have.etag == digest):
                return Written(entry.key, entry.version, entry.etag, have.version, have.etag, entry.size, entry.marker)
        tried = True
        return await write()

    return await persist(attempt, *stores)


async def copy_small(lane: Lane, entry: Entry) -> Copied:
    """Copy a body that fits in memory: one GET, one PUT."""
    held = await lane.hold.take(entry.size)
    try:
        trust, body, digest = await persist(lambda: read_whole(lane, entry), lane.source)
        note = ""
        if not trust.trusted:
            note = await _read_twice(lane, entry, digest)
        worn, left = await attire(lane, entry, trust)
        send = {**trust.send, **lane.only_new, **worn, "Content-MD5": content_md5(digest)}
        send |= await tag_header(lane, entry, trust)
        done = await once(lane, entry, digest.hex(), lambda: _put(lane, entry, send, body, digest.hex()), lane.target)
    finally:
        lane.hold.give(held)
    copied = Copied(done, note, TWICE if note else "")
    return copied if plain(trust, left) else await dressed(lane, copied, trust, left)


def plain(trust: Trust, left: str) -> bool:
    """Say whether an object has nothing on that must be seen to after its PUT. Most have not."""
    return not left and not trust.look.locked


async def attire(lane: Lane, entry: Entry, trust: Trust) -> tuple[dict[str, str], str]:
    """Return the headers for class and grants, and what must be left out, in words."""
    worn = dress.class_header(lane.terms, trust.look)
    if not lane.terms.ask_grants:
        return worn, ""
    owner, grants = await dress.read_grants(lane.source, entry.key, entry.version)
    granted, unknown = dress.grant_headers(owner, grants, lane.terms)
    left = f"not granted at the target, where nobody knows them: {'; '.join(unknown)}" if unknown else ""
    return {**worn, **granted}, left


async def dressed(lane: Lane, copied: Copied, trust: Trust, left: str) -> Copied:
    """Lock what is proven, and say what could not come along."""
    notes = [(copied.note, copied.text)] if copied.note else []
    if left:
        notes.append((dress.LEFT_OUT, left))
    if trust.look.locked and lane.terms.locks:
        await dress.fasten(lane.target, copied.done.key, copied.done.target_version, trust.look)
    elif trust.look.locked:
        until = f" until {trust.look.until}" if trust.look.mode else ""
        locks = [lock for lock in (trust.look.mode.lower(), "legal hold" if trust.look.hold else "") if lock]
        notes.append((dress.LEFT_OUT, f"not locked at the target, which keeps no locks: {' and '.join(locks)}{until}"))
    return copied._replace(note=", ".join(dict.fromkeys(n for n, _ in notes)), text="; ".join(t for _, t in notes))


async def read_whole(lane: Lane, entry: Entry) -> tuple[Trust, bytes, bytes]:
    """GET one object whole with its MD5, and check its size and, where it can be trusted, its ETag."""
    query, pinned = pin(entry)
    async with lane.source.call("GET", entry.key, query=query, headers=pinned) as answer:
        trust = judge(entry, lane.source, answer.headers, int(answer.headers.get("Content-Length") or entry.size))
        body = await answer.read()
    if len(body) != entry.size:
        raise _wrong(lane.source, entry, f"{entry.size} bytes listed, {len(body)} read", SIZE)
    digest = md5(body).digest()
    if trust.trusted and digest.hex() != trust.etag:
        raise _wrong(lane.source, entry, "the bytes read do not match the ETag", READ)
    return trust, body, digest


async def _read_twice(lane: Lane, entry: Entry, first: bytes) -> str:
    """Where no ETag can be trusted, read again and compare."""

    async def again() -> None:
        _, _, second = await read_whole(lane, entry)
        if second != first:
            raise _wrong(lane.source, entry, "two reads gave different bytes", READ)

    await persist(again, lane.source)
    return "double-read"


async def _put(lane: Lane, entry: Entry, send: Mapping[str, str], body: bytes, digest: str) -> Written:
    store, query = lane.door(entry)
    headers, _ = await store.read("PUT", entry.key, query=query, headers=send, body=body)
    return await confirm(lane, entry, headers, digest)


async def confirm(lane: Lane, entry: Entry, headers: Mapping[str, str], expected: str) -> Written:
    """Compare the ETag that the target computed; take back what it stored wrongly."""
    etag = headers.get("ETag", "").strip('"')
    version = headers.get("x-amz-version-id", "")
    if lane.target.proof(headers) != expected:
        await withdraw(lane, entry.key, version)
        raise _wrong(lane.target, entry, "the target stored other bytes than were sent", STORED)
    return Written(entry.key, entry.version, entry.etag, version, etag, entry.size, False)


async def withdraw(lane: Lane, key: bytes, version: str) -> None:
    """Remove the version we just wrote wrongly. Without a version id the next try overwrites it."""
    if version and version != "null":
        await persist(lambda: lane.target.read("DELETE", key, query=[("versionId", version)]), lane.target)


async def tag_header(lane: Lane, entry: Entry, trust: Trust) -> dict[str, str]:
    """Read the tags of an object that says it has some, as the header of its PUT."""
    if not trust.tags:
        return {}
    found = await read_tags(lane.source, entry)
    return {"x-amz-tagging": tag_query(found)}


async def read_tags(store: Store, entry: Entry) -> list[tuple[str, str]]:
    """Return the tags of one object version."""
    query: list[tuple[str, str | bytes]] = [("tagging", ""), *pin(entry)[0]]
    _, body = await persist(lambda: store.read("GET", entry.key, query=query), store)
    return parse_tags(body)


def parse_tags(body: bytes) -> list[tuple[str, str]]:
    """Read a tag set."""
    if b"<!" in body:
        raise Fault("refused", "tags", "a declaration stands where a tag set should be")
    root = ElementTree.fromstring(body)  # noqa: S314 - without declarations there are no entities to expand
    found = []
    for tag in (node for node in root.iter() if node.tag.rpartition("}")[2] == "Tag"):
        values = {node.tag.rpartition("}")[2]: node.text or "" for node in tag}
        found.append((values.get("Key", ""), values.get("Value", "")))
    return sorted(found)


def tag_query(found: list[tuple[str, str]]) -> str:
    """Return tags as x-amz-tagging wants them."""
    return urlencode(found, quote_via=quote)  # not every store takes "+" for a space


class Stream:
    """The body of a streamed PUT: hashes what passes and holds back the last chunk until it is proven."""

    def __init__(self, chunks: AsyncIterator[bytes], size: int, expected: str, where: str) -> None:
        self._chunks = chunks
        self._size = size
        self._expected = expected
        self._where = where
        self.digest = ""
        self.fault: Fault | None = None

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the chunks; raise before the last one when size or digest are wrong."""
        running, seen, last = md5(), 0, b""
        loop, hashing = asyncio.get_running_loop(), None
        try:
            async for chunk in self._chunks:
                if hashing is not None:
                    await hashing
                # In a thread: the next bytes come and go while these are hashed.
                hashing = loop.run_in_executor(None, running.update, chunk)
                seen += len(chunk)
                if last:
                    yield last
                last = chunk
            if hashing is not None:
                await hashing
            self.digest = running.hexdigest()
            if seen != self._size:
                raise Fault("corrupt", self._where, f"{self._size} bytes expected, {seen} read", code=SIZE)  # noqa: TRY301
            if self._expected and self.digest != self._expected:
                raise Fault("corrupt", self._where, "the bytes read do not match the ETag", code=READ)  # noqa: TRY301
        except Fault as fault:
            self.fault = fault
            raise
        except Exception as exc:
            self.fault = from_exception(self._where, exc)
            raise self.fault from exc
        if last:
            yield last


async def copy_large(lane: Lane, entry: Entry) -> Copied:
    """Copy a large single-part object in one stream from GET to PUT."""
    done = await once(lane, entry, entry.etag, lambda: _stream(lane, entry), lane.source, lane.target)
    if isinstance(done, Copied):
        return done
    await redress(lane, entry, done)  # the answer was lost after the deed, and with it what was to follow
    return Copied(done)


async def _stream(lane: Lane, entry: Entry) -> Copied:
    query, pinned = pin(entry)
    async with lane.source.call("GET", entry.key, query=query, headers=pinned) as answer:
        trust = judge(entry, lane.source, answer.headers, int(answer.headers.get("Content-Length") or entry.size))
        worn, left = await attire(lane, entry, trust)
        send = {
            **trust.send,
            **lane.only_new,
            **worn,
            **await tag_header(lane, entry, trust),
            "Content-Length": str(entry.size),
        }
        stream = Stream(
            answer.content.iter_chunked(lane.knobs.chunk),
            entry.size,
            trust.etag if trust.trusted else "",
            lane.source.where,
        )
        store, query = lane.door(entry)
        try:
            headers, _ = await store.read("PUT", entry.key, query=query, headers=send, body=stream.body())
        except Fault as fault:
            raise (stream.fault or fault) from fault
        done = await confirm(lane, entry, headers, stream.digest)
    copied = Copied(done)
    if not trust.trusted:
        await _hash_again(lane, entry, stream.digest)
        copied = Copied(done, "double-read", TWICE)
    return copied if plain(trust, left) else await dressed(lane, copied, trust, left)


async def _hash_again(lane: Lane, entry: Entry, first: str) -> None:
    query, pinned = pin(entry)
    running = md5()
    async with lane.source.call("GET", entry.key, query=query, headers=pinned) as answer:
        async for chunk in answer.content.iter_chunked(lane.knobs.chunk):
            running.update(chunk)
    if running.hexdigest() != first:
        raise _wrong(lane.source, entry, "two reads gave different bytes", READ)


async def redress(lane: Lane, entry: Entry, done: Written) -> None:
    """Do what follows a PUT for a version that was written, when it is not known whether that was done too."""
    query, pinned = pin(entry)
    headers, _ = await persist(lambda: lane.source.read("HEAD", entry.key, query=query, headers=pinned), lane.source)
    seen = dress.look(headers)
    if not is_single(entry.etag) and kept.tags(headers):
        await put_tags(lane, entry, done.target_version)
    if seen.locked and lane.terms.locks:
        await dress.fasten(lane.target, entry.key, done.target_version, seen)


async def put_tags(lane: Lane, entry: Entry, version: str) -> None:
    """Give a version the tags of the source's: after the upload, as some RGW releases lose those of multipart ones."""
    found = await read_tags(lane.source, entry)
    tags = "".join(f"<Tag><Key>{_xml(key)}</Key><Value>{_xml(value)}</Value></Tag>" for key, value in found)
    body = f'<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>{tags}</TagSet></Tagging>'.encode()
    query: list[tuple[str, str | bytes]] = [("tagging", "")]
    if version:
        query.append(("versionId", version))
    send = {"Content-MD5": content_md5(md5(body).digest())}
    await persist(lambda: lane.target.read("PUT", entry.key, query=query, headers=send, body=body), lane.target)


def _xml(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def look_again(store: Store, entry: Entry) -> Entry:
    """Return the entry as it is now (an unversioned object that changed after it was listed)."""
    headers, _ = await persist(lambda: store.read("HEAD", entry.key, query=pin(entry)[0]), store)
    etag = headers.get("ETag", "").strip('"')
    length = headers.get("Content-Length", "")
    if not re.fullmatch(r"[0-9]+", length):
        raise Fault("refused", store.where, f"{shown(entry.key)}: HEAD names no length")
    return entry._replace(etag=etag, size=int(length))
