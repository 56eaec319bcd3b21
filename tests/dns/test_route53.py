"""The Route 53 driver: paging, batches, every field, errors, waiting."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dns.conftest import Aws, Keys
from toolkit.dns.drivers import route53
from toolkit.dns.drivers import route53_xml as xml
from toolkit.dns.drivers.route53 import LosslessRoute53
from toolkit.dns.model import RRSet, ZoneInfo, plain
from toolkit.errors import AuthError, Throttled, Unreachable, Unsupported, UsageError
from toolkit.secrets import Secret

ZONE = "r53.example"


@pytest.fixture
def zone(aws: Aws) -> Any:
    driver = aws.driver()
    made = driver.ex_create_zone(ZONE, comment="the zone & its <notes>")
    yield made
    driver.ex_delete_all_records(driver.get_zone(made.id))
    driver.ex_delete_zone(made.id)


def change(aws: Aws, zone: ZoneInfo, *rrsets: dict[str, Any]) -> None:
    changes = [{"Action": "CREATE", "ResourceRecordSet": item} for item in rrsets]
    aws.boto().change_resource_record_sets(HostedZoneId=zone.id, ChangeBatch={"Changes": changes})


def simple(name: str, kind: str, *values: str, ttl: int = 60, **more: Any) -> dict[str, Any]:
    records = [{"Value": value} for value in values]
    return {"Name": f"{name}.{ZONE}", "Type": kind, "TTL": ttl, "ResourceRecords": records, **more}


def read(aws: Aws, zone: ZoneInfo) -> dict[str, RRSet]:
    return {rrset.key(ZONE): rrset for rrset in aws.driver().ex_read_zone(zone.id)[1]}


def test_every_field_equals_what_boto3_says(aws: Aws, zone: ZoneInfo) -> None:
    check = aws.boto().create_health_check(
        CallerReference="one", HealthCheckConfig={"Type": "HTTP", "IPAddress": "192.0.2.1", "Port": 80}
    )["HealthCheck"]["Id"]
    change(
        aws,
        zone,
        simple("w", "A", "192.0.2.1", SetIdentifier="blue", Weight=90, HealthCheckId=check),
        simple("w", "A", "192.0.2.2", SetIdentifier="green/1", Weight=0),
        simple("l", "A", "192.0.2.1", SetIdentifier="us", Region="us-east-1"),
        simple("g", "A", "192.0.2.1", SetIdentifier="any", GeoLocation={"CountryCode": "*"}),
        simple("f", "A", "192.0.2.1", SetIdentifier="p", Failover="PRIMARY", HealthCheckId=check),
        simple("m", "A", "192.0.2.1", SetIdentifier="1", MultiValueAnswer=True),
        {
            "Name": f"a.{ZONE}",
            "Type": "A",
            "AliasTarget": {
                "HostedZoneId": "Z35SXDOTRQ7X7K",
                "DNSName": "x.elb.amazonaws.com",
                "EvaluateTargetHealth": True,
            },
        },
        simple("t", "TXT", '"caf\\303\\251"', '"a" "b"'),
    )
    ours = {(r["Name"], r["Type"], r.get("SetIdentifier")): r for r in aws.driver().ex_iterate_rrsets(zone.id)}
    pages = aws.boto().get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone.id)
    theirs = {(r["Name"], r["Type"], r.get("SetIdentifier")): r for page in pages for r in page["ResourceRecordSets"]}
    assert ours == theirs
    found = read(aws, zone)
    assert found["w/A#blue"].routing == {"weight": 90, "health_check": check}
    assert found["w/A#green/1"].routing == {"weight": 0}, "weight 0 is a weight"
    assert found["g/A#any"].routing == {"geo": {"CountryCode": "*"}}
    assert found["a/A"].body == {
        "alias": {"name": "x.elb.amazonaws.com.", "zone_id": "Z35SXDOTRQ7X7K", "evaluate_health": True}
    }
    assert found["t/TXT"].values == ('"a" "b"', '"caf\\195\\169"')


def test_everything_can_be_written_back_to_another_zone(aws: Aws, zone: ZoneInfo) -> None:
    driver = aws.driver()
    change(
        aws,
        zone,
        simple("w", "A", "192.0.2.1", SetIdentifier="blue", Weight=90),
        simple("w", "A", "192.0.2.2", SetIdentifier="green", Weight=10),
        simple("t", "TXT", '"\\344 \\"q\\" \\\\ ;"', '""'),
        simple("\\052.x", "A", "192.0.2.9"),
    )
    second = driver.ex_create_zone(ZONE)
    sets = [rrset for rrset in driver.ex_read_zone(zone.id)[1] if rrset.type not in ("NS", "SOA")]
    driver.ex_write_rrsets(second.id, sets)
    assert {r.key(ZONE): r.body for r in driver.ex_read_zone(second.id)[1] if r.type not in ("NS", "SOA")} == {
        r.key(ZONE): r.body for r in sets
    }
    driver.ex_delete_all_records(driver.get_zone(second.id))
    driver.ex_delete_zone(second.id)


def test_octal_names_and_values(aws: Aws, zone: ZoneInfo) -> None:
    change(
        aws,
        zone,
        simple("\\052.x", "A", "192.0.2.1"),
        simple("a\\100b", "A", "192.0.2.1"),
        simple("a\\057b", "A", "192.0.2.1"),
        simple("UPPER", "A", "192.0.2.1"),
    )
    assert {key for key in read(aws, zone) if key.endswith("/A")} == {"*.x/A", "a\\@b/A", "a/b/A", "upper/A"}


def test_many_sets_of_one_name_are_read_once_each(aws: Aws, zone: ZoneInfo) -> None:
    for start in (0, 100, 200, 300):
        change(
            aws,
            zone,
            *(
                simple("many", "TXT", f'"{number}"', SetIdentifier=f"id-{number}", Weight=1)
                for number in range(start, start + 100)
            ),
        )
    assert len([key for key in read(aws, zone) if key.startswith("many/TXT#")]) == 400


def test_a_listing_that_does_not_advance_is_an_error(stock_aws: Aws) -> None:
    """moto ignores the set identifier of a page: better an error than duplicates without end."""
    driver = stock_aws.driver()
    zone = driver.ex_create_zone(ZONE)
    for start in (0, 200):
        change(
            stock_aws,
            zone,
            *(simple("many", "TXT", '"x"', SetIdentifier=f"{n}", Weight=1) for n in range(start, start + 200)),
        )
    with pytest.raises(Unreachable, match="does not advance"):
        driver.ex_read_zone(zone.id)


def test_more_than_a_page_of_zones(aws: Aws) -> None:
    driver = aws.driver()
    made = [driver.create_zone(f"z{number:03d}.paged.example") for number in range(103)]
    try:
        ids = [zone.id for zone in driver.list_zones()]
        assert len(ids) == len(set(ids))
        assert {zone.id for zone in made} <= set(ids)
    finally:
        for zone in made:
            driver.delete_zone(zone)


def test_batches_keep_route_53_s_limits() -> None:
    def upsert(number: int, values: int, size: int) -> tuple[str, dict[str, Any]]:
        records = [{"Value": "x" * size} for _ in range(values)]
        return "UPSERT", {"Name": f"n{number}.x.", "Type": "TXT", "ResourceRecords": records}

    batches = list(route53._batches(upsert(number, 100, 1) for number in range(20)))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5], "an UPSERT counts twice: 5 × 100 × 2 = 1,000"
    batches = list(route53._batches(upsert(number, 1, 4000) for number in range(9)))
    assert [len(batch) for batch in batches] == [4, 4, 1], "4 × 4,000 × 2 = 32,000 characters"
    alias = ("UPSERT", {"Name": "a.x.", "Type": "A", "AliasTarget": {}})
    assert route53._records(alias) == 2
    pair = [("DELETE", {"Name": "w.x.", "ResourceRecords": [{"Value": "y"}]}), upsert(0, 499, 1)]
    pair.append(("UPSERT", {"Name": "W.x", "ResourceRecords": [{"Value": "z"}]}))
    assert [change[1]["Name"] for change in next(iter(route53._batches(pair)))] == ["w.x.", "W.x"], (
        "one name, one batch"
    )


def test_big_writes_go_in_several_batches(aws: Aws, zone: ZoneInfo) -> None:
    rrsets = [plain(f"n{number}.{ZONE}", "A", 60, ["192.0.2.1", "192.0.2.2"]) for number in range(400)]
    driver = aws.driver()
    assert len(driver.ex_change_rrsets(zone.id, [("UPSERT", xml.from_rrset(rrset)) for rrset in rrsets])) == 2
    assert len(read(aws, zone)) == 402


def test_zone_details(aws: Aws, zone: ZoneInfo) -> None:
    aws.boto().change_tags_for_resource(
        ResourceType="hostedzone", ResourceId=zone.id, AddTags=[{"Key": "team", "Value": "web"}]
    )
    info, rrsets = aws.driver().ex_read_zone(zone.id)
    assert info.facts == {"comment": "the zone & its <notes>", "tags": {"team": "web"}}
    assert len(info.nameservers) == 4
    assert info.ns_ttl == 172800
    assert info.soa.split()[-1] == "86400"
    assert not info.private
    assert {rrset.key(ZONE) for rrset in rrsets} == {"@/NS", "@/SOA"}


def test_private_zones_are_told_apart(aws: Aws) -> None:
    made = (
        aws.boto()
        .create_hosted_zone(
            Name=ZONE,
            CallerReference="private",
            HostedZoneConfig={"PrivateZone": True},
            VPC={"VPCRegion": "us-east-1", "VPCId": "vpc-1"},
        )["HostedZone"]["Id"]
        .rpartition("/")[2]
    )
    info, _ = aws.driver().ex_read_zone(made)
    assert info.private
    assert info.facts["vpcs"] == [{"VPCRegion": "us-east-1", "VPCId": "vpc-1"}]
    aws.driver().ex_delete_zone(made)


def test_a_change_is_awaited(aws: Aws, zone: ZoneInfo) -> None:
    driver = aws.driver()
    waited: list[float] = []
    (ident,) = driver.ex_change_rrsets(
        zone.id, [("UPSERT", xml.from_rrset(plain(f"a.{ZONE}", "A", 60, ["192.0.2.1"])))]
    )
    driver.ex_wait(ident, sleep=lambda seconds: waited.append(seconds) or __import__("time").sleep(seconds))
    answer = aws.boto().get_change(Id=ident)["ChangeInfo"]["Status"]
    assert answer == "INSYNC"
    with pytest.raises(Unreachable, match="PENDING"):
        driver.ex_wait(_pending(driver, monkey := []), timeout=0, sleep=monkey.append)


def _pending(driver: LosslessRoute53, _sleeps: list[float]) -> str:
    driver._ask = lambda *_args, **_kwargs: {"ChangeInfo": {"Status": "PENDING"}}  # type: ignore[method-assign]
    return "C1"


def test_wrong_credentials_and_a_closed_account(aws: Aws) -> None:
    stranger = LosslessRoute53(endpoint=aws.endpoint, credentials=Keys(Secret("AKIANOBODY"), Secret("x")))
    with pytest.raises(AuthError, match="credentials"):
        list(stranger.ex_zones())


def test_nobody_there() -> None:
    nobody = LosslessRoute53(endpoint="http://127.0.0.1:9", credentials=Keys(Secret("A"), Secret("b")))
    with pytest.raises(Unreachable, match="no answer"):
        nobody.ex_probe()
    with pytest.raises(UsageError):
        LosslessRoute53(endpoint="ftp://x", credentials=Keys(Secret("A"), Secret("b")))


def test_a_refused_record_is_named(aws: Aws, zone: ZoneInfo) -> None:
    with pytest.raises(Unsupported, match="InvalidChangeBatch"):
        aws.driver().ex_change_rrsets(
            zone.id,
            [("CREATE", {"Name": f"x.{ZONE}.", "Type": "A", "TTL": 1, "ResourceRecords": [{"Value": "nonsense"}]})],
        )


def test_throttling_is_waited_out_and_then_reported(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    from libcloud.common.exceptions import BaseHTTPError

    driver = aws.driver()
    answers: list[Any] = [
        BaseHTTPError(400, "Throttling: Rate exceeded"),
        BaseHTTPError(400, "Throttling: Rate exceeded"),
    ]
    real = driver.connection.request

    def request(*args: Any, **kwargs: Any) -> Any:
        if answers:
            raise answers.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(driver.connection, "request", request)
    monkeypatch.setattr(route53.time, "sleep", lambda _seconds: None)
    assert driver.ex_probe() == "Route 53"
    monkeypatch.setattr(route53, "_RETRY_SECONDS", -1.0)
    answers.append(BaseHTTPError(400, "Throttling: Rate exceeded"))
    with pytest.raises(Throttled):
        driver.ex_probe()


def test_an_unreadable_record_does_not_hide_the_zone(stock_aws: Aws) -> None:
    driver = stock_aws.driver()
    zone = driver.ex_create_zone("odd.example")

    def odd(name: str, kind: str, value: str) -> dict[str, Any]:
        return {"Name": f"{name}.odd.example", "Type": kind, "TTL": 1, "ResourceRecords": [{"Value": value}]}

    records = (odd("bad", "NAPTR", "not naptr at all"), odd("good", "A", "192.0.2.1"))
    changes = [{"Action": "CREATE", "ResourceRecordSet": record} for record in records]
    stock_aws.boto().change_resource_record_sets(HostedZoneId=zone.id, ChangeBatch={"Changes": changes})
    found = {rrset.key("odd.example"): rrset.values for rrset in driver.ex_read_zone(zone.id)[1]}
    assert found["bad/NAPTR"] == ("not naptr at all",)
    assert found["good/A"] == ("192.0.2.1",)


def test_secrets_are_not_in_the_driver_s_repr(aws: Aws) -> None:
    driver = LosslessRoute53(endpoint=aws.endpoint, credentials=Keys(Secret("AKIA1"), Secret("topsecret")))
    assert "topsecret" not in repr(driver)
    assert "topsecret" not in repr(driver.connection)
