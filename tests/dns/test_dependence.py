"""Dependence: each way of hanging on the old side, planted and found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dns import world
from tests.dns.conftest import Aws, NewSide
from toolkit.dns import dependence
from toolkit.dns.family import DnsFamily
from toolkit.dns.model import rrset_address
from toolkit.families import OldSide
from toolkit.model import Finding, Resource


@pytest.fixture
def moved(aws: Aws, embedded: NewSide, tmp_path: Path) -> tuple[DnsFamily, dict[str, Resource]]:
    world.seed(aws)
    made = world.family(aws, embedded, tmp_path)
    want = world.desired(made)
    world.run(made, world.plan(made, want))
    world.register(aws, dict.fromkeys(embedded.servers, "127.0.0.1"))
    return made, want


def found(made: DnsFamily, want: dict[str, Resource], old: OldSide = world.OLD) -> dict[str, Finding]:
    findings, _ = world.split(made.dependence(want, old))
    return {f"{finding.address.removeprefix('dns/')}:{finding.feature}": finding for finding in findings}


def test_nothing_hangs_on_the_old_side(moved: tuple[DnsFamily, dict[str, Resource]]) -> None:
    assert found(*moved) == {}


def test_the_delegation(aws: Aws, moved: tuple[DnsFamily, dict[str, Resource]]) -> None:
    world.register(aws, {"ns-1.awsdns-01.com": None, "ns1.agora.example": "127.0.0.1"})
    finding = found(*moved)["zone/agora.example:delegation"]
    assert (finding.verdict, finding.severity) == ("dependent", "error")
    assert "ns-1.awsdns-01.com" in finding.text
    world.register(aws, {"ns1.agora.example": "127.0.0.1"})
    assert found(*moved)["zone/agora.example:delegation"].verdict == "different"


def test_the_ds_record(aws: Aws, embedded: NewSide, moved: tuple[DnsFamily, dict[str, Resource]]) -> None:
    world.register(aws, dict.fromkeys(embedded.servers, "127.0.0.1"), ds=["1 13 2 " + "ab" * 32])
    assert found(*moved)["zone/agora.example:ds"].verdict == "dependent"


def test_the_registrar(aws: Aws, embedded: NewSide, moved: tuple[DnsFamily, dict[str, Resource]]) -> None:
    world.register(aws, dict.fromkeys(embedded.servers, "127.0.0.1"), registrar="Amazon Registrar, Inc.")
    assert found(*moved)["zone/agora.example:registrar"].verdict == "dependent"
    world.register(aws, dict.fromkeys(embedded.servers, "127.0.0.1"), registrar="")
    finding = found(*moved)["zone/agora.example:registrar"]
    assert (finding.verdict, finding.severity) == ("unproven", "warning")


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("mx/MX", "10 inbound-smtp.us-east-1.amazonaws.com.", "inbound-smtp.us-east-1.amazonaws.com"),
        ("spf/TXT", '"v=spf1 include:us-east-1.amazonaws.com -all"', "us-east-1.amazonaws.com"),
        ("mail/TXT", '"v=spf1 include:amazonses.com -all"', "amazonses.com"),
        ("spf/TXT", '"v=spf1 ip4:127.9.0.9 -all"', "127.9.0.9"),
        ("cdn/CNAME", "d1.cloudfront.net.", "d1.cloudfront.net"),
        ("late/A", "127.9.0.77", "127.9.0.77"),
        ("caa/CAA", '0 issue "amazonaws.com"', "amazonaws.com"),
        ("x/SRV", "0 0 1 a.elb.amazonaws.com.", "a.elb.amazonaws.com"),
    ],
)
def test_records_that_name_the_old_side(
    moved: tuple[DnsFamily, dict[str, Resource]], key: str, value: str, what: str
) -> None:
    made, want = moved
    address = rrset_address(world.ZONE, key)
    want = {**want, address: Resource(address, {"ttl": 60, "values": [value]})}
    finding = found(made, want)[f"{address.removeprefix('dns/')}:resolution"]
    assert (finding.verdict, finding.severity) == ("dependent", "error")
    assert what in finding.text


def test_a_name_outside_that_leads_back_is_followed(
    aws: Aws, embedded: NewSide, moved: tuple[DnsFamily, dict[str, Resource]]
) -> None:
    """shop → a friend's name → the old provider: only the chain shows it."""
    driver = aws.driver()
    friend = driver.ex_create_zone("friend.example")
    changes = [
        {
            "Action": "CREATE",
            "ResourceRecordSet": {
                "Name": "shop.friend.example.",
                "Type": "CNAME",
                "TTL": 60,
                "ResourceRecords": [{"Value": world.LB}],
            },
        }
    ]
    aws.boto().change_resource_record_sets(HostedZoneId=friend.id, ChangeBatch={"Changes": changes})
    aws.registrar()._ask(
        "PUT", "friend.example", {"registrar": "x", "nameservers": {n.rstrip("."): None for n in friend.nameservers}}
    )
    made, want = moved
    address = rrset_address(world.ZONE, "shop/CNAME")
    want = {**want, address: Resource(address, {"ttl": 60, "values": ["shop.friend.example."]})}
    assert "shop.friend.example" in found(made, want)[f"rrset/{world.ZONE}/shop/CNAME:resolution"].text
    driver.ex_delete_all_records(driver.get_zone(friend.id))
    driver.ex_delete_zone(friend.id)


def test_names_that_only_look_alike_are_free() -> None:
    old = OldSide("aws", ("amazonaws.com",), ("192.0.2.0/24",))
    assert not dependence.under("notamazonaws.com", old.suffixes)
    assert dependence.under("S3.AmazonAWS.com.", old.suffixes)
    assert dependence.mentions("TXT", '"ip4:192.0.20.1"', old) == ""
    assert dependence.mentions("TXT", '"the 192.0.2.1"', old) == "192.0.2.1"
    assert dependence.mentions("TXT", '"include:s3.amazon" "aws.com"', old) == "s3.amazonaws.com"
    assert dependence.inside("192.0.2.9", old.addresses)
    assert not dependence.inside("192.0.3.9", [*old.addresses, "2001:db8::/32"])
    assert not dependence.inside("a-host", old.addresses)
