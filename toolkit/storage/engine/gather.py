"""List both sides, compare, and cut what is missing or different into shards of immutable manifests.

Enters: a :class:`~toolkit.storage.engine.work.Job`. Leaves: shards, the first one long before the
listing ends, and, when the listing is complete, ``inventory/<slug>.parquet``: all that the source
held, by which the copy can still be checked when the source no longer answers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolkit.errors import NeedsHuman
from toolkit.families import Shard
from toolkit.storage.engine import compare, fresh, listing, manifest, marks
from toolkit.storage.engine.compare import Pair, Todo
from toolkit.storage.engine.ledger import Ledger
from toolkit.storage.engine.work import Job
from toolkit.storage.model import REMOVALS, Entry, Round, Row

#: So few removals never need a word; a larger part of a bucket does (``Job.most_removed``).
_FEW_REMOVALS = 20
_REMOVALS_FROM = 900_001  # shards of removals, apart from those that are copied

_FIRST = 1_000  # rows of the first shard; each next one may be twice as large


@dataclass(slots=True)
class Figures:
    """What a comparison found to do."""

    objects: int = 0
    size: int = 0
    conflicts: int = 0
    removals: int = 0

    def count(self, row: Row) -> None:
        self.conflicts += row.work == "conflict"
        if row.work in REMOVALS:
            self.removals += 1
        elif row.work != "conflict":
            self.objects += 1
            self.size += row.entry.size


def inventory_path(run: Path, slug: str) -> Path:
    """Return where the last complete listing of a source bucket lies."""
    return run / "inventory" / f"{slug}.parquet"


def todos(job: Job, slug: str, *, target_exists: bool = True, record: bool = False) -> Iterator[Todo]:
    """Compare both buckets key by key. ``record``: this is a pass, so the source's listing is kept."""
    known = marks.begin(job, slug) if record else marks.load(job.run, slug)
    source = listing.entries(job.source, job.source_bucket, job.knobs, versions=job.versions)
    if record:
        source = _recorded(source, inventory_path(job.run, slug))
    target: Iterator[Entry] = iter(())
    if target_exists:
        target = listing.entries(job.target, job.target_bucket, job.knobs, versions=job.versions)
    ledger = Ledger(job.run, slug)
    since = known.since(versions=job.versions)
    yield from fresh.settled(decided(job, source, target, ledger), job, ledger, since.source if since else None)


def decided(job: Job, source: Iterator[Entry], target: Iterator[Entry], ledger: Ledger) -> Iterator[Todo]:
    """Say for each key what is to be done, as far as this job may do it."""
    joined = compare.pairs(source, target)
    if job.written_since is not None and job.versions:
        joined = (_newest(pair, job.written_since - fresh.SLACK) for pair in joined)
    for todo in compare.decide(joined, ledger):
        kept = tuple((lane, row) for lane, row in todo.rows if _concerns(job, row))
        yield todo if len(kept) == len(todo.rows) else replace(todo, rows=kept)


def _newest(pair: Pair, since: float) -> Pair:
    """Leave out how a history begins that the other side does not hold (any more)."""
    new = sum(fresh.written_at(entry) >= since for entry in pair.source)
    return pair._replace(source=pair.source[-(len(pair.target) + new) :] if pair.target else pair.source)


def _concerns(job: Job, row: Row) -> bool:
    if row.work in REMOVALS:
        return job.removes
    return job.written_since is None or fresh.written_at(row.entry) >= job.written_since - fresh.SLACK


def _recorded(source: Iterator[Entry], path: Path) -> Iterator[Entry]:
    table = manifest.TableFile(path, manifest.ENTRIES)
    try:
        for entry in source:
            table.add(entry)
            yield entry
    except BaseException:
        table.drop()
        raise
    table.close()


def shards(job: Job, slug: str, lane: Round, *, target_exists: bool = True) -> Iterator[Shard]:
    """Yield the shards of one round; each manifest file is durable before its shard is yielded.

    The first shards are small, so that copying begins with the first page; while one is copied the next is
    listed. Removals come last, when the listing has ended and shows how many they are.
    """
    return listing.ahead(_shards(job, slug, lane, target_exists=target_exists))


def _shards(job: Job, slug: str, lane: Round, *, target_exists: bool) -> Generator[Shard, None, None]:
    number, count = manifest.next_pass(job.run, slug), 0
    rows: list[Row] = []
    removals = _Removals(job, slug, number)
    for todo in todos(job, slug, target_exists=target_exists, record=True):
        mine = removals.set_apart(todo, [row for to, row in todo.rows if to == lane])
        # A key is never cut in two: the order of its versions is kept inside one shard.
        if rows and len(rows) + len(mine) > min(job.knobs.shard_rows, _FIRST << min(count, 20)):
            count += 1
            yield _shard(job.run, slug, number, count, rows)
            rows = []
        rows += mine
    if rows:
        yield _shard(job.run, slug, number, count + 1, rows)
    yield from removals.allowed()


@dataclass(slots=True)
class _Removals:
    """The removals of one pass, on disk until its listing has ended and shows how many they are."""

    job: Job
    slug: str
    number: int
    rows: list[Row] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    count: int = 0
    source: int = 0  # keys that the source shows
    target: int = 0  # keys that the target shows

    def set_apart(self, todo: Todo, rows: list[Row]) -> list[Row]:
        """Count one key; keep its removals, return the other rows."""
        pair = todo.pair
        self.source += bool(pair.source) and not pair.source[-1].marker
        self.target += bool(pair.target) and not pair.target[-1].marker
        mine = [row for row in rows if row.work in REMOVALS]
        if not mine:
            return rows
        self.count += 1
        if self.rows and len(self.rows) + len(mine) > self.job.knobs.shard_rows:
            self._write()
        self.rows += mine
        return [row for row in rows if row.work not in REMOVALS]

    def _write(self) -> None:
        count = _REMOVALS_FROM + len(self.shards)
        self.shards.append(_shard(self.job.run, self.slug, self.number, count, self.rows))
        self.rows = []

    def allowed(self) -> list[Shard]:
        """Return the shards, unless there are more removals than a person has said is right."""
        if self.rows:
            self._write()
        job = self.job
        most = max(_FEW_REMOVALS, int(self.target * job.most_removed))
        if self.count > most or (self.count and not self.source and job.most_removed < 1):
            raise NeedsHuman(
                f"{job.address}: {self.count:,} of {self.target:,} objects at the target are gone at the source, which"
                f" still lists {self.source:,}; none of them was removed",
                "look at the source. If that is right, allow it with `live: {max_removed: 100%}` at this bucket in"
                " site.yaml, then plan and run the same command again",
            )
        return self.shards


def _shard(run: Path, slug: str, number: int, count: int, rows: list[Row]) -> Shard:
    name = f"{slug}-{number:03d}-{count:06d}"
    path = run / "manifest" / f"{name}.parquet"
    with manifest.local_disk(run):
        manifest.write(path, (manifest.flat(row) for row in rows), manifest.ROWS)
    found = Figures()
    for row in rows:
        found.count(row)
    figures = {"objects": found.objects, "bytes": found.size, "removals": found.removals}
    return Shard(name, str(path.relative_to(run)), 0, len(rows), figures)
