"""Every correction of the mocked Route 53, and the proof that stock moto still needs it."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, PaginationError

from tests.rehearsal.conftest import client, client_of
from toolkit.rehearsal import mockaws
from toolkit.rehearsal.mockaws_route53_rules import ChangeRefused, canonical_name, check_value

Check = Callable[[Any, str, str], None]
CHECKS: list[Check] = []


def correction(check: Check) -> Check:
    """Register a check: it gets a Route 53 client, the id and the name of a fresh zone."""
    CHECKS.append(check)
    return check


def change(action: str, name: str, kind: str, *values: str, ttl: int = 300, **more: Any) -> dict[str, Any]:
    rrset: dict[str, Any] = {"Name": name, "Type": kind, **more}
    if values:
        rrset |= {"TTL": ttl, "ResourceRecords": [{"Value": value} for value in values]}
    return {"Action": action, "ResourceRecordSet": rrset}


def apply(r53: Any, zone: str, *changes: dict[str, Any]) -> Any:
    return r53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": list(changes)})["ChangeInfo"]


def sets(r53: Any, zone: str, **page: Any) -> list[dict[str, Any]]:
    found = []
    pages = r53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone, PaginationConfig=page or {})
    for part in pages:
        found += part["ResourceRecordSets"]
    return found


def refused(call: Callable[[], Any], code: str, match: str = "") -> None:
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == code
    assert re.search(match, caught.value.response["Error"]["Message"])


@correction
def names_are_spelled_in_octal(r53: Any, zone: str, name: str) -> None:
    for owner in (f"*.{name}", f"A@b.{name}", f"sp ace.{name}", rf"sl\057ash.{name}", rf"dot\056dot.{name}"):
        apply(r53, zone, change("CREATE", owner, "A", "192.0.2.1"))
    spelled = {rrset["Name"].removesuffix(f".{name}.") for rrset in sets(r53, zone) if rrset["Type"] == "A"}
    assert spelled == {r"\052", r"a\100b", r"sp\040ace", r"sl\057ash", r"dot\056dot"}


@correction
def the_soa_is_a_value(r53: Any, zone: str, name: str) -> None:
    (soa,) = (rrset for rrset in sets(r53, zone) if rrset["Type"] == "SOA")
    (value,) = (record["Value"] for record in soa["ResourceRecords"])
    assert re.fullmatch(r"ns-\d+\.awsdns-\d\d\.com\. awsdns-hostmaster\.amazon\.com\. 1 7200 900 1209600 86400", value)


@correction
def name_servers_have_dots_and_differ(r53: Any, zone: str, name: str) -> None:
    (found,) = (rrset for rrset in sets(r53, zone) if rrset["Type"] == "NS")
    values = [record["Value"] for record in found["ResourceRecords"]]
    assert len(values) == 4
    assert all(value.endswith(".") for value in values)
    assert all(0 <= int(value.split("awsdns-")[1][:2]) < 64 for value in values)
    told = r53.get_hosted_zone(Id=zone)["DelegationSet"]["NameServers"]
    assert [f"{server}." for server in told] == values
    other = r53.create_hosted_zone(Name=f"other.{name}", CallerReference=uuid.uuid4().hex)
    assert other["DelegationSet"]["NameServers"] != told


@correction
def paging_by_set_identifier(r53: Any, zone: str, name: str) -> None:
    wanted = [f"set-{n:03d}" for n in range(310)]
    for start in range(0, 310, 100):
        apply(
            r53,
            zone,
            *(
                change("CREATE", f"w.{name}", "A", "192.0.2.1", SetIdentifier=ident, Weight=1)
                for ident in wanted[start : start + 100]
            ),
        )
    seen = [rrset.get("SetIdentifier") for rrset in sets(r53, zone) if rrset["Type"] == "A"]
    assert seen == wanted


@correction
def a_batch_is_atomic(r53: Any, zone: str, name: str) -> None:
    batch = [change("CREATE", f"good.{name}", "A", "192.0.2.1"), change("CREATE", "elsewhere.test", "A", "192.0.2.1")]
    refused(lambda: apply(r53, zone, *batch), "InvalidChangeBatch", "not permitted in zone")
    assert {rrset["Type"] for rrset in sets(r53, zone)} == {"NS", "SOA"}


@correction
def delete_takes_one_set_only(r53: Any, zone: str, name: str) -> None:
    routed = {"SetIdentifier": "one", "Weight": 1}
    apply(
        r53,
        zone,
        change("CREATE", f"a.{name}", "A", "192.0.2.1", **routed),
        change("CREATE", f"b.{name}", "A", "192.0.2.1", **routed),
        change("CREATE", f"b.{name}", "A", "192.0.2.2", SetIdentifier="two", Weight=1),
    )
    apply(r53, zone, change("DELETE", f"b.{name}", "A", "192.0.2.1", **routed))
    left = [(rrset["Name"][0], rrset["SetIdentifier"]) for rrset in sets(r53, zone) if rrset["Type"] == "A"]
    assert left == [("a", "one"), ("b", "two")]


@correction
def delete_must_name_the_values(r53: Any, zone: str, name: str) -> None:
    apply(r53, zone, change("CREATE", f"a.{name}", "A", "192.0.2.1"))
    wrong = change("DELETE", f"a.{name}", "A", "192.0.2.9")
    refused(lambda: apply(r53, zone, wrong), "InvalidChangeBatch", "do not match")
    absent = change("DELETE", f"none.{name}", "A", "192.0.2.9")
    refused(lambda: apply(r53, zone, absent), "InvalidChangeBatch", "not found")


@correction
def values_are_checked(r53: Any, zone: str, name: str) -> None:
    for kind, value in (
        ("A", "256.1.1.1"),
        ("A", "2001:db8::1"),
        ("AAAA", "192.0.2.1"),
        ("MX", "mail.example."),
        ("SRV", "1 2 mail.example."),
        ("TXT", "no quotes"),
        ("TXT", '"' + "x" * 256 + '"'),
        ("CNAME", "two names"),
    ):
        refused(lambda k=kind, v=value: apply(r53, zone, change("CREATE", f"v.{name}", k, v)), "InvalidChangeBatch")


@correction
def a_cname_stands_alone(r53: Any, zone: str, name: str) -> None:
    at_apex = change("CREATE", name, "CNAME", "x.example.")
    refused(lambda: apply(r53, zone, at_apex), "InvalidChangeBatch", "apex")
    apply(r53, zone, change("CREATE", f"c.{name}", "CNAME", "x.example."))
    beside = change("CREATE", f"c.{name}", "A", "192.0.2.1")
    refused(lambda: apply(r53, zone, beside), "InvalidChangeBatch", "conflicts")


@correction
def a_change_is_pending_first(r53: Any, zone: str, name: str) -> None:
    made = apply(r53, zone, change("CREATE", f"a.{name}", "A", "192.0.2.1"))
    assert made["Status"] == "PENDING"
    deadline = time.monotonic() + 20
    while r53.get_change(Id=made["Id"])["ChangeInfo"]["Status"] != "INSYNC":
        assert time.monotonic() < deadline
    refused(lambda: r53.get_change(Id="CNONE"), "NoSuchChange")


@correction
def geoproximity_and_cidr_are_kept(r53: Any, zone: str, name: str) -> None:
    geo = {"AWSRegion": "eu-west-1", "Bias": 10}
    apply(r53, zone, change("CREATE", f"g.{name}", "A", "192.0.2.1", SetIdentifier="g", GeoProximityLocation=geo))
    (found,) = (rrset for rrset in sets(r53, zone) if rrset["Type"] == "A")
    assert found["GeoProximityLocation"] == geo


@correction
def the_same_reference_makes_no_second_zone(r53: Any, zone: str, name: str) -> None:
    reference = uuid.uuid4().hex
    r53.create_hosted_zone(Name=f"one.{name}", CallerReference=reference)
    refused(lambda: r53.create_hosted_zone(Name=f"one.{name}", CallerReference=reference), "HostedZoneAlreadyExists")


@correction
def zones_by_name_start_there_and_page(r53: Any, zone: str, name: str) -> None:
    for label in ("b", "a", "c"):
        r53.create_hosted_zone(Name=f"{label}.by.{name}", CallerReference=uuid.uuid4().hex)
    page = r53.list_hosted_zones_by_name(DNSName=f"a.by.{name}", MaxItems="2")
    assert [found["Name"] for found in page["HostedZones"]] == [f"a.by.{name}.", f"b.by.{name}."]
    assert (page["IsTruncated"], page["NextDNSName"]) == (True, f"c.by.{name}.")


@correction
def a_zone_can_be_signed(r53: Any, zone: str, name: str) -> None:
    def status() -> str:
        told: str = r53.get_dnssec(HostedZoneId=zone)["Status"]["ServeSignature"]
        return told

    assert status() == "NOT_SIGNING"
    refused(lambda: r53.enable_hosted_zone_dnssec(HostedZoneId=zone), "KeySigningKeyWithActiveStatusNotFound")
    made = r53.create_key_signing_key(
        CallerReference=uuid.uuid4().hex,
        HostedZoneId=zone,
        KeyManagementServiceArn="arn:aws:kms:us-east-1:123456789012:key/1",
        Name="main",
        Status="ACTIVE",
    )["KeySigningKey"]
    assert re.fullmatch(r"\d+ 13 2 [0-9A-F]{64}", made["DSRecord"])
    assert r53.enable_hosted_zone_dnssec(HostedZoneId=zone)["ChangeInfo"]["Status"] == "PENDING"
    assert status() == "SIGNING"
    refused(lambda: r53.deactivate_key_signing_key(HostedZoneId=zone, Name="main"), "KeySigningKeyInUse")
    r53.disable_hosted_zone_dnssec(HostedZoneId=zone)
    r53.deactivate_key_signing_key(HostedZoneId=zone, Name="main")
    r53.delete_key_signing_key(HostedZoneId=zone, Name="main")
    assert r53.get_dnssec(HostedZoneId=zone)["KeySigningKeys"] == []


def fresh(r53: Any) -> tuple[str, str]:
    name = f"z{uuid.uuid4().hex[:12]}.example"
    made = r53.create_hosted_zone(Name=name, CallerReference=uuid.uuid4().hex)
    return made["HostedZone"]["Id"], name


@pytest.fixture
def r53(store: mockaws.Store) -> Any:
    return client(store, "route53")


@pytest.fixture(scope="session")
def stock_r53(stock: str) -> Any:
    return client_of("route53", stock, "AKIAIOSFODNN7EXAMPLE", "none")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_corrected(r53: Any, check: Check) -> None:
    check(r53, *fresh(r53))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_stock_moto_needs_the_correction(stock_r53: Any, check: Check) -> None:
    with pytest.raises((AssertionError, ClientError, PaginationError, pytest.fail.Exception, KeyError)):
        check(stock_r53, *fresh(stock_r53))


def test_every_kind_of_record_set_comes_back(r53: Any) -> None:
    zone, name = fresh(r53)
    given = [
        change("CREATE", name, "A", AliasTarget=alias("lb.us-east-1.elb.amazonaws.com.")),
        change("CREATE", name, "MX", f"10 mail.{name}.", "20 backup.example."),
        change("CREATE", name, "TXT", '"v=spf1 -all"', '"a" "b"'),
        change("CREATE", name, "CAA", '0 issue "letsencrypt.org"'),
        change("CREATE", f"_sip._tcp.{name}", "SRV", "1 2 5060 sip.example."),
        change("CREATE", f"w.{name}", "A", "192.0.2.1", SetIdentifier="a", Weight=90),
        change("CREATE", f"w.{name}", "A", "192.0.2.2", SetIdentifier="b", Weight=10),
        change("CREATE", f"geo.{name}", "A", "192.0.2.2", SetIdentifier="x", GeoLocation={"CountryCode": "DE"}),
        change("CREATE", f"lat.{name}", "A", "192.0.2.2", SetIdentifier="x", Region="eu-west-1"),
        change("CREATE", f"multi.{name}", "A", "192.0.2.2", SetIdentifier="x", MultiValueAnswer=True),
        change("CREATE", f"fail.{name}", "A", "192.0.2.2", SetIdentifier="p", Failover="PRIMARY"),
    ]
    apply(r53, zone, *given)
    seen = [rrset for rrset in sets(r53, zone) if rrset["Type"] not in ("NS", "SOA")]
    wanted = [dict(item["ResourceRecordSet"], Name=item["ResourceRecordSet"]["Name"] + ".") for item in given]

    def key(rrset: dict[str, Any]) -> tuple[str, str, str]:
        return rrset["Name"], rrset["Type"], rrset.get("SetIdentifier", "")

    assert sorted(seen, key=key) == sorted(wanted, key=key)
    assert r53.get_hosted_zone(Id=zone)["HostedZone"]["ResourceRecordSetCount"] == len(given) + 2


def alias(name: str) -> dict[str, Any]:
    return {"HostedZoneId": "Z35SXDOTRQ7X7K", "DNSName": name, "EvaluateTargetHealth": False}


def test_create_delete_upsert(r53: Any) -> None:
    zone, name = fresh(r53)
    create = change("CREATE", f"a.{name}", "A", "192.0.2.1")
    apply(r53, zone, create)
    refused(lambda: apply(r53, zone, create), "InvalidChangeBatch", "already exists")
    apply(r53, zone, change("UPSERT", f"A.{name}.", "A", "192.0.2.2", ttl=60))
    refused(lambda: r53.delete_hosted_zone(Id=zone), "HostedZoneNotEmpty")
    apply(
        r53,
        zone,
        change("DELETE", f"a.{name}", "A", "192.0.2.2", ttl=60),
        change("CREATE", f"a.{name}", "CNAME", "b.example."),
    )
    apply(r53, zone, change("DELETE", f"a.{name}", "CNAME", "b.example."))
    (ns,) = (rrset for rrset in sets(r53, zone) if rrset["Type"] == "NS")
    gone = {"Action": "DELETE", "ResourceRecordSet": ns}
    refused(lambda: apply(r53, zone, gone), "InvalidChangeBatch", "at least one NS")
    apply(r53, zone, change("UPSERT", name, "NS", "ns1.agora.example.", "ns2.agora.example.", ttl=60))
    r53.delete_hosted_zone(Id=zone)
    refused(lambda: sets(r53, zone), "NoSuchHostedZone")


def test_limits_of_one_batch(r53: Any) -> None:
    zone, name = fresh(r53)
    many = [change("UPSERT", f"n{n}.{name}", "A", "192.0.2.1") for n in range(501)]
    refused(lambda: apply(r53, zone, *many), "InvalidChangeBatch", "1000 exceeded")
    apply(r53, zone, *many[:500])
    long = [change("UPSERT", f"t{n}.{name}", "TXT", '"' + "x" * 250 + '"') for n in range(65)]
    refused(lambda: apply(r53, zone, *long), "InvalidChangeBatch", "32000")
    assert len(sets(r53, zone)) == 502


def register(domains: Any) -> str:
    person = {
        **{"FirstName": "A", "LastName": "B", "ContactType": "PERSON", "AddressLine1": "1 Street", "City": "Town"},
        **{"CountryCode": "US", "State": "NY", "ZipCode": "10001", "PhoneNumber": "+1.2125550100"},
        "Email": "ops@agora.example",
    }
    name = f"d{uuid.uuid4().hex[:10]}.com"
    contacts = {f"{kind}Contact": person for kind in ("Admin", "Registrant", "Tech")}
    domains.register_domain(DomainName=name, DurationInYears=2, **contacts)
    return name


def the_name_servers_of_a_domain_change_twice(domains: Any) -> None:
    name = register(domains)
    for server in ("ns1.agora.example", "ns2.agora.example"):
        domains.update_domain_nameservers(DomainName=name, Nameservers=[{"Name": server}])
        found = domains.get_domain_detail(DomainName=name)["Nameservers"]
        assert [one["Name"] for one in found] == [server]


def a_transfer_needs_its_lock_lifted(domains: Any) -> None:
    name = register(domains)
    domains.enable_domain_transfer_lock(DomainName=name)
    assert "clientTransferProhibited" in domains.get_domain_detail(DomainName=name)["StatusList"]
    refused(lambda: domains.retrieve_domain_auth_code(DomainName=name), "InvalidInput")
    domains.disable_domain_transfer_lock(DomainName=name)
    assert domains.retrieve_domain_auth_code(DomainName=name)["AuthCode"]


def a_domain_is_signed_and_unsigned(domains: Any) -> None:
    name = register(domains)
    key = {"Algorithm": 13, "Flags": 257, "PublicKey": "bm8gcmVhbCBrZXk="}
    domains.associate_delegation_signer_to_domain(DomainName=name, SigningAttributes=key)
    (found,) = domains.get_domain_detail(DomainName=name)["DnssecKeys"]
    assert (found["Algorithm"], found["Flags"]) == (13, 257)
    domains.disassociate_delegation_signer_from_domain(DomainName=name, Id=found["Id"])
    assert domains.get_domain_detail(DomainName=name)["DnssecKeys"] == []


REGISTRAR = [
    the_name_servers_of_a_domain_change_twice,
    a_transfer_needs_its_lock_lifted,
    a_domain_is_signed_and_unsigned,
]


@pytest.mark.parametrize("check", REGISTRAR, ids=lambda check: check.__name__)
def test_registrar_corrected(store: mockaws.Store, check: Callable[[Any], None]) -> None:
    check(client(store, "route53domains"))


@pytest.mark.parametrize("check", REGISTRAR, ids=lambda check: check.__name__)
def test_stock_registrar_needs_the_correction(stock: str, check: Callable[[Any], None]) -> None:
    with pytest.raises((AssertionError, ClientError, KeyError, ValueError)):
        check(client_of("route53domains", stock, "AKIAIOSFODNN7EXAMPLE", "none"))


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("Example.COM", "example.com."),
        ("*.x.example.", r"\052.x.example."),
        (r"\052.x.example", r"\052.x.example."),
        (r"a.\052.x", r"a.\052.x."),
        (r"sub\056dot.x", r"sub\056dot.x."),
        ("é.x", r"\303\251.x."),
        ("_dmarc.x", "_dmarc.x."),
    ],
)
def test_canonical_names(given: str, spelled: str) -> None:
    assert canonical_name(given) == spelled
    assert canonical_name(spelled) == spelled


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", ".".join(["a" * 60] * 5)])
def test_impossible_names(name: str) -> None:
    with pytest.raises(ChangeRefused):
        canonical_name(name)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("A", "192.0.2.1"),
        ("AAAA", "2001:db8::1"),
        ("TXT", r'"a \"quoted\" \\ \344 text" "second"'),
        ("TXT", '""'),
        ("MX", "0 ."),
        ("CAA", '128 iodef "mailto:ops@agora.example"'),
        ("DS", "2371 13 2 1F987CC6583E92DF0890718C42"),
        ("NAPTR", '100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" .'),
        ("SVCB", "1 . alpn=h2"),
        ("SSHFP", "4 2 123456789abcdef67890123456789abcdef67890"),
        ("TLSA", "3 1 1 0123"),
    ],
)
def test_good_values(kind: str, value: str) -> None:
    check_value(kind, value)
