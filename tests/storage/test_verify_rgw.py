"""Behaviour of a mocked S3 and of a real Ceph RGW, asked side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.ends import End, Ends, Move, fresh
from tests.storage.test_verify_tiers import public, questions_of

pytestmark = pytest.mark.lab


@pytest.fixture
def move(mocked: Ends, rgw: End, run: Path) -> Move:
    name = fresh("behave")
    mocked.source.client.create_bucket(Bucket=name)
    return Move(Ends(mocked.source, rgw), run, name, to=fresh("behave-to"))


def test_an_honest_copy_behaves_alike(move: Move) -> None:
    public(move)
    findings, tally = move.verify("behaviour")
    told = "\n".join(f"{finding.feature} {dict(finding.evidence)}" for finding in findings)
    assert told == ""
    assert (tally.total, tally.verified) == (3, 3)


def test_damage_is_found(move: Move) -> None:
    public(move)
    client, bucket = move.ends.target.client, move.target_bucket
    client.put_object_acl(Bucket=bucket, Key="open-2", ACL="private")
    client.delete_bucket_cors(Bucket=bucket)
    told = questions_of(move.verify("behaviour")[0])
    assert ("open-2", "anonymous") in told
    assert any(question.startswith("preflight GET https://app.example") for _, question in told), told
