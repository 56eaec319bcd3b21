"""The whole way of a zone: read, judge, translate, plan, apply, verify, cut over, go back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dns import world
from tests.dns.conftest import Aws, Keys, NewSide
from toolkit import wire
from toolkit.dns import content
from toolkit.dns.drivers.route53 import LosslessRoute53
from toolkit.dns.family import DnsFamily
from toolkit.dns.model import plain
from toolkit.errors import AuthError, Conflict, NotFound
from toolkit.model import Endpoint, Resource, state
from toolkit.secrets import Secret


def there_and_back(aws: Aws, new: NewSide, folder: Path) -> None:
    world.seed(aws)
    made = world.family(aws, new, folder)
    source = world.resources(made)
    before = {addr: item.body for addr, item in source.items()}
    abilities = made.probe("target")
    outcomes = {v.id: v.outcome for item in source.values() for v in made.assess(item, abilities)}
    assert set(outcomes.values()) == {"kept", "converted"}
    want = world.desired(made)
    assert list(made.leftovers(want)) == []
    changes = world.plan(made, want)
    assert [change.action for change in changes] == ["create", "copy"]
    done = world.run(made, changes)
    assert world.plan(made, want) == (), "the same plan again has nothing to do"

    findings, tallies = world.split(made.verify(want, "list"))
    assert findings == []
    assert [(tally.total, tally.verified) for tally in tallies] == [(14, 14)]

    hanging, _ = world.split(made.dependence(want, world.OLD))
    assert {finding.feature for finding in hanging} == {"delegation", "resolution"}
    done += world.run(made, made.cutover("traffic", want))
    hints = aws.hints(**new.servers)
    old_answers = wire.chain("www.agora.example", "A", aws.hints())
    assert old_answers.answers == ("127.8.0.16", "127.8.0.17"), "the old zone points at the new machines"
    assert any("awsdns" in step.server for step in old_answers.steps)
    done += world.run(made, made.cutover("dns", want))
    assert list(made.cutover("registrar", want)) == []
    assert wire.addresses("www.agora.example", hints) == ("127.8.0.16", "127.8.0.17")
    assert wire.addresses("home.agora.example", hints) == ("127.8.0.16", "127.8.0.17")
    hanging, tallies = world.split(made.dependence(want, world.OLD))
    assert hanging == []
    assert [(tally.total, tally.verified) for tally in tallies] == [(14, 14)]
    for phase in ("traffic", "dns"):
        assert list(made.cutover(phase, want)) == [], "cutting over again has nothing to do"

    world.undo(made, done)
    assert {addr: item.body for addr, item in world.resources(made).items()} == before
    assert content.find_zone(new.driver, world.ZONE) is None
    assert any("awsdns" in step.server for step in wire.chain("www.agora.example", "A", aws.hints()).steps)


def test_route53_to_embedded(aws: Aws, embedded: NewSide, tmp_path: Path) -> None:
    there_and_back(aws, embedded, tmp_path)


def test_stock_moto_to_embedded(stock_aws: Aws, embedded: NewSide, tmp_path: Path) -> None:
    there_and_back(stock_aws, embedded, tmp_path)


@pytest.mark.lab
def test_route53_to_powerdns(aws: Aws, powerdns: NewSide, tmp_path: Path) -> None:
    there_and_back(aws, powerdns, tmp_path)


def test_powerdns_to_route53(aws: Aws, embedded: NewSide, tmp_path: Path) -> None:
    """The other direction through the same verbs: self-hosted → Route 53."""
    there = world.seed(aws)
    aws.driver().ex_delete_all_records(aws.driver().get_zone(there.id))
    aws.driver().ex_delete_zone(there.id)
    zone = embedded.driver.ex_create_zone(world.ZONE, nameservers=list(embedded.servers))
    records = [
        plain("agora.example", "A", 60, ["127.8.0.16"]),
        plain("www.agora.example", "CNAME", 60, ["agora.example."]),
        plain("*.wild.agora.example", "TXT", 60, ['"\\228 \\"quoted\\""', '"a" "b"']),
        plain("_x.agora.example", "HTTPS", 60, ['1 . alpn="h2"']),
        *(plain(f"{name}.agora.example", "A", 60, [ip.split(":")[0]]) for name, ip in (("ns1", "127.0.0.1"),)),
    ]
    embedded.driver.ex_write_rrsets(zone.id, records)
    world.register(aws, dict.fromkeys(embedded.servers, "127.0.0.1"))
    made = world.family(aws, embedded, tmp_path, back=True)
    ends = {"m": Endpoint("compute/server/web-1", "ipv4", "127.8.0.16", ("127.9.0.16",))}
    want = world.desired(made, ends)
    done = world.run(made, world.plan(made, want))
    assert world.plan(made, want) == ()
    findings, tallies = world.split(made.verify(want, "list"))
    assert findings == []
    assert [(tally.total, tally.verified) for tally in tallies] == [(5, 5)]
    done += world.run(made, made.cutover("traffic", want))
    done += world.run(made, made.cutover("dns", want))
    chain = wire.chain("www.agora.example", "A", aws.hints())
    assert chain.answers == ("127.9.0.16",)
    assert "awsdns" in chain.steps[-1].server
    world.undo(made, done)
    assert content.find_zone(aws.driver(), world.ZONE) is None
    assert sorted(r.name for r in embedded.driver.ex_read_zone(zone.id)[1] if r.type == "A") == [
        "agora.example.",
        "ns1.agora.example.",
    ]


def test_slugs_of_zones_with_one_name(aws: Aws, embedded: NewSide, tmp_path: Path) -> None:
    driver = aws.driver()
    first, second = driver.ex_create_zone("twice.example"), driver.ex_create_zone("twice.example")
    odd = driver.ex_create_zone("0/25._x.example")
    made = world.family(aws, embedded, tmp_path)
    assert any(address == "dns/zone/0-25.-x.example" for address in world.resources(made))
    driver.ex_delete_zone(odd.id)
    slugs = {item.address for item in world.resources(made).values() if item.body.get("name") == "twice.example"}
    assert slugs == {"dns/zone/twice.example", "dns/zone/twice.example~2"}
    wanted = state([Resource("dns/zone/t", {"name": "twice.example", "private": False})])
    with pytest.raises(Conflict):
        list(made.read("source", wanted))
    by_id = state([Resource("dns/zone/t", {"name": "twice.example", "private": False}, id=second.id)])
    assert [item.id for item in made.read("source", by_id)] == [second.id]  # type: ignore[union-attr]
    for zone in (first, second):
        driver.ex_delete_zone(zone.id)


def test_a_missing_zone_at_the_source_is_named(aws: Aws, embedded: NewSide, tmp_path: Path) -> None:
    made = world.family(aws, embedded, tmp_path)
    wanted = state([Resource("dns/zone/x", {"name": "nowhere.example", "private": False})])
    with pytest.raises(NotFound, match=r"nowhere\.example"):
        list(made.read("source", wanted))
    assert list(made.read("target", wanted)) == []


def test_a_stranger_s_record_set_is_shown_replaced_and_restored(aws: Aws, embedded: NewSide, tmp_path: Path) -> None:
    world.seed(aws)
    zone = embedded.driver.ex_create_zone(world.ZONE, nameservers=["ns1.agora.example", "ns2.agora.example"])
    theirs = [
        plain("www.agora.example", "CNAME", 77, ["somewhere.example."]),
        plain("mail.agora.example", "A", 77, ["192.0.2.77"]),
        plain("other.agora.example", "A", 77, ["192.0.2.78"]),
    ]
    embedded.driver.ex_write_rrsets(zone.id, theirs)
    made = world.family(aws, embedded, tmp_path)
    want = world.desired(made)
    (change,) = world.plan(made, want)
    assert change.before is not None
    assert set(change.before.body["rrsets"]) == {"www/CNAME", "mail/A"}
    done = world.run(made, [change])
    findings, _ = world.split(made.verify(want, "list"))
    assert findings == []
    world.undo(made, done)
    left = {r.key(world.ZONE): r for r in embedded.driver.ex_read_zone(zone.id)[1]}
    assert {key: left[key].values for key in left if key not in ("@/SOA", "@/NS")} == {
        "www/CNAME": ("somewhere.example.",),
        "mail/A": ("192.0.2.77",),
        "other/A": ("192.0.2.78",),
    }


def test_a_half_done_write_is_done_again_and_a_third_state_is_a_conflict(
    aws: Aws, embedded: NewSide, tmp_path: Path
) -> None:
    world.seed(aws)
    made = world.family(aws, embedded, tmp_path)
    want = world.desired(made)
    zone, content_change = world.plan(made, want)
    world.run(made, [zone])
    half = [
        content.from_body(world.ZONE, key, body)
        for key, body in list(content_change.after.body["rrsets"].items())[:5]  # type: ignore[union-attr]
    ]
    found = content.find_zone(embedded.driver, world.ZONE)
    assert found is not None
    embedded.driver.ex_write_rrsets(found.id, half)
    assert made.observe(content_change) == "before"
    world.run(made, [content_change])
    embedded.driver.ex_write_rrsets(found.id, [plain("api.agora.example", "A", 9, ["192.0.2.9"])])
    assert made.observe(content_change) == "other"
    made.undo(content_change, purge=False)
    left = {r.key(world.ZONE) for r in embedded.driver.ex_read_zone(found.id)[1]}
    assert left == {"@/SOA", "@/NS", "api/A"}, "what somebody else wrote since stays"
    with pytest.raises(Conflict):
        made.undo(zone, purge=False)


def test_references_are_planned_and_filled_later(aws: Aws, embedded: NewSide, tmp_path: Path) -> None:
    from toolkit.apply import with_outputs

    world.seed(aws)
    made = world.family(aws, embedded, tmp_path)
    ends = {**world.ENDS, "a": Endpoint("compute/server/web-1", "ipv4", "127.9.0.16", ("@{compute/server/web-1:ip}",))}
    want = world.desired(made, ends)
    zone, change = world.plan(made, want)
    assert change.after is not None
    assert "@{compute/server/web-1:ip}" in change.after.body["rrsets"]["api/A"]["values"]
    filled = with_outputs(change, {"compute/server/web-1": {"ip": "127.8.0.99"}})
    world.run(made, [zone, filled])
    (traffic,) = made.cutover("traffic", want)
    traffic = with_outputs(traffic, {"compute/server/web-1": {"ip": "127.8.0.99"}})
    done = world.run(made, [traffic])
    assert wire.addresses("api.agora.example", aws.hints()) == ("127.8.0.17", "127.8.0.99")
    world.undo(made, done)


def test_verify_finds_what_differs(aws: Aws, embedded: NewSide, tmp_path: Path) -> None:
    world.seed(aws)
    made = world.family(aws, embedded, tmp_path)
    want = world.desired(made)
    _, tallies = world.split(made.verify(want, "list"))
    assert [(tally.total, tally.verified) for tally in tallies] == [(14, 0)], "no zone: nothing is verified"
    world.run(made, world.plan(made, want))
    found = content.find_zone(embedded.driver, world.ZONE)
    assert found is not None
    sets = {r.key(world.ZONE): r for r in embedded.driver.ex_read_zone(found.id)[1]}
    embedded.driver.ex_write_rrsets(
        found.id,
        [plain("www.agora.example", "A", 3, ["127.8.0.16"]), plain("api.agora.example", "A", 99, sets["api/A"].values)],
        [sets["_sip._tcp/SRV"]],
    )
    findings, tallies = world.split(made.verify(want, "list"))
    shown = {finding.address.removeprefix(f"dns/rrset/{world.ZONE}/"): finding for finding in findings}
    assert {key: finding.verdict for key, finding in shown.items()} == {
        "www/A": "different",
        "api/A": "different",
        "_sip._tcp/SRV": "missing",
    }
    assert "TTL 99 instead of 2" in shown["api/A"].text
    assert shown["www/A"].evidence["places"] == [
        f"{server}/{transport}" for server in sorted(embedded.servers) for transport in ("TCP", "UDP")
    ]
    assert [(tally.total, tally.verified) for tally in tallies] == [(14, 11)]


def test_an_unresolved_alias_is_blocked_never_written_and_counted_as_lost(
    aws: Aws, embedded: NewSide, tmp_path: Path
) -> None:
    alias = {"HostedZoneId": "Z2FDTNDATAQYW2", "DNSName": "d1.cloudfront.net.", "EvaluateTargetHealth": False}
    world.seed(aws, {"Name": f"cdn.{world.ZONE}.", "Type": "A", "AliasTarget": alias})
    made = world.family(aws, embedded, tmp_path)
    want = world.desired(made)
    assert [(v.address, v.outcome) for v in made.leftovers(want)] == [("dns/rrset/agora.example/cdn/A", "blocked")]
    world.run(made, world.plan(made, want))
    findings, tallies = world.split(made.verify(want, "list"))
    assert [(finding.address, finding.verdict) for finding in findings] == [
        ("dns/rrset/agora.example/cdn/A", "missing")
    ]
    assert [(tally.total, tally.verified) for tally in tallies] == [(15, 14)]


def test_a_target_without_name_servers_is_blocked(aws: Aws, embedded: NewSide, tmp_path: Path) -> None:
    made = world.family(aws, NewSide(embedded.driver, {}), tmp_path)
    want = state([Resource("dns/zone/x", {"name": "x.example", "private": False})])
    assert [(v.address, v.feature, v.outcome) for v in made.leftovers(want)] == [
        ("dns/zone/x", "nameservers", "blocked")
    ]
    assert list(world.family(aws, embedded, tmp_path).leftovers(want)) == []


def test_the_delegation_moves_though_the_old_side_is_gone(aws: Aws, embedded: NewSide, tmp_path: Path) -> None:
    world.seed(aws)
    made = world.family(aws, embedded, tmp_path)
    want = world.desired(made)
    world.run(made, world.plan(made, want))
    closed = LosslessRoute53(endpoint=aws.endpoint, credentials=Keys(Secret("AKIACLOSED"), Secret("x")))
    alone = DnsFamily(
        source=closed,
        target=embedded.driver,
        workspace=tmp_path,
        tick=lambda _progress: None,
        hints=aws.hints(**embedded.servers),
        target_nameservers=embedded.servers,
        registrar=aws.registrar(),
    )
    with pytest.raises(AuthError):
        list(alone.cutover("traffic", want))
    changes = list(alone.cutover("dns", want))
    assert [change.address for change in changes] == ["dns/delegation/agora.example"]
    world.run(alone, changes)
    findings, _ = world.split(alone.dependence(want, world.OLD))
    assert findings == []
