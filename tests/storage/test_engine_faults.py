"""Rows of the fault matrix that an honest store never shows; numbers are the matrix's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.storage.ends import Recording
from tests.storage.fake import Fake, running
from toolkit.errors import NeedsHuman, Paused, RehostError
from toolkit.model import Finding
from toolkit.storage.engine import gather, http, listing, shardlog, work
from toolkit.storage.model import Knobs

QUICK = Knobs(in_flight=8, attempts=4, batch_rows=10, small=64 << 10, chunk=4 << 10, read_timeout=1.0, patience=0.0)
BODY = b"0123456789" * 100
LARGE = bytes(range(256)) * 1024


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without their pauses."""
    monkeypatch.setattr(http, "_BASE", 0.001)


@pytest.fixture
def fakes() -> Iterator[tuple[Fake, Fake]]:
    source, target = Fake(), Fake()
    with running(source, target):
        yield source, target


def copy(fakes: tuple[Fake, Fake], run: Path, knobs: Knobs = QUICK, *, create_only: bool = False) -> list[Finding]:
    """Copy everything; return the exceptions."""
    source, target = fakes
    job = work.Job("storage/objects/b", source.plane, "b", target.plane, "b", False, create_only, run, knobs)
    found: list[Finding] = []
    for shard in list(gather.shards(job, "b", "main")):
        lease = Recording(shard, shard.start)
        work.run(job, lease, work.Pace(knobs.in_flight, knobs.in_flight), lambda done, size, wait: None)
        assert lease.cursor == shard.stop
        found += lease.exceptions
    return found


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("trick", ["500:InternalError", "reset", "cut", "short", "padded", "flip", "stall"])
def test_2_to_13_a_bad_read_is_read_again(fakes: tuple[Fake, Fake], run: Path, trick: str, body: bytes) -> None:
    source, target = fakes
    source.objects = {b"a": body, b"other": b"x"}
    source.plan[("GET", b"a")] = [trick, trick]
    assert copy(fakes, run) == []
    assert target.objects == source.objects


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("trick", ["short", "padded", "flip"])
def test_7_to_9_bytes_that_stay_wrong_never_become_done(
    fakes: tuple[Fake, Fake], run: Path, trick: str, body: bytes
) -> None:
    source, target = fakes
    source.objects = {b"a": body, b"b": b"fine"}
    source.plan[("GET", b"a")] = [trick] * 50
    found = copy(fakes, run)
    reason = "size_mismatch" if trick == "short" else "corrupt_source_read"
    assert [(finding.feature, finding.evidence["reason"]) for finding in found] == [("a", reason)]
    assert target.objects == {b"b": b"fine"}  # nothing of it is visible at the target


def test_12_wrong_bytes_stored_at_the_target_are_noticed(fakes: tuple[Fake, Fake], run: Path) -> None:
    source, target = fakes
    source.objects = {b"a": BODY}
    target.plan[("PUT", b"a")] = ["store-wrong"]
    assert copy(fakes, run) == []
    assert target.objects == source.objects


def test_1_slow_down_halves_the_pace(fakes: tuple[Fake, Fake], run: Path) -> None:
    source, target = fakes
    source.objects = {b"k%03d" % n: b"x" for n in range(40)}
    for key in list(source.objects)[::3]:
        target.plan[("PUT", key)] = ["503:SlowDown"]
    knobs = replace(QUICK, in_flight=32)
    job = work.Job("storage/objects/b", source.plane, "b", target.plane, "b", False, False, run, knobs)
    pace = work.Pace(32, 32)
    for shard in list(gather.shards(job, "b", "main")):
        lease = Recording(shard, shard.start)
        work.run(job, lease, pace, lambda done, size, wait: None)
        assert lease.exceptions == []
    assert target.objects == source.objects
    assert pace.target < 24
    assert pace.source == 32
    assert pace.retries >= 14


def test_p9_the_reason_for_waiting_is_told(
    fakes: tuple[Fake, Fake], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_BASE", 0.1)
    source, target = fakes
    source.objects = {b"a": b"x"}
    target.plan[("PUT", b"a")] = ["503:SlowDown"] * 3
    knobs = replace(QUICK, heartbeat=0.02, attempts=6)
    job = work.Job("storage/objects/b", source.plane, "b", target.plane, "b", False, False, run, knobs)
    (shard,) = gather.shards(job, "b", "main")
    ticks: list[tuple[int, int, str]] = []
    work.run(job, Recording(shard, 0), work.Pace(8, 8), lambda *told: ticks.append(told))
    assert any("SlowDown" in wait for _, _, wait in ticks)
    assert ticks[-1] == (1, 1, "") or (1, 1, "") in ticks


def test_20_a_suspended_account_pauses_with_its_state_kept(fakes: tuple[Fake, Fake], run: Path) -> None:
    source, target = fakes
    source.objects = {b"k%03d" % n: b"x" for n in range(60)}
    for n in range(15, 60):
        source.plan[("GET", b"k%03d" % n)] = ["403:AccessDenied"] * 9
    with pytest.raises(Paused, match="AccessDenied"):
        copy(fakes, run)
    assert len(target.objects) >= 15
    source.plan.clear()
    assert copy(fakes, run) == []
    assert target.objects == source.objects


def test_21_one_forbidden_object_is_one_finding(fakes: tuple[Fake, Fake], run: Path) -> None:
    source, target = fakes
    source.objects = {b"k%03d" % n: b"x" for n in range(60)}
    source.plan[("GET", b"k030")] = ["403:AccessDenied"] * 9
    found = copy(fakes, run)
    assert [(finding.feature, finding.verdict, finding.evidence["reason"]) for finding in found] == [
        ("k030", "missing", "denied")
    ]
    assert len(target.objects) == 59


@pytest.mark.parametrize(
    ("trick", "error"),
    [
        ("403:InvalidAccessKeyId", Paused),
        ("403:SignatureDoesNotMatch", Paused),
        ("403:RequestTimeTooSkewed", NeedsHuman),
        ("403:QuotaExceeded", NeedsHuman),
        ("404:NoSuchBucket", Paused),
    ],
)
def test_16_19_30_33_what_concerns_a_whole_side_stops_the_work(
    fakes: tuple[Fake, Fake], run: Path, trick: str, error: type[RehostError]
) -> None:
    source, target = fakes
    source.objects = {b"k%03d" % n: b"x" for n in range(30)}
    target.plan = {("PUT", key): [trick] * 9 for key in source.objects}
    with pytest.raises(error) as caught:
        copy(fakes, run)
    assert caught.value.remedy


def test_23_archived_object_is_named_not_restored(fakes: tuple[Fake, Fake], run: Path) -> None:
    source, _ = fakes
    source.objects = {b"cold": b"x"}
    source.plan[("GET", b"cold")] = ["403:InvalidObjectState"]
    (finding,) = copy(fakes, run)
    assert finding.evidence["reason"] == "archived"
    assert "restore" in finding.remedy
    assert source.calls["POST"] == 0


def test_24_an_object_that_changed_is_followed(fakes: tuple[Fake, Fake], run: Path) -> None:
    source, target = fakes
    source.objects = {b"a": b"old"}
    job = work.Job("storage/objects/b", source.plane, "b", target.plane, "b", False, False, run, QUICK)
    (shard,) = gather.shards(job, "b", "main")
    source.objects[b"a"] = b"newer"
    lease = Recording(shard, 0)
    work.run(job, lease, work.Pace(4, 4), lambda done, size, wait: None)
    assert target.objects == {b"a": b"newer"}
    assert [finding.evidence["reason"] for finding in lease.exceptions] == ["changed"]


def test_25_an_object_that_went_away_is_no_failure(fakes: tuple[Fake, Fake], run: Path) -> None:
    source, target = fakes
    source.objects = {b"a": b"x", b"b": b"y"}
    job = work.Job("storage/objects/b", source.plane, "b", target.plane, "b", False, False, run, QUICK)
    (shard,) = gather.shards(job, "b", "main")
    del source.objects[b"a"]
    lease = Recording(shard, 0)
    work.run(job, lease, work.Pace(4, 4), lambda done, size, wait: None)
    assert target.objects == {b"b": b"y"}
    assert [(finding.severity, finding.evidence["reason"]) for finding in lease.exceptions] == [
        ("info", "gone_at_source")
    ]


def test_34_a_lost_answer_is_no_conflict(fakes: tuple[Fake, Fake], run: Path) -> None:
    source, target = fakes
    source.objects = {b"a": b"x"}
    target.plan[("PUT", b"a")] = ["lost-answer"]
    assert copy(fakes, run, create_only=True) == []
    assert target.objects == source.objects


def test_37_an_object_that_appeared_since_the_listing_is_kept(fakes: tuple[Fake, Fake], run: Path) -> None:
    source, target = fakes
    source.objects = {b"a": b"ours"}
    job = work.Job("storage/objects/b", source.plane, "b", target.plane, "b", False, True, run, QUICK)
    (shard,) = gather.shards(job, "b", "main")
    target.objects[b"a"] = b"theirs"
    lease = Recording(shard, 0)
    work.run(job, lease, work.Pace(4, 4), lambda done, size, wait: None)
    assert target.objects == {b"a": b"theirs"}
    assert [finding.evidence["reason"] for finding in lease.exceptions] == ["conflict"]


def test_4_no_connection_pauses(fakes: tuple[Fake, Fake], run: Path) -> None:
    source, target = fakes
    source.objects = {b"a": b"x"}
    job = work.Job("storage/objects/b", source.plane, "b", target.plane, "b", False, False, run, QUICK)
    (shard,) = gather.shards(job, "b", "main")
    target.port = 1  # nobody listens there
    away = work.Job("storage/objects/b", source.plane, "b", target.plane, "b", False, False, run, QUICK)
    with pytest.raises(Paused, match="no connection"):
        work.run(away, Recording(shard, 0), work.Pace(4, 4), lambda done, size, wait: None)


@pytest.mark.parametrize("trick", ["no-token", "same-token", "unsorted"])
def test_69_a_lying_listing_is_stopped(fakes: tuple[Fake, Fake], trick: str) -> None:
    source, _ = fakes
    source.objects = {b"k%03d" % n: b"x" for n in range(30)}
    source.page = 10
    source.always = trick
    with pytest.raises(NeedsHuman):
        list(listing.entries(source.plane, "b", QUICK, versions=False))


def test_listing_pages_and_ends(fakes: tuple[Fake, Fake]) -> None:
    source, _ = fakes
    source.objects = {b"k%03d" % n: b"x" for n in range(25)}
    source.page = 10
    found = list(listing.entries(source.plane, "b", QUICK, versions=False))
    assert [entry.key for entry in found] == sorted(source.objects)
    assert source.calls["GET"] == 3


def test_a_listing_that_nobody_reads_to_its_end_stops(fakes: tuple[Fake, Fake]) -> None:
    source, _ = fakes
    source.objects = {b"k%04d" % n: b"x" for n in range(1000)}
    source.page = 10
    stream = listing.entries(source.plane, "b", QUICK, versions=False)
    assert next(stream).key == b"k0000"
    stream.close()  # type: ignore[attr-defined]
    assert source.calls["GET"] < 10


def test_38_a_full_local_disk_pauses(fakes: tuple[Fake, Fake], run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = fakes
    source.objects = {b"k%03d" % n: b"x" for n in range(40)}
    job = work.Job("storage/objects/b", source.plane, "b", target.plane, "b", False, False, run, QUICK)
    (shard,) = gather.shards(job, "b", "main")
    calls = 0
    really = shardlog.ShardLog.sync

    def full(log: shardlog.ShardLog) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(log)

    lease = Recording(shard, 0)
    with monkeypatch.context() as patch:
        patch.setattr(shardlog.ShardLog, "sync", full)
        with pytest.raises(Paused, match="full"):
            work.run(job, lease, work.Pace(4, 4), lambda done, size, wait: None)
    assert lease.cursor < shard.stop
    work.run(job, lease, work.Pace(4, 4), lambda done, size, wait: None)
    assert target.objects == source.objects
