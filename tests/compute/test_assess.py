"""Every feature gets the verdict that the table promises."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit import verdicts
from toolkit.compute.assess import features
from toolkit.model import Abilities, Resource

ROWS = verdicts.load("toolkit.compute")
LIBVIRT = """keypair firewall firewall-enforced firewall-references user-data create tags any-size static-address app
app-env exec redefine empty-disks arch:x86_64"""
EMBEDDED = """keypair firewall firewall-references user-data create tags any-size any-image static-address app app-env
exec redefine empty-disks"""
AWS = "keypair firewall firewall-enforced firewall-references user-data create tags"


def able(kind: str, words: str) -> Abilities:
    return Abilities(kind, frozenset(words.split()))


TARGETS = {
    "libvirt": able("libvirt", LIBVIRT),
    "libvirt without filters": able("libvirt", "keypair firewall create user-data any-size"),
    "embedded": able("embedded", EMBEDDED),
    "aws": able("aws", AWS),
}


def server(extras: Any = None, **changes: Any) -> Resource:
    body = {
        "name": "web-1",
        "size": {"name": "t3.micro", "vcpus": 2, "memory_mib": 1024, "arch": "x86_64"},
        "image": {"name": "debian"},
        "user_data": None,
        "disks": [],
        "addresses": {"private": [], "public": []},
        "tags": {},
        "app": None,
        **changes,
    }
    return Resource("compute/server/web-1", body, facts={"x-aws": extras or {}})


def firewall(extras: Any = None, **rule: Any) -> Resource:
    whole = {"direction": "ingress", "protocol": "tcp", "ports": [1, 2], "peers": ["10.0.0.0/8"], **rule}
    return Resource("compute/firewall/web", {"name": "web", "rules": [whole]}, facts={"x-aws": extras or {}})


def balancer(extras: Any = None, **changes: Any) -> Resource:
    listener = {"port": 80, "protocol": "http", "to_port": 80}
    body = {"name": "front", "listeners": [listener], "targets": ["web-1"], **changes}
    return Resource("compute/load_balancer/front", body, facts={"x-aws": extras or {}})


APP = {"argv": ["python3", "app.py"], "env": {"KEY": "env:KEY"}}
DISKS = [{"device": "/dev/xvda", "gib": 8, "type": "gp3"}, {"device": "/dev/sdb", "gib": 20, "type": "gp3"}]
KEYLESS = Resource("compute/keypair/k", {"name": "k", "type": "rsa", "public_key": ""})
TLS = [{"port": 443, "protocol": "https", "to_port": 443}]
OTHER_PORT = [{"port": 80, "protocol": "http", "to_port": 8080}]

CASES: list[tuple[str, Resource, str, str]] = [
    ("libvirt", KEYLESS, "keypair-without-public-key", "blocked"),
    ("libvirt", firewall(), "firewall", "converted"),
    ("libvirt without filters", firewall(), "firewall", "degraded"),
    ("embedded", firewall(), "firewall", "converted"),
    ("aws", firewall(), "firewall", "kept"),
    ("libvirt", firewall(peers=["firewall:db"]), "firewall-reference", "converted"),
    ("aws", firewall(peers=["firewall:db"]), "firewall-reference", "kept"),
    ("libvirt", firewall(peers=["firewall:210987654321/sg-1"]), "firewall-other-account", "blocked"),
    ("libvirt", firewall(peers=["prefix-list:pl-1"]), "prefix-list-unread", "blocked"),
    ("libvirt", firewall({"prefix_lists": ["pl-1"]}), "prefix-list", "converted"),
    ("libvirt", firewall(protocol="47", ports=None), "firewall-protocol", "blocked"),
    ("aws", firewall(protocol="47", ports=None), "firewall-protocol", "kept"),
    ("embedded", firewall(protocol="47", ports=None), "firewall-protocol", "kept"),
    ("libvirt", firewall(peers=["::/0"]), "firewall-ipv6", "kept"),
    ("libvirt", server(), "server", "kept"),
    ("libvirt", server(), "size", "kept"),
    ("aws", server(), "size", "converted"),
    ("libvirt", server(size={"name": "x9.huge", "vcpus": None, "memory_mib": None}), "size-unknown", "blocked"),
    (
        "libvirt",
        server(size={"vcpus": 2, "memory_mib": 512, "arch": "arm64"}),
        "architecture-foreign",
        "blocked",
    ),
    ("libvirt", server(), "image", "converted"),
    ("embedded", server(), "image", "converted"),
    ("libvirt", server({"platform": "windows"}), "windows", "blocked"),
    ("libvirt", server(user_data={"sha256": "0" * 64}), "user-data", "kept"),
    ("libvirt", server(tags={"a": "b"}), "tags", "kept"),
    ("libvirt", server(disks=DISKS), "root-disk", "converted"),
    ("libvirt", server(disks=DISKS), "data-disk", "degraded"),
    ("aws", server(disks=DISKS), "data-disk", "degraded"),
    ("libvirt", server({"volumes": [{"iops": 6000, "throughput": 500}]}), "disk-performance", "degraded"),
    ("libvirt", server({"volumes": [{"iops": 100, "encrypted": True}]}), "disk-encryption", "degraded"),
    ("libvirt", server(addresses={"private": ["10.0.0.1"], "public": []}), "private-address", "converted"),
    ("libvirt", server(addresses={"private": [], "public": ["203.0.113.9"]}), "public-address", "converted"),
    ("libvirt", server(addresses={"private": [], "public": ["2001:db8::9"]}), "ipv6-address", "degraded"),
    ("libvirt", server({"elastic_ips": ["203.0.113.9"]}), "elastic-ip", "converted"),
    ("libvirt", server(app=APP), "app", "kept"),
    ("libvirt", server(app=APP), "app-env", "kept"),
    ("aws", server(app=APP), "app", "converted"),
    ("aws", server(app=APP), "app-env", "degraded"),
    ("libvirt", server({"instance_profile": "arn:x"}), "instance-profile", "degraded"),
    ("aws", server({"instance_profile": "arn:x"}), "instance-profile", "degraded"),
    ("libvirt", server({"instance_profile": "arn:x"}, app=APP), "instance-profile-replaced", "converted"),
    ("libvirt", server({"interfaces": [{}, {}]}), "several-interfaces", "degraded"),
    ("libvirt", server({"interfaces": [{"source_dest_check": False}]}), "forwarding", "degraded"),
    ("libvirt", server({"lifecycle": "spot"}), "spot", "converted"),
    ("libvirt", server({"group": "web"}), "auto-scaling", "degraded"),
    ("libvirt", server({"launch_template": "lt-1"}), "launch-template", "converted"),
    ("libvirt", balancer(), "load-balancer", "converted"),
    ("libvirt", balancer(targets=[]), "load-balancer-without-targets", "degraded"),
    ("libvirt", balancer(listeners=OTHER_PORT), "load-balancer-port", "degraded"),
    ("libvirt", balancer(listeners=TLS), "load-balancer-tls", "degraded"),
    ("libvirt", balancer(targets=["a", "b"]), "load-balancer-failover", "degraded"),
    ("libvirt", balancer({"rules": 3}), "load-balancer-rules", "degraded"),
]


@pytest.mark.parametrize(
    ("target", "resource", "feature", "outcome"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_verdict(target: str, resource: Resource, feature: str, outcome: str) -> None:
    found = dict(features(resource, TARGETS[target], None))
    assert feature in found
    made = verdicts.judge(ROWS, resource.address, feature, source="aws", target=TARGETS[target], detail=found[feature])
    assert (made.outcome, bool(made.reason)) == (outcome, True)
    if outcome in ("degraded", "blocked"):
        assert made.instead


def test_cloud_calls_in_user_data_are_named() -> None:
    data = b"#!/bin/sh\ncurl http://169.254.169.254/latest/ && aws s3 cp s3://x y\n"
    found = dict(features(server(user_data={"sha256": "0" * 64}), TARGETS["libvirt"], data))
    assert found["user-data-cloud-calls"] == "169.254.169.254, aws s3"
    for target, outcome in (("libvirt", "degraded"), ("aws", "kept")):
        made = verdicts.judge(ROWS, "a", "user-data-cloud-calls", source="aws", target=TARGETS[target])
        assert made.outcome == outcome


def test_what_is_not_used_is_not_named() -> None:
    assert {name for name, _ in features(server(), TARGETS["libvirt"], None)} == {"server", "size", "image"}


def test_no_guess_for_the_unknown() -> None:
    """A feature without a row is blocked: what nobody thought about is not moved in silence."""
    made = verdicts.judge(ROWS, "a", "hibernation", source="aws", target=TARGETS["libvirt"])
    assert made.outcome == "blocked"


def test_every_feature_has_a_row_for_every_target() -> None:
    named = {feature for _, _, feature, _ in CASES} | {"keypair", "user-data-cloud-calls"}
    assert {row.feature for row in ROWS} == named
