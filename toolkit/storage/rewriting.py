"""Replace moved addresses in the text objects of a bucket at the target, and take that back.

Enters: a bucket's data plane and :class:`~toolkit.addresses.Addresses`. Leaves: counts, or rewritten objects. An object
is read, remembered durably (``rewritten``), and written only if it is still the one that was read (HEAD, and
``If-Match`` where the store heeds it); headers, tags and grants stay. A versioned bucket gets a new version; of any
other the old bytes lie in ``blobs/``. Objects of more than 8 MiB, locked and compressed ones are counted and left.
Running again converges: what no longer holds an old address is done. Raises the public error tree.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from toolkit.addresses import Addresses
from toolkit.blobs import Blobs
from toolkit.storage import dependence
from toolkit.storage.engine import headers, listing
from toolkit.storage.engine.connection import Headers
from toolkit.storage.engine.copy import read_tags, tag_query
from toolkit.storage.engine.digest import content_md5, md5
from toolkit.storage.engine.dress import Terms, grant_headers, read_grants
from toolkit.storage.engine.faults import Fault, as_error
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.http import Store, persist, session
from toolkit.storage.engine.ledger import Ledger
from toolkit.storage.engine.work import first_of
from toolkit.storage.model import DataPlane, Entry, Knobs, shown
from toolkit.storage.rewritten import Rewrite, Rewritten

LARGEST = 8 << 20
_PORTION_BYTES = 64 << 20
_PORTION = 500
_SAMPLES = 5
_LOCKS = ("x-amz-object-lock-mode", "x-amz-object-lock-legal-hold")


@dataclass(frozen=True, slots=True)
class Place:
    """One bucket at the target and the run folder that remembers what was done to it."""

    plane: DataPlane
    bucket: str
    slug: str
    run: Path
    knobs: Knobs


@dataclass(slots=True)
class Count:
    """What was found in one bucket: objects with old addresses, how often each, and what was left alone."""

    objects: int = 0
    addresses: Counter[str] = field(default_factory=Counter)
    presigned: int = 0
    left: Counter[str] = field(default_factory=Counter)  # why → objects
    samples: list[tuple[str, str, str]] = field(default_factory=list)  # (key, line before, line after)


@dataclass(frozen=True, slots=True)
class _Found:
    """A text object that holds old addresses, as it was read, and what it becomes."""

    entry: Entry
    told: Headers
    old: bytes
    new: bytes


def count(place: Place, addresses: Addresses) -> Count:
    """Look through a bucket without changing anything."""
    return _sweep(place, addresses, write=False)


def rewrite(place: Place, addresses: Addresses) -> Count:
    """Replace the addresses in every text object that holds some."""
    return _sweep(place, addresses, write=True)


def _sweep(place: Place, addresses: Addresses, *, write: bool) -> Count:
    total = Count()
    with asyncio.Runner() as runner:
        for portion in _portions(listing.entries(place.plane, place.bucket, place.knobs, versions=False), total):
            try:
                runner.run(_portion(place, addresses, portion, total, write=write))
            except BaseExceptionGroup as several:
                raise first_of(several) from several
            except Fault as fault:
                raise as_error(fault) from fault
    return total


def _portions(entries: Iterator[Entry], total: Count) -> Iterator[list[Entry]]:
    """Cut a listing into portions that are small in number and in bytes."""
    portion: list[Entry] = []
    size = 0
    for entry in entries:
        if not entry.size or dependence.is_binary(entry):
            continue
        if entry.size > LARGEST:
            total.left["larger than 8 MiB, not looked into"] += 1
            continue
        portion.append(entry)
        size += entry.size
        if len(portion) == _PORTION or size > _PORTION_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


async def _portion(place: Place, addresses: Addresses, entries: list[Entry], total: Count, *, write: bool) -> None:
    async with session(place.knobs) as http:
        store = _store(place, http)
        found: list[_Found] = []
        await _each(store, entries, partial(_look, store, addresses, found, total))
        if write and found:
            _remember(place, found)
            await _each(store, found, partial(_write, store, total))


async def _each(store, items, act) -> None:  # type: ignore[no-untyped-def]
    """Run ``act`` on every item, a few at a time."""
    rest = iter(items)

    async def work() -> None:
        for item in rest:
            await act(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(store.knobs.in_flight, len(items))):
            group.create_task(work())


async def _look(store: Store, addresses: Addresses, found: list[_Found], total: Count, entry: Entry) -> None:
    got = await persist(lambda: _text(store, entry.key), store)
    if got is None:
        return
    told, body = got
    if told.get("Content-Encoding", "identity") not in ("", "identity"):
        total.left["compressed, not looked into"] += 1
        return
    made = addresses.replace(body)
    total.presigned += made.presigned
    if not made.counts:
        return
    if any(told.get(name) for name in _LOCKS):
        total.left["locked, left as they are"] += 1
        return
    total.objects += 1
    total.addresses.update(made.counts)
    if len(total.samples) < _SAMPLES:
        total.samples.append((shown(entry.key), *_first_difference(body, made.data)))
    found.append(_Found(entry, told, body, made.data))


async def _text(store: Store, key: bytes) -> tuple[Headers, bytes] | None:
    """Return headers and body of a text object, ``None`` for anything else."""
    try:
        async with store.call("GET", key) as answer:
            if not dependence.is_text(answer.headers.get("Content-Type", "")):
                answer.close()
                return None
            return answer.headers, await answer.read()
    except Fault as fault:
        if fault.kind == "gone":
            return None
        raise


def _remember(place: Place, found: list[_Found]) -> None:
    """Keep what stands there now, durably, before any of it is overwritten."""
    blobs = Blobs(place.run / "blobs")
    ledger = Ledger(place.run, place.slug)
    ours = ledger.lookup({item.entry.key for item in found})
    items = []
    for item in found:
        etag, version = item.told.get("ETag").strip('"'), item.told.get("x-amz-version-id")
        source = next((w.source_etag for w in reversed(ours.get(item.entry.key, [])) if w.target_etag == etag), etag)
        kept = "" if version not in ("", "null") else blobs.put(item.old)
        after = md5(item.new).hexdigest()
        items.append(Rewrite(item.entry.key, source, etag, version, kept, dict(item.told), after, len(item.new)))
    Rewritten(place.run, place.slug).intend(items)


async def _write(store: Store, total: Count, item: _Found) -> None:
    """Write one object, unless somebody changed it since it was read."""
    before = item.told.get("ETag")
    if not await _put(store, item.entry.key, item.told, item.new, before):
        total.left["changed meanwhile, left for the next run"] += 1


async def _put(store: Store, key: bytes, told: Headers, body: bytes, before: str) -> bool:
    """PUT with the headers, tags and grants that the object had; ``False`` if it is no longer ``before``."""
    now, _ = await persist(lambda: store.read("HEAD", key), store)
    if now.get("ETag", "").strip('"') != before.strip('"'):
        return False
    sent = headers.sendable(told, store.where)
    if storage_class := told.get("x-amz-storage-class"):
        sent["x-amz-storage-class"] = storage_class
    entry = Entry(key, "", True, False, len(body), before, "", "")
    if headers.tags(now):
        sent["x-amz-tagging"] = tag_query(await read_tags(store, entry))
    owner, grants = await read_grants(store, key, "")
    people = Terms(
        owner=owner, grantees={grant.to: grant.to for grant in grants}, groups=frozenset(g.to for g in grants)
    )
    sent |= grant_headers(owner, grants, people)[0]
    sent |= {"Content-MD5": content_md5(md5(body).digest())}
    before = before.strip('"')
    # RGW compares If-Match with the bare ETag, others want it in quotes. In a versioned bucket RGW 16 refuses both:
    # there nothing is overwritten, and the look a moment ago has to do.
    spelled = [f'"{before}"', before]
    if now.get("x-amz-version-id", "") not in ("", "null"):
        spelled.append("")
    return await _conditionally(store, key, sent, body, before, spelled)


async def _conditionally(
    store: Store, key: bytes, sent: Mapping[str, str], body: bytes, before: str, conditions: list[str]
) -> bool:
    """PUT over ``before`` and nothing else, with the first condition that the store understands."""
    for condition in conditions:
        put = {**sent, "If-Match": condition} if condition else dict(sent)
        try:
            await persist(lambda: store.read("PUT", key, headers=put, body=body), store)  # noqa: B023 - awaited at once
        except Fault as fault:
            if fault.kind != "changed":
                raise
            now, _ = await persist(lambda: store.read("HEAD", key), store)
            etag = now.get("ETag", "").strip('"')
            if etag == md5(body).hexdigest():
                return True  # our own, from an answer that was lost
            if etag != before:
                return False
        else:
            return True
    return False


def restore(place: Place) -> tuple[int, list[bytes]]:
    """Put back what stood there before we rewrote it; return how many, and the keys somebody changed since."""
    record = Rewritten(place.run, place.slug)
    done, changed = 0, []
    with asyncio.Runner() as runner:
        for item in record.all():
            try:
                said = runner.run(_restore(place, item))
            except Fault as fault:
                raise as_error(fault) from fault
            if said == "changed":
                changed.append(item.key)
            else:
                record.forget([item.key])
                done += said == "restored"
    return done, changed


async def _restore(place: Place, item: Rewrite) -> str:
    async with session(place.knobs) as http:
        store = _store(place, http)
        try:
            now, _ = await persist(lambda: store.read("HEAD", item.key), store)
        except Fault as fault:
            if fault.kind == "gone":
                return "changed"
            raise
        etag = now.get("ETag", "").strip('"')
        if etag == item.before_etag:
            return "untouched"
        if etag != item.after_etag:
            return "changed"
        version = now.get("x-amz-version-id", "")
        if item.blob:
            old = Blobs(place.run / "blobs").get(item.blob)
            return "restored" if await _put(store, item.key, Headers(item.headers), old, etag) else "changed"
        await persist(lambda: store.read("DELETE", item.key, query=[("versionId", version)]), store)
        return "restored"


def _store(place: Place, http) -> Store:  # type: ignore[no-untyped-def]
    most = place.knobs.in_flight
    return Store(place.plane, place.bucket, http, Gate(most, most), place.knobs)


def _first_difference(old: bytes, new: bytes) -> tuple[str, str]:
    """Return the first line that changes, before and after, short enough to be read."""
    for before, after in zip(old.splitlines(), new.splitlines(), strict=False):
        if before != after:
            at = max(0, next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0) - 40)
            return shown(before[at : at + 160]), shown(after[at : at + 160])
    return "", ""
