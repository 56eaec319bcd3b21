"""A million listed keys compared with a million: memory stays flat, and a key costs what it costs at 100,000."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.bench import simulator
from tests.bench.duel import Used, used

pytestmark = [pytest.mark.accept, pytest.mark.timeout(1200)]

#: Both listings, joined and judged as a pass does it, with the source's listing kept as the inventory.
_COMPARE = """
import sys
from pathlib import Path
from toolkit.storage.engine import gather, work
from toolkit.storage.model import DataPlane, Knobs
from toolkit.storage.sign import Keys, Signer
endpoint, run, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
plane = DataPlane(endpoint, Signer(lambda: Keys("k", "s"), "us-east-1"), "path", "simulator")
job = work.Job("storage/objects/a", plane, "a", plane, "b", False, False, run, Knobs())
seen = rows = 0
for todo in gather.todos(job, "a", record=True):
    seen += 1
    rows += len(todo.rows)
assert (seen, rows) == (count, 0), (seen, rows)
"""


def compare(folder: Path, count: int) -> Used:
    run = folder / f"run-{count}"
    run.mkdir(mode=0o700)
    with simulator.running() as sim:
        for bucket in ("a", "b"):
            sim.fill(bucket, count, 100)
        argv = [sys.executable, "-c", _COMPARE, sim.endpoint, str(run), str(count)]
        return used(argv, {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, folder / f"{count}.log")


def test_bench_p6_a_million_keys(tmp_path: Path) -> None:
    # The fixed part (start, imports) is measured and taken off: the cost per key is the question.
    none, small, large = (compare(tmp_path, count) for count in (1, 100_000, 1_000_000))
    each = [(run.cpu - none.cpu) / count * 1e6 for run, count in ((small, 100_000), (large, 1_000_000))]
    print(
        f"\nbench: compare: 100 k {small.wall:.1f} s wall, {each[0]:.1f} us CPU a key, {small.peak:.0f} MiB;"
        f" 1 M {large.wall:.1f} s wall, {each[1]:.1f} us CPU a key, {large.peak:.0f} MiB; ratio {each[1] / each[0]:.2f}"
    )
    assert large.peak < 250 * 1e6 / 2**20
    assert each[1] <= 1.1 * each[0]
