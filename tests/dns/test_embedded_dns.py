"""The embedded name server on the wire."""

from __future__ import annotations

import socket
import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from tests.dns.conftest import Keys, NewSide
from toolkit.dns.drivers.powerdns import LosslessPowerDNS
from toolkit.dns.model import plain
from toolkit.errors import Unreachable
from toolkit.rehearsal import authority, embedded_dns
from toolkit.secrets import Secret
from toolkit.wire import query

ZONE = "served.example"


@pytest.fixture
def server(embedded: NewSide) -> str:
    zone = embedded.driver.ex_create_zone(ZONE, nameservers=["ns1.served.example", "ns2.agora.example"])
    embedded.driver.ex_write_rrsets(
        zone.id,
        [
            plain(f"www.{ZONE}", "A", 60, ["192.0.2.1"]),
            plain(f"a.{ZONE}", "CNAME", 60, [f"b.{ZONE}."]),
            plain(f"b.{ZONE}", "CNAME", 60, [f"www.{ZONE}."]),
            plain(f"loop.{ZONE}", "CNAME", 60, [f"loop2.{ZONE}."]),
            plain(f"loop2.{ZONE}", "CNAME", 60, [f"loop.{ZONE}."]),
            plain(f"out.{ZONE}", "CNAME", 60, ["elsewhere.example."]),
            plain(f"*.wild.{ZONE}", "TXT", 60, ['"w"']),
            plain(f"deep.er.wild.{ZONE}", "A", 60, ["192.0.2.2"]),
            plain(f"big.{ZONE}", "TXT", 60, [f'"{number:03d}{"x" * 200}"' for number in range(30)]),
            plain(f"x.ent.{ZONE}", "A", 60, ["192.0.2.3"]),
            plain(f"sub.{ZONE}", "NS", 60, [f"ns.sub.{ZONE}."]),
            plain(f"ns.sub.{ZONE}", "A", 60, ["192.0.2.53"]),
            plain(f"ns1.{ZONE}", "A", 60, ["192.0.2.4"]),
            plain(ZONE, "MX", 60, [f"10 www.{ZONE}."]),
        ],
    )
    return next(iter(embedded.servers.values()))


def shown(answer: dns.message.Message) -> list[str]:
    return [f"{r.name} {r.ttl} {dns.rdatatype.to_text(r.rdtype)} {x}" for r in answer.answer for x in r]


def test_answers_and_their_flags(server: str) -> None:
    answer = query(server, f"www.{ZONE}", "A")
    assert shown(answer) == [f"www.{ZONE}. 60 A 192.0.2.1"]
    assert answer.flags & dns.flags.AA
    assert not answer.flags & dns.flags.RA


def test_cname_chains(server: str) -> None:
    assert [line.split()[2] for line in shown(query(server, f"a.{ZONE}", "A"))] == ["CNAME", "CNAME", "A"]
    assert [line.split()[2] for line in shown(query(server, f"a.{ZONE}", "CNAME"))] == ["CNAME"]
    assert [line.split()[2] for line in shown(query(server, f"out.{ZONE}", "A"))] == ["CNAME"]
    assert query(server, f"loop.{ZONE}", "A").answer, "a circle ends"


def test_negative_answers(server: str) -> None:
    nothing = query(server, f"nothing.{ZONE}", "A")
    assert nothing.rcode() == dns.rcode.NXDOMAIN
    assert nothing.authority[0].rdtype == dns.rdatatype.SOA
    assert nothing.flags & dns.flags.AA
    for name in (f"www.{ZONE}", f"ent.{ZONE}"):
        nodata = query(server, name, "AAAA")
        assert (nodata.rcode(), nodata.answer) == (dns.rcode.NOERROR, [])
        assert nodata.authority[0].rdtype == dns.rdatatype.SOA
    assert query(server, "not-ours.example", "A").rcode() == dns.rcode.REFUSED


def test_wildcards_cover_what_does_not_exist(server: str) -> None:
    assert shown(query(server, f"x.y.wild.{ZONE}", "TXT")) == [f'x.y.wild.{ZONE}. 60 TXT "w"']
    assert query(server, f"er.wild.{ZONE}", "TXT").rcode() == dns.rcode.NOERROR, "an empty name in between exists"
    assert query(server, f"er.wild.{ZONE}", "TXT").answer == []
    assert query(server, f"other.er.wild.{ZONE}", "TXT").rcode() == dns.rcode.NXDOMAIN


def test_referrals_carry_glue(server: str) -> None:
    answer = query(server, f"www.sub.{ZONE}", "A")
    assert not answer.flags & dns.flags.AA
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert answer.authority[0].rdtype == dns.rdatatype.NS
    assert answer.additional[0][0].address == "192.0.2.53"
    mail = query(server, ZONE, "MX")
    assert mail.additional[0][0].address == "192.0.2.1"


def test_a_large_answer_is_truncated_and_whole_over_tcp(server: str) -> None:
    short = query(server, f"big.{ZONE}", "TXT")
    assert short.flags & dns.flags.TC
    assert len(short.to_wire()) <= 1232
    whole = query(server, f"big.{ZONE}", "TXT", tcp=True)
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 30


@pytest.mark.parametrize("kind", ["AXFR", "ANY"])
def test_transfers_are_refused(server: str, kind: str) -> None:
    assert query(server, ZONE, kind, tcp=True).rcode() == dns.rcode.REFUSED


def test_rubbish_does_not_hurt(server: str) -> None:
    host, port = server.split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for wire in (b"", b"x", b"\x00" * 12, b"\xff" * 64):
            sock.sendto(wire, (host, int(port)))
    with socket.create_connection((host, int(port)), 5) as stream:
        stream.sendall(struct.pack("!H", 40) + b"short")
    assert query(server, f"www.{ZONE}", "A").answer


def test_both_addresses_serve_one_store(embedded: NewSide, server: str) -> None:
    found = {shown(query(where, f"www.{ZONE}", "A"))[0] for where in embedded.servers.values()}
    assert len(found) == 1


def test_disabled_records_are_not_served(embedded: NewSide, server: str) -> None:
    records = [{"content": "192.0.2.9", "disabled": True}]
    raw = {"name": f"off.{ZONE}.", "type": "A", "ttl": 60, "changetype": "REPLACE", "records": records}
    embedded.driver.ex_patch_rrsets(f"{ZONE}.", [raw])
    assert query(server, f"off.{ZONE}", "A").rcode() == dns.rcode.NXDOMAIN


def test_an_address_in_use_is_reported_and_close_frees_it() -> None:
    first = embedded_dns.serve(dns=[("127.0.0.1", 0)], api=("127.0.0.1", 0), key="k")
    taken = first.dns[0]
    with pytest.raises(Unreachable):
        embedded_dns.serve(dns=[taken], api=("127.0.0.1", 0), key="k")
    port = int(first.api.rpartition(":")[2])
    with pytest.raises(Unreachable):
        embedded_dns.serve(dns=[("127.0.0.1", 0)], api=("127.0.0.1", port), key="k")
    first.close()
    again = embedded_dns.serve(dns=[taken], api=("127.0.0.1", port), key="k")
    again.close()


def test_a_failing_zone_source_does_not_end_the_server() -> None:
    broken = True

    def zones() -> authority.Zones:
        if broken:
            raise RuntimeError("not now")
        return {}

    listeners = authority.Listeners([("127.0.0.1", 0)], zones)
    where = f"127.0.0.1:{listeners.addresses[0][1]}"
    try:
        with pytest.raises(Unreachable):
            query(where, "x.example", "A", timeout=0.3, tries=1)
        broken = False
        assert query(where, "x.example", "A").rcode() == dns.rcode.REFUSED
    finally:
        listeners.close()


def test_the_key_may_be_a_secret() -> None:
    handle = embedded_dns.serve(dns=[("127.0.0.1", 0)], api=("127.0.0.1", 0), key=Secret("s3cret"))
    try:
        driver = LosslessPowerDNS(endpoint=handle.api, credentials=Keys(Secret("s3cret")))
        assert list(driver.ex_zones()) == []
        assert "s3cret" not in repr(handle)
    finally:
        handle.close()
