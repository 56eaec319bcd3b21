"""Translation of single record sets."""

from __future__ import annotations

from toolkit.dns.model import rrset_address
from toolkit.dns.translate import translate
from toolkit.model import Endpoint, Json, Resource

LB = "web-1.us-east-1.elb.amazonaws.com"
MOVED = {
    "lb": Endpoint("compute/load_balancer/web", "hostname", LB, ("192.0.2.1", "192.0.2.2")),
    "dual": Endpoint(
        "compute/load_balancer/dual", "hostname", "dual-1.elb.amazonaws.com", ("192.0.2.1", "2001:db8::1")
    ),
    "ip": Endpoint("compute/server/a", "ipv4", "198.51.100.1", ("192.0.2.1",)),
    "ip6": Endpoint("compute/server/a", "ipv6", "2001:DB8:aa::1", ("2001:db8::1",)),
    "s3": Endpoint("storage/bucket/x", "hostname", "s3.us-east-1.amazonaws.com", ("s3.agora.example",)),
    "later": Endpoint("compute/server/b", "ipv4", "198.51.100.9", ("@{compute/server/b:ipv4}",)),
}


def run(key: str, body: dict[str, Json]) -> dict[str, Json]:
    resource = Resource(rrset_address("agora", key), body, facts={"x-aws": 1})
    return {item.address.removeprefix("dns/rrset/agora/"): dict(item.body) for item in translate(resource, MOVED)}


def alias(name: str) -> dict[str, Json]:
    return {"alias": {"name": name, "zone_id": "Z1", "evaluate_health": True}}


def test_apex_alias_is_flattened() -> None:
    assert run("@/A", alias(f"dualstack.{LB}.")) == {"@/A": {"ttl": 60, "values": ["192.0.2.1", "192.0.2.2"]}}


def test_an_a_alias_gets_no_aaaa_and_an_aaaa_alias_only_that() -> None:
    assert run("@/A", alias("dual-1.elb.amazonaws.com.")) == {"@/A": {"ttl": 60, "values": ["192.0.2.1"]}}
    assert run("@/AAAA", alias("dual-1.elb.amazonaws.com.")) == {"@/AAAA": {"ttl": 60, "values": ["2001:db8::1"]}}


def test_an_alias_without_an_address_of_its_type_stays_for_the_plan_to_block() -> None:
    assert run("@/AAAA", alias(f"{LB}."))["@/AAAA"]["alias"]["name"] == f"{LB}."
    assert "alias" in run("cdn/A", alias("d1.cloudfront.net."))["cdn/A"]


def test_cname_to_addresses_becomes_a() -> None:
    assert run("www/CNAME", {"ttl": 300, "values": [LB.upper()]}) == {
        "www/A": {"ttl": 300, "values": ["192.0.2.1", "192.0.2.2"]}
    }
    assert run("www/CNAME", {"ttl": 300, "values": ["dual-1.elb.amazonaws.com."]}) == {
        "www/A": {"ttl": 300, "values": ["192.0.2.1"]},
        "www/AAAA": {"ttl": 300, "values": ["2001:db8::1"]},
    }


def test_cname_to_a_host_stays_a_cname() -> None:
    assert run("s3/CNAME", {"ttl": 300, "values": ["s3.us-east-1.amazonaws.com"]}) == {
        "s3/CNAME": {"ttl": 300, "values": ["s3.agora.example."]}
    }
    assert run("app/CNAME", {"ttl": 9, "values": ["www.agora.example."]}) == {
        "app/CNAME": {"ttl": 9, "values": ["www.agora.example."]}
    }


def test_addresses_are_replaced_one_by_one() -> None:
    assert run("all/A", {"ttl": 60, "values": ["198.51.100.1", "203.0.113.5"]}) == {
        "all/A": {"ttl": 60, "values": ["192.0.2.1", "203.0.113.5"]}
    }
    assert run("six/AAAA", {"ttl": 60, "values": ["2001:db8:AA::1"]})["six/AAAA"]["values"] == ["2001:db8::1"]
    assert run("b/A", {"ttl": 60, "values": ["198.51.100.9"]})["b/A"]["values"] == ["@{compute/server/b:ipv4}"]


def test_hosts_in_mail_and_service_records() -> None:
    assert run("@/MX", {"ttl": 60, "values": ["10 s3.us-east-1.amazonaws.com"]})["@/MX"]["values"] == [
        "10 s3.agora.example."
    ]
    kept = {"ttl": 60, "values": [f"0 1 443 {LB}."]}
    assert run("_x._tcp/SRV", kept)["_x._tcp/SRV"] == kept, "a service record takes names, not addresses"


def test_spf_addresses_follow_the_machines() -> None:
    body = {"ttl": 60, "values": ['"v=spf1 ip4:198.51.100.1 ip4:198.51.100.0/24 mx -all"', '"ip4:198.51.100.1"']}
    assert run("@/TXT", body)["@/TXT"]["values"] == [
        '"ip4:198.51.100.1"',
        '"v=spf1 ip4:192.0.2.1 ip4:198.51.100.0/24 mx -all"',
    ]


def test_routing_and_set_identifiers_stay() -> None:
    body = {"ttl": 60, "values": ["203.0.113.1"], "routing": {"weight": 10}}
    assert run("w/A#blue/1", body) == {"w/A#blue%2F1": body}
