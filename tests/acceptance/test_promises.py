"""Promises that only the whole can keep: nothing exits 0 beside a loss, and verified means compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.world import World, s3, world

SITE = """
move: {storage: {from: aws, to: store}}
buckets:
  box: {provider: aws, name: world-box, versioning: "off"}
"""
OBJECTS = 12


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A bucket that was copied and verified, with traffic cut over: the next step is dns."""
    with world(tmp_path_factory.mktemp("world")) as at:
        client: Any = s3(at.aws.store)
        client.create_bucket(Bucket="world-box")
        for number in range(OBJECTS):
            client.put_object(Bucket="world-box", Key=f"{number}.txt", Body=b"%04d" % number)
        at.write(SITE)
        at.rehost("plan")
        at.rehost("apply", "--yes")
        at.rehost("verify")
        at.rehost("cutover", "traffic", "--yes")
        yield at


def tallied(at: World, *argv: str) -> dict[str, Any]:
    done = at.rehost("verify", *argv, "--json", code=1)
    return dict(json.loads(done.stdout)["totals"]["storage"])


def test_p5_nothing_exits_0_beside_a_loss(copied: World) -> None:
    target: Any = s3(copied.target.s3)
    target.delete_object(Bucket="world-box", Key="7.txt")
    totals = tallied(copied)
    assert (totals["total"], totals["verified"], totals["lost"]) == (OBJECTS, OBJECTS - 1, 1)
    gate = copied.rehost("cutover", "dns", "--yes", code=50)
    assert "7.txt" in gate.stderr
    copied.rehost("apply", "--yes")
    copied.rehost("verify")
    copied.rehost("cutover", "dns", "--yes")


def test_p10_an_object_of_the_right_size_and_other_content_is_not_verified(copied: World) -> None:
    target: Any = s3(copied.target.s3)
    target.put_object(Bucket="world-box", Key="3.txt", Body=b"xxxx")
    for tier in ("list", "meta", "bytes"):
        totals = tallied(copied, "--tier", tier)
        assert (totals["verified"], totals["lost"]) == (OBJECTS - 1, 1), tier
