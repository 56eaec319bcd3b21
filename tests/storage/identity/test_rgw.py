"""Identities on a real Ceph RGW: every answer as the source's policies say, and keys where they belong."""

from __future__ import annotations

import datetime
import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.storage.ends import End
from tests.storage.identity.conftest import Account, document, lab_keys
from toolkit.apply import apply
from toolkit.errors import Conflict, RehostError
from toolkit.families import Family
from toolkit.journal import Journal
from toolkit.model import Change, Finding, Resource, State, state
from toolkit.plan import plan
from toolkit.runs import note, open_run, save_findings, save_plan
from toolkit.site import Accept
from toolkit.storage.drivers.rgw_users import RgwUsers
from toolkit.storage.drivers.trial import S3Trial
from toolkit.storage.family import StorageFamily
from toolkit.storage.identity.family import Identities, Surroundings
from toolkit.storage.identity.policy import ARN, decide, statements
from toolkit.storage.identity.translate import RGW_ACTIONS
from toolkit.storage.joined import StorageParts
from toolkit.storage.texts import Texts
from toolkit.verify import verify

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def gateway(rgw: End) -> RgwUsers:
    if not os.environ.get("REHOST_LAB_S3_ADMIN_KEY"):
        pytest.skip("REHOST_LAB_S3_ADMIN_KEY names nobody who may make users")
    return RgwUsers(endpoint=rgw.endpoint, credentials=lab_keys("ADMIN_"), owner=rgw.driver.ex_owner)


@dataclass
class Moved:
    """A small account, moved: three buckets, and who may do what in them."""

    identities: Identities
    desired: State
    changes: list[Change]
    source: State
    buckets: Mapping[str, str]
    folder: Path


class World:
    """An account whose names nobody else in the lab uses."""

    def __init__(self, account: Account, gateway: RgwUsers, rgw: End, folder: Path) -> None:
        self.tag = uuid.uuid4().hex[:8]
        self.account, self.gateway, self.rgw, self.folder = account, gateway, rgw, folder
        self.buckets = {f"old-{name}-{self.tag}": f"new-{name}-{self.tag}" for name in ("media", "logs", "shared")}
        (folder / "run").mkdir()

    def name(self, name: str) -> str:
        return f"{name}-{self.tag}"

    def old(self, name: str) -> str:
        return f"{ARN}old-{name}-{self.tag}"

    def fill(self) -> None:
        """Write the account's users, groups, managed policies, a role; and the target's objects."""
        iam = self.account.client("iam")
        media, logs, shared = self.old("media"), self.old("logs"), self.old("shared")
        for user in ("reader", "writer", "admin", "nobody"):
            iam.create_user(UserName=self.name(user))
        reading = document(
            {"Effect": "Allow", "Action": ["s3:GetObject*", "s3:ListBucket"], "Resource": [media, f"{media}/*"]}
        )
        iam.put_user_policy(UserName=self.name("reader"), PolicyName="read", PolicyDocument=reading)
        iam.create_group(GroupName=self.name("writers"))
        iam.put_group_policy(
            GroupName=self.name("writers"),
            PolicyName="write",
            PolicyDocument=document(
                {
                    "Effect": "Allow",
                    "Action": ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"],
                    "Resource": f"{media}/*",
                },
                {"Effect": "Deny", "Action": "s3:*", "Resource": f"{media}/locked/*"},
                {"Effect": "Allow", "Action": "s3:*", "Resource": f"{shared}/home/${{aws:username}}/*"},
            ),
        )
        iam.add_user_to_group(GroupName=self.name("writers"), UserName=self.name("writer"))
        iam.create_policy(
            PolicyName=self.name("everything"),
            PolicyDocument=document(
                {"Effect": "Allow", "Action": "*", "Resource": "*"},
                {"Effect": "Deny", "Action": ["s3:PutObject", "s3:DeleteObject"], "Resource": f"{logs}/*"},
            ),
        )
        arn = next(
            p["Arn"] for p in iam.list_policies(Scope="Local")["Policies"] if p["PolicyName"] == self.name("everything")
        )
        iam.attach_user_policy(UserName=self.name("admin"), PolicyArn=arn)
        other = document({"Effect": "Allow", "Action": "s3:*", "Resource": f"{ARN}another-{self.tag}/*"})
        iam.put_user_policy(UserName=self.name("nobody"), PolicyName="elsewhere", PolicyDocument=other)
        trust = document({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"})
        iam.create_role(RoleName=self.name("web"), AssumeRolePolicyDocument=trust)
        iam.create_instance_profile(InstanceProfileName=self.name("web"))
        iam.add_role_to_instance_profile(InstanceProfileName=self.name("web"), RoleName=self.name("web"))
        logging = document(
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{logs}/web/*"},
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": logs,
                "Condition": {"StringLike": {"s3:prefix": "web/*"}},
            },
        )
        iam.put_role_policy(RoleName=self.name("web"), PolicyName="log", PolicyDocument=logging)
        for bucket in self.buckets.values():
            self.rgw.client.create_bucket(Bucket=bucket)
            for key in KEYS(self.tag):
                self.rgw.client.put_object(Bucket=bucket, Key=key, Body=b"x")

    def identities(self) -> Identities:
        around = Surroundings(self.buckets, self.folder / "run", self.folder, self.rgw.driver.ex_first_key)
        return Identities(
            source=self.account.directory, target=self.gateway, around=around, trial=S3Trial(self.rgw.endpoint)
        )

    def plan(self) -> tuple[Identities, State, State, list[Change]]:
        identities = self.identities()
        found = [item for item in identities.read("source", None) if isinstance(item, Resource)]
        mine = [
            Resource(
                item.address,
                item.body,
                item.provider,
                item.id,
                {**item.facts, "sink": f"file:keys/{item.body['name']}"},
            )
            for item in found
            if self.tag in str(item.body["name"])
        ]
        desired = state(made for item in mine for made in identities.translate(item, {}))
        existing = state(item for item in identities.read("target", desired) if isinstance(item, Resource))
        return identities, state(mine), desired, list(identities.diff(desired, existing))

    def apply(self) -> Moved:
        identities, source, desired, changes = self.plan()
        for change in changes:
            assert identities.observe(change) == "before", change.id
            identities.do(change, None)
            assert identities.observe(change) == "after", change.id
        return Moved(identities, desired, changes, source, self.buckets, self.folder)


def KEYS(tag: str) -> list[str]:  # noqa: N802 - a table that needs a name
    return ["k", "locked/k", f"home/writer-{tag}/k", f"home/reader-{tag}/k", "web/k"]


@pytest.fixture
def world(account: Account, gateway: RgwUsers, rgw: End, tmp_path: Path) -> Iterator[World]:
    yield from filled(World(account, gateway, rgw, tmp_path))


@pytest.fixture(scope="module")
def still(
    account: Account, gateway: RgwUsers, rgw: End, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Moved]]:
    """A world that is moved once, for tests that only look."""
    for made in filled(World(account, gateway, rgw, tmp_path_factory.mktemp("world"))):
        yield made, made.apply()


def filled(made: World) -> Iterator[World]:
    gateway = made.gateway
    made.fill()
    yield made
    for name in ("reader", "writer", "admin", "nobody"):
        forget(gateway, made.name(name))
    forget(gateway, f"role.{made.name('web')}")


def forget(gateway: RgwUsers, name: str) -> None:
    user = gateway.ex_user(name)
    if user is not None:
        for key in user.keys:
            gateway.ex_delete_key(name, key)
        gateway.ex_delete_user(name)


ACTIONS: dict[str, tuple[bool, Any]] = {
    "s3:ListBucket": (False, lambda s3, b, _k: s3.list_objects_v2(Bucket=b)),
    "s3:GetBucketLocation": (False, lambda s3, b, _k: s3.get_bucket_location(Bucket=b)),
    "s3:GetBucketVersioning": (False, lambda s3, b, _k: s3.get_bucket_versioning(Bucket=b)),
    "s3:GetObject": (True, lambda s3, b, k: s3.get_object(Bucket=b, Key=k)),
    "s3:GetObjectTagging": (True, lambda s3, b, k: s3.get_object_tagging(Bucket=b, Key=k)),
    "s3:PutObjectTagging": (True, lambda s3, b, k: s3.put_object_tagging(Bucket=b, Key=k, Tagging={"TagSet": []})),
    "s3:PutObject": (True, lambda s3, b, k: s3.put_object(Bucket=b, Key=k, Body=b"x")),
    "s3:DeleteObject": (True, lambda s3, b, k: s3.delete_object(Bucket=b, Key=k + "-not-there")),
}


def answered(ask: Any, s3: Any, bucket: str, key: str) -> str:
    try:
        ask(s3, bucket, key)
    except ClientError as exc:
        return {403: "deny"}.get(exc.response["ResponseMetadata"]["HTTPStatusCode"], str(exc))
    return "allow"


def keys_of(moved: Moved, name: str) -> tuple[str, str]:
    lines = dict(line.split("=", 1) for line in (moved.folder / "keys" / name).read_text().splitlines())
    return lines["AWS_ACCESS_KEY_ID"], lines["AWS_SECRET_ACCESS_KEY"]


def client(rgw: End, pair: tuple[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=rgw.endpoint,
        region_name="us-east-1",
        aws_access_key_id=pair[0],
        aws_secret_access_key=pair[1],
    )


def test_every_answer_is_as_the_policies_of_the_source_say(still: tuple[World, Moved], rgw: End) -> None:
    """Principal × action × bucket × key: predicted from the documents at the source, tried for real."""
    world, moved = still
    tried = {"allow": 0, "deny": 0}
    wrong = []
    for source in moved.source.values():
        name = str(source.body["name"])
        s3 = client(rgw, keys_of(moved, name))
        found = []
        for text in source.body["policies"].values():
            found += list(statements(json.loads(json.dumps(text).replace("${aws:username}", name))))
        for old, new in moved.buckets.items():
            for action, (of_object, ask) in ACTIONS.items():
                for key in KEYS(world.tag) if of_object else [""]:
                    said = decide(found, action, f"{ARN}{old}/{key}" if of_object else f"{ARN}{old}")
                    if said == "depends":
                        continue
                    answer = answered(ask, s3, new, key)
                    tried[said] += 1
                    if answer != said:
                        wrong.append((name, action, old, key, said, answer))
    assert wrong == []
    assert tried["allow"] > 100
    assert tried["deny"] > 200
    # What depends on a condition: the role may list below web/ and nowhere else.
    web = client(rgw, keys_of(moved, world.name("web")))
    logs = world.buckets[f"old-logs-{world.tag}"]
    assert web.list_objects_v2(Bucket=logs, Prefix="web/")["KeyCount"] == 1
    with pytest.raises(ClientError, match="AccessDenied"):
        web.list_objects_v2(Bucket=logs)
    print(f"matrix: {tried['allow']} allowed and {tried['deny']} denied answers as predicted")


def test_p4_applied_twice_changes_nothing_and_verify_tries_it(world: World) -> None:
    moved = world.apply()
    assert world.plan()[3] == []
    seen = [item for item in moved.identities.verify(moved.desired, "meta") if isinstance(item, Finding)]
    assert [item for item in seen if item.severity != "info"] == []
    assert len(seen) == 5
    assert all(item.evidence["tried"] > 10 for item in seen)
    # Planted: the gateway gives more than the source did.
    wide = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    world.gateway.ex_put_policy(world.name("reader"), "wide", wide)
    seen = [item for item in moved.identities.verify(moved.desired, "meta") if isinstance(item, Finding)]
    assert any(item.verdict == "extra" for item in seen)
    assert any("s3:PutObject" in item.feature and "let through" in item.text for item in seen)
    assert {change.action for change in world.plan()[3]} == {"update"}
    world.apply()
    assert world.gateway.ex_user(world.name("reader")).policies.keys() == {"read"}  # type: ignore[union-attr]


def test_p7_new_keys_go_to_the_sink_and_nowhere_else(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Planned, applied, verified with a journal; then the whole run folder and the log are searched."""
    identities, source, _, _ = world.plan()
    run = open_run(world.folder / "run", "site")
    stored = StorageFamily(source=None, target=world.rgw.driver, workspace=run.path, tick=lambda _: None)
    texts = Texts(target=world.rgw.driver, workspace=run.path, hosts=(), aws=True)
    families: dict[str, Family] = {"storage": StorageParts(stored, identities, texts)}
    accepts = [Accept("storage/identity/*", "a test", "the test", datetime.date(2999, 1, 1))]
    caplog.set_level(logging.INFO)  # what -v shows
    made = plan(source, families, run, accepts=accepts)
    assert {verdict.outcome for verdict in made.verdicts} == {"converted", "degraded"}
    save_plan(run, made)
    with Journal(run.journal) as journal:
        assert len(apply(made, families, journal).made) == 6
        found = verify(state(made.desired), families, tier="meta")
        assert found.clean, found.findings
        save_findings(run, found.findings)
        note(run, "verify", found.to_json())
        secrets = []
        for item in source.values():
            file = world.folder / "keys" / str(item.body["name"])
            assert file.stat().st_mode & 0o777 == 0o600
            secrets += file.read_text().replace("\n", "=").split("=")[1::2]
        assert len(set(secrets)) == 10
        everything = [path.read_bytes() for path in run.path.rglob("*") if path.is_file()]
        assert len(everything) >= 6
    for text in (*everything, caplog.text.encode()):
        assert not any(secret.encode() in text for secret in secrets)


def test_p3_killed_between_key_and_sink(world: World, gateway: RgwUsers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was made and never handed over is handed over, not forgotten."""
    identities, _, desired, changes = world.plan()
    change = next(c for c in changes if c.after and c.after.body["name"] == world.name("writer"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("toolkit.storage.identity.sink.deliver", killed)
        with pytest.raises(KeyboardInterrupt):
            identities.do(change, None)
    (orphan,) = gateway.ex_user(world.name("writer")).keys  # type: ignore[union-attr]
    assert identities.observe(change) == "before"
    identities.do(change, None)
    assert identities.observe(change) == "after"
    assert gateway.ex_user(world.name("writer")).keys == (orphan,)  # type: ignore[union-attr]
    assert f"AWS_ACCESS_KEY_ID={orphan}\n" in (world.folder / "keys" / world.name("writer")).read_text()
    assert desired


def test_undo_takes_away_what_we_made_and_nothing_else(world: World, gateway: RgwUsers) -> None:
    gateway.ex_create_user(world.name("nobody"), "somebody else's")
    identities, _, _, changes = world.plan()
    theirs = next(c for c in changes if c.after and c.after.body["name"] == world.name("nobody"))
    assert theirs.action == "update"
    with pytest.raises(Conflict, match="was there before"):
        identities.do(theirs, None)
    ours = [c for c in changes if c is not theirs]
    for change in ours:
        identities.do(change, None)
    for change in reversed(ours):
        identities.undo(change, purge=False)
        assert identities.observe(change) in ("before", "other")
    assert gateway.ex_user(world.name("writer")) is None
    assert gateway.ex_user(world.name("nobody")) is not None
    assert not (world.folder / "keys" / world.name("writer")).exists()


def test_what_the_gateway_does_otherwise(still: tuple[World, Moved], rgw: End) -> None:
    """Measured: users see only buckets they own, write objects of their own, and take no bucket names."""
    world, moved = still
    admin = client(rgw, keys_of(moved, world.name("admin")))
    assert admin.list_buckets()["Buckets"] == []
    with pytest.raises(ClientError, match="AccessDenied"):
        admin.create_bucket(Bucket=f"another-{world.tag}")
    writer = client(rgw, keys_of(moved, world.name("writer")))
    media = world.buckets[f"old-media-{world.tag}"]
    writer.put_object(Bucket=media, Key="theirs", Body=b"written by the app")
    # Only the policy of the bucket's owner lets the owner read what the app wrote.
    assert rgw.client.get_object(Bucket=media, Key="theirs")["Body"].read() == b"written by the app"


def test_the_table_of_actions_is_that_of_the_gateway(still: tuple[World, Moved], gateway: RgwUsers) -> None:
    """One action that the gateway does not know, and it refuses the whole policy."""
    name = still[0].name("nobody")
    resource = f"{ARN}x/*"
    every = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": list(RGW_ACTIONS), "Resource": resource}],
    }
    gateway.ex_put_policy(name, "every", every)
    assert gateway.ex_user(name).policies["every"] == every  # type: ignore[union-attr]
    unknown = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetEverything", "Resource": "*"}],
    }
    with pytest.raises(RehostError, match="MalformedPolicyDocument"):
        gateway.ex_put_policy(name, "unknown", unknown)
    gateway.ex_delete_policy(name, "every")


def test_wrong_administrator(rgw: End, gateway: RgwUsers) -> None:
    assert "user-policy" in gateway.ex_abilities()
    plain = RgwUsers(endpoint=rgw.endpoint, credentials=lab_keys(""), owner=rgw.driver.ex_owner)
    assert plain.ex_abilities() == frozenset()
    (unseen,) = plain.ex_identities()
    assert "AccessDenied" in getattr(unseen, "why", "")
