"""Identities without a gateway: reading IAM, verdicts, the way back to IAM, sinks."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.storage.identity.conftest import Account, document
from toolkit.blobs import Blobs
from toolkit.errors import ApplyError, Refused
from toolkit.model import Abilities, NotSeen, Resource, state
from toolkit.secrets import Secret
from toolkit.site import load
from toolkit.site_merge import merge
from toolkit.storage.drivers.iam import Iam
from toolkit.storage.identity import sink
from toolkit.storage.identity.family import Identities, Surroundings
from toolkit.storage.identity.protocol import Seen

CEPH = Abilities("ceph", frozenset({"user-policy"}))
BUCKETS = {"media": "media-new"}


class Gateway(Iam):
    """Users of a gateway as they are read: each may own buckets. Writing goes nowhere here."""

    kind = "ceph"

    def __init__(self, *seen: Seen) -> None:
        self._seen = seen

    def ex_identities(self) -> Iterator[Seen | NotSeen]:
        yield from self._seen


def identities(tmp_path: Path, source: Iam | None, target: Iam | None = None) -> Identities:
    return Identities(source=source, target=target, around=Surroundings(BUCKETS, tmp_path, tmp_path))


def fill(account: Account) -> None:
    iam = account.client("iam")
    s3 = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::media/*"}
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=document(s3))["Policy"]["Arn"]
    iam.create_user(UserName="plain")
    iam.put_user_policy(UserName="plain", PolicyName="ec2", PolicyDocument=document({**s3, "Action": "ec2:*"}))
    iam.create_user(UserName="human", Path="/people/")
    iam.create_group(GroupName="people")
    iam.attach_group_policy(GroupName="people", PolicyArn=boundary)
    iam.add_user_to_group(GroupName="people", UserName="human")
    iam.create_access_key(UserName="human")
    iam.create_login_profile(UserName="human", Password="not a secret of ours")
    trust = document({"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"})
    iam.create_role(RoleName="human", AssumeRolePolicyDocument=trust, PermissionsBoundary=boundary)
    iam.put_role_policy(RoleName="human", PolicyName="s3", PolicyDocument=document(s3))


@pytest.fixture(scope="module")
def filled(account: Account) -> Account:
    fill(account)
    return account


def read(filled: Account, tmp_path: Path) -> dict[str, Resource]:
    return state(
        item for item in identities(tmp_path, filled.directory).read("source", None) if isinstance(item, Resource)
    )


def test_iam_is_read_with_groups_managed_policies_and_roles(filled: Account, tmp_path: Path) -> None:
    found = read(filled, tmp_path)
    assert "plain" not in {item.body["name"] for item in found.values()}  # nothing in storage concerns it
    user, role = found["storage/identity/human"], found["storage/identity/human~2"]
    if user.body["kind"] == "role":
        user, role = role, user
    assert list(user.body["policies"]) == ["group.people.managed.boundary"]
    assert user.id.endswith(":user/people/human")
    assert user.facts == {"groups": ["people"], "keys": 1, "login": True}
    assert role.facts["trust"] == ["Service: lambda.amazonaws.com"]
    assert role.facts["boundary"].endswith(":policy/boundary")
    (own,) = (item for item in found.values() if item.body["kind"] == "account")
    assert own.body["own"] is True
    assert own.body["canonical_id"]


def test_discover_writes_identities_and_finds_them_again(filled: Account, tmp_path: Path) -> None:
    observed = [replace(item, provider="aws") for item in read(filled, tmp_path).values()]
    file, blobs = tmp_path / "site.yaml", Blobs(tmp_path / "blobs")
    providers = {"aws": {"kind": "aws", "regions": ["us-east-1"], "credentials": "aws-default"}}
    merge(file, observed, providers=providers, blobs=blobs, check=False)
    site = load(file)
    assert {addr: dict(item.body) for addr, item in site.resources().items()} == {
        item.address: dict(item.body) for item in observed
    }
    assert merge(file, observed, providers=providers, blobs=blobs, check=True).clean
    wanted = site.resources()
    again = state(
        item for item in identities(tmp_path, filled.directory).read("source", wanted) if isinstance(item, Resource)
    )
    assert again.keys() == wanted.keys()


def verdicts(resource: Resource, target: Abilities, tmp_path: Path) -> dict[str, str]:
    return {v.feature: v.outcome for v in identities(tmp_path, None).assess(resource, target)}


def test_what_becomes_of_identities(filled: Account, tmp_path: Path) -> None:
    found = read(filled, tmp_path)
    people = {str(item.body["kind"]): item for item in found.values()}
    assert verdicts(people["user"], CEPH, tmp_path) == {
        "identity-user": "converted",
        "identity-no-keys": "degraded",
        "identity-login": "degraded",
        "identity-policy": "converted",
    }
    with_sink = replace(people["role"], facts={**people["role"].facts, "sink": "file:x"})
    assert verdicts(with_sink, CEPH, tmp_path) == {
        "identity-role": "converted",
        "identity-trust": "degraded",
        "identity-keys": "converted",
        "identity-boundary": "blocked",
        "identity-policy": "converted",
    }
    assert verdicts(people["account"], CEPH, tmp_path) == {"identity-account": "converted"}
    stranger = Resource("storage/identity/x", {"kind": "account", "name": "1", "own": False})
    assert verdicts(stranger, CEPH, tmp_path) == {"identity-stranger": "degraded"}
    unseen = Resource(
        "storage/identity/x", {"kind": "user", "name": "x", "policies": {"managed.y": {}}}, facts={"subusers": 1}
    )
    said = verdicts(unseen, CEPH, tmp_path)
    assert said["identity-policy-unseen"] == "degraded"
    assert said["identity-subusers"] == "degraded"


@pytest.mark.parametrize("kind", ["user", "role"])
def test_a_store_without_user_policies(kind: str, tmp_path: Path) -> None:
    resource = Resource("storage/identity/x", {"kind": kind, "name": "x", "policies": {}})
    assert verdicts(resource, Abilities("ceph"), tmp_path)[f"identity-{kind}"] == "blocked"
    assert verdicts(resource, Abilities("s3"), tmp_path)[f"identity-{kind}"] == "blocked"


def test_policies_too_long_for_iam(tmp_path: Path) -> None:
    where = [f"arn:aws:s3:::media/{number:04}/*" for number in range(80)]
    text = json.loads(document({"Effect": "Allow", "Action": "s3:GetObject", "Resource": where}))
    resource = Resource("storage/identity/x", {"kind": "user", "name": "x", "policies": {"long": text}})
    target = Abilities("aws", frozenset({"user-policy"}))
    assert verdicts(resource, target, tmp_path)["identity-policy-size"] == "blocked"


def test_users_of_a_gateway_become_iam_users(account: Account, tmp_path: Path) -> None:
    """The other direction: what a user owned becomes a right, and the key goes to a program."""
    text = json.loads(document({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::media/a/*"]}))
    seen = Seen("user", "app", "rgw:user/app", {"read": text}, ("media", "not-moved"), "app")
    got = tmp_path / "got"
    move = identities(tmp_path, Gateway(seen), account.directory)
    (found,) = (item for item in move.read("source", None) if isinstance(item, Resource))
    program = f"import sys; open({str(got)!r}, 'w').write(sys.stdin.read())"
    found = replace(found, facts={"sink": f'cmd:{sys.executable} -c "{program}"'})
    target = Abilities("aws", frozenset({"user-policy"}))
    assert {v.outcome for v in move.assess(found, target)} == {"converted"}
    desired = state(move.translate(found, {}))
    changes = list(move.diff(desired, {}))
    for change in changes:
        assert move.observe(change) == "before"
        move.do(change, None)
        assert move.observe(change) == "after"
    iam = account.client("iam")
    stored = {n: iam.get_user_policy(UserName="app", PolicyName=n)["PolicyDocument"] for n in ("read", "owned-buckets")}
    assert stored["read"]["Statement"][0]["Resource"] == ["arn:aws:s3:::media-new/a/*"]
    assert stored["owned-buckets"]["Statement"][0]["Resource"] == ["arn:aws:s3:::media-new", "arn:aws:s3:::media-new/*"]
    (key,) = iam.list_access_keys(UserName="app")["AccessKeyMetadata"]
    assert f"AWS_ACCESS_KEY_ID={key['AccessKeyId']}\n" in got.read_text()
    existing = state(item for item in move.read("target", desired) if isinstance(item, Resource))
    assert list(move.diff(desired, existing)) == []
    secret = got.read_text().split("=")[-1].strip()
    assert len(secret) == 40
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path != got]
    assert kept
    assert not any(secret in path.read_text() or key["AccessKeyId"] in path.read_text() for path in kept)
    for change in reversed(changes):
        move.undo(change, purge=False)
        assert move.observe(change) == "before"


def test_sinks(tmp_path: Path) -> None:
    pair = Secret("AKID"), Secret("s3cr3t")
    sink.deliver("file:keys/app.env", *pair, tmp_path)
    file = tmp_path / "keys" / "app.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sink.fetch("file:keys/app.env", tmp_path) == pair
    sink.deliver("file:keys/app.env", Secret("NEW"), Secret("n3w"), tmp_path)  # ours: replaced
    sink.withdraw("file:keys/app.env", "AKID", tmp_path)
    assert file.exists()
    file.chmod(0o644)
    with pytest.raises(Refused, match="read by others"):
        sink.fetch("file:keys/app.env", tmp_path)
    file.chmod(0o600)
    sink.withdraw("file:keys/app.env", "NEW", tmp_path)
    assert not file.exists()
    file.write_text("DATABASE_PASSWORD=x\n")
    file.chmod(0o600)
    with pytest.raises(Refused, match="something else"):
        sink.deliver("file:keys/app.env", *pair, tmp_path)
    assert file.read_text() == "DATABASE_PASSWORD=x\n"
    for command in ("cmd:/no/such/program", "cmd:false"):
        with pytest.raises(ApplyError) as caught:
            sink.deliver(command, *pair, tmp_path)
        assert "s3cr3t" not in f"{caught.value} {caught.value.__cause__}"
