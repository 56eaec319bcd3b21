"""When the passes over a bucket began, by the clocks of the two stores; kept in ``passes/<slug>.json``.

An object that was listed equal in a pass that went well can only have changed unseen (same ETag, other
metadata) after that pass began. So the beginning of the last good pass bounds what must be looked at again,
and no clock of ours is ever compared with a store's.

Enters: a job. Leaves: :class:`Mark`. Raises the public error of a store that does not answer.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

from toolkit.files import write_atomic
from toolkit.storage.engine.faults import Fault, as_error
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.http import Store, persist, session
from toolkit.storage.engine.work import Job


class Mark(NamedTuple):
    """One moment by both stores' clocks, in seconds since 1970."""

    source: float
    target: float


@dataclass(frozen=True, slots=True)
class Marks:
    """``first``: the first pass ever; ``good``: the last that was whole; ``opened``: the first one since."""

    first: Mark | None = None
    good: Mark | None = None
    opened: Mark | None = None
    last: Mark | None = None

    def since(self, *, versions: bool) -> Mark | None:
        """Return from when on an object may have changed although both sides list it alike.

        Where versions are kept only null versions can change in place; those are few and looked at anew
        each time.
        """
        return self.first if versions else (self.good or self.opened)


def load(run: Path, slug: str) -> Marks:
    """Read the marks of one bucket."""
    path = _path(run, slug)
    if not path.exists():
        return Marks()
    told = json.loads(path.read_bytes())
    return Marks(**{name: Mark(*value) if value else None for name, value in told.items()})


def begin(job: Job, slug: str) -> Marks:
    """Note that a pass begins now; return the marks as they were before."""
    before, now = load(job.run, slug), look(job)
    save(job.run, slug, Marks(before.first or now, before.good, before.opened or now, now))
    return before


def went_well(run: Path, slug: str) -> None:
    """Note that the last pass brought over all it had listed."""
    marks = load(run, slug)
    save(run, slug, Marks(marks.first, marks.last or marks.good, None, marks.last))


def look(job: Job) -> Mark:
    """Ask both stores for the time."""
    try:
        return Mark(*asyncio.run(_ask(job)))
    except Fault as fault:
        raise as_error(fault) from fault


async def _ask(job: Job) -> list[float]:
    async with session(job.knobs) as http:
        found = []
        for plane, bucket in ((job.source, job.source_bucket), (job.target, job.target_bucket)):
            store = Store(plane, bucket, http, Gate(1, 1), job.knobs)
            headers, _ = await persist(lambda: store.read("HEAD"), store)  # noqa: B023 - awaited at once
            try:
                found.append(parsedate_to_datetime(headers.get("Date", "")).timestamp())
            except ValueError as exc:
                raise Fault("refused", store.where, "its answers carry no date") from exc
        return found


def _path(run: Path, slug: str) -> Path:
    return run / "passes" / f"{slug}.json"


def save(run: Path, slug: str, marks: Marks) -> None:
    """Keep the marks of one bucket."""
    path = _path(run, slug)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    write_atomic(path, json.dumps(asdict(marks)).encode())
