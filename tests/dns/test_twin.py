"""The twin of Route 53 on the wire, and the parents above it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import dns.flags
import dns.rcode
import pytest

from tests.dns.conftest import Aws
from toolkit.dns.model import ZoneInfo
from toolkit.wire import addresses, chain, query

ZONE = "twin.example"


@pytest.fixture
def zone(aws: Aws) -> Any:
    driver = aws.driver()
    made = driver.ex_create_zone(ZONE)
    yield made
    driver.ex_delete_all_records(driver.get_zone(made.id))
    driver.ex_delete_zone(made.id)


def change(aws: Aws, zone: ZoneInfo, *rrsets: dict[str, Any], action: str = "CREATE") -> None:
    changes = [{"Action": action, "ResourceRecordSet": item} for item in rrsets]
    aws.boto().change_resource_record_sets(HostedZoneId=zone.id, ChangeBatch={"Changes": changes})


def a(name: str, *ips: str, **more: Any) -> dict[str, Any]:
    records = [{"Value": ip} for ip in ips]
    return {"Name": f"{name}.{ZONE}", "Type": "A", "TTL": 2, "ResourceRecords": records, **more}


def alias(name: str, target: str, zone_id: str, **more: Any) -> dict[str, Any]:
    found = {"HostedZoneId": zone_id, "DNSName": target, "EvaluateTargetHealth": True}
    return {"Name": f"{name}.{ZONE}", "Type": "A", "AliasTarget": found, **more}


def ask(aws: Aws, name: str, kind: str = "A") -> tuple[str, ...]:
    answer = query(aws.twin[0], f"{name}.{ZONE}", kind)
    return tuple(sorted(record.to_text() for rrset in answer.answer for record in rrset))


def test_weights_are_drawn(aws: Aws, zone: ZoneInfo) -> None:
    change(
        aws,
        zone,
        a("w", "192.0.2.1", SetIdentifier="a", Weight=90),
        a("w", "192.0.2.2", SetIdentifier="b", Weight=10),
        a("w", "192.0.2.3", SetIdentifier="c", Weight=0),
        a("zero", "192.0.2.1", SetIdentifier="a", Weight=0),
        a("zero", "192.0.2.2", SetIdentifier="b", Weight=0),
    )
    drawn = Counter(ask(aws, "w")[0] for _ in range(600))
    assert 0.84 < drawn["192.0.2.1"] / 600 < 0.96
    assert drawn["192.0.2.3"] == 0
    assert set(Counter(ask(aws, "zero")[0] for _ in range(60))) == {"192.0.2.1", "192.0.2.2"}, "all zero: equal shares"


def test_failover_follows_health(aws: Aws, zone: ZoneInfo) -> None:
    check = aws.boto().create_health_check(
        CallerReference="twin", HealthCheckConfig={"Type": "TCP", "IPAddress": "192.0.2.1", "Port": 1}
    )["HealthCheck"]["Id"]
    change(
        aws,
        zone,
        a("f", "192.0.2.1", SetIdentifier="p", Failover="PRIMARY", HealthCheckId=check),
        a("f", "192.0.2.2", SetIdentifier="s", Failover="SECONDARY"),
        a("m", "192.0.2.1", SetIdentifier="1", MultiValueAnswer=True, HealthCheckId=check),
        *(a("m", f"192.0.2.{n}", SetIdentifier=str(n), MultiValueAnswer=True) for n in range(2, 12)),
    )
    assert ask(aws, "f") == ("192.0.2.1",)
    assert len(ask(aws, "m")) == 8
    aws.kill_checks(check)
    assert ask(aws, "f") == ("192.0.2.2",)
    assert all("192.0.2.1" not in ask(aws, "m") for _ in range(20))
    aws.kill_checks()
    assert ask(aws, "f") == ("192.0.2.1",)


def test_aliases_become_data(aws: Aws, zone: ZoneInfo) -> None:
    change(
        aws,
        zone,
        a("real", "192.0.2.1", "192.0.2.2"),
        alias("one", f"real.{ZONE}.", zone.id),
        alias("two", f"one.{ZONE}.", zone.id),
        alias("lb", "dualstack.web-1234.us-east-1.elb.amazonaws.com.", "Z35"),
        alias("dead", "nobody.elb.amazonaws.com.", "Z35"),
    )
    assert ask(aws, "two") == ("192.0.2.1", "192.0.2.2")
    assert ask(aws, "lb") == ("127.9.0.16", "127.9.0.17")
    answer = query(aws.twin[0], f"dead.{ZONE}", "A")
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, []), "NODATA, with SOA"
    assert answer.authority


def test_escapes_and_changes_show_at_once(aws: Aws, zone: ZoneInfo) -> None:
    change(aws, zone, a("\\052.wild", "192.0.2.1"))
    assert ask(aws, "anything.wild") == ("192.0.2.1",)
    change(aws, zone, a("\\052.wild", "192.0.2.9"), action="UPSERT")
    assert ask(aws, "anything.wild") == ("192.0.2.9",)
    change(aws, zone, a("\\052.wild", "192.0.2.9"), action="DELETE")
    assert query(aws.twin[0], f"anything.wild.{ZONE}", "A").rcode() == dns.rcode.NXDOMAIN


def test_private_zones_are_not_served(aws: Aws) -> None:
    made = aws.boto().create_hosted_zone(
        Name="inside.example",
        CallerReference="inside",
        HostedZoneConfig={"PrivateZone": True},
        VPC={"VPCRegion": "us-east-1", "VPCId": "vpc-1"},
    )["HostedZone"]["Id"]
    assert query(aws.twin[0], "inside.example", "SOA").rcode() == dns.rcode.REFUSED
    aws.driver().ex_delete_zone(made.rpartition("/")[2])


def test_the_way_down_from_the_parents(aws: Aws, zone: ZoneInfo) -> None:
    aws.registrar()._ask(
        "PUT", ZONE, {"registrar": "x", "nameservers": {name.rstrip("."): None for name in zone.nameservers}}
    )
    change(aws, zone, a("www", "192.0.2.1"))
    found = chain(f"www.{ZONE}", "A", aws.hints())
    assert found.answers == ("192.0.2.1",)
    assert [step.zone for step in found.steps if step.name == f"www.{ZONE}."] == [".", f"{ZONE}."]
    assert found.steps[-1].server in zone.nameservers
    assert found.steps[-1].aa
    assert addresses("s3.us-east-1.amazonaws.com", aws.hints()) == ("127.9.0.2",)
    assert addresses(zone.nameservers[0], aws.hints()) == ("127.0.0.1",)


def test_the_parents_delegate_and_deny(aws: Aws) -> None:
    registry = aws.registrar()
    body = {"registrar": "x", "nameservers": {"ns1.two.example": "127.0.0.9"}, "ds": ["1 13 2 " + "ab" * 32]}
    registry._ask("PUT", "two.example", body)
    for parent in aws.parents:
        answer = query(parent, "www.two.example", "A")
        assert not answer.flags & dns.flags.AA
        assert [rrset.rdtype.name for rrset in answer.authority] == ["NS", "DS"]
        assert answer.authority[0].ttl == 6
        assert answer.additional[0][0].address == "127.0.0.9"
        signed = query(parent, "two.example", "DS")
        assert signed.flags & dns.flags.AA
        assert signed.answer[0].ttl == 4
        assert query(parent, "nobody.example", "A").rcode() == dns.rcode.NXDOMAIN
        assert query(parent, "nobody.test", "A").rcode() == dns.rcode.NXDOMAIN
