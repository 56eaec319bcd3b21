"""Rows of the fault matrix that need more than rules for the proxies; the number of the row is in the name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.storage.ends import Killed, histories
from tests.storage.matrix import PARTS, World, altered, upload
from toolkit import leases
from toolkit.errors import Conflict, JournalError
from toolkit.families import Shard
from toolkit.journal import Journal
from toolkit.rehearsal.mockaws import Store
from toolkit.secrets import Credentials, Secret
from toolkit.storage.drivers.s3 import S3Driver
from toolkit.storage.engine import replay, shardlog

PUT = {"side": "target", "operation": "PutObject"}
GET = {"side": "source", "operation": "GetObject"}


def small(world: World, count: int = 20) -> dict[str, bytes]:
    """Put small objects into the source; return them."""
    bodies = {f"k{n:03d}": b"%d" % n for n in range(count)}
    for key, body in bodies.items():
        world.direct.source.client.put_object(Bucket=world.bucket, Key=key, Body=body)
    return bodies


def planned(world: World, **knobs: Any) -> World:
    altered(world, **knobs)
    world.changes = world.move.plan()
    return world


def bodies(world: World) -> dict[str, bytes]:
    return {key: found["body"] for key, found in world.there().items()}


def test_1_the_rate_recovers(world: World) -> None:
    expected = small(world, 160)
    planned(world, in_flight=4)
    world.inject({"fault": "slow-down", "each": True, "count": 1, "key": "k00*", **PUT})
    family = world.move.family
    ended = world.apply(family)
    assert ended is None
    assert bodies(world) == expected
    (pace,) = family._paces.values()
    assert pace.retries >= 10
    assert (pace.source, pace.target) == (4, 4)  # halved in between, and back


@pytest.mark.parametrize("at", ["listing", "reading"])
def test_9_without_a_digest_to_trust_it_is_read_twice(world: World, at: str) -> None:
    expected = small(world, 3)
    planned(world)
    kms = {"x-amz-server-side-encryption": "aws:kms"}
    rules = [{"fault": "headers", "set": kms, "side": "source", "operation": ["GetObject", "HeadObject"]}]
    if at == "reading":
        rules = [{"fault": "flip", "nth": [1], "key": "k001", **GET}, *rules]
    world.inject(*rules)
    assert world.apply() is None
    assert bodies(world) == expected
    assert world.reasons("info") == {"double-read"}
    assert world.source.count(operation="GetObject") >= 6


def test_12_a_target_that_lies_about_what_it_stored_is_found(world: World) -> None:
    small(world)
    planned(world)
    world.inject({"fault": "store-wrong", "lie": True, "key": "k00[1-3]", **PUT})
    # The PUT was answered with the right ETag; the next listing tells another, which nobody is known to have written.
    ended = world.apply()
    assert ended is not None
    assert world.reasons() == {"conflict"}
    world.inject()
    found, tally = world.move.verify("bytes")
    assert {item.feature for item in found} == {"k001", "k002", "k003"}
    assert (tally.total, tally.verified) == (20, 17)
    for key in ("k001", "k002", "k003"):
        world.direct.target.client.delete_object(Bucket=world.to, Key=key)
    world.resumed()


def test_14_a_slow_object_does_not_block_its_shard(world: World) -> None:
    expected = small(world, 60)
    world.direct.source.client.put_object(Bucket=world.bucket, Key="a-slow-one", Body=b"x" * 4096)
    expected["a-slow-one"] = b"x" * 4096
    planned(world, batch_rows=5, small=1 << 10)
    world.inject({"fault": "drip", "key": "a-slow-one", "speed": 512, **GET})
    assert world.apply() is None
    assert bodies(world) == expected
    put = [seen.asked.key for seen in world.target.seen if seen.asked.operation == "PutObject"]
    assert put[-1] == "a-slow-one"  # it was begun first, and everything else was written meanwhile


def test_17_a_clock_that_jumps_loses_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "journal.db") as journal:
        for n in range(2):
            leases.add(journal, "c", Shard(f"s-{n}", "m", 0, 10))
        first = leases.claim(journal, "c", "one", seconds=600)
        assert first is not None
        real = time.time
        for jump in (1200.0, -1200.0):  # the worker's own clock: nothing depends on it
            monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
            first.heartbeat()
            first.commit(first.cursor + 1, done=1, size=1, exceptions=[])
        second = leases.claim(journal, "c", "two", seconds=600)
        assert second is not None
        assert second.shard.id != first.shard.id
        assert leases.claim(journal, "c", "three", seconds=600) is None
        # The database's clock leaps past the lease: whoever takes it over fences the first owner off.
        monkeypatch.setattr(leases, "_NOW", f"({leases._NOW} + 1200)")
        third = leases.claim(journal, "c", "three", seconds=600)
        assert third is not None
        assert (third.shard.id, third.cursor) == (first.shard.id, 2)
        with pytest.raises(JournalError, match="lost"):
            first.commit(3, done=1, size=1, exceptions=[])
        third.commit(10, done=8, size=8, exceptions=[])
        assert leases.counts(journal, "c")["done"] == 10


def renewing(world: World, store: Store) -> list[int]:
    """Give the source credentials that can be read again: every later reading names another key."""
    told = [0]

    def again() -> Credentials:
        told[0] += 1
        key = store.keys["rehost" if told[0] <= 2 else "seed"]
        return Credentials("keys", Secret(key.id), key.secret)

    end = world.behind.source
    end.__dict__["driver"] = S3Driver(
        kind=end.kind, endpoint=end.endpoint, region="us-east-1", credentials=again(), again=again
    )
    return told


def test_18_an_expired_token_is_renewed_and_no_failure(world: World, stores: tuple[Store, Store]) -> None:
    expected = small(world)
    told = renewing(world, stores[0])
    planned(world, attempts=1)  # not one try may be lost
    world.inject({"fault": "expired-token", "after": 5, "count": 1, **GET})
    assert world.apply() is None
    assert bodies(world) == expected
    assert told[0] == 3  # read for the driver, for its session, and once again
    assert world.findings() == []
    world.resumed()


@pytest.mark.parametrize("fault", ["bad-key", "suspended", "slow-down"])
def test_19_20_a_side_that_comes_back_is_gone_on_with(world: World, fault: str) -> None:
    expected = small(world, 40)
    planned(world, patience=120.0, probe_every=0.3)
    world.inject({"fault": fault, "side": "source", "after": 15, "count": 20})
    assert world.apply() is None  # without a restart
    assert bodies(world) == expected
    assert world.findings() == []


def test_24_to_26_objects_that_move_while_they_are_copied(world: World) -> None:
    small(world)
    client, bucket = world.direct.source.client, world.bucket
    planned(world)

    def meanwhile() -> None:
        client.put_object(Bucket=bucket, Key="k003", Body=b"newer")
        client.delete_object(Bucket=bucket, Key="k004")
        client.put_object(Bucket=bucket, Key="zz-new", Body=b"new")

    world.meanwhile = meanwhile
    ended = world.apply()
    assert ended is None
    notes = {item.feature: item for item in world.findings()}
    assert notes["k003"].evidence["reason"] == "changed"
    assert notes["k004"].evidence["reason"] == "gone_at_source"
    assert notes["k004"].evidence["noticed"]
    assert {item.severity for item in notes.values()} == {"info"}
    world.changes = world.move.plan() or world.changes
    assert world.apply() is None  # the delta pass
    world.judge(None)
    assert bodies(world)["k003"] == b"newer"


def test_27_versions_and_markers_arrive_in_order_through_faults(world: World) -> None:
    client, bucket = world.direct.source.client, world.bucket
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for n in range(60):
        client.put_object(Bucket=bucket, Key="many", Body=b"%d" % n)
        if n % 7 == 0:
            client.delete_object(Bucket=bucket, Key="many")
        client.put_object(Bucket=bucket, Key=f"few{n % 10}", Body=b"%d" % n)
    planned(world, attempts=12)
    world.inject(
        {"fault": "lost", "rate": 0.1, "side": "target", "method": ["PUT", "DELETE"]},
        {"fault": "error", "rate": 0.1, "side": "target", "method": ["PUT", "DELETE"]},
        {"fault": "flip", "rate": 0.1, **GET},
    )
    assert world.apply() is None
    assert histories(world.direct.target, world.to) == histories(world.direct.source, bucket)


def test_28_odd_keys_stay_themselves_through_faults(world: World) -> None:
    keys = ["..", ".", "a//b", "/lead", "trail/", "x/../y", "new\nline", "\x01", "é", "é", "+ %2B&?#;", "日" * 341]
    for number, key in enumerate(keys):
        world.direct.source.client.put_object(Bucket=world.bucket, Key=key, Body=b"%d" % number)
    planned(world)
    world.inject(
        {"fault": "reset", "each": True, "count": 1, **GET}, {"fault": "lost", "each": True, "count": 1, **PUT}
    )
    assert world.apply() is None
    assert bodies(world) == {key: b"%d" % number for number, key in enumerate(keys)}
    names = {path.name for path in world.run.rglob("*")}
    assert not names & set(keys)  # no key became a file


def test_29_sizes_at_the_borders(world: World) -> None:
    five = 5 << 20
    client = world.direct.source.client
    for size in (0, 1, five - 1, five):
        client.put_object(Bucket=world.bucket, Key=f"s{size}", Body=bytes(size))
    upload(world.direct.source, world.bucket, "hundreds", [b"%03d" % n * (1 + n % 5) for n in range(300)])
    planned(world, small=1 << 20)
    world.inject({"fault": "cut", "each": True, "count": 1, "at": 0.9, **GET})
    assert world.apply() is None
    world.judge(None)
    assert world.there()["hundreds"]["etag"].endswith('-300"')


def killed(world: World, monkeypatch: pytest.MonkeyPatch, patch: Callable[[pytest.MonkeyPatch], None]) -> None:
    """Apply, with a patch that ends it as SIGKILL does: nothing may clean up."""
    with monkeypatch.context() as within:
        patch(within)
        with pytest.raises(Killed):
            world.apply()


def die(*_: object, **__: object) -> Any:
    raise Killed


@pytest.mark.parametrize("when", ["between-parts", "before-complete", "after-complete"])
def test_34_35_killed_in_a_multipart_upload(world: World, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    upload(world.direct.source, world.bucket, "parts", PARTS)
    planned(world)
    target = world.direct.target.client

    def patch(within: pytest.MonkeyPatch) -> None:
        if when == "between-parts":
            within.setattr(replay, "_one_part", die)
        elif when == "before-complete":
            within.setattr(replay, "_complete", die)
        else:
            within.setattr(shardlog.ShardLog, "wrote", die)

    killed(world, monkeypatch, patch)
    theirs = target.create_multipart_upload(Bucket=world.to, Key="theirs")["UploadId"]
    assert world.apply() is None
    assert world.there() == world.here()
    left = target.list_multipart_uploads(Bucket=world.to).get("Uploads", [])
    assert [item["UploadId"] for item in left] == [theirs]  # ours is gone, what is not ours stays


def test_37_another_object_at_the_target_is_kept(world: World) -> None:
    small(world, 5)
    planned(world)
    world.direct.target.client.create_bucket(Bucket=world.to)
    world.direct.target.client.put_object(Bucket=world.to, Key="k002", Body=b"theirs")
    world.changes = world.move.plan()
    figures = [change.figures for change in world.changes if change.figures]
    assert sum(item.get("conflicts", 0) for item in figures) == 1  # known before anything is written
    ended = world.apply()
    assert ended is not None
    assert ended.code in (Conflict.code, 40)
    assert bodies(world)["k002"] == b"theirs"
    assert {item.evidence["reason"] for item in world.findings() if item.severity == "error"} == {"conflict"}
    world.direct.target.client.delete_object(Bucket=world.to, Key="k002")
    world.changes = world.move.plan()
    assert world.apply() is None
    world.judge(None)
