"""Whole zones: aliases inside them, their name servers, what is left over."""

from __future__ import annotations

from toolkit.dns.model import rrset_address, zone_address
from toolkit.dns.settle import Wanted, leftovers, settle
from toolkit.model import Json, Resource, state

SERVERS = {"ns1.agora.example": "192.0.2.3:5300", "ns2.agora.example": "192.0.2.4", "ns.other.example": "192.0.2.5"}


def zones(
    records: dict[str, dict[str, Json]], *, keeps_alias: bool = False, **others: dict[str, Json]
) -> dict[str, Wanted]:
    resources = [Resource(zone_address("agora"), {"name": "agora.example", "private": False}, facts={"ns_ttl": 172800})]
    resources += [Resource(rrset_address("agora", key), body) for key, body in records.items()]
    for slug, body in others.items():
        resources.append(Resource(zone_address(slug), body))
    return settle(state(resources), {}, SERVERS, keeps_alias=keeps_alias)


def alias(name: str) -> dict[str, Json]:
    return {"alias": {"name": name, "zone_id": "Z", "evaluate_health": False}}


def test_alias_inside_the_zone_is_flattened_through_a_chain() -> None:
    found = zones(
        {
            "@/A": alias("www.agora.example."),
            "www/A": alias("web.agora.example."),
            "web/A": {"ttl": 30, "values": ["192.0.2.1"]},
        }
    )["agora"]
    assert found.rrsets["@/A"].body == found.rrsets["www/A"].body == {"ttl": 30, "values": ["192.0.2.1"]}
    assert not found.unexpressed


def test_alias_to_an_alias_in_a_circle_is_not_written() -> None:
    found = zones({"a/A": alias("b.agora.example."), "b/A": alias("a.agora.example.")})["agora"]
    assert set(found.unexpressed) == {"a/A", "b/A"}
    assert not found.rrsets


def test_name_servers_inside_the_zone_get_their_addresses() -> None:
    found = zones({"ns1/A": {"ttl": 60, "values": ["198.51.100.1"]}})["agora"]
    assert {key: item.values for key, item in found.servers.items()} == {
        "ns1/A": ("192.0.2.3",),
        "ns2/A": ("192.0.2.4",),
    }
    assert found.ns_ttl == 3600, "a delegation that may be rolled back must not stand for two days"
    assert found.everything["ns1/A"].values == ("192.0.2.3",)


def test_a_delegation_between_our_own_zones_follows_them() -> None:
    records: dict[str, dict[str, Json]] = {
        "team/NS": {"ttl": 60, "values": ["ns-1.awsdns-01.com."]},
        "lists/NS": {"ttl": 60, "values": ["ns1.lists.example."]},
    }
    found = zones(records, team={"name": "team.agora.example", "private": False})["agora"]
    assert found.rrsets["team/NS"].values == ("ns.other.example.", "ns1.agora.example.", "ns2.agora.example.")
    assert found.rrsets["lists/NS"].values == ("ns1.lists.example.",)


def test_leftovers_are_blocked() -> None:
    found = zones(
        {
            "cdn/CNAME": {"ttl": 60, "values": ["d1.cloudfront.net."]},
            "@/AAAA": alias("x.elb.amazonaws.com."),
            "@/MX": {"ttl": 60, "values": ["10 inbound-smtp.us-east-1.amazonaws.com."]},
            "near/CNAME": {"ttl": 60, "values": ["notamazonaws.com."]},
            "gone/A": {"ttl": 60, "values": ["198.51.100.7"]},
            "bad/A": {"ttl": 60, "values": ["nonsense"]},
        }
    )
    verdicts = list(leftovers(found.values(), ["amazonaws.com", "cloudfront.net"], gone=frozenset({"198.51.100.7"})))
    assert {verdict.address.removeprefix("dns/rrset/agora/") for verdict in verdicts} == {
        "cdn/CNAME", "@/AAAA", "@/MX", "gone/A", "bad/A",
    }  # fmt: skip
    assert {verdict.outcome for verdict in verdicts} == {"blocked"}
    assert {v.address.rpartition("agora/")[2]: v.feature for v in verdicts}["bad/A"] == "unreadable-data"
    assert [verdict.feature for verdict in verdicts].count("still-points-at-old-side") == 4
    assert all(verdict.reason and verdict.instead for verdict in verdicts)


def test_a_target_that_knows_aliases_keeps_them() -> None:
    found = zones({"@/A": alias("x.elb.amazonaws.com.")}, keeps_alias=True)["agora"]
    assert found.rrsets["@/A"].alias is not None
