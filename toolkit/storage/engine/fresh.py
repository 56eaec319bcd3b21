"""Objects that both sides list alike but that may have changed in place: same bytes, other headers or tags.

Writing the same bytes again leaves the ETag as it was, so the comparison of listings cannot see it; only
the time shows it. What was written at the source since the last good pass began is asked at both ends.

Enters: the todos of a comparison. Leaves: the same, some with a row that refreshes the target's object.
Raises the public error of a store that does not answer. (Tags put on an object later change neither ETag
nor time: those come by the event feed, or show in ``verify --tier meta``.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from toolkit.storage.engine import headers
from toolkit.storage.engine.compare import Todo, lane_of
from toolkit.storage.engine.copy import pin, read_tags
from toolkit.storage.engine.faults import Fault, as_error
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.http import Store, persist, session
from toolkit.storage.engine.ledger import Ledger
from toolkit.storage.engine.work import Job
from toolkit.storage.model import Entry, Row

#: Listings of some stores tell whole seconds, and a Date header always does.
SLACK = 2.0
_ASKED, _HELD = 500, 5_000


def settled(todos: Iterable[Todo], job: Job, ledger: Ledger, since: float | None) -> Iterator[Todo]:
    """Yield ``todos`` in their order; those that changed in place carry a row."""
    if since is None:
        yield from todos
        return
    held: list[Todo] = []
    asked: list[int] = []
    with asyncio.Runner() as runner:
        for todo in todos:
            if _young(todo, since - SLACK):
                asked.append(len(held))
            held.append(todo)
            if len(asked) >= _ASKED or len(held) >= _HELD or not asked:
                yield from _answered(runner, job, ledger, held, asked)
                held, asked = [], []
        yield from _answered(runner, job, ledger, held, asked)


def _young(todo: Todo, since: float) -> bool:
    if todo.rows or not todo.pair.source or not todo.pair.target:
        return False
    mine = todo.pair.source[-1]
    return mine.version in ("", "null") and not mine.marker and written_at(mine) >= since


def written_at(entry: Entry) -> float:
    """Return when an entry was written, by its store's clock, in seconds since 1970."""
    return datetime.fromisoformat(entry.mtime).timestamp() if entry.mtime else float("inf")


def _answered(runner: asyncio.Runner, job: Job, ledger: Ledger, held: list[Todo], asked: list[int]) -> list[Todo]:
    if not asked:
        return held
    try:
        changed = runner.run(_ask(job, [held[n] for n in asked]))
    except BaseExceptionGroup as several:
        raise _first(several) from several
    told = ledger.lookup(changed)
    for n in asked:
        pair = held[n].pair
        if pair.key in changed:
            mine, theirs = pair.source[-1], pair.target[-1]
            ours = any(done.target_etag == theirs.etag for done in told.get(pair.key, []))
            row = Row(mine, "refresh" if ours else "conflict", len(pair.target), theirs.etag)
            held[n] = replace(held[n], rows=((lane_of(pair.source, len(pair.source) - 1), row),), equal=0)
    return held


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = several
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return as_error(found) if isinstance(found, Fault) else found


async def _ask(job: Job, todos: list[Todo]) -> set[bytes]:
    """Return the keys whose headers or tags differ between both ends."""
    changed: set[bytes] = set()
    left = iter(todos)
    async with session(job.knobs) as http:
        most = job.knobs.in_flight
        source = Store(job.source, job.source_bucket, http, Gate(most, most), job.knobs)
        target = Store(job.target, job.target_bucket, http, Gate(most, most), job.knobs)

        async def work() -> None:
            for todo in left:
                try:
                    if not await _alike(source, target, todo.pair.source[-1], todo.pair.target[-1]):
                        changed.add(todo.pair.key)
                except Fault as fault:
                    if fault.kind not in ("gone", "changed"):  # moved on: the next listing shows it
                        raise

        async with asyncio.TaskGroup() as group:
            for _ in range(most):
                group.create_task(work())
    return changed


async def _alike(source: Store, target: Store, mine: Entry, theirs: Entry) -> bool:
    here, there = await _head(source, mine), await _head(target, theirs)
    if headers.kept(here) != headers.kept(there) or headers.tags(here) != headers.tags(there):
        return False
    return not headers.tags(here) or await read_tags(source, mine) == await read_tags(target, theirs)


async def _head(store: Store, entry: Entry) -> dict[str, str]:
    query, pinned = pin(entry)
    found, _ = await persist(lambda: store.read("HEAD", entry.key, query=query, headers=pinned), store)
    return dict(found)
