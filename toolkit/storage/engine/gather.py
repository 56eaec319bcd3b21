"""List both sides, compare, and cut what is missing or different into shards of immutable manifests.

Enters: a :class:`~toolkit.storage.engine.work.Job`. Leaves: shards, the first one long before the
listing ends, and, when the listing is complete, ``inventory/<slug>.parquet``: all that the source
held, by which the copy can still be checked when the source no longer answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.families import Shard
from toolkit.storage.engine import compare, listing, manifest
from toolkit.storage.engine.compare import Todo
from toolkit.storage.engine.ledger import Ledger
from toolkit.storage.engine.work import Job
from toolkit.storage.model import Entry, Round, Row


@dataclass(slots=True)
class Figures:
    """What a comparison found to do."""

    objects: int = 0
    size: int = 0
    conflicts: int = 0

    def count(self, row: Row) -> None:
        self.conflicts += row.work == "conflict"
        if row.work != "conflict":
            self.objects += 1
            self.size += row.entry.size


def inventory_path(run: Path, slug: str) -> Path:
    """Return where the last complete listing of a source bucket lies."""
    return run / "inventory" / f"{slug}.parquet"


def todos(job: Job, slug: str, *, target_exists: bool = True, record: bool = False) -> Iterator[Todo]:
    """Compare both buckets key by key. ``record`` also keeps the source's listing."""
    source = listing.entries(job.source, job.source_bucket, job.knobs, versions=job.versions)
    if record:
        source = _recorded(source, inventory_path(job.run, slug))
    target: Iterator[Entry] = iter(())
    if target_exists:
        target = listing.entries(job.target, job.target_bucket, job.knobs, versions=job.versions)
    yield from compare.decide(compare.pairs(source, target), Ledger(job.run, slug))


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
    """Yield the shards of one round; each manifest file is durable before its shard is yielded."""
    number, count = manifest.next_pass(job.run, slug), 0
    rows: list[Row] = []
    for todo in todos(job, slug, target_exists=target_exists, record=True):
        mine = [row for to, row in todo.rows if to == lane]
        # A key is never cut in two: the order of its versions is kept inside one shard.
        if rows and len(rows) + len(mine) > job.knobs.shard_rows:
            count += 1
            yield _shard(job.run, slug, number, count, rows)
            rows = []
        rows += mine
    if rows:
        yield _shard(job.run, slug, number, count + 1, rows)


def _shard(run: Path, slug: str, number: int, count: int, rows: list[Row]) -> Shard:
    name = f"{slug}-{number:03d}-{count:06d}"
    path = run / "manifest" / f"{name}.parquet"
    with manifest.local_disk(run):
        manifest.write(path, (manifest.flat(row) for row in rows), manifest.ROWS)
    figures = Figures()
    for row in rows:
        figures.count(row)
    return Shard(name, str(path.relative_to(run)), 0, len(rows), {"objects": figures.objects, "bytes": figures.size})
