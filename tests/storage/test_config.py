"""Bucket configuration: translated item by item, written in its order, never wider than it was."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.storage import t9
from tests.storage.ends import End, Ends, Move, fresh
from toolkit.apply import apply
from toolkit.cutover import cutover
from toolkit.errors import Conflict, CutoverError, VerifyError
from toolkit.journal import Journal
from toolkit.model import Abilities, Change, Finding, Json, Plan, Verdict, state
from toolkit.plan import plan_phase
from toolkit.rollback import rollback
from toolkit.runs import now, open_run
from toolkit.secrets import Credentials, Secret
from toolkit.storage import buckets
from toolkit.storage.config import items, policy
from toolkit.storage.config.normal import normal
from toolkit.storage.config.scene import Maps, Scene, Translated
from toolkit.storage.drivers.kinds import KINDS
from toolkit.storage.drivers.s3 import S3Driver
from toolkit.storage.identity.map import IdentityMap
from toolkit.verify import verify

PEOPLE = IdentityMap(users={"maria": "maria-at-ceph"}, ids={t9.CDN: "cdn"}, account=t9.ACCOUNT)
MARIA = Maps(people=IdentityMap(users={"maria": "maria-at-ceph"}))


def scene(
    config: dict[str, Json] | None = None,
    *,
    to: str = "ceph",
    source: str = "aws",
    name: str = "new",
    bucket: str = "old",
    more: tuple[str, ...] = (),
    maps: Maps | None = None,
) -> Scene:
    can = Abilities(to, frozenset(more), KINDS[to].abilities)
    return Scene(source, can, bucket, name, config or {}, maps or Maps(), owner="0wner", new_owner="rehost")


def say(entry: dict[str, Any], at: Scene | None = None) -> Translated:
    head = {"Sid": "S", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::old/*"}
    return policy.translate({"Version": "2012-10-17", "Statement": [{**head, **entry}]}, at or scene())


def rows(found: Translated) -> dict[str, str]:
    return {note.part: note.row for note in found.notes}


# -- policy: pure


def test_policy_resources_carry_the_new_name() -> None:
    found = say({"Resource": ["arn:aws-cn:s3:::old", "arn:aws:s3:::old/a/*", "arn:aws:s3:::other/*"]})
    (entry,) = found.value["Statement"]
    assert entry["Resource"] == ["arn:aws:s3:::new", "arn:aws:s3:::new/a/*"]
    assert rows(say({"Resource": "arn:aws:s3:::other/*"})) == {"policy": "policy", "policy/S": "policy-allow"}


def test_policy_principals() -> None:
    maps = Maps(people=PEOPLE)
    found = say({"Principal": {"AWS": [t9.MARIA, "arn:aws:iam::111122223333:role/app"]}}, scene(maps=maps))
    (entry,) = found.value["Statement"]
    assert entry["Principal"] == {"AWS": ["arn:aws:iam:::user/maria-at-ceph"]}
    assert rows(found)["policy/S/principals"] == "policy-principals"
    # An account is every user of a tenant at an RGW: never carried as it stands.
    for nobody in (f"arn:aws:iam::{t9.ACCOUNT}:root", t9.ACCOUNT, "arn:aws:iam::1:role/x"):
        assert say({"Principal": {"AWS": nobody}}, scene(maps=maps)).value is None
    owner = say({"Principal": {"CanonicalUser": "0wner"}})
    assert owner.value["Statement"][0]["Principal"] == {"AWS": ["arn:aws:iam:::user/rehost"]}
    oai = "arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E1"
    assert say({"Principal": {"AWS": oai}}).value is None
    mapped = say({"Principal": {"AWS": oai}}, scene(maps=Maps(people=IdentityMap(ids={oai: "cdn"}))))
    assert mapped.value["Statement"][0]["Principal"] == {"AWS": ["arn:aws:iam:::user/cdn"]}


def test_policy_service() -> None:
    entry = {
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Condition": {"StringEquals": {"AWS:SourceArn": t9.CDN}},
    }
    found = say(entry, scene(maps=Maps(people=PEOPLE)))
    (said,) = found.value["Statement"]
    assert said["Principal"] == {"AWS": ["arn:aws:iam:::user/cdn"]}
    assert "Condition" not in said
    assert rows(found)["policy/S/service"] == "policy-service"
    assert say(entry).value is None


def test_policy_username() -> None:
    home = {"Action": "s3:*", "Resource": "arn:aws:s3:::old/home/${aws:username}/*"}
    people = IdentityMap(users={"maria": "maria-at-ceph", "joe": "joe"})
    found = say(home, scene(maps=Maps(people=people)))
    said = {entry["Principal"]["AWS"][0]: entry["Resource"] for entry in found.value["Statement"]}
    assert said == {
        "arn:aws:iam:::user/maria-at-ceph": ["arn:aws:s3:::new/home/maria/*"],
        "arn:aws:iam:::user/joe": ["arn:aws:s3:::new/home/joe/*"],
    }
    assert rows(found)["policy/S/username"] == "policy-username"
    only = say({**home, "Principal": {"AWS": t9.MARIA}}, scene(maps=Maps(people=people)))
    assert [entry["Principal"]["AWS"] for entry in only.value["Statement"]] == [["arn:aws:iam:::user/maria-at-ceph"]]
    assert say(home).value is None
    assert (
        say({"Resource": "arn:aws:s3:::old/${aws:PrincipalTag/team}/*"}, scene(maps=Maps(people=people))).value is None
    )
    assert say(home, scene(to="aws")).value["Statement"][0]["Resource"] == ["arn:aws:s3:::new/home/${aws:username}/*"]


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"aws:SourceVpce": "vpce-1"}},
        {"StringEqualsIfExists": {"aws:SourceVpce": "vpce-1"}},
        {"Null": {"aws:PrincipalOrgID": "true"}},
        {"ForAnyValue:StringEquals": {"aws:UserAgent": "x"}},
        {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::x"}},
        {"Bool": {"aws:SecureTransport": "false"}},
        {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
    ],
)
def test_policy_never_wider(condition: dict[str, Any]) -> None:
    assert say({"Condition": condition}).value is None
    kept = {"Sid": "Open", "Effect": "Allow", "Principal": "*", "Action": "s3:Get*", "Resource": "arn:aws:s3:::old/a/*"}
    apart = {**kept, "Sid": "Apart", "Resource": "arn:aws:s3:::old/b/*"}
    deny = {**kept, "Sid": "Shut", "Effect": "Deny", "Action": "s3:GetObject", "Condition": condition}
    found = policy.translate({"Version": "2012-10-17", "Statement": [kept, apart, deny]}, scene())
    if condition == {"Bool": {"aws:SecureTransport": "false"}}:
        assert len(found.value["Statement"]) == 3
        return
    assert [entry["Sid"] for entry in found.value["Statement"]] == ["Apart"]
    assert rows(found) == {"policy": "policy", "policy/Open": "policy-allow", "policy/Shut": "policy-deny"}


def test_policy_keeps_what_an_rgw_evaluates() -> None:
    condition = {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}, "StringLikeIfExists": {"aws:UserAgent": ["x*"]}}
    (entry,) = say({"Condition": condition}).value["Statement"]
    assert entry["Condition"] == condition
    assert say({"NotPrincipal": {"AWS": t9.MARIA}}).value is None


def test_policy_secure_transport() -> None:
    found = say({"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}})
    assert found.value["Statement"][0]["Condition"] == {"BoolIfExists": {"aws:SecureTransport": ["false"]}}
    assert found.stage == "last"  # a Deny may shut out the copy itself
    assert rows(found)["policy/S/SecureTransport"] == "policy-secure-transport"


def test_policy_actions() -> None:
    found = say({"Action": ["s3:GetObject", "s3:GetObjectAttributes"]})
    assert found.value["Statement"][0]["Action"] == ["s3:GetObject"]
    assert rows(found)["policy/S/actions"] == "policy-actions"
    assert say({"Action": "s3:GetObjectAttributes"}).value is None
    assert say({"Action": "s3:*"}).value["Statement"][0]["Action"] == ["s3:*"]


@pytest.mark.parametrize("gone", ["Action", "Resource", "Principal"])
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
@pytest.mark.parametrize("to", ["ceph", "aws"])
def test_policy_with_a_hole_in_it_is_left_out(gone: str, effect: str, to: str) -> None:
    entry = {"Effect": effect, "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::old/*"}
    del entry[gone]
    found = policy.translate({"Version": "2012-10-17", "Statement": entry}, scene(to=to))
    assert found.value is None
    assert rows(found)["policy/1"] == f"policy-{effect.lower()}"
    assert say({"Principal": "arn:aws:iam::1:user/x"}, scene(to=to)).value is None


def test_policy_that_the_source_made_void_stays_void() -> None:
    shut = scene({"public-access-block": t9.PAB})
    assert say({}, shut).value is None
    assert say({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, shut).value is not None
    assert say({}).value is not None


# -- the other items: pure


def one(item: str, raw: Any, at: Scene | None = None) -> Translated:
    at = at or scene()
    value = normal(item, raw)
    return next(
        found for found in items.translate(replace(at, config={**at.config, item: value})) if found.item == item
    )


def test_lifecycle_never_gets_broader() -> None:
    large = {
        "ID": "large",
        "Status": "Enabled",
        "Filter": {"ObjectSizeGreaterThan": 1 << 30},
        "Expiration": {"Days": 1},
    }
    old = {
        "ID": "old",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 5},
    }
    found = one("lifecycle", [large, old])
    assert found.value is None
    assert {"lifecycle-rule", "lifecycle-newer"} <= set(rows(found).values()) | {note.row for note in found.notes}
    assert len(one("lifecycle", [large, old], scene(to="aws")).value) == 2


def test_lifecycle_classes() -> None:
    rule = t9.LIFECYCLE[1]
    assert one("lifecycle", [rule]).value is None
    mapped = one("lifecycle", [rule], scene(more=("class:COLD",), maps=Maps(classes={"GLACIER_IR": "COLD"})))
    assert mapped.value[0]["Transitions"] == [{"Days": 30, "StorageClass": "COLD"}]
    assert mapped.stage == "last"
    assert mapped.until is None


def test_encryption() -> None:
    plain = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]}
    assert (one("encryption", plain).value, rows(one("encryption", plain))) == (None, {"encryption": "encryption"})
    able = one("encryption", plain, scene(more=("encryption",)))
    assert able.value == {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}


def test_logging() -> None:
    value = {"TargetBucket": "logs", "TargetPrefix": "a/", "TargetGrants": []}
    assert one("logging", value).value is None
    assert one("logging", value, scene(to="aws")).value == {"TargetBucket": "logs", "TargetPrefix": "a/"}


def test_provider_only_items() -> None:
    assert one("accelerate", "Enabled").value is None
    assert one("accelerate", "Enabled", scene(to="aws")).value == "Enabled"
    rules = {"Role": "arn:aws:iam::1:role/r", "Rules": [{"ID": "r", "Status": "Enabled"}]}
    for to in ("ceph", "aws"):
        assert one("replication", rules, scene(to=to)).value is None


def test_bucket_tags() -> None:
    found = one(
        "bucket-tags", [{"Key": "team", "Value": "web"}, {"Key": "aws:cloudformation:stack-name", "Value": "s"}]
    )
    assert found.value == [{"Key": "team", "Value": "web"}]
    assert rows(found)["bucket-tags/aws"] == "bucket-tags-of-provider"


def test_website_host() -> None:
    found = one("website", t9.WEBSITE, scene(bucket="www.agora.example", name="pages"))
    assert rows(found)["website/host"] == "website-host"
    assert "website/host" not in rows(
        one("website", t9.WEBSITE, scene(bucket="www.agora.example", name="www.agora.example"))
    )


def test_notification_to_a_mapped_topic() -> None:
    topic = "arn:aws:sns:default::uploads"
    events = ["s3:ObjectCreated:*", "s3:ObjectRestore:Completed"]
    value = {"QueueConfigurations": [{"Id": "q", "QueueArn": "arn:aws:sqs:us-east-1:1:q", "Events": events}]}
    found = one("notification", value, scene(maps=Maps(topics={"arn:aws:sqs:us-east-1:1:q": topic})))
    assert found.value == {"TopicConfigurations": [{"Id": "q", "TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]}
    assert rows(found)["notification/q/events"] == "notification-events"
    assert found.stage == "last"


ALL_USERS = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"}
LOGS = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/s3/LogDelivery"}


def grants(*given: tuple[dict[str, str], str]) -> dict[str, Any]:
    own = ({"Type": "CanonicalUser", "ID": "0wner"}, "FULL_CONTROL")
    told = [{"Grantee": who, "Permission": permission} for who, permission in (own, *given)]
    return {"Owner": {"ID": "0wner"}, "Grants": told}


def test_acl() -> None:
    maps = Maps(people=IdentityMap(ids={"c4n0n1cal": "maria"}))
    friend, stranger = ({"Type": "CanonicalUser", "ID": name} for name in ("c4n0n1cal", "nobody"))
    raw = grants((ALL_USERS, "READ"), (friend, "WRITE"), (stranger, "READ"), (LOGS, "WRITE"))
    found = one("acl", raw, scene(maps=maps))
    assert found.value == [["id:maria", "WRITE"], ["uri:http://acs.amazonaws.com/groups/global/AllUsers", "READ"]]
    assert sorted(note.row for note in found.notes) == ["acl", "acl-grantee", "acl-grantee"]


def test_acl_without_effect() -> None:
    raw = grants((ALL_USERS, "READ"))
    enforced = scene({"ownership": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}})
    assert (one("acl", raw, enforced).value, rows(one("acl", raw, enforced))) == (None, {"acl": "acl-off"})
    ignored = one("acl", raw, scene({"public-access-block": {**t9.PAB, "BlockPublicAcls": False}}))
    assert ignored.value is None
    assert rows(ignored)["acl/AllUsers/READ"] == "acl-ignored"


def test_a_poor_target_gets_nothing_it_cannot_hold() -> None:
    whole: dict[str, Json] = {
        "policy": normal("policy", json.dumps(t9.policy("old"))),
        "cors": normal("cors", t9.CORS),
        "lifecycle": normal("lifecycle", t9.LIFECYCLE),
        "website": t9.WEBSITE,
        "bucket-tags": [{"Key": "a", "Value": "b"}],
        "acl": normal("acl", grants((ALL_USERS, "READ"))),
        "public-access-block": t9.PAB,
        "object-lock": {"ObjectLockEnabled": "Enabled"},
    }
    found = list(items.translate(scene(whole, to="s3")))
    assert {one.item for one in found} == set(whole)
    assert [one.item for one in found if one.value is not None] == []
    assert all(one.notes for one in found)


def test_every_spelling_of_a_filter_is_one() -> None:
    spellings: list[dict[str, Any]] = [
        {"Prefix": "a"},
        {"Filter": {"Prefix": "a"}},
        {"Filter": {"And": {"Prefix": "a"}}},
    ]
    rules = [{"ID": "x", "Status": "Enabled", "Expiration": {"Days": 1}, **how} for how in spellings]
    assert len({json.dumps(normal("lifecycle", [rule]), sort_keys=True) for rule in rules}) == 1


# -- on stores


def verdicts(move: Move) -> list[Verdict]:
    wanted = state([replace(next(iter(move.desired().values())), body={"name": move.bucket, "versioning": "off"})])
    family = move.family
    abilities = family.probe("target")
    (resource,) = wanted.values()
    return list(family.assess(replace(resource, facts={"to": {"name": move.target_bucket}}), abilities))


def report(move: Move) -> dict[str, Verdict]:
    found = verdicts(move)
    assert len({verdict.feature for verdict in found}) == len(found)
    return {verdict.feature: verdict for verdict in found}


@pytest.fixture(params=["mock", pytest.param("rgw", marks=pytest.mark.lab)])
def ends(request: pytest.FixtureRequest, mocked: Ends) -> Ends:
    """AWS (mocked) to a store that plays Ceph, and to a real RGW."""
    if request.param == "mock":
        return mocked
    return Ends(mocked.source, request.getfixturevalue("rgw"))


@pytest.fixture
def configured(ends: Ends, run: Path) -> Move:
    """The bucket of T9 at the source."""
    name = fresh("t9")
    ends.source.client.create_bucket(Bucket=name)
    t9.configure(ends.source.client, name)
    return Move(ends, run, name, to=fresh("t9to"), maps=MARIA)


def test_t9_report(configured: Move) -> None:
    found = report(configured)
    assert {name: verdict.outcome for name, verdict in found.items()} == {
        name: outcome for name, (outcome, _) in t9.REPORT.items()
    }
    for name, (_, text) in t9.REPORT.items():
        assert text in found[name].reason, found[name]
    assert all(verdict.instead for verdict in found.values() if verdict.outcome == "degraded")
    configured.maps = Maps()
    nobody = {name: verdict.outcome for name, verdict in report(configured).items()}
    assert (nobody["policy/Inbox"], nobody["policy/Home"]) == ("degraded", "degraded")


def test_t9_written(configured: Move) -> None:
    source, target = (end.client for end in (configured.ends.source, configured.ends.target))
    before = t9.seen(source, configured.bucket)
    first = configured.apply()
    assert [change.id for change in configured.plan()] == []  # P4
    early = t9.seen(target, configured.target_bucket)
    assert early["lifecycle"] is None
    assert early["public-access-block"] == {**t9.PAB, "BlockPublicAcls": False, "BlockPublicPolicy": False}
    assert early["policy"] == t9.target_policy(configured.target_bucket)
    findings, tally = configured.verify("meta")
    assert (tally.total, tally.verified) == (4, 4)
    assert {finding.severity for finding in findings if "/config/" in finding.address} == {"info"}
    last = [
        change for change in configured.family.cutover("traffic", configured.desired()) if "/config/" in change.address
    ]
    assert [change.address.rpartition("/")[2] for change in last] == ["public-access-block", "lifecycle"]
    for change in last:
        assert Change.from_json(change.to_json()) == change
        assert configured.family.observe(change) == "before"
        configured.do(change)
        assert configured.family.observe(change) == "after"
    after = t9.seen(target, configured.target_bucket)
    assert after == {
        "keys": before["keys"],  # nothing expired
        "policy": t9.target_policy(configured.target_bucket),
        "lifecycle": {
            "expire": {"Expiration": {"Days": 1}},
            "uploads": {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
        },
        "cors": t9.CORS,
        "website": t9.WEBSITE,
        "public-access-block": t9.PAB,
        "notification": None,
    }
    assert [finding for finding in configured.verify("meta")[0] if finding.severity == "error"] == []
    assert t9.seen(source, configured.bucket) == before  # P1
    assert configured.plan() == []  # and planning again changes nothing back
    again = [change for change in first if "/config/" in change.address]
    assert {configured.family.observe(change) for change in again} == {"after"}  # applying the old plan is harmless
    configured.undo(last, purge=False)
    assert t9.seen(target, configured.target_bucket) == early


def test_t9_expiry_waits_for_a_clean_verify(mocked: Ends, run: Path) -> None:
    """The whole way by the stages: no expiry rule reaches the target while anything differs."""
    name = fresh("t9")
    mocked.source.client.create_bucket(Bucket=name)
    t9.configure(mocked.source.client, name)
    move = Move(mocked, run, name, to=fresh("t9to"), maps=MARIA)
    target, to = mocked.target.client, move.target_bucket
    families = {"storage": move.family}
    opened = open_run(run, "t9")
    desired = move.desired()
    first = Plan("t9", opened.id, now(), tuple(move.plan()), (), desired=tuple(desired.values()))
    with Journal(opened.journal) as journal:
        apply(first, families, journal)
        target.put_object(Bucket=to, Key="index.html", Body=b"somebody else's")
        traffic = plan_phase("traffic", first, families, opened)
        with pytest.raises((VerifyError, CutoverError)):
            cutover("traffic", traffic, families, journal)
        assert t9.seen(target, to)["lifecycle"] is None
        target.put_object(Bucket=to, Key="index.html", Body=b"index.html")
        cutover("traffic", traffic, families, journal)
        written = t9.seen(target, to)
        assert set(written["lifecycle"]) == {"expire", "uploads"}
        assert written["keys"] == t9.seen(mocked.source.client, name)["keys"]
        assert verify(desired, families).clean
        rollback(journal, families, to="applied")
        assert t9.seen(target, to)["lifecycle"] is None
        rollback(journal, families)
        back = t9.seen(target, to)
        assert (back["policy"], back["cors"], back["website"], back["keys"]) == (None, None, None, written["keys"])


@pytest.fixture(params=["mock", pytest.param("rgw", marks=pytest.mark.lab)])
def back(request: pytest.FixtureRequest, mocked: Ends) -> Ends:
    """A store that plays Ceph, or a real RGW, to AWS (mocked)."""
    return Ends(mocked.target if request.param == "mock" else request.getfixturevalue("rgw"), mocked.source)


def test_back_to_aws(back: Ends, run: Path) -> None:
    name, client = fresh("t9b"), back.source.client
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="a", Body=b"a")
    client.put_bucket_acl(Bucket=name, ACL="public-read")
    maria, nobody = "arn:aws:iam:::user/maria", "arn:aws:iam:::user/nobody"
    said = [
        {
            "Sid": "A",
            "Effect": "Allow",
            "Principal": {"AWS": [maria, nobody]},
            "Action": ["s3:PutObject"],
            "Resource": [f"arn:aws:s3:::{name}/*"],
        },
        {
            "Sid": "B",
            "Effect": "Allow",
            "Principal": {"AWS": [nobody]},
            "Action": ["s3:PutObject"],
            "Resource": [f"arn:aws:s3:::{name}/*"],
        },
        {
            "Sid": "C",
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{name}/*"],
        },
    ]
    client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": said}))
    client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": t9.CORS})
    client.put_bucket_website(Bucket=name, WebsiteConfiguration=t9.WEBSITE)
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": t9.LIFECYCLE})
    at_aws = f"arn:aws:iam::{t9.ACCOUNT}:user/maria"
    move = Move(back, run, name, to=fresh("t9a"), maps=Maps(people=IdentityMap(ids={maria: at_aws})))
    found = {feature: verdict.outcome for feature, verdict in report(move).items()}
    found.pop("object-acl-unseen")
    assert found == {
        "objects": "kept",
        "metadata": "kept",
        "multipart": "kept",
        "tags": "kept",
        "ownership": "converted",
        "public-access-block": "converted",
        "cors": "kept",
        "website": "kept",
        "acl": "converted",
        "policy": "converted",
        "policy/A/principals": "degraded",
        "policy/B": "degraded",
        "lifecycle": "converted",
    }
    move.apply()
    for change in move.family.cutover("traffic", move.desired()):
        move.do(change)
    assert [finding for finding in move.verify("meta")[0] if finding.severity == "error"] == []
    seen = t9.seen(back.target.client, move.target_bucket)
    first = {**said[0], "Principal": {"AWS": [at_aws]}, "Resource": [f"arn:aws:s3:::{move.target_bucket}/*"]}
    assert [entry["Sid"] for entry in seen["policy"]["Statement"]] == ["A", "C"]
    assert seen["policy"]["Statement"][0] == first
    assert set(seen["lifecycle"]) == {"expire", "archive", "uploads"}
    assert seen["lifecycle"]["archive"] == {"Transitions": [{"Days": 30, "StorageClass": "GLACIER_IR"}]}
    assert (seen["cors"], seen["website"], seen["keys"]) == (t9.CORS, t9.WEBSITE, ["a"])
    owned = back.target.client.get_bucket_ownership_controls(Bucket=move.target_bucket)["OwnershipControls"]
    assert owned == {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    granted = back.target.client.get_bucket_acl(Bucket=move.target_bucket)["Grants"]
    assert [grant["Permission"] for grant in granted if grant["Grantee"].get("URI", "").endswith("AllUsers")] == [
        "READ"
    ]


def test_object_lock(ends: Ends, run: Path) -> None:
    name, client = fresh("lock"), ends.source.client
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=lock)
    move = Move(ends, run, name, to=fresh("lockto"))
    verdict = report(move)["object-lock"]
    assert (verdict.outcome, "GOVERNANCE 1 days" in verdict.reason) == ("kept", True)
    move.apply()

    def held() -> Any:
        answer = ends.target.client.get_object_lock_configuration(Bucket=move.target_bucket)
        return normal("object-lock", answer["ObjectLockConfiguration"])

    assert held() == {"ObjectLockEnabled": "Enabled"}
    last = [change for change in move.family.cutover("traffic", move.desired()) if "/config/" in change.address]
    for change in last:
        move.do(change)
    assert held() == lock
    move.undo(last, purge=False)
    assert held() == {"ObjectLockEnabled": "Enabled"}


def test_drift_on_either_side_is_told(ends: Ends, run: Path) -> None:
    name, client = fresh("drift"), ends.source.client
    client.create_bucket(Bucket=name)
    client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": t9.CORS})
    move = Move(ends, run, name, to=fresh("driftto"))
    move.apply()
    desired = move.desired()

    def found() -> list[tuple[str, str]]:
        seen = move.family.verify(desired, "list")
        return [(item.address.rpartition("/")[2], item.verdict) for item in seen if isinstance(item, Finding)]

    assert found() == []
    ends.target.client.delete_bucket_cors(Bucket=move.target_bucket)
    assert found() == [("cors", "missing")]
    assert [change.id for change in move.plan()] == [f"build:create:storage/config/{name}/cors"]
    move.apply()
    client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": t9.CORS[1:]})
    client.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert sorted(found()) == [("bucket-tags", "different"), ("cors", "different")]


def test_what_stood_there_before_comes_back(ends: Ends, run: Path) -> None:
    name, to = fresh("before"), fresh("beforeto")
    ends.source.client.create_bucket(Bucket=name)
    ends.source.client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": t9.CORS})
    ends.target.client.create_bucket(Bucket=to)
    ends.target.client.put_bucket_cors(Bucket=to, CORSConfiguration={"CORSRules": t9.CORS[1:]})
    move = Move(ends, run, name, to=to)
    (change,) = move.apply()
    assert (change.action, change.before is not None) == ("update", True)
    assert t9.seen(ends.target.client, to)["cors"] == t9.CORS
    ends.target.client.put_bucket_cors(Bucket=to, CORSConfiguration={"CORSRules": t9.CORS[:1]})
    assert move.family.observe(change) == "other"
    with pytest.raises(Conflict):
        move.undo([change], purge=False)
    move.do(change)
    move.undo([change], purge=False)
    assert t9.seen(ends.target.client, to)["cors"] == t9.CORS[1:]


def test_writes_are_made_again_until_they_hold(mocked: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """RGW 16 answers 2xx to configuration that it then does not hold."""
    name = fresh("lost")
    mocked.target.client.create_bucket(Bucket=name)
    driver = S3Driver(
        kind="ceph",
        endpoint=mocked.target.endpoint,
        region="us-east-1",
        credentials=Credentials("keys", Secret(mocked.target.key), Secret(mocked.target.secret)),
    )
    client, lost = driver._client(), []
    real = client.put_bucket_cors

    def loses(**arguments: Any) -> Any:
        if len(lost) < 2:
            return lost.append(arguments)
        return real(**arguments)

    monkeypatch.setattr(client, "put_bucket_cors", loses)
    driver.ex_config_write(name, "cors", normal("cors", t9.CORS))
    assert len(lost) == 2
    assert t9.seen(mocked.target.client, name)["cors"] == t9.CORS


def test_names(mocked: Ends, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = fresh("names")
    mocked.source.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)

    def judged(to: str, **more: Any) -> dict[str, str]:
        move = Move(mocked, run, name, to=to)
        return {feature: verdict.outcome for feature, verdict in report(move).items()}

    for wrong in ("Upper", "under_score", "ab", "a..b", "10.0.0.1", "x" * 64, "-a-b"):
        assert judged(wrong)["name-invalid"] == "blocked", wrong
    assert not {feature for feature in judged(fresh("to")) if "name" in feature or "limit" in feature}
    assert judged(fresh("to"))["space"] == "converted"
    plain = fresh("plain")
    mocked.target.client.create_bucket(Bucket=plain)
    assert judged(plain)["lock-too-late"] == "blocked"
    monkeypatch.setattr(buckets, "LIMITS", {"ceph": 1})
    assert judged(fresh("to"))["bucket-limit"] == "degraded"
    plane = mocked.target.driver.ex_data_plane()
    monkeypatch.setattr(
        mocked.target.driver, "ex_data_plane", lambda region="": replace(plane, endpoint="https://s3.x")
    )
    assert judged(f"www.{fresh()}.example")["name-dots"] == "degraded"


@pytest.mark.lab
def test_what_an_rgw_evaluates(rgw: End) -> None:
    """The facts about Ceph on which translations rest, asked of a real gateway without credentials."""
    name, client = fresh("rules"), rgw.client
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="k", Body=b"x")
    allow = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{name}/*"],
    }

    def answer(*said: dict[str, Any]) -> int:
        client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": said}))
        try:
            return urllib.request.urlopen(f"{rgw.endpoint}/{name}/k").status  # type: ignore[no-any-return]
        except urllib.error.HTTPError as exc:
            return exc.code

    def deny(**condition: Any) -> dict[str, Any]:
        return {**allow, "Effect": "Deny", "Condition": condition}

    assert answer(allow) == 200
    assert answer({**allow, "Condition": {"IpAddress": {"aws:SourceIp": ["192.0.2.0/24"]}}}) == 403
    # Why Bool becomes BoolIfExists: nothing is encrypted here, yet only the second one denies it.
    assert answer(allow, deny(Bool={"aws:SecureTransport": ["false"]})) == 200
    assert answer(allow, deny(BoolIfExists={"aws:SecureTransport": ["false"]})) == 403
    # Why an unknown key is never sent: it opens what it should limit, and denies nobody.
    assert answer({**allow, "Condition": {"StringEqualsIfExists": {"aws:SourceVpce": ["vpce-1"]}}}) == 200
    assert answer(allow, deny(StringNotEquals={"aws:SourceVpce": ["vpce-1"]})) == 200
    # Why a void public statement is left out: RestrictPublicBuckets has no effect.
    client.put_public_access_block(
        Bucket=name,
        PublicAccessBlockConfiguration={**t9.PAB, "BlockPublicPolicy": False, "BlockPublicAcls": False},
    )
    assert answer(allow) == 200
    large = {"ID": "l", "Status": "Enabled", "Filter": {"ObjectSizeGreaterThan": 1 << 30}, "Expiration": {"Days": 1}}
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [large]})
    (stored,) = client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert normal("lifecycle", [stored]) == [{"ID": "l", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 1}}]


@pytest.fixture
def somebody(rgw: End) -> Iterator[End]:
    """Another user of the same gateway."""
    folder = Path(os.environ["REHOST_LAB_INFO"]).parent
    argv = ["radosgw-admin", "--conf", str(folder / "ceph" / "ceph.conf"), "-n", "client.rgw.a", "user"]
    name = fresh("user")
    made = subprocess.run([*argv, "create", "--uid", name, "--display-name", name], capture_output=True, check=True)
    key = json.loads(made.stdout)["keys"][0]
    yield replace(rgw, key=key["access_key"], secret=key["secret_key"])
    subprocess.run([*argv, "rm", "--uid", name, "--purge-data"], capture_output=True, check=True)


@pytest.mark.lab
def test_names_of_somebody_else(mocked: Ends, rgw: End, somebody: End, run: Path) -> None:
    name = fresh("taken")
    somebody.client.create_bucket(Bucket=name)
    mocked.source.client.create_bucket(Bucket=name)
    found = report(Move(Ends(mocked.source, rgw), run, name, to=name))
    assert found["name-taken"].outcome == "blocked"
    assert "name-taken" not in report(Move(Ends(mocked.source, rgw), run, name, to=fresh("free")))
