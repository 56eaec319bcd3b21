"""Take back exactly what we wrote: every object and version whose content is still ours, nothing else.

Enters: a job and the ledger of its run folder. Leaves: the numbers removed and left. The target is
listed; what a result names with the same version and ETag goes, in multi-object deletes, and so does
what an interrupted batch had begun. What somebody changed since stays.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar
from xml.sax.saxutils import escape

from toolkit.storage.engine import listing
from toolkit.storage.engine.digest import content_md5, md5
from toolkit.storage.engine.faults import Fault, as_error
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.gone import is_it
from toolkit.storage.engine.http import Store, persist, session
from toolkit.storage.engine.ledger import Ledger
from toolkit.storage.engine.replay import abort
from toolkit.storage.engine.work import Job
from toolkit.storage.model import REMOVALS, Entry, Row, Written

T = TypeVar("T")
_MOST = 1_000
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Purged:
    """How many of our object versions were removed."""

    removed: int
    uploads: int


def purge(job: Job, slug: str) -> Purged:
    """Remove what this run wrote into the target bucket."""
    ledger = Ledger(job.run, slug, adopted=False)
    if ledger.empty:
        return Purged(0, 0)
    begun: dict[bytes, list[Row]] = {}
    for _, row in ledger.begun():
        begun.setdefault(row.entry.key, []).append(row)
    # A versioned target is listed whole even if only its latest objects were copied: each write of
    # ours is one version there, and a plain delete would only add a marker.
    there = listing.entries(job.target, job.target_bucket, job.knobs, versions=True)
    removed = 0
    with asyncio.Runner() as runner:
        try:
            uploads = runner.run(_abort_all(job, list(ledger.uploads())))
            for page in _chunks((list(group) for _, group in groupby(there, lambda entry: entry.key)), _MOST):
                doomed = _ours(page, ledger, begun)
                for part in _chunks(iter(doomed), _MOST):
                    removed += runner.run(_delete(job, part))
        except Fault as fault:
            raise as_error(fault) from fault
    return Purged(removed, uploads)


def _ours(page: list[list[Entry]], ledger: Ledger, begun: dict[bytes, list[Row]]) -> list[Entry]:
    told = ledger.lookup({versions[0].key for versions in page})
    doomed: list[Entry] = []
    for newest_first in page:
        key = newest_first[0].key
        wrote = told.get(key, [])
        mine = [entry for entry in newest_first if any(is_it(done, entry) for done in wrote)]
        if key in begun:
            mine += [entry for entry in _begun(newest_first, begun[key], wrote) if entry not in mine]
        doomed += mine
    return doomed


def _begun(newest_first: list[Entry], rows: list[Row], wrote: list[Written]) -> Iterator[Entry]:
    """Yield what an unfinished batch left: it came after what was there before, and is what we meant."""
    history = newest_first[::-1]
    versions = {done.target_version for done in wrote}
    for row in rows:
        if row.work == "conflict" or row.work in REMOVALS:
            continue
        want = row.entry
        for place, have in enumerate(history):
            fresh = place >= row.before or (have.version == "null" and row.work == "refresh")
            if fresh and have.version not in versions and _means(want, have):
                versions.add(have.version)
                yield have
                break


def _means(want: Entry, have: Entry) -> bool:
    return want.marker == have.marker and (want.marker or (want.etag == have.etag and want.size == have.size))


async def _abort_all(job: Job, uploads: list[tuple[bytes, str]]) -> int:
    async with session(job.knobs) as http:
        store = Store(job.target, job.target_bucket, http, Gate(1, 1), job.knobs)
        for key, upload in uploads:
            await abort(store, key, upload)
    return len(uploads)


async def _delete(job: Job, entries: list[Entry]) -> int:
    async with session(job.knobs) as http:
        store = Store(job.target, job.target_bucket, http, Gate(8, 8), job.knobs)
        # XML 1.0 cannot name every key; those go one by one.
        one_by_one = not store.speaks_s3
        odd = [e for e in entries if one_by_one or _FORBIDDEN.search(e.key.decode("utf-8", "replace"))]
        plain = [entry for entry in entries if entry not in odd] if odd else entries
        if plain:
            await persist(lambda: _delete_many(store, plain), store)
        for entry in odd:
            await _delete_one(store, entry)
    return len(entries)


async def _delete_one(store: Store, entry: Entry) -> None:
    await persist(lambda: store.read("DELETE", entry.key, query=_version(entry)), store)


def _version(entry: Entry) -> list[tuple[str, str | bytes]]:
    return [("versionId", entry.version)] if entry.version else []


async def _delete_many(store: Store, entries: list[Entry]) -> None:
    items = "".join(
        f"<Object><Key>{escape(entry.key.decode(), {chr(10): '&#10;', chr(13): '&#13;'})}</Key>"
        + (f"<VersionId>{escape(entry.version)}</VersionId>" if entry.version else "")
        + "</Object>"
        for entry in entries
    )
    body = f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{items}</Delete>'.encode()
    send = {"Content-MD5": content_md5(md5(body).digest()), "Content-Type": "application/xml"}
    _, answer = await store.read("POST", query=[("delete", "")], headers=send, body=body)
    failed = re.search(rb"<Error>.*?<Code>([^<]+)</Code>", answer, re.DOTALL)
    if failed:
        raise Fault("refused", store.where, f"an object could not be removed: {failed.group(1).decode()}")


def _chunks(items: Iterator[T], most: int) -> Iterator[list[T]]:
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == most:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
