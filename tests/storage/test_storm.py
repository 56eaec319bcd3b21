"""kill -9 and SIGSTOP past the end of a lease, on several workers that copy one bucket together."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tests.storage import storm
from tests.storage.ends import Ends, Move, contents, etags, fresh
from toolkit import leases
from toolkit.journal import Journal
from toolkit.model import Change
from toolkit.rehearsal.mockaws import Store

BATCH = 2 * storm.KNOBS.batch_rows  # rows that one death can repeat


@dataclass
class Storm:
    """Workers on one change, and what was done to them."""

    move: Move
    change: Change
    workers: list[ForkServerProcess]
    kills: int = 0
    stops: int = 0
    asleep: dict[int, float] = field(default_factory=dict)  # pid → when it is woken

    def start(self) -> None:
        ends = self.move.ends
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.storage.storm"])
        source, target = replace(ends.source), replace(ends.target)  # without the clients they keep
        arguments = (source, target, self.move.bucket, self.move.target_bucket, str(self.move.run), self.change)
        process = context.Process(target=storm.work, args=arguments, daemon=True)
        process.start()
        self.workers.append(process)

    def hit(self, dice: random.Random, *, kill: bool) -> None:
        """Kill a worker and start another, or stop one until its lease has ended."""
        awake = [worker for worker in self.workers if worker.is_alive() and worker.pid not in self.asleep]
        if not awake:
            return
        victim = dice.choice(awake)
        assert victim.pid is not None
        if kill:
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            self.kills += 1
            self.start()
        else:
            os.kill(victim.pid, signal.SIGSTOP)
            self.asleep[victim.pid] = time.monotonic() + 1.5 * storm.LEASE
            self.stops += 1

    def wake(self, *, everybody: bool = False) -> None:
        """Let go on who slept past the end of a lease."""
        for pid in [pid for pid, at in self.asleep.items() if everybody or at <= time.monotonic()]:
            os.kill(pid, signal.SIGCONT)
            del self.asleep[pid]


def prepared(ends: Ends, store: Store, run: Path, count: int) -> tuple[Move, Change]:
    """A bucket of small objects, its target, and its shards in the journal."""
    bucket = fresh("storm")
    ends.source.client.create_bucket(Bucket=bucket)
    store.bulk(bucket=bucket, count=count, size=60)
    move = Move(ends, run, bucket, fresh("to"), storm.KNOBS)
    create, change = move.plan()
    move.do(create)
    with Journal(run / "journal.db") as journal:
        for shard in move.family.bulk(change) or ():
            leases.add(journal, change.id, shard)
        assert leases.counts(journal, change.id)["open"] == count // storm.KNOBS.shard_rows
    return move, change


def blow(move: Move, change: Change, *, workers: int, kills: int, stops: int, count: int, seconds: float) -> Storm:
    """Hit a worker each time another share of the objects is done, until all are."""
    made = Storm(move, change, [])
    dice = random.Random(7)
    blows = [True] * kills + [False] * stops
    dice.shuffle(blows)
    try:
        for _ in range(workers):
            made.start()
        deadline = time.monotonic() + seconds
        with Journal(move.run / "journal.db") as journal:
            while (now := leases.counts(journal, change.id))["open"]:
                assert time.monotonic() < deadline, now
                assert any(worker.is_alive() for worker in made.workers), "every worker has ended"
                made.wake()
                done = made.kills + made.stops
                if done < len(blows) and now["done"] >= (done + 1) * count // (len(blows) + 4):
                    made.hit(dice, kill=blows[done])
                time.sleep(0.02)
        made.wake(everybody=True)
        for worker in made.workers:
            worker.join(60)
    finally:
        for worker in made.workers:
            if worker.is_alive():
                worker.kill()
                worker.join()
    assert {worker.exitcode for worker in made.workers} <= {0, -signal.SIGKILL}
    return made


def written(store: Store, bucket: str) -> int:
    return len(store.calls(operation="PutObject", bucket=bucket, status=200, limit=1_000_000))


def test_workers_killed_and_stopped(stores: tuple[Store, Store], mocked: Ends, run: Path) -> None:
    move, change = prepared(mocked, stores[0], run, 480)
    made = blow(move, change, workers=3, kills=3, stops=2, count=480, seconds=240)
    assert (made.kills, made.stops) == (3, 2)
    assert contents(mocked.target, move.target_bucket) == contents(mocked.source, move.bucket)
    with Journal(run / "journal.db") as journal:
        assert leases.counts(journal, change.id) | {"bytes": 0} == {"done": 480, "bytes": 0, "open": 0, "exceptions": 0}
    assert move.plan() == []
    # A loaded machine may lose a lease of a second without any blow; each loss is one fenced worker.
    fenced = len((run / "fenced").read_text().splitlines()) if (run / "fenced").exists() else 0
    assert written(stores[1], move.target_bucket) - 480 <= (made.kills + fenced) * BATCH


@pytest.mark.accept
def test_a_storm_of_kills(stores: tuple[Store, Store], mocked: Ends, run: Path) -> None:
    """6 workers, 120 shards of 40 objects, leases of one second: all right, duplicates at most 2 %."""
    move, change = prepared(mocked, stores[0], run, 4800)
    begun = time.monotonic()
    made = blow(move, change, workers=6, kills=15, stops=12, count=4800, seconds=900)
    seconds = time.monotonic() - begun
    assert etags(mocked.target, move.target_bucket) == etags(mocked.source, move.bucket)
    twice = written(stores[1], move.target_bucket) - 4800
    fenced = len((run / "fenced").read_text().splitlines())
    print(f"{made.kills} SIGKILL, {made.stops} SIGSTOP: {twice} duplicate puts, {fenced} fenced, {seconds:.0f} s")
    assert twice <= 0.02 * 4800
    assert move.plan() == []
