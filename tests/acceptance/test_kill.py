"""P3: `rehost apply` killed with SIGKILL at random moments, and run again, ends as if undisturbed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.world import World, s3, world

SITE = """
move: {storage: {from: aws, to: store}}
buckets:
  box: {provider: aws, name: world-box, versioning: "off"}
"""
BATCH = 500


def etags(store: Any) -> dict[str, str]:
    client: Any = s3(store)
    return {
        item["Key"]: item["ETag"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="world-box")
        for item in page.get("Contents", [])
    }


def writes(at: World) -> int:
    """Writes the target has seen: cheap to ask often."""
    return int(at.target.s3.control("counts").get("s3:write", 0))


def puts(at: World) -> int:
    """Objects the target was given, once each or more often."""
    return len(at.target.s3.calls(operation="PutObject", status=200, limit=1_000_000))


def apply_until(at: World, threshold: int) -> bool:
    """Run apply and kill it once the target has seen `threshold` writes; say whether it was killed."""
    process = at.start("apply", "--yes")
    try:
        while process.poll() is None:
            if writes(at) >= threshold:
                process.send_signal(signal.SIGKILL)
                process.wait(30)
                return True
            time.sleep(0.02)
    finally:
        if process.poll() is None:
            process.kill()
    return False


@pytest.mark.parametrize(
    ("objects", "kills"),
    [
        pytest.param(1_500, 2, id="1500"),
        pytest.param(20_000, 5, id="20000", marks=[pytest.mark.accept, pytest.mark.timeout(1500)]),
    ],
)
def test_p3_kill_apply_at_random_moments(tmp_path: Path, objects: int, kills: int) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with world(tmp_path) as at:
        client: Any = s3(at.aws.store)
        client.create_bucket(Bucket="world-box")
        at.aws.store.bulk(bucket="world-box", count=objects, size=1024)
        source_before = at.aws.store.digest()
        target_before = at.target.s3.digest()
        at.write(SITE)
        at.rehost("plan")
        killed = 0
        for threshold in sorted(dice.sample(range(1, objects - BATCH), kills)):
            killed += apply_until(at, max(threshold, writes(at) + 1))
        assert killed >= kills - 1, "the run ended before it could be killed often enough"
        at.rehost("apply", "--yes")
        at.rehost("verify", "--tier", "bytes")

        assert etags(at.target.s3) == etags(at.aws.store)
        again = puts(at) - objects
        print(f"{killed} kills, {again} writes repeated")
        assert 0 <= again <= killed * BATCH
        at.rehost("apply", "--yes")
        assert puts(at) == objects + again, "a further apply wrote something"

        at.rehost("rollback", "--purge-created", "--yes")
        assert at.target.s3.digest() == target_before
        assert at.aws.store.digest() == source_before
        seeding = {"CreateBucket"}
        assert {row["operation"] for row in at.aws.writes()} <= seeding, "the source was written to"
