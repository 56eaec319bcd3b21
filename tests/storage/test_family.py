"""The storage family beside copying: reading, judging, names, cut-over, dependence, what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.storage.ends import Ends, Move, fresh
from toolkit.errors import AuthError, Refused, Unreachable
from toolkit.families import OldSide
from toolkit.model import Abilities, Change, Finding, NotSeen, Resource, Tally, state
from toolkit.rehearsal.mockaws import Store
from toolkit.secrets import Credentials, Secret
from toolkit.storage.drivers.s3 import S3Driver
from toolkit.storage.family import StorageFamily
from toolkit.verdicts import load


def family(ends: Ends, run: Path, **more: tuple[str, ...]) -> StorageFamily:
    return StorageFamily(
        source=ends.source.driver, target=ends.target.driver, workspace=run, tick=lambda progress: None, **more
    )


def bucket(ends: Ends) -> str:
    name = fresh()
    ends.source.client.create_bucket(Bucket=name)
    return name


def read(ends: Ends, run: Path, name: str) -> Resource:
    wanted = state([Resource(f"storage/bucket/{name}", {"name": name, "versioning": "off"})])
    (found,) = family(ends, run).read("source", wanted)
    assert isinstance(found, Resource)
    return found


# -- reading -------------------------------------------------------------------------------------


def test_read_everything(mocked: Ends, run: Path) -> None:
    name = bucket(mocked)
    mocked.source.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    found = state(item for item in family(mocked, run).read("source", None) if isinstance(item, Resource))
    mine = found[f"storage/bucket/{name}"]
    assert mine.body == {"name": name, "versioning": "enabled"}
    assert mine.id == name
    assert mine.facts["region"] == "us-east-1"
    json.dumps(mine.to_json())


def test_read_wanted_yields_only_what_is_there(mocked: Ends, run: Path) -> None:
    name = bucket(mocked)
    wanted = state(
        [
            Resource("storage/bucket/mine", {"name": name, "versioning": "off"}),
            Resource("storage/bucket/none", {"name": fresh(), "versioning": "off"}),
            Resource("storage/objects/mine", {"bucket": name, "versions": False}),
        ]
    )
    found = list(family(mocked, run).read("source", wanted))
    assert [item.address for item in found if isinstance(item, Resource)] == [
        "storage/bucket/mine",
        "storage/objects/mine",
    ]


def test_wrong_credentials_and_no_endpoint(mocked: Ends) -> None:
    wrong = Credentials("keys", Secret("AKIANOBODY"), Secret("nothing"))
    with pytest.raises(AuthError) as caught:
        list(S3Driver(kind="aws", endpoint=mocked.source.endpoint, credentials=wrong).iterate_containers())
    assert caught.value.remedy
    with pytest.raises(Unreachable):
        list(S3Driver(kind="s3", endpoint="http://127.0.0.1:1", credentials=wrong).iterate_containers())
    with pytest.raises(Refused):
        S3Driver(kind="s3", endpoint="ftp://x", credentials=wrong)


def test_bucket_of_somebody_else_is_not_seen(mocked: Ends, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = bucket(mocked)
    subject = family(mocked, run)
    driver = mocked.source.driver

    def denied(_name: str) -> dict[str, object]:
        raise AuthError("AccessDenied", "ask for it")

    monkeypatch.setattr(driver, "ex_read_bucket", denied)
    found = [item for item in subject.read("source", None) if isinstance(item, NotSeen)]
    assert f"storage/bucket/{name}" in {item.what for item in found}


# -- judging -------------------------------------------------------------------------------------


def outcomes(ends: Ends, run: Path, name: str, target: Abilities | None = None) -> dict[str, str]:
    subject = family(ends, run)
    found = subject.assess(read(ends, run, name), target or subject.probe("target"))
    return {verdict.feature: verdict.outcome for verdict in found}


def test_assess_plain_bucket_needs_no_acceptance(mocked: Ends, run: Path) -> None:
    found = outcomes(mocked, run, bucket(mocked))
    assert set(found.values()) <= {"kept", "converted"}
    assert {"objects", "metadata", "multipart", "tags"} <= set(found)


def test_assess_without_versions(mocked: Ends, run: Path) -> None:
    name = bucket(mocked)
    mocked.source.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    assert outcomes(mocked, run, name)["versioning"] == "kept"
    poor = Abilities("s3", frozenset({"metadata", "multipart", "tags"}))
    assert outcomes(mocked, run, name, poor)["versioning"] == "degraded"


def test_assess_versions_left_behind(mocked: Ends, run: Path) -> None:
    name = bucket(mocked)
    mocked.source.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    stale = Resource(f"storage/bucket/{name}", {"name": name, "versioning": "off"})
    subject = family(mocked, run)
    found = {verdict.feature: verdict.outcome for verdict in subject.assess(stale, subject.probe("target"))}
    assert found["versions-left-behind"] == "degraded"


def test_assess_without_tags(mocked: Ends, run: Path) -> None:
    assert outcomes(mocked, run, bucket(mocked), Abilities("s3", frozenset({"metadata"})))["tags"] == "degraded"


def test_assess_configuration(mocked: Ends, run: Path) -> None:
    name, client = bucket(mocked), mocked.source.client
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}
    client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": [rule]})
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
    client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    expiry = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [expiry]})
    client.put_bucket_website(Bucket=name, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}})
    client.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    kms = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k"}}
    client.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [kms]})
    found = outcomes(mocked, run, name)
    assert {feature for feature, outcome in found.items() if outcome == "degraded"} == {"encryption"}
    assert {"cors", "policy", "lifecycle", "website", "bucket-tags", "encryption"} <= set(found)


def test_assess_object_acl(mocked: Ends, run: Path) -> None:
    name, client = bucket(mocked), mocked.source.client
    client.put_object(Bucket=name, Key="a", Body=b"x")
    assert outcomes(mocked, run, name)["object-acl-unseen"] == "converted"
    client.put_object_acl(Bucket=name, Key="a", ACL="public-read")
    assert outcomes(mocked, run, name)["object-acl"] == "converted"
    config = {"object-acl": {"looked_at": 5, "granted": 2}}
    subject = Resource("storage/bucket/x", {"name": "x", "versioning": "off"}, facts={"config": config})
    alone = StorageFamily(source=None, target=None, workspace=run, tick=lambda progress: None)

    def outcome(subject: Resource, abilities: Abilities) -> str:
        return next(verdict.outcome for verdict in alone.assess(subject, abilities) if verdict.feature == "object-acl")

    able = Abilities("ceph", frozenset({"acl"}))
    assert outcome(subject, able) == "converted"
    assert outcome(subject, Abilities("s3")) == "degraded"
    assert outcome(replace(subject, facts={**subject.facts, "grants": "none"}), able) == "degraded"


def test_assess_storage_class(mocked: Ends, run: Path) -> None:
    name, client = bucket(mocked), mocked.source.client
    client.put_object(Bucket=name, Key="a", Body=b"x", StorageClass="STANDARD_IA")
    client.put_object(Bucket=name, Key="b", Body=b"x", StorageClass="DEEP_ARCHIVE")
    client.put_object(Bucket=name, Key="c", Body=b"x")
    found = outcomes(mocked, run, name)
    assert (found["storage-class"], found["archived"]) == ("converted", "degraded")


def test_assess_not_seen(mocked: Ends, run: Path) -> None:
    config = {"not_seen": ["policy", "cors"]}
    subject = Resource("storage/bucket/x", {"name": "x", "versioning": "off"}, facts={"config": config})
    alone = StorageFamily(source=None, target=None, workspace=run, tick=lambda progress: None)
    found = {verdict.feature: verdict for verdict in alone.assess(subject, Abilities("ceph"))}
    assert found["not-seen"].outcome == "degraded"
    assert "policy, cors" in found["not-seen"].reason


def test_every_feature_has_a_row() -> None:
    features = {row.feature for row in load("toolkit.storage")}
    from toolkit.storage.drivers.config import _ITEMS

    assert {item for item, _, _ in _ITEMS} <= features


# -- names ---------------------------------------------------------------------------------------


def test_translate_gives_bucket_and_objects(mocked: Ends, run: Path) -> None:
    subject = Resource(
        "storage/bucket/media", {"name": "old", "versioning": "suspended"}, "aws", "old", {"to": {"name": "new"}}
    )
    bucket_, objects = family(mocked, run).translate(subject, {})
    assert bucket_.body == {"name": "new", "versioning": "suspended"}
    assert objects.address == "storage/objects/media"
    assert objects.body == {"bucket": "new", "versions": True}
    assert objects.facts["source"] == "old"


def test_endpoints_name_every_old_spelling(mocked: Ends, run: Path) -> None:
    subject = family(mocked, run, source_hosts=("127.22.0.2", "s3.old.example"), target_addresses=("127.22.1.2",))
    resource_ = Resource("storage/bucket/m", {"name": "media", "versioning": "off"}, facts={"region": "eu-west-1"})
    found = {end.old: end for end in subject.endpoints(resource_)}
    assert {
        "media.s3.eu-west-1.amazonaws.com",
        "media.s3.amazonaws.com",
        "media.s3.dualstack.eu-west-1.amazonaws.com",
        "media.s3-website-eu-west-1.amazonaws.com",
        "media.s3-website.eu-west-1.amazonaws.com",
        "s3.eu-west-1.amazonaws.com",
        "s3.amazonaws.com",
        "s3.old.example",
        "media.s3.old.example",
        "127.22.0.2",
    } <= set(found)
    assert {end.new for end in found.values()} == {("127.22.1.2",)}
    assert found["127.22.0.2"].kind == "ipv4"
    assert found["s3.amazonaws.com"].kind == "hostname"


# -- cut-over, dependence, verify without a source ------------------------------------------------


def test_final_delta_is_a_change_of_the_traffic_phase(mocked: Ends, run: Path) -> None:
    name = bucket(mocked)
    mocked.source.client.put_object(Bucket=name, Key="a", Body=b"1")
    move = Move(mocked, run, name)
    move.apply()
    mocked.source.client.put_object(Bucket=name, Key="b", Body=b"written before the freeze")
    freeze, delta = move.family.cutover("traffic", move.desired())
    assert freeze.address == f"storage/freeze/{name}"
    assert (delta.phase, delta.action, delta.data) == ("traffic", "copy", True)
    assert move.family.observe(delta) == "before"
    move.do(delta)
    assert move.family.observe(delta) == "after"
    assert list(move.family.cutover("dns", move.desired())) == []
    assert Change.from_json(delta.to_json()) == delta


def test_dependence_names_objects_that_name_the_old_side(mocked: Ends, run: Path) -> None:
    name, client = bucket(mocked), mocked.source.client
    old = "https://media.s3.amazonaws.com/x.png"
    client.put_object(Bucket=name, Key="page", Body=f"<img src={old}>".encode(), ContentType="text/html")
    client.put_object(Bucket=name, Key="app.js", Body=b"fetch('/api')", ContentType="application/javascript")
    client.put_object(Bucket=name, Key="data.bin", Body=old.encode(), ContentType="application/octet-stream")
    client.put_object(Bucket=name, Key="photo.jpg", Body=old.encode(), ContentType="image/jpeg")
    move = Move(mocked, run, name)
    move.apply()
    found = list(move.family.dependence(move.desired(), OldSide("aws", suffixes=("amazonaws.com",))))
    assert [(item.feature, item.verdict) for item in found if isinstance(item, Finding)] == [("page", "dependent")]
    assert [item for item in found if isinstance(item, Tally)] == [Tally(f"storage/objects/{name}", 2, 1)]


def test_verify_without_a_source_uses_its_last_listing(mocked: Ends, run: Path) -> None:
    name = bucket(mocked)
    for number in range(3):
        mocked.source.client.put_object(Bucket=name, Key=f"k{number}", Body=b"x")
    move = Move(mocked, run, name, to=fresh("to"))
    move.apply()
    desired = move.desired()
    alone = StorageFamily(source=None, target=mocked.target.driver, workspace=run, tick=lambda progress: None)
    for tier in ("list", "meta", "bytes"):
        assert Tally(f"storage/objects/{name}", 3, 3, 3) in list(alone.verify(desired, tier))
    client = mocked.target.client
    client.put_object(Bucket=move.target_bucket, Key="k2", Body=b"y")  # same size, and no one to ask but the listing
    client.delete_object(Bucket=move.target_bucket, Key="k1")
    found = list(alone.verify(desired, "list"))
    assert [item.verdict for item in found if isinstance(item, Finding)] == ["missing", "different"]
    assert Tally(f"storage/objects/{name}", 3, 1, 1) in found


def test_verify_without_a_target_bucket_counts_all_as_lost(mocked: Ends, run: Path) -> None:
    name = bucket(mocked)
    mocked.source.client.put_object(Bucket=name, Key="a", Body=b"x")
    move = Move(mocked, run, name, to=fresh("to"))
    changes = move.apply()
    move.undo(changes, purge=True)
    found = list(move.family.verify(move.desired(), "list"))
    assert {item.verdict for item in found if isinstance(item, Finding)} == {"missing"}
    assert Tally(f"storage/objects/{name}", 1, 0) in found


def test_findings_are_bounded(mocked: Ends, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.storage.engine.check.MOST", 5)
    name = bucket(mocked)
    for number in range(12):
        mocked.source.client.put_object(Bucket=name, Key=f"k{number:02d}", Body=b"x")
    move = Move(mocked, run, name, to=fresh("to"))
    move.do(move.plan()[0])
    findings, tally = move.verify()
    assert len(findings) == 6
    assert "7 more" in findings[-1].text
    assert (tally.total, tally.verified) == (12, 0)


def test_p1_source_is_never_written(stores: tuple[Store, Store], mocked: Ends, run: Path) -> None:
    name = bucket(mocked)
    for number in range(5):
        mocked.source.client.put_object(Bucket=name, Key=f"k{number}", Body=b"x")
    before = len(stores[0].calls(class_="write", bucket=name))
    move = Move(mocked, run, name, to=fresh("to"))
    changes = move.apply()
    move.verify("bytes")
    move.undo(changes, purge=True)
    assert len(stores[0].calls(class_="write", bucket=name)) == before
    assert len(stores[0].calls(class_="read", bucket=name)) > 5


def test_p7_no_secret_in_the_run_folder(mocked: Ends, run: Path) -> None:
    name = bucket(mocked)
    mocked.source.client.put_object(Bucket=name, Key="a", Body=b"x")
    Move(mocked, run, name, to=fresh("to")).apply()
    secrets_ = [end.secret.encode() for end in (mocked.source, mocked.target)]
    files = [path for path in run.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files for secret in secrets_ if secret in path.read_bytes()]
    assert not [path for path in files if path.stat().st_mode & 0o077]


# -- memory --------------------------------------------------------------------------------------

_COPY = """
import re, sys
from dataclasses import replace
from pathlib import Path
from tests.storage.ends import End, Ends, Move
source, target, bucket, to, run = sys.argv[1:]
ends = [End(*text.split(" ")) for text in (source, target)]
move = Move(Ends(*ends), Path(run), bucket, to)
move.knobs = type(move.knobs)(in_flight=16)
move.apply()
findings, tally = move.verify()
assert not findings and tally.verified == tally.total, tally
# Not ru_maxrss: a child inherits that of the process that started it.
print(tally.total, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("few", "many"), [(1_000, 3_000), pytest.param(20_000, 60_000, marks=pytest.mark.accept)])
def test_p6_memory_does_not_grow_with_the_number_of_objects(
    stores: tuple[Store, Store], mocked: Ends, tmp_path: Path, few: int, many: int
) -> None:
    peaks = []
    ends = [f"{end.kind} {end.endpoint} {end.key} {end.secret}" for end in (mocked.source, mocked.target)]
    for count in (few, many):
        name = fresh()
        mocked.source.client.create_bucket(Bucket=name)
        stores[0].bulk(bucket=name, count=count, size=100)
        argv = [sys.executable, "-c", _COPY, *ends, name, fresh("to"), str(tmp_path / name)]
        (tmp_path / name).mkdir(mode=0o700)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        total, peak = done.stdout.split()
        assert int(total) == count
        peaks.append(int(peak))
    # The first thousands fill pages, shards and pools; from then on it is flat.
    assert peaks[1] < peaks[0] * 1.1, peaks
    assert peaks[1] < 250 * 1024, peaks
