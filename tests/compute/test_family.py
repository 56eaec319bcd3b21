"""The compute family: a whole account on moto moves to the embedded hypervisor, and can be taken back."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from toolkit.blobs import Blobs
from toolkit.compute.drivers.ec2 import LosslessEC2
from toolkit.compute.drivers.embedded import EmbeddedNodeDriver
from toolkit.compute.family import ComputeFamily
from toolkit.errors import ApplyError, Conflict, NotFound, Unreachable
from toolkit.families import OldSide, Progress
from toolkit.model import Change, Endpoint, Finding, NotSeen, Resource, Tally, state
from toolkit.secrets import Secret

from .contract import KEY
from .test_hypervisor import APP

USER_DATA = b"#!/bin/sh\n# \xff calls http://198.51.100.16/\n"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Move:
    """A family between two sides, with the payload store and what progress it told."""

    family: ComputeFamily
    blobs: Blobs
    told: list[Progress]
    source: Any
    target: Any

    def existing(self, desired: Mapping[str, Resource]) -> dict[str, Resource]:
        found = self.family.read("target", desired)
        return state(item for item in found if isinstance(item, Resource))

    def desired(self, resources: Mapping[str, Resource]) -> dict[str, Resource]:
        moved = {end.old: end for resource in resources.values() for end in self.family.endpoints(resource)}
        return state(found for r in resources.values() for found in self.family.translate(r, moved))

    def plan(self, resources: Mapping[str, Resource]) -> list[Change]:
        desired = self.desired(resources)
        return list(self.family.diff(desired, self.existing(desired)))

    def apply(self, changes: list[Change]) -> None:
        for change in changes:
            assert self.family.observe(change) == "before", change.id
            self.family.do(change, None)
            assert self.family.observe(change) == "after", change.id


@pytest.fixture
def move(ec2: LosslessEC2, embedded: EmbeddedNodeDriver, tmp_path: Path) -> Move:
    told: list[Progress] = []
    blobs = Blobs(tmp_path / "blobs")
    family = ComputeFamily(
        source=ec2,
        target=embedded,
        workspace=tmp_path,
        tick=told.append,
        blobs=blobs,
        source_kind="aws",
        target_kind="embedded",
        pool="127.0.0.0/29",
        patience=5.0,
    )
    return Move(family, blobs, told, ec2, embedded)


@pytest.fixture
def account(ec2: LosslessEC2, moto_url: str) -> dict[str, str]:
    """Two servers, two groups that refer to each other, a key pair, a load balancer."""
    keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    aws = boto3.client("ec2", endpoint_url=moto_url, **keys)
    elb = boto3.client("elbv2", endpoint_url=moto_url, **keys)
    aws.import_key_pair(KeyName="operations", PublicKeyMaterial=KEY.encode())
    web = aws.create_security_group(GroupName="web", Description="visitors")["GroupId"]
    data = aws.create_security_group(GroupName="data", Description="inside")["GroupId"]
    permission = {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080}
    aws.authorize_security_group_ingress(
        GroupId=web, IpPermissions=[{**permission, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )
    aws.authorize_security_group_ingress(
        GroupId=data, IpPermissions=[{**permission, "UserIdGroupPairs": [{"GroupId": web}]}]
    )
    found = {}
    for name, groups in (("web-1", [web]), ("data-1", [data])):
        instance = aws.run_instances(
            ImageId="ami-debian",
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            KeyName="operations",
            SecurityGroupIds=groups,
            UserData=USER_DATA,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}, {"Key": "team", "Value": "core"}]}
            ],
        )["Instances"][0]
        found[name] = instance["PrivateIpAddress"]
        found[f"{name}-id"] = instance["InstanceId"]
    eip = aws.allocate_address()
    aws.associate_address(AllocationId=eip["AllocationId"], InstanceId=found["web-1-id"])
    found["elastic"] = eip["PublicIp"]
    subnets = [subnet["SubnetId"] for subnet in aws.describe_subnets()["Subnets"][:2]]
    balancer = elb.create_load_balancer(Name="front", Subnets=subnets)["LoadBalancers"][0]
    vpc = aws.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = elb.create_target_group(Name="web", Protocol="HTTP", Port=8080, VpcId=vpc)["TargetGroups"][0]
    elb.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": found["web-1-id"]}])
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=8080,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}],
    )
    found["balancer"] = balancer["DNSName"]
    return found


def discovered(move: Move) -> dict[str, Resource]:
    return state(item for item in move.family.read("source", None) if isinstance(item, Resource))


def with_app(move: Move, resources: Mapping[str, Resource], **env: str) -> dict[str, Resource]:
    """Give web-1 the app that a person writes into the site definition."""
    app = {
        "argv": ["python3", "app.py"],
        "files": {"app.py": {"sha256": move.blobs.put(APP)}},
        "env": {"COLOUR": "blue", **env},
        "workdir": "/srv/app",
        "health": "/health",
        "port": free_port(),
    }
    web = resources["compute/server/web-1"]
    return {**resources, web.address: replace(web, body={**web.body, "app": app})}


def test_discovers_in_slugs(move: Move, account: dict[str, str]) -> None:
    found = discovered(move)
    assert sorted(found) == [
        "compute/firewall/data",
        "compute/firewall/web",
        "compute/keypair/operations",
        "compute/load_balancer/front",
        "compute/server/data-1",
        "compute/server/web-1",
    ]
    web = found["compute/server/web-1"].body
    assert (web["keypair"], web["firewalls"], web["tags"]) == ("operations", ["web"], {"team": "core"})
    assert web["user_data"] == {"sha256": hashlib.sha256(USER_DATA).hexdigest()}
    assert move.blobs.get(web["user_data"]["sha256"]) == USER_DATA
    rules = found["compute/firewall/data"].body["rules"]
    assert [rule["peers"] for rule in rules if rule["direction"] == "ingress"] == [["firewall:web"]]
    assert found["compute/load_balancer/front"].body["targets"] == ["web-1"]
    again = state(item for item in move.family.read("source", found) if isinstance(item, Resource))
    assert {where: item.body for where, item in again.items()} == {where: item.body for where, item in found.items()}


def test_moves_everything(move: Move, account: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_SECRET", "value-of-the-secret")
    resources = with_app(move, discovered(move), SECRET="env:STORE_SECRET")
    abilities = move.family.probe("target")
    outcomes = {v.id: v.outcome for r in resources.values() for v in move.family.assess(r, abilities)}
    assert "blocked" not in outcomes.values()
    assert outcomes["compute/server/web-1:user-data"] == "kept"
    assert outcomes["compute/load_balancer/front:load-balancer"] == "converted"
    changes = move.plan(resources)
    assert {change.action for change in changes} == {"create"}
    assert not [change for change in changes if "load_balancer" in change.address]
    web = next(change for change in changes if change.address == "compute/server/web-1")
    assert set(web.needs) == {"build:create:compute/keypair/operations", "build:create:compute/firewall/web"}
    move.apply(changes)
    desired = move.desired(resources)
    results = list(move.family.verify(desired, "list"))
    assert [item.id for item in results if isinstance(item, Finding)] == ["compute/server/data-1:run:unproven"]
    assert sorted((t.address, t.total, t.verified) for t in results if isinstance(t, Tally)) == [
        ("compute/server/data-1", 1, 1),
        ("compute/server/web-1", 1, 1),
    ]
    assert move.plan(resources) == []  # a second time nothing is left to do
    assert all(move.family.observe(change) == "after" for change in changes)
    done = move.family.run_at("target", desired["compute/server/web-1"], ["pwd"], b"", 30)
    assert done.out.endswith(b"/srv/app\n")
    assert any(told.address == "compute/server/web-1" for told in move.told)
    found = next(f for f in move.target.ex_read("server") if f.name == "web-1")
    assert found.user_data == USER_DATA
    assert "value-of-the-secret" not in str(found.body)


def test_endpoints_tie_old_to_new(move: Move, account: dict[str, str]) -> None:
    resources = discovered(move)
    found: dict[str, Endpoint] = {end.old: end for r in resources.values() for end in move.family.endpoints(r)}
    desired = move.desired(resources)
    web = tuple(desired["compute/server/web-1"].body["addresses"]["private"])
    data = tuple(desired["compute/server/data-1"].body["addresses"]["private"])
    assert {web[0], data[0]} == {"127.0.0.0", "127.0.0.1"}
    assert found[account["web-1"]].new == web
    assert found[account["elastic"]].new == web
    assert found[account["data-1"]].new == data
    assert found[account["balancer"]].new == web
    assert found[account["balancer"]].kind == "hostname"
    public_name = resources["compute/server/web-1"].facts["x-aws"]["public_dns"]
    assert found[public_name].new == web


def test_references_become_addresses(move: Move, account: dict[str, str]) -> None:
    resources = discovered(move)
    desired = move.desired(resources)
    peers = desired["compute/firewall/data"].facts["peers"]
    assert peers["web"]["addresses"] == desired["compute/server/web-1"].body["addresses"]["private"]


def test_interrupted_between_create_and_start(move: Move, account: dict[str, str]) -> None:
    resources = with_app(move, discovered(move))
    changes = move.plan(resources)
    web = next(change for change in changes if change.address == "compute/server/web-1")
    move.apply([change for change in changes if change is not web])
    assert web.after is not None
    move.target.ex_write_server(move.family._definition(web.after))  # and then the power fails
    assert move.family.observe(web) == "before"
    move.family.do(web, None)
    assert move.family.observe(web) == "after"
    assert len(move.target.list_nodes()) == 2


def test_a_changed_definition_is_an_update_that_keeps_the_disk(move: Move, account: dict[str, str]) -> None:
    resources = with_app(move, discovered(move))
    move.apply(move.plan(resources))
    desired = move.desired(resources)
    write = ["python3", "-c", "open('kept','w').write('x')"]
    move.family.run_at("target", desired["compute/server/web-1"], write, b"", 30)
    web = resources["compute/server/web-1"]
    changed = {**resources, web.address: replace(web, body={**web.body, "tags": {"team": "other"}})}
    [change] = move.plan(changed)
    assert (change.action, change.note) == ("update", "changes tags")
    move.apply([change])
    done = move.family.run_at("target", desired[web.address], ["cat", "kept"], b"", 30)
    assert (done.rc, done.out) == (0, b"x")
    move.family.undo(change, purge=False)
    assert move.family.observe(change) == "before"


def test_bare_undo_stops_and_keeps_and_purge_removes(move: Move, account: dict[str, str]) -> None:
    resources = with_app(move, discovered(move))
    changes = move.plan(resources)
    move.apply(changes)
    for change in reversed(changes):
        move.family.undo(change, purge=False)
    states = {found.name: found.facts["state"] for found in move.target.ex_read("server")}
    assert states == {"web-1": "shut off", "data-1": "defined, not run"}
    web = next(change for change in changes if change.address == "compute/server/web-1")
    assert move.family.observe(web) == "before"  # apply would start it again
    move.family.do(web, None)
    for change in reversed(changes):
        move.family.undo(change, purge=True)
        move.family.undo(change, purge=True)
    for kind in ("server", "firewall", "keypair"):
        assert list(move.target.ex_read(kind)) == []


def test_purge_leaves_what_somebody_changed(move: Move, account: dict[str, str]) -> None:
    resources = discovered(move)
    changes = move.plan(resources)
    move.apply(changes)
    firewall = next(change for change in changes if change.address == "compute/firewall/web")
    move.target.ex_write_firewall("compute/firewall/web", {"name": "web", "description": "", "rules": []}, {})
    assert move.family.observe(firewall) == "other"
    with pytest.raises(Conflict):
        move.family.undo(firewall, purge=True)
    assert "web" in {found.name for found in move.target.ex_read("firewall")}


def test_a_stranger_of_the_same_name_is_refused_at_plan(move: Move, account: dict[str, str]) -> None:
    body = {"name": "web", "description": "somebody's", "rules": []}
    move.target._call("PUT", "/firewalls/theirs", {"body": body, "provenance": {}})
    with pytest.raises(Conflict, match="another firewall named web"):
        move.plan(discovered(move))


def test_verify_finds_every_planted_fault(move: Move, account: dict[str, str]) -> None:
    resources = with_app(move, discovered(move))
    changes = move.plan(resources)
    move.apply(changes)
    desired = move.desired(resources)
    where = "compute/server/web-1"
    want = desired[where]

    def found(wanted: Resource) -> list[tuple[str, str]]:
        results = list(move.family.verify({where: wanted}, "list"))
        tally = next(item for item in results if isinstance(item, Tally))
        assert (tally.total, tally.verified) == (1, 0)
        return [(item.feature, item.verdict) for item in results if isinstance(item, Finding)]

    other = {"sha256": move.blobs.put(b"other")}
    assert found(replace(want, body={**want.body, "user_data": other})) == [("user_data", "different")]
    assert found(replace(want, body={**want.body, "size": {"vcpus": 8}})) == [("size", "different")]
    away = {"private": ["127.0.0.7"], "public": []}
    assert found(replace(want, body={**want.body, "addresses": away})) == [("addresses", "different")]
    assert found(replace(want, body={**want.body, "name": "nobody"}, address=where)) in (
        [("server", "missing")],
        [("name", "different")],
    )
    sick = {**want.body["app"], "health": "/connect/x/y/z"}
    ident = next(f for f in move.target.ex_read("server") if f.name == "web-1").id
    assert sick
    move.target.ex_stop(ident)
    assert found(want) == [("run", "different")]
    move.target.ex_remove("server", ident)
    assert found(want) == [("server", "missing")]


def test_an_app_that_ends_at_once_is_an_error_with_its_console(move: Move, account: dict[str, str]) -> None:
    resources = with_app(move, discovered(move))
    web = resources["compute/server/web-1"]
    app = {**web.body["app"], "argv": ["python3", "-c", "raise SystemExit('no such table')"]}
    changes = move.plan({**resources, web.address: replace(web, body={**web.body, "app": app})})
    bad = next(change for change in changes if change.address == "compute/server/web-1")
    move.apply([change for change in changes if change is not bad])
    with pytest.raises(ApplyError, match="no such table"):
        move.family.do(bad, None)


def test_dependence_names_the_trace_and_never_the_secret(
    move: Move, account: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_SECRET", "https://user:pa55@s3.us-east-1.amazonaws.com/")
    resources = with_app(move, discovered(move), STORE="env:STORE_SECRET", PLAIN="http://198.51.100.77/")
    changes = move.plan(resources)
    move.apply(changes)
    desired = move.desired(resources)
    url = f"http://{desired['compute/server/web-1'].body['addresses']['private'][0]}"
    port = resources["compute/server/web-1"].body["app"]["port"]
    code = f"import urllib.request as u;u.urlopen('{url}:{port}/connect/198.51.100.9/443')"
    move.family.run_at("target", desired["compute/server/web-1"], ["python3", "-c", code], b"", 30)
    old = OldSide("aws", ("amazonaws.com",), ("198.51.100.0/24",))
    results = list(move.family.dependence(desired, old))
    found = {(item.address, item.feature): item for item in results if isinstance(item, Finding)}
    web = "compute/server/web-1"
    assert found[web, "env/STORE"].severity == "error"
    assert found[web, "env/PLAIN"].evidence["traces"] == ["198.51.100.77"]
    assert found[web, "user-data"].severity == "warning"
    assert found[web, "connection/198.51.100.9:443"].verdict == "dependent"
    assert "pa55" not in "".join(item.text + str(item.evidence) for item in found.values())
    tally = next(item for item in results if isinstance(item, Tally) and item.address == web)
    assert tally.total - tally.verified == 3


def test_clean_definitions_are_clean(move: Move, account: dict[str, str]) -> None:
    resources = with_app(move, discovered(move))
    old = OldSide("aws", ("amazonaws.com",), ("192.0.2.0/24",))
    results = list(move.family.dependence(move.desired(resources), old))
    assert [item for item in results if isinstance(item, Finding)] == []


def test_the_source_may_be_gone(embedded: EmbeddedNodeDriver, tmp_path: Path) -> None:
    def family(gone_ok: bool) -> ComputeFamily:
        return ComputeFamily(
            source=EmbeddedNodeDriver("http://127.0.0.1:9", Secret("x")),
            target=embedded,
            workspace=tmp_path,
            tick=lambda _: None,
            blobs=Blobs(tmp_path / "blobs"),
            gone_ok=gone_ok,
        )

    assert [type(item) for item in family(True).read("source", None)] == [NotSeen]
    with pytest.raises(Unreachable):
        list(family(False).read("source", None))


@pytest.fixture
def back(ec2: LosslessEC2, embedded: EmbeddedNodeDriver, tmp_path: Path) -> Move:
    """The other direction: from the hypervisor to EC2."""
    blobs = Blobs(tmp_path / "blobs")
    family = ComputeFamily(
        source=embedded,
        target=ec2,
        workspace=tmp_path,
        tick=lambda _: None,
        blobs=blobs,
        source_kind="embedded",
        target_kind="aws",
    )
    return Move(family, blobs, [], embedded, ec2)


def test_the_way_back_to_ec2(back: Move) -> None:
    rule = {"direction": "ingress", "protocol": "tcp", "ports": [22, 22], "peers": ["firewall:web"], "description": ""}
    everything = {"direction": "egress", "protocol": "all", "ports": None, "peers": ["0.0.0.0/0"], "description": ""}
    back.source.ex_write_firewall(
        "compute/firewall/web", {"name": "web", "description": "w", "rules": [rule, everything]}, {}
    )
    back.source.ex_write_keypair(
        "compute/keypair/operations", {"name": "operations", "type": "ed25519", "public_key": KEY}
    )
    body = {
        "name": "web-1",
        "size": {"vcpus": 2, "memory_mib": 2000, "arch": "x86_64"},
        "image": {"name": "debian"},
        "keypair": "operations",
        "firewalls": ["web"],
        "disks": [],
        "addresses": {"private": ["10.0.0.5"], "public": []},
        "tags": {"team": "core"},
        "app": None,
    }
    from toolkit.compute.model import Definition

    back.source.ex_write_server(Definition("compute/server/web-1", body, USER_DATA, token="t"))
    resources = discovered(back)
    ends = [end for r in resources.values() for end in back.family.endpoints(r)]
    assert [(end.old, end.new) for end in ends] == [("10.0.0.5", ("@{compute/server/web-1:address}",))]
    changes = back.plan(resources)
    back.apply(changes)
    desired = back.desired(resources)
    assert desired["compute/server/web-1"].body["size"]["name"] == "t3.small"
    results = list(back.family.verify(desired, "list"))
    assert [item for item in results if isinstance(item, Finding)] == []
    [found] = back.target.ex_read("server")
    assert (found.user_data, found.body["keypair"]) == (USER_DATA, "operations")
    web = next(change for change in changes if change.address == "compute/server/web-1")
    outputs = back.family.do(web, None)  # again: the same one, and its address is known now
    assert outputs["id"] == found.id
    assert outputs["address"] in (*found.body["addresses"]["public"], *found.body["addresses"]["private"])
    assert back.plan(resources) == []
    for change in reversed(changes):
        back.family.undo(change, purge=True)
    assert list(back.target.ex_read("server")) == []
    assert list(back.target.ex_read("keypair")) == []


def test_running_where_nothing_is(move: Move) -> None:
    with pytest.raises(NotFound):
        move.family.run_at("target", Resource("compute/server/x", {"name": "x"}), ["true"], b"", 5)
