"""A bucket in use: deltas of every kind, removals, metadata, and what a pass may call done."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.storage.ends import End, Ends, Move, contents, fresh, histories
from toolkit import passes
from toolkit.apply import apply
from toolkit.errors import ApplyError, NeedsHuman
from toolkit.journal import Journal
from toolkit.model import Change, Plan
from toolkit.storage.model import Knobs

BOTH = pytest.mark.parametrize("kind", ["mocked", pytest.param("lab", marks=pytest.mark.lab)])


@pytest.fixture
def ends(kind: str, mocked: Ends, request: pytest.FixtureRequest) -> Ends:
    return mocked if kind == "mocked" else Ends(mocked.source, request.getfixturevalue("rgw"))


@pytest.fixture
def move(ends: Ends, run: Path) -> Move:
    name = fresh("live")
    ends.source.client.create_bucket(Bucket=name)
    return Move(ends, run, name, to=fresh("to"), knobs=Knobs(in_flight=8, attempts=3, shard_rows=50, batch_rows=20))


def plan(move: Move, changes: list[Change]) -> Plan:
    return Plan("t", "r", "now", tuple(changes), (), (), tuple(move.desired().values()))


def delta(move: Move, **more: Any) -> Journal:
    """Plan and apply as the command line does; a second time is a delta pass."""
    move.run.mkdir(exist_ok=True)
    journal = Journal(move.run / "journal.db")
    apply(plan(move, move.plan()), {"storage": move.family}, journal, **more)
    return journal


def same(move: Move) -> bool:
    return contents(move.ends.target, move.target_bucket) == contents(move.ends.source, move.bucket)


@BOTH
def test_every_kind_of_change(move: Move) -> None:
    client, name = move.ends.source.client, move.bucket
    for n in range(12):
        client.put_object(Bucket=name, Key=f"k{n}", Body=b"one-%02d" % n, Metadata={"n": str(n)})
    delta(move)
    assert same(move)
    client.put_object(Bucket=name, Key="k0", Body=b"two-00")  # the same size
    client.delete_object(Bucket=name, Key="k1")
    client.delete_object(Bucket=name, Key="k2")
    client.put_object(Bucket=name, Key="k2", Body=b"one-02", ContentType="text/new")  # the same bytes again
    copy = {"Bucket": name, "Key": "k3"}
    client.copy_object(Bucket=name, Key="k3", CopySource=copy, MetadataDirective="REPLACE", Metadata={"new": "1"})
    client.put_object(Bucket=name, Key="k4", Body=b"one-04", Metadata={"n": "4"}, Tagging="a=b")
    client.put_object(Bucket=name, Key="new", Body=b"new")
    delta(move)
    assert same(move)
    tags = move.ends.target.client.get_object_tagging(Bucket=move.target_bucket, Key="k4")["TagSet"]
    assert tags == [{"Key": "a", "Value": "b"}]
    assert move.plan() == []


@BOTH
def test_versions_hidden_begun_anew_and_destroyed(move: Move) -> None:
    client, name = move.ends.source.client, move.bucket
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    ids = {}
    for key in ("gone", "again", "undeleted", "shorter"):
        for n in range(2):
            ids[key, n] = client.put_object(Bucket=name, Key=key, Body=b"%d" % n)["VersionId"]
    marker = client.delete_object(Bucket=name, Key="undeleted")["VersionId"]
    delta(move)
    there = histories(move.ends.target, move.target_bucket)
    assert there == histories(move.ends.source, name)
    for key in ("gone", "again"):
        for n in range(2):
            client.delete_object(Bucket=name, Key=key, VersionId=ids[key, n])
    client.delete_object(Bucket=name, Key="undeleted", VersionId=marker)
    client.delete_object(Bucket=name, Key="shorter", VersionId=ids["shorter", 1])
    delta(move)
    now = histories(move.ends.target, move.target_bucket)
    assert now["gone"] == [*there["gone"], (True, False, b"")], "hidden, and it can be brought back"
    assert now["undeleted"] == there["undeleted"][:2]
    assert now["shorter"] == there["shorter"][:1]
    client.put_object(Bucket=name, Key="again", Body=b"third life")
    delta(move)
    now = histories(move.ends.target, move.target_bucket)
    assert [item[2] for item in now["again"]] == [b"0", b"1", b"", b"third life"]
    findings, tally = move.verify("meta")
    assert findings == []
    assert tally.verified == tally.total == 4
    assert move.plan() == []


@pytest.mark.parametrize("kind", ["mocked"])
def test_removals_only_of_what_is_ours(move: Move) -> None:
    source, target = move.ends.source.client, move.ends.target.client
    for key in ("ours", "changed"):
        source.put_object(Bucket=move.bucket, Key=key, Body=b"x")
    source.put_object(Bucket=move.bucket, Key="stays", Body=b"x")
    delta(move)
    target.put_object(Bucket=move.target_bucket, Key="theirs", Body=b"y")
    target.put_object(Bucket=move.target_bucket, Key="changed", Body=b"somebody")
    for key in ("ours", "changed"):
        source.delete_object(Bucket=move.bucket, Key=key)
    delta(move)
    assert set(contents(move.ends.target, move.target_bucket)) == {"theirs", "changed", "stays"}


@pytest.mark.parametrize("kind", ["mocked"])
def test_many_removals_need_a_word(move: Move) -> None:
    client = move.ends.source.client
    for n in range(60):
        client.put_object(Bucket=move.bucket, Key=f"k{n:02}", Body=b"x")
    delta(move)
    for n in range(30):
        client.delete_object(Bucket=move.bucket, Key=f"k{n:02}")
    with pytest.raises(NeedsHuman) as caught:
        delta(move)
    assert "30 of 60" in caught.value.text
    assert "max_removed" in caught.value.remedy
    assert len(contents(move.ends.target, move.target_bucket)) == 60
    allowed = [replace(change, after=_live(change, "50%")) for change in move.plan()]
    apply(plan(move, allowed), {"storage": move.family}, Journal(move.run / "journal.db"))
    assert same(move)


def _live(change: Change, share: str) -> Any:
    assert change.after is not None
    return replace(change.after, facts={**change.after.facts, "live": {"max_removed": share}})


@pytest.mark.parametrize("kind", ["mocked"])
def test_an_emptied_source_empties_nothing_unasked(move: Move) -> None:
    client = move.ends.source.client
    client.put_object(Bucket=move.bucket, Key="only", Body=b"x")
    delta(move)
    client.delete_object(Bucket=move.bucket, Key="only")
    with pytest.raises(NeedsHuman):
        delta(move)
    assert set(contents(move.ends.target, move.target_bucket)) == {"only"}


class Writer:
    """Somebody who writes to the source without a pause."""

    def __init__(self, end: End, bucket: str) -> None:
        self.end, self.bucket, self.stop, self.count = end, bucket, threading.Event(), 0
        self.thread = threading.Thread(target=self._write, daemon=True)

    def _write(self) -> None:
        while not self.stop.is_set():
            key = f"hot-{self.count % 40:02}"
            if self.count % 7 == 3:
                self.end.client.delete_object(Bucket=self.bucket, Key=key)
            else:
                self.end.client.put_object(Bucket=self.bucket, Key=key, Body=b"%06d" % self.count)
            self.count += 1

    def __enter__(self) -> Writer:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        self.thread.join()


@BOTH
def test_p5_a_pass_over_a_bucket_in_use_is_done_by_its_own_listing(move: Move) -> None:
    client = move.ends.source.client
    for n in range(150):
        client.put_object(Bucket=move.bucket, Key=f"cold-{n:03}", Body=b"x" * n)
    with Writer(move.ends.source, move.bucket) as writer:
        for _ in range(3):
            journal = delta(move)
    assert writer.count > 20
    done = passes.passes(journal.events())[f"build:copy:storage/objects/{move.bucket}"]
    assert len(done) >= 3
    assert done[-1].took
    assert done[0].found >= 150
    expected = passes.forecast(done, 60.0)
    assert expected is not None
    assert expected.fits
    delta(move)  # nobody writes any more
    assert same(move)
    assert move.plan() == []


@pytest.mark.parametrize("kind", ["mocked"])
def test_a_pass_that_left_something_behind_is_not_done(move: Move, stores: Any) -> None:
    for key in ("a", "b"):
        move.ends.source.client.put_object(Bucket=move.bucket, Key=key, Body=b"x")
    stores[0].inject({"kind": "deny", "bucket": move.bucket, "prefix": "b", "method": "GET"})
    try:
        with pytest.raises(ApplyError) as caught:
            delta(move)
    finally:
        stores[0].inject()
    assert "b" in caught.value.text
    delta(move)
    assert same(move)
