"""The tiers of verify, each against planted damage: what must be found, and that an honest copy is clean."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.storage.ends import Ends, Move, fresh
from toolkit.cli.main import run as run_command
from toolkit.errors import UsageError
from toolkit.model import Finding
from toolkit.rehearsal.mockaws import Store
from toolkit.storage.engine import diff
from toolkit.storage.family import StorageFamily
from toolkit.tiers import Tier, parse


@pytest.fixture
def move(mocked: Ends, run: Path) -> Move:
    name = fresh()
    mocked.source.client.create_bucket(Bucket=name)
    return Move(mocked, run, name, to=fresh("to"))


def fill(move: Move, count: int) -> None:
    for number in range(count):
        move.ends.source.client.put_object(Bucket=move.bucket, Key=f"k{number:02d}", Body=b"body %02d" % number)


def report(move: Move) -> dict[str, str]:
    lines = diff.path_of(move.run, move.bucket).read_text("utf-8").splitlines()
    return {line[2:]: line[0] for line in lines}


def found(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.feature, finding.verdict) for finding in findings}


# -- tiers as they are typed


def test_tiers_as_typed() -> None:
    assert parse("list") == Tier("list")
    assert parse("bytes:3/10") == Tier("bytes", 3, 10)
    assert parse("bytes:3/10").whole == Tier("bytes")
    for wrong in ("", "byte", "bytes:0/3", "bytes:4/3", "bytes:1", "list:1/2", "bytes:1/0", "behavior"):
        with pytest.raises(UsageError):
            parse(wrong)


def test_slices_rotate_over_everything() -> None:
    names = [b"key-%d" % number for number in range(1000)]
    slices = [[name for name in names if Tier("bytes", part, 7).holds(name)] for part in range(1, 8)]
    assert sorted(name for part in slices for name in part) == sorted(names)
    assert all(80 < len(part) < 210 for part in slices)
    assert all(Tier("bytes").holds(name) for name in names)


# -- the five symbols


def test_five_symbols(move: Move, stores: tuple[Store, Store]) -> None:
    fill(move, 6)
    move.ends.source.client.put_object(Bucket=move.bucket, Key="new\nline", Body=b"x")
    move.apply()
    assert set(report_after(move, "list").values()) == {"="}
    target, bucket = move.ends.target.client, move.target_bucket
    target.delete_object(Bucket=bucket, Key="k01")
    target.put_object(Bucket=bucket, Key="k02", Body=b"BODY 02")
    target.put_object(Bucket=bucket, Key="added", Body=b"x")
    target.put_object(Bucket=bucket, Key="k04", Body=b"body 04", ContentType="text/other")
    listed = {"added": "-", "k00": "=", "k01": "+", "k02": "*", "k03": "=", "k04": "=", "k05": "=", "new%0Aline": "="}
    assert report_after(move, "list") == listed
    assert list(report(move)) == sorted(listed), "in the order of keys"
    assert report_after(move, "meta") == {**listed, "k04": "*"}
    stores[1].inject({"kind": "deny", "operation": "GetObject", "bucket": bucket, "prefix": "k05"})
    try:
        assert report_after(move, "bytes") == {**listed, "k04": "*", "k05": "!"}
    finally:
        stores[1].inject()
    assert diff.path_of(move.run, move.bucket).stat().st_mode & 0o077 == 0


def report_after(move: Move, tier: str) -> dict[str, str]:
    move.verify(tier)
    return report(move)


def test_one_line_a_key_however_many_versions(move: Move) -> None:
    source, target = move.ends.source.client, move.ends.target.client
    source.put_bucket_versioning(Bucket=move.bucket, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"1", b"2", b"3"):
        source.put_object(Bucket=move.bucket, Key="a", Body=body)
        source.put_object(Bucket=move.bucket, Key="b", Body=body)
    source.delete_object(Bucket=move.bucket, Key="b")
    move.apply()
    assert report_after(move, "bytes") == {"a": "=", "b": "="}
    # Swapped: the same two bodies in the other order.
    versions = target.list_object_versions(Bucket=move.target_bucket, Prefix="a")["Versions"]
    for item in versions:
        target.delete_object(Bucket=move.target_bucket, Key="a", VersionId=item["VersionId"])
    for body in (b"2", b"1", b"3"):
        target.put_object(Bucket=move.target_bucket, Key="a", Body=body)
    findings, tally = move.verify("list")
    assert {finding.verdict for finding in findings} == {"different"}
    assert (report(move), tally.total - tally.verified) == ({"a": "*", "b": "="}, 3)


# -- bytes that listings cannot see


def flip(stores: tuple[Store, Store], bucket: str, key: str) -> None:
    """Have the target deliver a flipped byte for one key, its ETag as before."""
    stores[1].inject({"kind": "flip", "operation": "GetObject", "bucket": bucket, "prefix": key})


def test_a_flipped_byte_is_found_by_reading_back(move: Move, stores: tuple[Store, Store]) -> None:
    fill(move, 4)
    move.apply()
    flip(stores, move.target_bucket, "k02")
    try:
        assert move.verify("list")[0] == move.verify("meta")[0] == []
        findings, tally = move.verify("bytes")
    finally:
        stores[1].inject()
    assert found(findings) == {("k02", "different")}
    assert (tally.total, tally.verified) == (4, 3)


def test_a_hit_in_a_slice_reads_everything(move: Move, stores: tuple[Store, Store]) -> None:
    fill(move, 20)
    move.apply()
    slices = {part: [k for k in range(20) if Tier("bytes", part, 3).holds(b"k%02d\0" % k)] for part in (1, 2, 3)}
    inside, outside = slices[1][0], slices[2][0]
    flips = [
        {"kind": "flip", "operation": "GetObject", "bucket": move.target_bucket, "prefix": f"k{number:02d}"}
        for number in (inside, outside)
    ]
    try:
        stores[1].inject(flips[1])
        before = reads(stores[1], move)
        findings, tally = move.verify("bytes:1/3")
        assert (findings, tally.verified) == ([], 20), "what is outside the slice is not read"
        assert reads(stores[1], move) - before == len(slices[1])
        stores[1].inject(*flips)
        findings, tally = move.verify("bytes:1/3")
    finally:
        stores[1].inject()
    assert found(findings) == {
        ("slice", "note"),
        (f"k{inside:02d}", "different"),
        (f"k{outside:02d}", "different"),
    }
    assert (tally.total, tally.verified) == (20, 18)


def reads(store: Store, move: Move) -> int:
    return len(store.calls(bucket=move.target_bucket, operation="GetObject"))


@pytest.mark.parametrize("damage", ["tag", "metadata", "cache-control", "redirect"])
def test_changed_headers_and_tags_are_found(move: Move, damage: str) -> None:
    dressed = {"Metadata": {"a": "b"}, "CacheControl": "no-store", "WebsiteRedirectLocation": "/x", "Tagging": "t=1"}
    move.ends.source.client.put_object(Bucket=move.bucket, Key="k", Body=b"x", **dressed)
    move.apply()
    assert move.verify("meta")[0] == []
    worse: dict[str, Any] = {
        "tag": {"Tagging": "t=2"},
        "metadata": {"Metadata": {"a": "c"}},
        "cache-control": {"CacheControl": "no-cache"},
        "redirect": {"WebsiteRedirectLocation": "/y"},
    }[damage]
    move.ends.target.client.put_object(Bucket=move.target_bucket, Key="k", Body=b"x", **{**dressed, **worse})
    findings, tally = move.verify("meta")
    assert (found(findings), tally.verified) == ({("k", "different")}, 0)


# -- behaviour


def public(move: Move) -> None:
    """Two objects that anybody may read and one that nobody may, CORS for one origin; on both sides."""
    source, target = move.ends.source.client, move.ends.target.client
    rules = [{"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["https://app.example"], "AllowedHeaders": ["*"]}]
    for key in ("open-1", "open-2", "shut"):
        source.put_object(Bucket=move.bucket, Key=key, Body=b"0123456789", CacheControl="max-age=60")
    move.apply()
    for client, bucket in ((source, move.bucket), (target, move.target_bucket)):
        client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
        for key in ("open-1", "open-2"):
            client.put_object_acl(Bucket=bucket, Key=key, ACL="public-read")


def test_an_honest_copy_behaves_alike(move: Move) -> None:
    public(move)
    findings, tally = move.verify("behaviour")
    assert found(findings) == set()
    assert (tally.total, tally.verified) == (3, 3)


def questions_of(findings: list[Finding]) -> set[tuple[str, str]]:
    told = [finding for finding in findings if "/config/" not in finding.address]
    return {tuple(finding.feature.split(":", 1)) for finding in told}  # type: ignore[misc]


def test_an_acl_that_was_closed_or_opened_is_found(move: Move) -> None:
    public(move)
    client, bucket = move.ends.target.client, move.target_bucket
    client.put_object_acl(Bucket=bucket, Key="open-2", ACL="private")
    client.put_object_acl(Bucket=bucket, Key="shut", ACL="public-read")
    assert {("open-2", "anonymous"), ("shut", "anonymous")} <= questions_of(move.verify("behaviour")[0])
    statuses = {
        finding.feature: (finding.evidence["source"]["status"], finding.evidence["target"]["status"])
        for finding in move.verify("behaviour")[0]
        if finding.feature.endswith(":anonymous")
    }
    assert statuses == {"open-2:anonymous": (200, 403), "shut:anonymous": (403, 200)}


@pytest.mark.parametrize("broken", ["gone", "other-origin"])
def test_broken_cors_is_found(move: Move, broken: str) -> None:
    public(move)
    client, bucket = move.ends.target.client, move.target_bucket
    if broken == "gone":
        client.delete_bucket_cors(Bucket=bucket)
    else:
        rules = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://other.example"]}]
        client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    asked = {question for _, question in questions_of(move.verify("behaviour")[0])}
    assert any(question.startswith("preflight GET https://app.example") for question in asked), asked


def test_every_question_is_compared(move: Move, stores: tuple[Store, Store]) -> None:
    public(move)
    stores[1].inject({"kind": "deny", "operation": "GetObject", "bucket": move.target_bucket, "prefix": "shut"})
    try:
        findings = move.verify("behaviour")[0]
    finally:
        stores[1].inject()
    told = questions_of(findings)
    ranges, conditions = ("first-byte", "last-bytes", "beyond"), ("none-match", "modified-since", "match-other")
    for question in ("presigned", *(f"range-{q}" for q in ranges), *(f"if-{q}" for q in conditions)):
        assert ("shut", question) in told
    assert ("shut", "anonymous") not in told, "refused on both sides"


def test_without_a_source_behaviour_is_unproven(move: Move) -> None:
    public(move)
    desired = move.desired()
    alone = StorageFamily(source=None, target=move.ends.target.driver, workspace=move.run, tick=move.ticks.append)
    findings = [item for item in alone.verify(desired, "behaviour") if isinstance(item, Finding)]
    assert [(item.feature, item.verdict) for item in findings] == [("behaviour", "unproven")]


def test_p7_no_presigned_url_is_written(move: Move) -> None:
    public(move)
    move.ends.target.client.put_object_acl(Bucket=move.target_bucket, Key="open-2", ACL="private")
    findings, _ = move.verify("behaviour")
    assert findings
    assert "X-Amz-Signature" not in json.dumps([finding.to_json() for finding in findings])
    assert not [path for path in move.run.rglob("*") if path.is_file() and b"X-Amz-Signature" in path.read_bytes()]


def test_the_verb_prints_the_symbols(
    move: Move, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(move, 3)
    lines = ["rehost: 1\nname: x\nmove: {storage: {from: old, to: new}}\nproviders:"]
    for word, end in (("old", move.ends.source), ("new", move.ends.target)):
        monkeypatch.setenv(f"{word}_key", end.key)
        monkeypatch.setenv(f"{word}_secret", end.secret)
        keys = f"{{key: 'env:{word}_key', secret: 'env:{word}_secret'}}"
        lines.append(f"  {word}: {{kind: {end.kind}, endpoint: '{end.endpoint}', credentials: {keys}}}")
    to = f"to: {{name: {move.target_bucket}}}"
    lines.append(f"buckets:\n  box: {{provider: old, name: {move.bucket}, versioning: 'off', {to}}}\n")
    (tmp_path / "site.yaml").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def rehost(*argv: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["rehost", *argv])
        with pytest.raises(SystemExit) as left:
            run_command()
        return left.value.code, capsys.readouterr().out

    try:
        assert rehost("plan")[0] == rehost("apply", "--yes")[0] == 0
        move.ends.target.client.delete_object(Bucket=move.target_bucket, Key="k01")
        code, told = rehost("verify", "--diff")
        assert (code, told.splitlines()[:3]) == (1, ["= k00", "+ k01", "= k02"])
        code, told = rehost("verify", "--json")
        assert [Path(path).name for path in json.loads(told)["diff"]] == ["box.txt"]
        assert rehost("verify", "--tier", "bytes:4/3")[0] == 2
    finally:
        signal.signal(signal.SIGTERM, before)
