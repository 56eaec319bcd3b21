"""Work through one shard: rows in, bytes at the target, proof on disk, then the cursor moves.

Enters: a shard's manifest rows and a lease. Leaves: the target's objects, the shard's log and the
lease's commits. The order is fixed: intention on disk, object at the target and proven, result on
disk, cursor committed. A crash repeats at most the open batches.

Raises the public error of a fault that concerns a whole side (credentials, space, no connection) when
waiting does not end it (``pause``); what concerns one object becomes a :class:`~toolkit.model.Finding` in the commit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from toolkit.families import Lease
from toolkit.storage.engine import pause, report, shardlog
from toolkit.storage.engine.batches import Batch, Numbered, Result, batches, key_of, slice_of
from toolkit.storage.engine.breaker import Breaker
from toolkit.storage.engine.copy import Lane, redress
from toolkit.storage.engine.dress import Terms
from toolkit.storage.engine.faults import FATAL, Fault, as_error
from toolkit.storage.engine.gate import Gate, Hold
from toolkit.storage.engine.gone import CONFLICT, current
from toolkit.storage.engine.http import Store
from toolkit.storage.engine.line import Line
from toolkit.storage.engine.manifest import local_disk
from toolkit.storage.engine.one import copy_row, written_before
from toolkit.storage.engine.replay import abort
from toolkit.storage.engine.uploads import Uploads
from toolkit.storage.model import DataPlane, Knobs, Row, Written

_PARKED = 16  # batches open at most, slow ones included

#: Told of objects and bytes done, and of the reason for standing still, if there is one.
Tick = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One bucket to copy: both doors and how."""

    address: str
    source: DataPlane
    source_bucket: str
    target: DataPlane
    target_bucket: str
    versions: bool
    create_only: bool  # the target honours If-None-Match on PUT
    run: Path
    knobs: Knobs
    written_since: float | None = None  # by the source's clock: older objects are none of this job's business
    removes: bool = True  # what the source lost goes at the target too, if it is ours
    most_removed: float = 0.1  # the share of the target's objects that a pass may take away unasked
    terms: Terms = field(default_factory=Terms)
    loader: DataPlane | None = None  # the target's door for a user that may choose version ids

    @property
    def doors(self) -> pause.Doors:
        """Source and target, each with its bucket."""
        return (self.source, self.source_bucket), (self.target, self.target_bucket)


@dataclass(slots=True)
class Pace:
    """What is kept between shards: how fast each side may be asked, and the connections to both."""

    source: float
    target: float
    retries: int = 0
    line: Line | None = None

    def hang_up(self) -> None:
        """End the connections; the next shard makes new ones."""
        if self.line is not None:
            self.line.close()
            self.line = None


def hang_up(paces: Iterable[Pace]) -> None:
    """End the connections that were kept for a next shard."""
    for pace in paces:
        pace.hang_up()


def run(job: Job, lease: Lease, pace: Pace, tick: Tick) -> None:
    """Copy the rows of one shard from the lease's cursor on; a side that stops answering is waited for.

    The loop and its connections stay open in ``pace`` for the next shard, until ``pace.hang_up()``.
    """
    line = pace.line = pace.line or Line()

    def attempt() -> None:
        try:
            line.run(_run(job, lease, pace, tick, line))
        except BaseExceptionGroup as several:
            raise _bare(several) from several

    try:
        _ride(job, lease, attempt, tick)
    except BaseException:
        pace.hang_up()
        raise


def _ride(job: Job, lease: Lease, attempt: Callable[[], None], tick: Tick) -> None:
    with local_disk(job.run):
        pause.ride_out(attempt, job.doors, lease, job.knobs, lambda reason: tick(0, 0, reason))
        if lease.cursor >= lease.shard.stop:
            shardlog.seal(job.run, lease.shard.id)


def _bare(several: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = several
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def first_of(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first exception of a group, a fault as its public error."""
    found = _bare(several)
    return as_error(found) if isinstance(found, Fault) else found


async def _run(job: Job, lease: Lease, pace: Pace, tick: Tick, line: Line) -> None:
    told = shardlog.story(job.run, lease.shard.id)
    log = shardlog.ShardLog(job.run, lease.shard.id)
    uploads = Uploads(log, told.uploads.values())

    def followed(key: bytes, etag: str) -> None:
        log.followed(key, etag)
        log.sync()

    try:
        http = line.pool(job.knobs)
        gates = Gate(pace.source, job.knobs.in_flight), Gate(pace.target, job.knobs.in_flight)
        source = Store(job.source, job.source_bucket, http, gates[0], job.knobs)
        target = Store(job.target, job.target_bucket, http, gates[1], job.knobs)
        hold = Hold(job.knobs.hold)
        lane = Lane(source, target, hold, job.knobs, uploads, create_only=job.create_only)
        lane = replace(lane, followed=followed, meant=told.followed, terms=job.terms)
        if job.loader is not None:
            lane = replace(lane, loader=Store(job.loader, job.target_bucket, http, gates[1], job.knobs))
        try:
            await _Shard(job, lease, log, lane, tick).work(told)
            for left in uploads.rest():
                await abort(target, left.key, left.upload)
        finally:
            pace.source, pace.target = gates[0].limit, gates[1].limit
            pace.retries += gates[0].retries + gates[1].retries
    finally:
        log.close()


class _Shard:
    """One shard under way: its open batches, and how often we were refused lately."""

    def __init__(self, job: Job, lease: Lease, log: shardlog.ShardLog, lane: Lane, tick: Tick) -> None:
        self._job = job
        self._lease = lease
        self._log = log
        self._lane = lane
        self._tick = tick
        self._open: deque[Batch] = deque()
        self._closed = asyncio.Event()
        self._broken: set[bytes] = set()  # keys of which a version could not be copied
        self._unsure: set[int] = set()  # rows that an earlier attempt may have written
        self._breaker = Breaker(lane.target.where)
        self._queue: asyncio.Queue[tuple[Batch, list[Numbered]] | None] = asyncio.Queue(job.knobs.in_flight)

    async def work(self, told: shardlog.Story) -> None:
        """Run the rows through as many workers as requests are allowed at once."""
        path = self._job.run / self._lease.shard.manifest
        beat = asyncio.create_task(self._beat())
        self._unsure = {number for number in told.intents if number not in told.wrote}
        try:
            before = await self._before(path, told)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._guard(beat))
                workers = [group.create_task(self._worker(before)) for _ in range(self._job.knobs.in_flight)]
                await self._feed(slice_of(path, self._lease.cursor, self._lease.shard.stop))
                await asyncio.gather(*workers)
                beat.cancel()
        finally:
            beat.cancel()
            self._keep()

    async def _before(self, path: Path, told: shardlog.Story) -> dict[int, Written]:
        """Return the rows that an earlier attempt has written: by its log, or by the target itself."""
        known = dict(told.wrote)
        if not self._job.versions:
            return known  # writing an unversioned object again changes nothing
        unsure = {number for number in told.intents if number not in known}
        if unsure:
            rows = slice_of(path, self._lease.shard.start, self._lease.shard.stop)
            for _, group in groupby(rows, key=key_of):
                of_key = list(group)
                if any(item.number in unsure for item in of_key):
                    pairs = [(item.number, item.row) for item in of_key]
                    known |= await written_before(self._lane.target, pairs)
        return known

    async def _feed(self, rows: Iterable[Numbered]) -> None:
        last = None
        for of_batch in batches(rows, self._job.knobs.batch_rows):
            # A key with more versions than a batch goes on only when its earlier ones are written.
            follows = of_batch[0].row.entry.key == last
            while self._open if follows else self._crowded():
                self._closed.clear()
                await self._closed.wait()
            last = of_batch[-1].row.entry.key
            batch = Batch(of_batch[0].number, of_batch[-1].number + 1)
            self._log.intent(batch.start, batch.stop)
            self._log.sync()
            self._open.append(batch)
            for _, group in groupby(of_batch, key=key_of):
                await self._queue.put((batch, list(group)))
        for _ in range(self._job.knobs.in_flight):
            await self._queue.put(None)

    def _crowded(self) -> bool:
        """Two batches are open at most, beside those that only wait for slow objects: what they did is on disk."""
        for batch in self._open:
            if batch.parked and batch.logged < len(batch.results):
                self._write(batch)
        return sum(not batch.parked for batch in self._open) > 1 or len(self._open) > _PARKED

    async def _worker(self, before: dict[int, Written]) -> None:
        while (portion := await self._queue.get()) is not None:
            batch, of_key = portion
            # All versions of a key go through one worker, one after another: their order is the point.
            for item in of_key:
                done = before.get(item.number)
                if done is not None:
                    batch.results.append(await self._known(item, done))
                else:
                    batch.results.append(await self._row(item))
            self._commit()
            self._closed.set()

    async def _row(self, item: Numbered) -> Result:
        number, row, place = item
        address = self._job.address
        if row.work == "conflict":
            return Result(number, 0, None, report.conflict(address, row))
        if row.entry.key in self._broken:
            return Result(number, 0, None, report.held(address, row.entry))
        try:
            copied = await copy_row(self._lane, row, place if self._job.versions else -1)
        except Fault as fault:
            if fault.kind in FATAL:
                raise
            await self._judge(fault, row)
            if (left := await self._left_behind(item)) is not None:
                return Result(number, 0, left, report.failed(address, row.entry, fault))
            if fault.kind != "gone":
                self._broken.add(row.entry.key)  # a later version written now could never be put in order
            if fault.code_name == CONFLICT:
                return Result(number, 0, None, report.conflict(address, row))
            return Result(number, 0, None, report.failed(address, row.entry, fault))
        self._breaker.passed()
        note = report.noted(address, row.entry, copied.note, copied.text) if copied.note else None
        return Result(number, copied.done.size, copied.done, note)

    async def _known(self, item: Numbered, done: Written) -> Result:
        """Take over what an earlier attempt wrote; where only the target told of it, what follows a PUT may lack."""
        entry = item.row.entry
        if item.number in self._unsure and not entry.marker:
            try:
                await redress(self._lane, entry, done)
            except Fault as fault:
                if fault.kind in FATAL:
                    raise
                return Result(item.number, entry.size, done, report.failed(self._job.address, entry, fault))
        return Result(item.number, entry.size, done, None)

    async def _left_behind(self, item: Numbered) -> Written | None:
        """Return what an interrupted attempt wrote of an object that cannot be copied now.

        No result names it yet; remembered as ours, a later pass may refresh it or take it away.
        """
        entry = item.row.entry
        if item.number not in self._unsure or entry.version not in ("", "null"):
            return None
        try:
            etag = await current(self._lane.target, entry.key)
        except Fault as fault:
            if fault.kind in FATAL:
                raise
            return None  # the row's own fault is told; this one says no more
        if not etag or etag not in (entry.etag, *self._lane.meant.get(entry.key, ())):
            return None
        return Written(entry.key, entry.version, entry.etag, entry.version, etag, entry.size, False)

    async def _judge(self, fault: Fault, row: Row) -> None:
        """Raise if the failure of a row is the failure of a whole side."""
        self._breaker.failed(fault, row.entry.key)
        if fault.kind == "denied":
            # The first refusal may be the end of the account: one cheap question tells them apart.
            side = self._lane.source if fault.where == self._lane.source.where else self._lane.target
            await self._breaker.ask(side, fault)

    def _commit(self) -> None:
        while self._open and self._open[0].complete:
            batch = self._open[0]
            if self._breaker.suspicious and batch.failed and not all(other.complete for other in self._open):
                return  # its refusals may be the account's: the rows stay pending until that is known
            self._write(batch)
            done = [result for result in batch.results if result.written is not None]
            self._lease.commit(
                batch.stop,
                done=len(done),
                size=sum(result.size for result in done),
                exceptions=[result.finding for result in batch.results if result.finding is not None],
            )
            self._open.popleft()
            self._tick(len(done), sum(result.size for result in done), "")

    def _write(self, batch: Batch) -> None:
        for result in batch.results[batch.logged :]:
            if result.written is not None:
                self._log.wrote(result.number, result.written)
        batch.logged = len(batch.results)
        self._log.sync()

    def _keep(self) -> None:
        """On the way out for whatever reason: what is proven but not committed is not done again."""
        for batch in self._open:
            self._write(batch)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._job.knobs.heartbeat)
            self._lease.heartbeat()
            self._tick(0, 0, self._lane.target.gate.trouble or self._lane.source.gate.trouble)

    @staticmethod
    async def _guard(beat: asyncio.Task[None]) -> None:
        """A lost lease ends the shard at once."""
        try:
            await beat
        except asyncio.CancelledError:
            if not beat.cancelled():
                raise
