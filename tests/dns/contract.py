"""What every lossless DNS driver must do, whatever stands behind it.

A test class inherits :class:`DnsContract` and gives a fixture ``side`` with ``driver`` and ``servers``
(name → ip:port). The wire is checked at those servers. Nothing here knows a provider.
"""

from __future__ import annotations

from typing import Any

import pytest
from libcloud.dns.types import RecordAlreadyExistsError, RecordDoesNotExistError, ZoneDoesNotExistError

from toolkit.dns import content, parity
from toolkit.dns.model import RRSet, ZoneInfo, plain
from toolkit.errors import Conflict, NotFound, Unsupported

ZONE = "contract.example"
PLAIN: tuple[tuple[str, str, list[str]], ...] = (
    ("www", "A", ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
    ("www", "AAAA", ["2001:db8::1"]),
    ("alias", "CNAME", ["www.contract.example."]),
    ("outside", "CNAME", ["other.example."]),
    ("@", "MX", ["10 mail.contract.example.", "20 mail.other.example."]),
    ("@", "TXT", ['"v=spf1 -all"', '"one" "two" ""']),
    ("long", "TXT", ['"' + "x" * 255 + '" "' + "y" * 120 + '"']),
    ("quotes", "TXT", ['"say \\"hi\\"; back\\\\slash"', '"\\228 byte"', '"a" "b"']),
    ("_sip._tcp", "SRV", ["10 60 5060 a.contract.example.", "10 40 5060 b.contract.example."]),
    ("@", "CAA", ['0 issue "letsencrypt.org; validationmethods=dns-01"', '0 iodef "mailto:a@contract.example"']),
    ("naptr", "NAPTR", ['100 10 "S" "SIP+D2U" "!^.*$!sip:\\\\1@contract.example!" _sip._udp.contract.example.']),
    ("_443._tcp.www", "TLSA", ["3 1 1 " + "ab" * 32]),
    ("host", "SSHFP", ["4 2 " + "cd" * 32]),
    ("svc", "SVCB", ['1 target.contract.example. alpn="h2,h3" port="8443" ipv4hint="192.0.2.9"']),
    ("svc", "HTTPS", ['1 . alpn="h3" ech="AAT+DQAA"', "2 back.contract.example."]),
    ("alias-mode", "HTTPS", ["0 www.contract.example."]),
    ("mandatory", "HTTPS", ['1 . mandatory="alpn" alpn="h2"']),
    ("spf", "SPF", ['"v=spf1 -all"']),
    ("1.2.0.192.rev", "PTR", ["www.contract.example."]),
    ("*.wild", "A", ["192.0.2.4"]),
    ("*.wild", "TXT", ['"wild"']),
    ("_dmarc", "TXT", ['"v=DMARC1; p=none"']),
    ("xn--caf-dma", "A", ["192.0.2.5"]),
    ("l" * 63, "A", ["192.0.2.6"]),
    ("0/25.2.0.192.rev", "PTR", ["www.contract.example."]),
    ("a.b.c.d.ent", "A", ["192.0.2.7"]),
)


def rrset(owner: str, rdtype: str, values: list[str], ttl: int = 300) -> RRSet:
    return plain(ZONE if owner == "@" else f"{owner}.{ZONE}", rdtype, ttl, values)


def keyed(rrsets: list[RRSet]) -> dict[str, RRSet]:
    return {item.key(ZONE): item for item in rrsets}


class DnsContract:
    """Inherit, and give ``side``."""

    @pytest.fixture
    def zone(self, side: Any) -> Any:
        """An empty zone; taken away afterwards."""
        driver = side.driver
        stale = content.find_zone(driver, ZONE)
        if stale is not None:
            self._remove(driver, stale)
        made = driver.ex_create_zone(ZONE, nameservers=sorted(side.servers))
        yield made
        found = content.find_zone(driver, ZONE)
        if found is not None:
            self._remove(driver, found)

    def _remove(self, driver: Any, zone: ZoneInfo) -> None:
        _, rrsets = driver.ex_read_zone(zone.id)
        own = [item for item in rrsets if item.key(ZONE) not in ("@/NS", "@/SOA")]
        if own:
            driver.ex_write_rrsets(zone.id, [], own)
        driver.ex_delete_zone(zone.id)

    def _differences(self, side: Any, rrsets: list[RRSet]) -> list[parity.Difference]:
        servers = sorted(side.servers.items())
        assert parity.wait_for_serials(ZONE, servers)
        return list(parity.differences(ZONE, keyed(rrsets), servers))

    def test_plain_types_round_trip(self, side: Any, zone: ZoneInfo) -> None:
        wanted = [rrset(*case) for case in PLAIN]
        side.driver.ex_write_rrsets(zone.id, wanted)
        info, found = side.driver.ex_read_zone(zone.id)
        there = keyed(found)
        assert info.name == ZONE
        assert {item.key(ZONE): item.body for item in wanted} == {
            key: item.body for key, item in there.items() if key not in ("@/NS", "@/SOA")
        }
        assert self._differences(side, wanted) == []

    def test_wildcards_answer_for_names_below(self, side: Any, zone: ZoneInfo) -> None:
        side.driver.ex_write_rrsets(zone.id, [rrset("*.wild", "A", ["192.0.2.4"])])
        servers = sorted(side.servers.items())
        below = rrset("anything.at-all.wild", "A", ["192.0.2.4"])
        assert list(parity.differences(ZONE, {"x/A": below}, servers)) == []
        assert list(parity.negative(ZONE, servers, wildcard=False)) == []

    def test_delegation_with_glue(self, side: Any, zone: ZoneInfo) -> None:
        wanted = [
            rrset("sub", "NS", [f"ns1.sub.{ZONE}.", "ns.other.example."]),
            rrset("sub", "DS", ["12345 13 2 " + "ab" * 32]),
            rrset("ns1.sub", "A", ["192.0.2.53"]),
            rrset("hidden.sub", "TXT", ['"below the cut"']),
        ]
        side.driver.ex_write_rrsets(zone.id, wanted)
        assert self._differences(side, wanted) == []
        wrong = [*wanted[:2], rrset("ns1.sub", "A", ["192.0.2.54"])]
        assert {item.key for item in self._differences(side, wrong)} == {"ns1.sub/A"}

    def test_a_write_replaces_whole_sets_and_only_those(self, side: Any, zone: ZoneInfo) -> None:
        driver = side.driver
        driver.ex_write_rrsets(zone.id, [rrset("a", "A", ["192.0.2.1", "192.0.2.2"]), rrset("b", "A", ["192.0.2.3"])])
        driver.ex_write_rrsets(zone.id, [rrset("a", "A", ["192.0.2.9"], ttl=60)])
        there = keyed(driver.ex_read_zone(zone.id)[1])
        assert there["a/A"].body == {"ttl": 60, "values": ["192.0.2.9"]}
        assert there["b/A"].body == {"ttl": 300, "values": ["192.0.2.3"]}

    def test_an_address_can_take_the_place_of_a_cname(self, side: Any, zone: ZoneInfo) -> None:
        driver = side.driver
        driver.ex_write_rrsets(zone.id, [rrset("www", "CNAME", ["old.example."])])
        there = keyed(driver.ex_read_zone(zone.id)[1])
        driver.ex_write_rrsets(zone.id, [rrset("www", "A", ["192.0.2.1"])], [there["www/CNAME"]])
        assert sorted(keyed(driver.ex_read_zone(zone.id)[1])) == ["@/NS", "@/SOA", "www/A"]

    def test_a_refused_write_changes_nothing(self, side: Any, zone: ZoneInfo) -> None:
        driver = side.driver
        driver.ex_write_rrsets(zone.id, [rrset("www", "CNAME", ["old.example."])])
        with pytest.raises(Unsupported):
            driver.ex_write_rrsets(zone.id, [rrset("fine", "A", ["192.0.2.1"]), rrset("www", "A", ["192.0.2.1"])])
        assert sorted(keyed(driver.ex_read_zone(zone.id)[1])) == ["@/NS", "@/SOA", "www/CNAME"]

    def test_what_is_not_there(self, side: Any) -> None:
        driver = side.driver
        with pytest.raises(NotFound):
            driver.ex_read_zone("NOSUCHZONE0000.")
        with pytest.raises(ZoneDoesNotExistError):
            driver.get_zone("NOSUCHZONE0000.")
        assert content.find_zone(driver, "no-such-zone.example") is None

    def test_a_second_zone_of_one_name_is_refused_or_told_apart(self, side: Any, zone: ZoneInfo) -> None:
        try:
            second = side.driver.ex_create_zone(ZONE, nameservers=sorted(side.servers))
        except Conflict:
            return
        with pytest.raises(Conflict):
            content.find_zone(side.driver, ZONE)
        assert content.find_zone(side.driver, ZONE, zone_id=zone.id) == zone or zone.id != second.id
        side.driver.ex_delete_zone(second.id)

    # --- libcloud's own methods --------------------------------------------------------------------

    def test_libcloud_creates_add_values(self, side: Any, zone: ZoneInfo) -> None:
        driver = side.driver
        found = driver.get_zone(zone.id)
        assert found.domain == f"{ZONE}."
        assert zone.id in [item.id for item in driver.list_zones()]
        for number in (1, 2, 3):
            driver.create_record("multi", found, "A", f"192.0.2.{number}", {"ttl": 120})
        records = [record for record in driver.list_records(found) if record.name == "multi"]
        assert sorted(record.data for record in records) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        assert {record.ttl for record in records} == {120}
        with pytest.raises(RecordAlreadyExistsError):
            driver.create_record("multi", found, "A", "192.0.2.2", {"ttl": 120})

    def test_libcloud_updates_and_deletes_one_value(self, side: Any, zone: ZoneInfo) -> None:
        driver = side.driver
        found = driver.get_zone(zone.id)
        driver.ex_write_rrsets(zone.id, [rrset("multi", "A", ["192.0.2.1", "192.0.2.2", "192.0.2.3"])])
        records = {record.data: record for record in driver.list_records(found) if record.name == "multi"}
        driver.update_record(records["192.0.2.2"], data="192.0.2.22")
        driver.delete_record(records["192.0.2.1"])
        assert keyed(driver.ex_read_zone(zone.id)[1])["multi/A"].values == ("192.0.2.22", "192.0.2.3")
        with pytest.raises(RecordDoesNotExistError):
            driver.delete_record(records["192.0.2.1"])
        left = driver.get_record(zone.id, records["192.0.2.3"].id)
        moved = driver.update_record(left, name="moved")
        assert moved.name == "moved"
        there = keyed(driver.ex_read_zone(zone.id)[1])
        assert there["multi/A"].values == ("192.0.2.22",)
        assert there["moved/A"].values == ("192.0.2.3",)
        last = next(record for record in driver.list_records(found) if record.name == "multi")
        assert driver.delete_record(last)
        assert "multi/A" not in keyed(driver.ex_read_zone(zone.id)[1])

    def test_libcloud_text_and_mail(self, side: Any, zone: ZoneInfo) -> None:
        driver = side.driver
        found = driver.get_zone(zone.id)
        driver.create_record("", found, "MX", "mail.contract.example.", {"priority": 5, "ttl": 60})
        driver.create_record("text", found, "TXT", 'a "b" c', {"ttl": 60})
        there = keyed(driver.ex_read_zone(zone.id)[1])
        assert there["@/MX"].values == ("5 mail.contract.example.",)
        assert there["text/TXT"].values == ('"a \\"b\\" c"',)

    def test_libcloud_creates_and_deletes_zones(self, side: Any) -> None:
        driver = side.driver
        made = driver.create_zone("made.example", extra={"nameservers": sorted(side.servers)})
        assert driver.get_zone(made.id).domain == "made.example."
        assert driver.delete_zone(made)
        with pytest.raises(ZoneDoesNotExistError):
            driver.get_zone(made.id)
