"""Cut-over: what stops it, what it writes to the source, and how it goes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dns import world
from tests.dns.conftest import Aws, NewSide
from toolkit import wire
from toolkit.dns import content, cutover
from toolkit.dns.delegation import ask_parents
from toolkit.dns.drivers.registrar import ManualRegistrar, Registration
from toolkit.dns.family import DnsFamily
from toolkit.dns.model import plain
from toolkit.errors import CutoverError, NeedsHuman, Refused
from toolkit.model import Change, Resource

DS = "12345 13 2 " + "ab" * 32


@pytest.fixture
def applied(aws: Aws, embedded: NewSide, tmp_path: Path) -> tuple[DnsFamily, dict[str, Resource]]:
    """The zone stands at the target, the world still at the source."""
    world.seed(aws)
    made = world.family(aws, embedded, tmp_path)
    want = world.desired(made)
    world.run(made, world.plan(made, want))
    return made, want


def delegation(made: DnsFamily, want: dict[str, Resource]) -> tuple[Change, Change]:
    apex, moved = made.cutover("dns", want)
    assert (apex.address, moved.address) == ("dns/apex/agora.example", "dns/delegation/agora.example")
    assert moved.needs == (apex.id,)
    return apex, moved


def test_traffic_writes_only_what_moved(aws: Aws, applied: tuple[DnsFamily, dict[str, Resource]]) -> None:
    made, want = applied
    (change,) = made.cutover("traffic", want)
    assert change.phase == "traffic"
    assert change.before is not None
    assert change.after is not None
    assert set(change.after.body["rrsets"]) == {"@/A", "@/TXT", "www/A", "s3/A", "api/A", "*.wild/A"}
    assert set(change.before.body["rrsets"]) == {"@/A", "@/TXT", "www/CNAME", "s3/CNAME", "api/A", "*.wild/A"}
    assert change.figures["wait_s"] == 300


def test_the_delegation_waits_for_both_clocks(applied: tuple[DnsFamily, dict[str, Resource]]) -> None:
    made, want = applied
    apex, moved = delegation(made, want)
    assert moved.figures["wait_s"] == 172_800, "the old zone's own NS TTL is longer than the parent's 6 s"
    assert apex.after is not None
    assert apex.after.body["rrsets"]["@/NS"]["ttl"] == 300
    assert set(apex.after.body["rrsets"]) == {"@/NS", "ns1/A", "ns2/A"}


def test_a_difference_on_the_wire_stops_the_delegation(
    aws: Aws, embedded: NewSide, applied: tuple[DnsFamily, dict[str, Resource]]
) -> None:
    made, want = applied
    _, moved = delegation(made, want)
    zone = content.find_zone(embedded.driver, world.ZONE)
    assert zone is not None
    embedded.driver.ex_write_rrsets(zone.id, [plain("api.agora.example", "A", 2, ["192.0.2.1"])])
    with pytest.raises(CutoverError, match="api/A"):
        made.do(moved, None)
    assert made.observe(moved) == "before"


def test_a_server_that_does_not_serve_the_zone_stops_the_delegation(
    aws: Aws,
    embedded: NewSide,
    tmp_path: Path,
    applied: tuple[DnsFamily, dict[str, Resource]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cutover, "SERIAL_WAIT", 0.5)
    _, want = applied
    servers = {**embedded.servers, "ns3.agora.example": aws.twin[0]}
    lame = DnsFamily(
        source=aws.driver(),
        target=embedded.driver,
        workspace=tmp_path,
        tick=lambda _progress: None,
        hints=aws.hints(**servers),
        target_nameservers=servers,
        registrar=aws.registrar(),
    )
    moved = list(lame.cutover("dns", want))[-1]
    with pytest.raises(CutoverError, match="ns3"):
        lame.do(moved, None)


def test_a_ds_record_stops_the_delegation(aws: Aws, applied: tuple[DnsFamily, dict[str, Resource]]) -> None:
    made, want = applied
    _, moved = delegation(made, want)
    servers = {name.rstrip("."): None for name in ask_parents(world.ZONE, aws.hints()).nameservers or ()}
    world.register(aws, servers, ds=[DS])
    with pytest.raises(Refused, match="DS"):
        made.do(moved, None)
    findings, _ = world.split(made.dependence(want, world.OLD))
    assert "ds" in {finding.feature for finding in findings}


def test_rolling_the_delegation_back(aws: Aws, applied: tuple[DnsFamily, dict[str, Resource]]) -> None:
    made, want = applied
    before = ask_parents(world.ZONE, aws.hints())
    done = world.run(made, delegation(made, want))
    assert ask_parents(world.ZONE, aws.hints()).nameservers == ("ns1.agora.example.", "ns2.agora.example.")
    assert ask_parents(world.ZONE, aws.hints()).glue == {
        "ns1.agora.example.": "127.0.0.1",
        "ns2.agora.example.": "127.0.0.1",
    }
    world.undo(made, done)
    assert ask_parents(world.ZONE, aws.hints()) == before


def test_a_stranger_s_delegation_is_a_conflict(aws: Aws, applied: tuple[DnsFamily, dict[str, Resource]]) -> None:
    made, want = applied
    _, moved = delegation(made, want)
    world.register(aws, {"ns.stranger.example": "192.0.2.1"})
    assert made.observe(moved) == "other"


def test_without_a_registrar_a_human_gets_the_exact_words(
    aws: Aws, embedded: NewSide, tmp_path: Path, applied: tuple[DnsFamily, dict[str, Resource]]
) -> None:
    _, want = applied
    made = DnsFamily(
        source=aws.driver(),
        target=embedded.driver,
        workspace=tmp_path,
        tick=lambda _progress: None,
        hints=aws.hints(**embedded.servers),
        target_nameservers=embedded.servers,
    )
    _, moved = delegation(made, want)
    with pytest.raises(NeedsHuman, match=r"ns1\.agora\.example with glue 127\.0\.0\.1; ns2\.agora\.example"):
        made.do(moved, None)
    world.register(aws, dict.fromkeys(embedded.servers, "127.0.0.1"))
    assert made.observe(moved) == "after", "the parents decide, not who changed them"


def test_the_old_provider_as_registrar_needs_a_human(aws: Aws, applied: tuple[DnsFamily, dict[str, Resource]]) -> None:
    made, want = applied
    assert list(made.cutover("registrar", want)) == []
    servers = {name.rstrip("."): None for name in ask_parents(world.ZONE, aws.hints()).nameservers or ()}
    world.register(aws, servers, registrar="Amazon Registrar, Inc.")
    (change,) = made.cutover("registrar", want)
    assert made.observe(change) == "before"
    with pytest.raises(NeedsHuman, match="authorisation code"):
        made.do(change, None)
    world.register(aws, servers, registrar="Another One")
    assert made.observe(change) == "after"


def test_the_manual_registrar_reads_the_parents(aws: Aws) -> None:
    world.register(aws, {"ns1.agora.example": "127.0.0.9", "ns.other.example": None}, ds=[DS])
    assert ManualRegistrar(aws.hints()).get(world.ZONE) == Registration(
        "", ("ns.other.example.", "ns1.agora.example."), (DS,), {"ns1.agora.example.": "127.0.0.9"}
    )


def test_the_chain_goes_to_the_new_side_only_after_the_delegation(
    aws: Aws, embedded: NewSide, applied: tuple[DnsFamily, dict[str, Resource]]
) -> None:
    made, want = applied
    hints = aws.hints(**embedded.servers)
    world.run(made, made.cutover("traffic", want))
    assert "awsdns" in wire.chain("api.agora.example", "A", hints).steps[-1].server
    world.run(made, made.cutover("dns", want))
    assert "ns" in wire.chain("api.agora.example", "A", hints).steps[-1].server
    assert wire.chain("api.agora.example", "A", hints).answers == ("127.8.0.16", "127.8.0.17")
