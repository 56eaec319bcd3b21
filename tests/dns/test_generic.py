"""Any libcloud driver: what it cannot express is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from libcloud.dns.base import Record, Zone
from libcloud.dns.drivers.dummy import DummyDNSDriver
from libcloud.dns.types import RecordType

from toolkit.dns.drivers.generic import GenericDns
from toolkit.dns.family import DnsFamily
from toolkit.dns.model import RRSet, plain
from toolkit.errors import NotFound, Unsupported
from toolkit.model import Resource, state
from toolkit.wire import Hints

ZONE = "dummy.example"


class Roomy(DummyDNSDriver):  # type: ignore[misc]
    """The dummy driver with room for several records of one name, as most providers have."""

    def list_record_types(self) -> list[str]:
        return [RecordType.A, RecordType.MX, RecordType.TXT, "CAA"]

    def create_record(self, name: str, zone: Zone, type: str, data: str, extra: Any = None) -> Record:
        records = self._zones[zone.id]["records"]
        ident = f"{type}:{name}:{data}"
        records[ident] = Record(ident, name, type, data, zone, self, (extra or {}).get("ttl"), extra)
        return records[ident]


class Lossy(Roomy):
    """Keeps only the last value of a set, without an error, as the stock PowerDNS driver does."""

    def create_record(self, name: str, zone: Zone, type: str, data: str, extra: Any = None) -> Record:
        records = self._zones[zone.id]["records"]
        for ident in [i for i, record in records.items() if (record.name, record.type) == (name, type)]:
            del records[ident]
        return super().create_record(name, zone, type, data, extra)


@pytest.fixture
def dummy() -> GenericDns:
    driver = GenericDns(DummyDNSDriver("key", "secret"))
    driver.ex_create_zone(ZONE)
    return driver


def made(driver: GenericDns) -> dict[str, RRSet]:
    (zone,) = driver.ex_zones()
    return {rrset.key(ZONE): rrset for rrset in driver.ex_read_zone(zone.id)[1]}


def test_the_dummy_driver_keeps_one_address(dummy: GenericDns) -> None:
    (zone,) = dummy.ex_zones()
    assert (zone.name, dummy.ex_capabilities()) == (ZONE, frozenset({"type:A"}))
    dummy.ex_write_rrsets(zone.id, [plain(f"www.{ZONE}", "A", 60, ["192.0.2.1"])])
    assert made(dummy)["www/A"].values == ("192.0.2.1",)
    dummy.ex_write_rrsets(zone.id, [plain(f"www.{ZONE}", "A", 60, ["192.0.2.2"])])
    assert made(dummy)["www/A"].values == ("192.0.2.2",)
    dummy.ex_write_rrsets(zone.id, [], [made(dummy)["www/A"]])
    assert made(dummy) == {}
    dummy.ex_delete_zone(zone.id)
    assert list(dummy.ex_zones()) == []
    with pytest.raises(NotFound):
        dummy.ex_read_zone(zone.id)


@pytest.mark.parametrize(
    ("rrset", "what"),
    [
        (plain(f"w.{ZONE}", "A", 60, ["192.0.2.1", "192.0.2.2"]), "several values"),
        (plain(f"w.{ZONE}", "AAAA", 60, ["2001:db8::1"]), "AAAA records"),
        (plain(f"w.{ZONE}", "CAA", 60, ['0 issue "x"']), "CAA records"),
        (RRSet(f"w.{ZONE}.", "A", alias={"name": "x.", "zone_id": "Z"}), "aliases"),
        (RRSet(f"w.{ZONE}.", "A", 60, ("192.0.2.1",), "blue", routing={"weight": 1}), "routing"),
    ],
)
def test_what_it_cannot_express_is_refused_before_writing(dummy: GenericDns, rrset: RRSet, what: str) -> None:
    (zone,) = dummy.ex_zones()
    with pytest.raises(Unsupported, match=what):
        dummy.ex_write_rrsets(zone.id, [plain(f"fine.{ZONE}", "A", 60, ["192.0.2.1"]), rrset])
    assert made(dummy) == {}, "nothing was written before the refusal"


def test_a_driver_that_keeps_several_values() -> None:
    driver = GenericDns(Roomy("key", "secret"), expresses=frozenset({"multi-value", "ttl"}))
    zone = driver.ex_create_zone(ZONE)
    wanted = [
        plain(f"w.{ZONE}", "A", 60, ["192.0.2.1", "192.0.2.2"]),
        plain(ZONE, "MX", 60, ["10 a.example.", "20 b.example."]),
        plain(ZONE, "TXT", 90, ['"v=spf1 -all"']),
    ]
    driver.ex_write_rrsets(zone.id, wanted)
    assert {key: rrset.body for key, rrset in made(driver).items()} == {r.key(ZONE): r.body for r in wanted}
    for value in ('"a" "b"', '"say \\"x\\""', '"\\228"'):
        with pytest.raises(Unsupported, match="TXT data"):
            driver.ex_write_rrsets(zone.id, [plain(f"t.{ZONE}", "TXT", 60, [value])])


def test_a_driver_that_loses_values_is_caught() -> None:
    driver = GenericDns(Lossy("key", "secret"), expresses=frozenset({"multi-value"}))
    zone = driver.ex_create_zone(ZONE)
    with pytest.raises(Unsupported, match="kept"):
        driver.ex_write_rrsets(zone.id, [plain(f"w.{ZONE}", "A", 60, ["192.0.2.1", "192.0.2.2"])])


def test_the_family_judges_by_what_the_driver_expresses(dummy: GenericDns, tmp_path: Path) -> None:
    family = DnsFamily(
        source=None, target=dummy, workspace=tmp_path, tick=lambda _p: None, hints=Hints(), target_nameservers={}
    )
    abilities = family.probe("target")
    kept = Resource("dns/rrset/x/www/A", {"ttl": 60, "values": ["192.0.2.1"]})
    assert [v.outcome for v in family.assess(kept, abilities)] == ["kept"]
    lost = Resource("dns/rrset/x/www/MX", {"ttl": 60, "values": ["10 a.example."]})
    assert [v.outcome for v in family.assess(lost, abilities)] == ["blocked"]
    several = Resource("dns/rrset/x/www/A", {"ttl": 60, "values": ["192.0.2.1", "192.0.2.2"]})
    assert {v.feature: v.outcome for v in family.assess(several, abilities)}["multi-value"] == "blocked"
    want = state([Resource("dns/zone/x", {"name": ZONE, "private": False}), kept])
    existing = state(r for r in family.read("target", want) if isinstance(r, Resource))
    (change,) = family.diff(want, existing)
    family.do(change, None)
    assert family.observe(change) == "after"
