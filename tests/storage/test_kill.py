"""kill -9 of a real process that copies, again and again; then the copy, the duplicates and the purge."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.storage.ends import Ends, Move, contents, fresh, histories
from toolkit.rehearsal.mockaws import Store
from toolkit.storage.model import Knobs

_RUN = """
import sys
from pathlib import Path
from tests.storage.ends import End, Ends, Move
from toolkit.storage.model import Knobs
source, target, bucket, to, run = sys.argv[1:]
ends = [End(*text.split(" ")) for text in (source, target)]
Move(Ends(*ends), Path(run), bucket, to, Knobs(in_flight=8, batch_rows=20, shard_rows=60)).apply()
"""
_BATCHES = 2 * 20  # at most two batches are open


def start(move: Move) -> subprocess.Popen[bytes]:
    ends = [f"{end.kind} {end.endpoint} {end.key} {end.secret}" for end in (move.ends.source, move.ends.target)]
    return subprocess.Popen([sys.executable, "-c", _RUN, *ends, move.bucket, move.target_bucket, str(move.run)])


def written(store: Store, bucket: str) -> int:
    return len(store.calls(class_="write", bucket=bucket, operation="PutObject"))


def kill_after(move: Move, target: Store, wanted: int) -> None:
    process = start(move)
    try:
        deadline = time.monotonic() + 120
        while written(target, move.target_bucket) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("versions", [False, True], ids=["latest", "versions"])
def test_p3_killed_twice(stores: tuple[Store, Store], mocked: Ends, run: Path, *, versions: bool) -> None:
    name, client = fresh(), mocked.source.client
    client.create_bucket(Bucket=name)
    if versions:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2 if versions else 1):
        stores[0].bulk(bucket=name, count=120 if versions else 240, size=50)
    move = Move(mocked, run, name, to=fresh("to"), knobs=Knobs(in_flight=8, batch_rows=20, shard_rows=60))
    for wanted in (50, 130):
        kill_after(move, stores[1], wanted)
    assert start(move).wait(120) == 0
    look = histories if versions else contents
    assert look(mocked.target, move.target_bucket) == look(mocked.source, name)
    assert written(stores[1], move.target_bucket) <= 240 + 2 * _BATCHES
    assert move.plan() == []
    mocked.target.client.put_object(Bucket=move.target_bucket, Key="theirs", Body=b"x")
    changes = list(move.family.diff(move.desired(), {}))
    move.undo(changes, purge=True)
    assert set(contents(mocked.target, move.target_bucket)) == {"theirs"}
