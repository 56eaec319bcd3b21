"""Did a pass over a bucket in use take? Its own listing is the truth, not what came to the source since.

Enters: a job and a round. Leaves: ``after`` when the target shows all that the pass had listed, apart from
what moved on at the source meanwhile (the next pass's business); ``before`` when something is missing;
``other`` when only objects that are not ours stand in the way. Raises the public error tree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

from toolkit.model import Seen
from toolkit.storage.engine import gather, listing, manifest, marks, versionmap
from toolkit.storage.engine.compare import Todo
from toolkit.storage.engine.faults import Fault, as_error
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.gone import current
from toolkit.storage.engine.http import Store, session
from toolkit.storage.engine.ledger import Ledger
from toolkit.storage.engine.listing import history
from toolkit.storage.engine.work import Job
from toolkit.storage.model import REMOVALS, Round, Row

_PORTION = 500


def took(job: Job, slug: str, lane: Round) -> Seen:
    """Hold the target against the listing that the last pass over the bucket began with."""
    path = gather.inventory_path(job.run, slug)
    if not path.exists():
        return "before"
    target = listing.entries(job.target, job.target_bucket, job.knobs, versions=job.versions)
    todos = gather.decided(job, manifest.entries(path), target, Ledger(job.run, slug))
    held = False
    try:
        with closing(versionmap.recorded(job, slug, todos)) as recorded:
            for portion in _portions(recorded, lane):
                held = held or any(row.work == "conflict" for row in portion)
                if not asyncio.run(_all_moved_on(job, [row for row in portion if row.work != "conflict"])):
                    return "before"
    except Fault as fault:
        raise as_error(fault) from fault
    if held:
        return "other"
    marks.went_well(job.run, slug)
    return "after"


def _portions(todos: Iterator[Todo], lane: Round) -> Iterator[list[Row]]:
    portion: list[Row] = []
    for todo in todos:
        portion += [row for to, row in todo.rows if to == lane]
        if len(portion) >= _PORTION:
            yield portion
            portion = []
    if portion:
        yield portion


async def _all_moved_on(job: Job, rows: list[Row]) -> bool:
    """Say whether the source has changed each of these since it was listed."""
    left = iter(rows)
    async with session(job.knobs) as http:
        most = job.knobs.in_flight
        source = Store(job.source, job.source_bucket, http, Gate(most, most), job.knobs)

        async def work() -> bool:
            return all([await _moved_on(source, row, versions=job.versions) for row in left])

        return all(await asyncio.gather(*(work() for _ in range(most))))


async def _moved_on(source: Store, row: Row, *, versions: bool) -> bool:
    key, entry = row.entry.key, row.entry
    if row.work in REMOVALS:
        return bool(await current(source, key))
    if not versions:
        return await current(source, key) != entry.etag
    there = await history(source, key)
    return not any((have.version, have.etag) == (entry.version, entry.etag) for have in there)
