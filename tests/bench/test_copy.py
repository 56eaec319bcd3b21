"""Speed against rclone: on one real RGW of the lab, and on a store simulator with latency.

Only ratios of one run count: the two clients take turns, because the machine itself drifts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.bench import simulator, synthetic
from tests.bench.duel import Lane, told
from tests.bench.simulator import Simulator
from tests.storage.ends import End, fresh

pytestmark = [pytest.mark.accept, pytest.mark.timeout(1800)]

TURNS = int(os.environ.get("BENCH_TURNS", "2"))
EQUAL = ("--transfers", "64", "--checkers", "64")


@pytest.fixture
def rgw(tmp_path: Path) -> tuple[End, Lane]:
    endpoint = os.environ.get("REHOST_LAB_S3")
    if not endpoint:
        pytest.skip("REHOST_LAB_S3 names no RGW")
    key, secret = os.environ["REHOST_LAB_S3_KEY"], os.environ["REHOST_LAB_S3_SECRET"]
    return End("ceph", endpoint, key, secret), Lane(endpoint, endpoint, key, secret, tmp_path)


def fill(end: End, bucket: str, count: int, size: int) -> None:
    end.client.create_bucket(Bucket=bucket)

    def put(number: int) -> None:
        body = b"".join(synthetic.numbered(number, size).slices())
        end.client.put_object(Bucket=bucket, Key=f"k{number:09d}", Body=body)

    with ThreadPoolExecutor(16 if size < 1 << 20 else 2) as pool:
        list(pool.map(put, range(count)))


def empty(end: End, bucket: str, *, away: bool = True) -> None:
    client: Any = end.client
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
        if keys:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    if away:
        client.delete_bucket(Bucket=bucket)


def same(end: End, bucket: str, to: str) -> None:
    """Both buckets list alike, as boto3 sees them."""
    seen = []
    for name in (bucket, to):
        pages = end.client.get_paginator("list_objects_v2").paginate(Bucket=name)
        seen.append([(item["Key"], item["Size"], item["ETag"]) for page in pages for item in page.get("Contents", [])])
    assert seen[0] == seen[1]


@pytest.mark.lab
@pytest.mark.parametrize(
    ("count", "size", "wall", "cpu"),
    [(10_000, 16 << 10, 0.85, 0.7), (32, 64 << 20, 1.1, None)],
    ids=["small", "large"],
)
def test_bench_two_buckets_of_one_rgw(
    rgw: tuple[End, Lane], count: int, size: int, wall: float, cpu: float | None
) -> None:
    end, lane = rgw
    bucket, ours, theirs, off = fresh("bench-src"), [], [], []
    # single part, as the source: rclone would cut from 200 MiB on, and so does neither
    fill(end, bucket, count, size)
    try:
        for _ in range(TURNS):
            for turns, copy, flags in (
                (theirs, lane.rclone, EQUAL),
                (ours, lane.ours, ("--transfers", "64")),
                (off, lane.rclone, (*EQUAL, "--s3-no-head")),
            ):
                to = fresh("bench-dst")
                end.client.create_bucket(Bucket=to)
                turns.append(copy(bucket, to, *flags))
                same(end, bucket, to)
                empty(end, to)
    finally:
        empty(end, bucket)
    what = f"{count:,} x {size >> 10:,} KiB on one RGW, 64 in flight"
    told(what, ours, off, "rclone --s3-no-head (information)")
    ratio = told(what, ours, theirs, "rclone")
    assert ratio.wall <= wall
    assert cpu is None or ratio.cpu <= cpu


@pytest.fixture
def far(tmp_path: Path) -> Iterator[tuple[Simulator, Simulator, Lane]]:
    with simulator.running(0.04) as source, simulator.running(0.04) as target:
        yield source, target, Lane(source.endpoint, target.endpoint, "key", "secret", tmp_path)


def busy(sims: tuple[Simulator, ...], wall: float) -> None:
    """A simulator that itself is the limit measures nothing."""
    for sim in sims:
        seen = sim.tell()
        share = seen["cpu"] / wall
        print(f"bench: simulator: {share:.0%} of a core, {seen['calls']}, most at once {seen['most_at_once']}")
        assert share < 0.7, "invalid: the simulator was the limit"


@pytest.mark.parametrize(
    ("count", "mine", "rivals", "faster"),
    [
        (6_000, ("--transfers", "64"), EQUAL, 1.4),
        (6_000, ("--transfers", "64"), (*EQUAL, "--s3-no-head", "--no-check-dest"), 0.95),
        (1_500, (), (), 5.0),
    ],
    ids=["equal-head", "equal-no-head", "default"],
)
def test_bench_far_away(
    far: tuple[Simulator, Simulator, Lane],
    count: int,
    mine: tuple[str, ...],
    rivals: tuple[str, ...],
    faster: float,
) -> None:
    source, target, lane = far
    source.fill("src", count, 16 << 10)
    ours, theirs = [], []
    for turn in range(TURNS):
        for turns, copy, flags in ((theirs, lane.rclone, rivals), (ours, lane.ours, mine)):
            to = f"dst-{turn}-{'ours' if turns is ours else 'rclone'}"
            target.fill(to, 0, 0)
            for sim in (source, target):
                sim.tell(reset=True)
            turns.append(copy("src", to, *flags))
            busy((source, target), turns[-1].wall)
            assert target.tell()["calls"].get("PUT object", 0) >= count
            target.tell(clear=to)
    ratio = told(f"{count:,} x 16 KiB at 40 ms", ours, theirs, f"rclone {' '.join(rivals) or 'without flags'}")
    assert 1 / ratio.wall >= faster
