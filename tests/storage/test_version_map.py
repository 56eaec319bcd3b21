"""The version map: from every version and delete marker of the source to its copy, as boto3 alone sees both."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.storage.ends import End, Ends, Killed, Move, Recording, fresh, histories, identities, listed
from toolkit.model import Change, Resource, state
from toolkit.storage.engine import versionmap
from toolkit.storage.model import Knobs

Told = tuple[str, bool, str, str]


@pytest.fixture(params=["to-ceph", "to-aws"])
def move(mocked: Ends, run: Path, request: pytest.FixtureRequest) -> Move:
    ends = mocked if request.param == "to-ceph" else Ends(mocked.target, mocked.source)
    name = fresh()
    ends.source.client.create_bucket(Bucket=name)
    return Move(ends, run, name, to=fresh("to"), knobs=Knobs(in_flight=4, batch_rows=5))


def versioning(move: Move, status: str) -> None:
    move.ends.source.client.put_bucket_versioning(Bucket=move.bucket, VersioningConfiguration={"Status": status})


def fill(move: Move) -> None:
    client = move.ends.source.client
    client.put_object(Bucket=move.bucket, Key="null-first", Body=b"before versioning")
    versioning(move, "Enabled")
    client.put_object(Bucket=move.bucket, Key="null-first", Body=b"after")
    for key in ("a//b", "a/b", "e\u0301\n", "k-v2016-01-01-000000"):
        for body in (b"same", b"other", b"", b"same", b""):
            if body:
                client.put_object(Bucket=move.bucket, Key=key, Body=body)
            else:
                client.delete_object(Bucket=move.bucket, Key=key)
    for number in range(20):
        client.put_object(Bucket=move.bucket, Key=f"n{number:02d}", Body=b"one of many")


def suspend(move: Move) -> None:
    """Put a null version on top of a history, which takes another round."""
    versioning(move, "Suspended")
    move.ends.source.client.put_object(Bucket=move.bucket, Key="a/b", Body=b"null last")


def of_kind(end: End, bucket: str, what: str) -> dict[str, list[str]]:
    """Return the version ids of each key, newest first as S3 lists them."""
    found = listed(end.client, "list_object_versions", what, bucket)
    return {key: [item["VersionId"] for item in items] for key, items in groupby(found, lambda item: item["Key"])}


def true_map(move: Move) -> list[Told]:
    """The n-th version of a key stands for the n-th version, the n-th marker for the n-th marker."""
    assert histories(move.ends.target, move.target_bucket) == histories(move.ends.source, move.bucket)
    told: list[Told] = []
    for what in ("Versions", "DeleteMarkers"):
        here, there = of_kind(move.ends.source, move.bucket, what), of_kind(move.ends.target, move.target_bucket, what)
        assert here.keys() == there.keys()
        for key, old in here.items():
            told += [(key, what == "DeleteMarkers", *ids) for ids in zip(old, there[key], strict=True)]
    return sorted(told)


def read_map(move: Move) -> list[Told]:
    rows = pq.read_table(versionmap.map_path(move.run, move.bucket)).to_pylist()
    keys = [row["key"] for row in rows]
    assert keys == sorted(keys)
    return [(row["key"].decode(), row["is_marker"], row["source_version"], row["target_version"]) for row in rows]


def copies(move: Move) -> list[Change]:
    return [change for change in move.plan() if change.action == "copy"]


@pytest.mark.parametrize("suspended", [False, True])
def test_the_map_leads_from_every_version_to_its_copy(move: Move, suspended: bool) -> None:
    fill(move)
    if suspended:
        suspend(move)
    changes = copies(move)
    move.do(move.plan()[0])
    assert len(changes) == (3 if suspended else 2)
    for change in changes:
        assert move.family.took(change) == "before"
        assert not versionmap.map_path(move.run, move.bucket).exists() or change is not changes[0]
        move.do(change)
        assert move.family.took(change) == "after"
    told = read_map(move)
    assert sorted(told) == true_map(move)
    assert sorted((key, marker, old) for key, marker, old, _ in told) == identities(move.ends.source, move.bucket)
    of_one = [marker for key, marker, _, _ in told if key == "a//b"]
    assert of_one == [False, False, True, False, True], "oldest first"
    assert not list((move.run / "version-map").glob(".*"))


def test_the_map_is_right_after_a_kill(move: Move) -> None:
    """Killed in the middle, and again between the last write and the word that it took."""
    fill(move)
    create, null_first, main = move.plan()
    move.do(create)
    move.do(null_first)
    shard = next(iter(move.family.bulk(main) or ()))
    with pytest.raises(Killed):
        move.family.do(main, Recording(shard, shard.start, die_at=2))
    assert not versionmap.map_path(move.run, move.bucket).exists()
    move.apply()
    # Run again, apply first looks at the target, and there is nothing left to do.
    assert [move.family.observe(change) for change in (null_first, main)] == ["after", "after"]
    assert sorted(read_map(move)) == true_map(move)


def test_a_bucket_without_versions_has_no_map(mocked: Ends, run: Path) -> None:
    name = fresh()
    mocked.source.client.create_bucket(Bucket=name)
    mocked.source.client.put_object(Bucket=name, Key="k", Body=b"x")
    move = Move(mocked, run, name, to=fresh("to"))
    for change in move.apply():
        assert move.family.observe(change) == "after"
    assert not (run / "version-map").exists()


@pytest.mark.parametrize(("loader", "outcome"), [(("AK", "sk"), "kept"), (None, "converted")])
def test_ids_are_kept_only_by_a_loader(mocked: Ends, run: Path, loader: tuple[str, str] | None, outcome: str) -> None:
    name, client = fresh(), mocked.source.client
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    family = Move(Ends(mocked.source, replace(mocked.target, loader=loader)), run, name).family
    wanted = state([Resource(f"storage/bucket/{name}", {"name": name, "versioning": "enabled"})])
    (bucket,) = (item for item in family.read("source", wanted) if isinstance(item, Resource))
    told = {verdict.feature: verdict.outcome for verdict in family.assess(bucket, family.probe("target"))}
    assert told["version-ids"] == outcome
