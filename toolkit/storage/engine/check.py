"""Is the copy equal? Four tiers over the same comparison of listings.

``list``: sizes, ETags and the order of versions. ``meta``: also the headers, user metadata and tags
of both ends. ``bytes``: also every byte (or those of a slice), read at the target and held against the
source's ETag, or against the source's bytes where its ETag is no digest. ``behaviour``: the list, and how
both ends answer to requests of all kinds (``behave``). Key by key the result goes to ``diff/<slug>.txt``.

When the source is gone, the last complete listing of it stands in: sizes, ETags and order are compared,
``bytes`` reads back every object whose ETag is a digest, and an object made of parts counts by its ETag,
which the target computed from what it received. Headers were compared while the source still answered.

Enters: a job. Leaves: findings (bounded) and one :class:`~toolkit.model.Tally`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.errors import AuthError, NotFound, Unreachable
from toolkit.model import Finding, Tally
from toolkit.storage.engine import behave, compare, dress, gather, headers, listing, manifest
from toolkit.storage.engine.compare import Todo
from toolkit.storage.engine.copy import pin, read_tags
from toolkit.storage.engine.diff import Diff, Symbol
from toolkit.storage.engine.digest import is_single
from toolkit.storage.engine.faults import FATAL, Fault
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.http import Store, persist, session
from toolkit.storage.engine.ledger import Ledger
from toolkit.storage.engine.report import MOST, name
from toolkit.storage.engine.work import Job, first_of
from toolkit.storage.model import Entry, shown
from toolkit.tiers import Tier

_PORTION = 500
_SYMBOLS: Mapping[str, Symbol] = {"missing": "+", "extra": "-", "different": "*", "unreachable": "!"}


@dataclass(slots=True)
class _Sum:
    total: int = 0
    verified: int = 0
    size: int = 0
    said: int = 0
    hits: int = 0  # objects that only a deeper look found to differ
    alone: bool = False  # the source does not answer: its last listing stands in for it
    picks: list[tuple[Entry, Entry]] = field(default_factory=list)  # whose behaviour is compared


def verify(job: Job, slug: str, tier: Tier, *, source_answers: bool = True) -> Iterator[Finding | Tally]:
    """Compare target with source; without a source, with the last complete listing of it.

    A slice that shows one wrong object is not trusted to show all of them: then everything is read.
    """
    tally = _Sum()
    found = _bounded(_findings(job, slug, tier, tally, source_answers), job.address, tally)
    if tier.sampled:
        kept = list(found)
        if tally.hits:
            text = f"{tally.hits} wrong in slice {tier.part}/{tier.of} of what was read back: everything was read"
            yield Finding(job.address, "slice", "note", text, severity="info")
            tally = _Sum()
            found = _bounded(_findings(job, slug, tier.whole, tally, source_answers), job.address, tally)
        else:
            found = iter(kept)
    yield from found
    if tier.depth == "behaviour":
        yield from behave.compare(job, tally.picks, answers=not tally.alone)
    yield Tally(job.address, tally.total, tally.verified, tally.size)


def known(run: Path, slug: str) -> int:
    """Return how many versions the last complete listing of the source held."""
    path = gather.inventory_path(run, slug)
    return manifest.count(path) if path.exists() else 0


def _bounded(findings: Iterable[Finding], address: str, tally: _Sum) -> Iterator[Finding]:
    for finding in findings:
        tally.said += 1
        if tally.said <= MOST:
            yield finding
    if tally.said > MOST:
        more = tally.said - MOST
        yield Finding(address, "more", "different", f"{more:,} more findings like these are not listed")


def _findings(job: Job, slug: str, tier: Tier, tally: _Sum, answers: bool) -> Iterator[Finding]:
    source = _source(job, slug, answers, tally)
    target = listing.entries(job.target, job.target_bucket, job.knobs, versions=job.versions)
    ledger = Ledger(job.run, slug)
    decided = compare.decide(compare.pairs(source, target), ledger)
    deep = tier.depth in ("meta", "bytes")
    with asyncio.Runner() as runner, Diff(job.run, slug) as diff:
        portion: list[tuple[Entry, Entry]] = []
        for todo in decided:
            tally.total += len(todo.pair.source)
            finding = _listed(job.address, todo)
            if finding is not None:
                yield finding
            if finding is not None or todo.pair.source:
                diff.add(todo.pair.key, _SYMBOLS[finding.verdict] if finding else "=")
            same = _matched(todo)
            tally.size += sum(entry.size for entry, _ in same)
            looked_at = [both for both in same if deep and not both[0].marker and tier.holds(_name(both[0]))]
            # What we rewrote has the digest that was computed before it was written; the source has other bytes.
            looked_at = [both for both in looked_at if not _rewritten(ledger, *both)]
            tally.verified += len(same) - len(looked_at)
            if len(tally.picks) < behave.CANDIDATES:
                tally.picks += [both for both in same if both[0].latest and not both[0].marker]
            portion += looked_at
            if len(portion) >= _PORTION:
                yield from _deep(runner, job, tier, portion, tally, diff)
                portion = []
            if not portion:
                diff.flush()
        yield from _deep(runner, job, tier, portion, tally, diff)


def _rewritten(ledger: Ledger, mine: Entry, theirs: Entry) -> bool:
    if mine.etag == theirs.etag:
        return False
    done = ledger.rewritten([mine.key]).get(mine.key)
    return done is not None and done.target_etag == theirs.etag


def _name(entry: Entry) -> bytes:
    return entry.key + b"\0" + entry.version.encode()


def _source(job: Job, slug: str, answers: bool, tally: _Sum) -> Iterator[Entry]:
    path = gather.inventory_path(job.run, slug)
    if answers:
        live = listing.entries(job.source, job.source_bucket, job.knobs, versions=job.versions)
        try:
            first = next(live, None)
        except (AuthError, NotFound, Unreachable):
            if not path.exists():
                raise
        else:
            if first is not None:
                yield first
                yield from live
            return
    if not path.exists():
        raise NotFound(
            f"{job.address}: the source does not answer and no listing of it was kept",
            "run `rehost apply` while the source still answers",
        )
    tally.alone = True
    yield from manifest.entries(path)


def _matched(todo: Todo) -> list[tuple[Entry, Entry]]:
    """Return the versions that are the same on both sides, by the comparison of listings."""
    pair = todo.pair
    if todo.note == "longer":
        rest = iter(pair.target)
        return [
            (want, next(have for have in rest if have.etag == want.etag and have.marker == want.marker))
            for want in pair.source
        ]
    return list(zip(pair.source, pair.target, strict=False))[: todo.equal]


def _listed(address: str, todo: Todo) -> Finding | None:
    pair = todo.pair
    if todo.note == "extra":
        if pair.target[-1].marker:
            return None  # hidden there as it is gone here
        text = f"{shown(pair.key)}: the target has it, the source does not (any more)"
        return Finding(address, shown(pair.key), "extra", text, "remove it there if it should be gone", "warning")
    if not todo.rows:
        return None
    entry = todo.rows[0][1].entry
    evidence = {
        "source": [[item.etag, item.size, item.marker] for item in pair.source[-5:]],
        "target": [[item.etag, item.size, item.marker] for item in pair.target[-5:]],
        "versions": [len(pair.source), len(pair.target)],
    }
    if not pair.target:
        text = f"{shown(pair.key)}: missing at the target"
        return Finding(address, name(entry), "missing", text, "run `rehost apply` again", evidence=evidence)
    what = "its versions differ" if len(pair.source) != len(pair.target) else "size or ETag differ"
    return Finding(
        address, name(entry), "different", f"{shown(pair.key)}: {what}", "run `rehost apply` again", evidence=evidence
    )


def _deep(
    runner: asyncio.Runner, job: Job, tier: Tier, portion: list[tuple[Entry, Entry]], tally: _Sum, diff: Diff
) -> list[Finding]:
    if not portion:
        return []
    try:
        found = runner.run(_look(job, tier, portion, answers=not tally.alone))
    except BaseExceptionGroup as several:
        raise first_of(several) from several
    for entry, finding in found:
        diff.add(entry.key, _SYMBOLS[finding.verdict])
    tally.verified += len(portion) - len(found)
    tally.hits += len(found)
    return [finding for _, finding in found]


async def _look(
    job: Job, tier: Tier, portion: list[tuple[Entry, Entry]], *, answers: bool
) -> list[tuple[Entry, Finding]]:
    found: list[tuple[Entry, Finding]] = []
    items = iter(portion)
    async with session(job.knobs) as http:
        most = job.knobs.in_flight
        source = Store(job.source, job.source_bucket, http, Gate(most, most), job.knobs)
        target = Store(job.target, job.target_bucket, http, Gate(most, most), job.knobs)

        async def work() -> None:
            for mine, theirs in items:
                verdict, differs = "different", ""
                try:
                    differs = await _meta(source, target, mine, theirs, job.terms) if answers else ""
                    if not differs and tier.depth == "bytes":
                        differs = await _bytes(source if answers else None, target, mine, theirs)
                except Fault as fault:
                    if fault.kind in FATAL:
                        raise  # the whole side is affected, not this object
                    verdict, differs = "unreachable", fault.text
                if differs:
                    text = f"{shown(mine.key)}: {differs}"
                    found.append((mine, Finding(job.address, name(mine), verdict, text, "run `rehost apply` again")))

        async with asyncio.TaskGroup() as group:
            for _ in range(most):
                group.create_task(work())
    return found


async def _meta(source: Store, target: Store, mine: Entry, theirs: Entry, terms: dress.Terms) -> str:
    here, there = [await _head(store, entry) for store, entry in ((source, mine), (target, theirs))]
    a, b = ({name: headers.spelled(value) for name, value in headers.kept(found).items()} for found in (here, there))
    wrong = sorted(header for header in a.keys() | b.keys() if a.get(header) != b.get(header))
    if wrong:
        return f"headers differ: {', '.join(wrong)}"
    if headers.tags(here) != headers.tags(there):
        return "tags differ"
    if headers.tags(here) and await read_tags(source, mine) != await read_tags(target, theirs):
        return "tags differ"
    worn = dress.differs(dress.look(here), dress.look(there), terms)
    return worn or (await _grants(source, target, mine, theirs, terms) if terms.ask_grants else "")


async def _grants(source: Store, target: Store, mine: Entry, theirs: Entry, terms: dress.Terms) -> str:
    owner, granted = await dress.read_grants(source, mine.key, mine.version)
    wanted, _ = dress.said(owner, granted, terms)
    _, there = await dress.read_grants(target, theirs.key, theirs.version)
    lacks, extra = wanted - set(there), set(there) - wanted
    shown_ = [f"not granted: {g.permission} to {g.to}" for g in sorted(lacks)]
    shown_ += [f"granted beyond the source: {g.permission} to {g.to}" for g in sorted(extra)]
    return "; ".join(shown_)


async def _head(store: Store, entry: Entry) -> Mapping[str, str]:
    query, pinned = pin(entry)
    found, _ = await persist(lambda: store.read("HEAD", entry.key, query=query, headers=pinned), store)
    return found


async def _bytes(source: Store | None, target: Store, mine: Entry, theirs: Entry) -> str:
    if source is None and not is_single(mine.etag):
        return ""
    there = await persist(lambda: _digests(target, theirs), target)
    if is_single(mine.etag) and there[0] == mine.etag:
        return ""
    if source is None:
        return "the bytes differ from the source's digest"
    here = await persist(lambda: _digests(source, mine), source)
    return "" if here == there else "the bytes differ"


async def _digests(store: Store, entry: Entry) -> tuple[str, str]:
    query, pinned = pin(entry)
    first, second = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    async with store.call("GET", entry.key, query=query, headers=pinned) as answer:
        async for chunk in answer.content.iter_chunked(store.knobs.chunk):
            first.update(chunk)
            second.update(chunk)
    return first.hexdigest(), second.hexdigest()
