"""Every feature has a row, and the row says what really happens."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from toolkit import verdicts
from toolkit.dns.features import features
from toolkit.dns.model import rrset_address, zone_address
from toolkit.dns.rdata import PLAIN
from toolkit.model import Abilities, Json, Resource

ROWS = verdicts.load("toolkit.dns")
TYPES = frozenset(f"type:{name}" for name in PLAIN)
POWERDNS = Abilities("powerdns", TYPES | {"multi-value", "atomic", "own-nameservers", "apex-ns"})
AWS = Abilities("aws", TYPES | {"multi-value", "atomic", "alias", "routing", "any-owner-name"})
DUMMY = Abilities("libcloud", frozenset({"type:A"}))


def outcomes(resource: Resource, target: Abilities = POWERDNS, source: str = "aws") -> dict[str, str]:
    return {
        feature: verdicts.judge(ROWS, resource.address, feature, source=source, target=target, detail=detail).outcome
        for feature, detail in features(resource)
    }


def zone(**facts: Json) -> Resource:
    return Resource(zone_address("a"), {"name": "agora.example", "private": facts.pop("private", False)}, facts=facts)


def rrset(key: str, facts: dict[str, Json] | None = None, **body: Json) -> Resource:
    return Resource(rrset_address("a", key), body or {"ttl": 60, "values": ["192.0.2.1"]}, facts=facts or {})


def test_every_row_names_a_test_that_exists() -> None:
    root = Path(__file__).parents[2]
    for row in ROWS:
        path, *parts = row.test.split("::")
        tree: ast.AST = ast.parse((root / path).read_text())
        for part in parts:
            named = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            assert part in named, row.test
            tree = named[part]
        assert row.reason
        assert row.instead or row.outcome in ("kept", "converted"), row


@pytest.mark.parametrize("rdtype", PLAIN)
def test_plain_types_are_kept(rdtype: str) -> None:
    assert outcomes(rrset(f"www/{rdtype}", ttl=60, values=[]))[f"type-{rdtype}"] == "kept"


@pytest.mark.parametrize("rdtype", ["LUA", "ALIAS", "LOC", "DNSKEY"])
def test_a_type_without_a_row_is_blocked(rdtype: str) -> None:
    assert outcomes(rrset(f"www/{rdtype}", ttl=60, values=[]))[f"type-{rdtype}"] == "blocked"


def test_a_driver_that_does_not_list_a_type_is_refused() -> None:
    assert outcomes(rrset("www/A"), DUMMY)["type-A"] == "kept"
    assert outcomes(rrset("www/AAAA", ttl=60, values=["2001:db8::1"]), DUMMY)["type-AAAA"] == "blocked"


def test_private_zone_is_blocked() -> None:
    assert outcomes(zone(private=True)) == {"zone-private": "blocked"}


def test_signed_zone_is_degraded() -> None:
    assert outcomes(zone(dnssec="SIGNING"))["zone-dnssec"] == "degraded"
    assert outcomes(zone(dnssec=True), AWS, "powerdns")["zone-dnssec"] == "degraded"


def test_linked_service_is_blocked() -> None:
    assert outcomes(zone(linked_service={"ServicePrincipal": "servicediscovery"}))["zone-linked-service"] == "blocked"


def test_notes_stay_in_the_definition() -> None:
    assert outcomes(zone(comment="main", tags={"a": "b"})) == {"zone": "kept", "zone-notes": "converted"}
    assert outcomes(rrset("www/A", {"comments": ["x"]}))["record-comments"] == "converted"


def test_alias_by_target() -> None:
    resource = rrset("@/A", alias={"name": "x.elb.amazonaws.com.", "zone_id": "Z", "evaluate_health": True})
    assert outcomes(resource) == {"type-A": "kept", "alias": "converted"}
    assert outcomes(resource, AWS)["alias"] == "kept"


@pytest.mark.parametrize(
    "routing",
    [
        {"weight": 10},
        {"region": "us-east-1"},
        {"geo": {"CountryCode": "*"}},
        {"failover": "PRIMARY", "health_check": "id"},
        {"multivalue": True},
        {"cidr": {"CollectionId": "x"}},
        {"geoproximity": {"Bias": 1}},
        {"traffic_policy": "id"},
    ],
)
def test_routing_by_target(routing: dict[str, Json]) -> None:
    resource = rrset("www/A#one", ttl=60, values=["192.0.2.1"], routing=routing)
    found = {feature: outcome for feature, outcome in outcomes(resource).items() if feature.startswith("routing-")}
    assert len(found) == len(routing)
    assert set(found.values()) == {"blocked"}
    if "traffic_policy" not in routing:
        same = outcomes(resource, AWS)
        assert {same[feature] for feature in found} == {"kept"}


def test_a_routing_word_nobody_thought_of_is_blocked() -> None:
    resource = rrset("www/A#one", ttl=60, values=["192.0.2.1"], routing={"moon_phase": "full"})
    assert outcomes(resource, AWS)["routing-moon-phase"] == "blocked"


@pytest.mark.parametrize("owner", ["a b", "a@b", "a\\.b", "a.*.x", "a+b", "a\\228b"])
def test_owner_names_by_target(owner: str) -> None:
    resource = rrset(f"{owner}/A")
    assert outcomes(resource)["owner-name"] == "blocked"
    assert outcomes(resource, AWS)["owner-name"] == "kept"


@pytest.mark.parametrize("owner", ["@", "www", "*.x", "_sip._tcp", "0/25.rev", "xn--caf-dma", "A-B_c"])
def test_ordinary_owner_names_need_no_verdict(owner: str) -> None:
    assert "owner-name" not in outcomes(rrset(f"{owner}/A"))


def test_disabled_records_are_degraded() -> None:
    assert outcomes(rrset("www/A", {"disabled": ["192.0.2.9"]}))["disabled-records"] == "degraded"


def test_unreadable_data_is_blocked() -> None:
    assert outcomes(rrset("www/A", ttl=60, values=["nonsense"]))["unreadable-data"] == "blocked"
