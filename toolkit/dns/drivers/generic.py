"""Any libcloud DNS driver, through its record-by-record methods, refusing what those cannot express.

Enters: a libcloud ``DNSDriver`` and what is known of it. Leaves: whole record sets. What a driver has
not been said to express is refused before anything is written, and every write is read back: a driver
that keeps something else than what it was given is refused too, never believed. Writes are not atomic.
Raises ``Unsupported`` and the rest of ``toolkit.errors``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from libcloud.dns.base import DNSDriver, Record, Zone
from libcloud.dns.providers import get_driver

from toolkit.dns import names, rdata
from toolkit.dns.drivers.base import translating
from toolkit.dns.model import RRSet, ZoneInfo, plain
from toolkit.errors import NotFound, Unsupported
from toolkit.secrets import Credentials

#: Types whose libcloud form is the same with every driver: data alone, or data and a priority.
_COMMON = frozenset({"A", "AAAA", "CNAME", "NS", "PTR", "MX", "TXT"})


def libcloud_dns_driver(name: str, credentials: Credentials, args: Mapping[str, Any]) -> DNSDriver:
    """Make one driver of libcloud's list: ``CLOUDFLARE``, ``GANDI_LIVE`` …"""
    words = [secret.reveal() for secret in (credentials.key, credentials.secret) if secret is not None]
    with translating(f"libcloud {name}"):
        try:
            return get_driver(name.lower())(*words, **args)
        except (AttributeError, ImportError, TypeError, ValueError) as exc:
            raise Unsupported(
                f"libcloud {name}: {exc}", "name a driver of libcloud's list, and correct args: in site.yaml"
            ) from exc


class GenericDns:
    """One libcloud driver seen as whole record sets.

    ``expresses`` names what the driver is known to keep: ``multi-value``, ``ttl``. Types come from the
    driver's own list.
    """

    ex_kind = "libcloud"

    def __init__(self, driver: DNSDriver, *, expresses: frozenset[str] = frozenset()) -> None:
        self.driver = driver
        self._expresses = expresses
        self._types = frozenset(str(item) for item in driver.list_record_types()) & _COMMON

    def ex_capabilities(self) -> frozenset[str]:
        return frozenset(f"type:{name}" for name in self._types) | self._expresses

    def ex_probe(self) -> str:
        with translating(self._name):
            next(iter(self.driver.list_zones()), None)
            return self._name

    def ex_could_write(self) -> bool | None:
        return None

    def ex_zones(self) -> Iterator[ZoneInfo]:
        with translating(f"listing zones at {self._name}"):
            zones = list(self.driver.list_zones())
        yield from (ZoneInfo(zone.id, names.bare(zone.domain)) for zone in zones)

    def ex_read_zone(self, zone_id: str) -> tuple[ZoneInfo, list[RRSet]]:
        zone = self._zone(zone_id)
        with translating(f"reading zone {zone.domain} at {self._name}"):
            records = list(self.driver.list_records(zone))
        rrsets = list(_grouped(zone, records))
        apex = {rrset.type: rrset for rrset in rrsets if rrset.name == names.canonical(zone.domain)}
        servers = apex["NS"].values if "NS" in apex else ()
        return ZoneInfo(zone.id, names.bare(zone.domain), nameservers=servers), rrsets

    def ex_write_rrsets(self, zone_id: str, puts: Sequence[RRSet], deletes: Sequence[RRSet] = ()) -> None:
        for rrset in puts:
            self._refuse(rrset)
        zone = self._zone(zone_id)
        with translating(f"writing zone {zone.domain} at {self._name}"):
            for rrset in (*deletes, *puts):
                for record in self._records(zone, rrset):
                    self.driver.delete_record(record)
            for rrset in puts:
                for value in rrset.values:
                    self._create(zone, rrset, value)
        self._read_back(zone_id, puts)

    def ex_create_zone(self, name: str, *, nameservers: Sequence[str] = ()) -> ZoneInfo:  # noqa: ARG002
        with translating(f"creating zone {name} at {self._name}"):
            zone = self.driver.create_zone(domain=name)
        return ZoneInfo(zone.id, names.bare(zone.domain))

    def ex_delete_zone(self, zone_id: str) -> None:
        zone = self._zone(zone_id)
        with translating(f"deleting zone {zone.domain} at {self._name}"):
            self.driver.delete_zone(zone)

    @property
    def _name(self) -> str:
        return str(self.driver.name)

    def _zone(self, zone_id: str) -> Zone:
        with translating(f"reading zone {zone_id} at {self._name}"):
            for zone in self.driver.list_zones():
                if zone.id == zone_id:
                    return zone
        raise NotFound(f"zone {zone_id} is not at {self._name}", "check the name and the account")

    def _records(self, zone: Zone, rrset: RRSet) -> list[Record]:
        return [
            record for record in self.driver.list_records(zone) if _identity(zone, record) == (rrset.name, rrset.type)
        ]

    def _refuse(self, rrset: RRSet) -> None:
        """Say no before writing to whatever this driver is not known to express."""
        what = ""
        if rrset.alias or rrset.routing:
            what = "aliases and routing"
        elif rrset.type not in self._types:
            what = f"{rrset.type} records"
        elif len(rrset.values) > 1 and "multi-value" not in self._expresses:
            what = "several values in one record set"
        elif rrset.type == "TXT" and any(_text(value) is None for value in rrset.values):
            what = "TXT data of several strings, quotes or bytes outside ASCII"
        if what:
            raise Unsupported(
                f"{rrset.name} {rrset.type}: the libcloud driver {self._name} cannot express {what}",
                "choose another provider for this zone, or ignore the record with a reason",
            )

    def _create(self, zone: Zone, rrset: RRSet, value: str) -> None:
        owner = names.owner(rrset.name, zone.domain)
        extra: dict[str, Any] = {"ttl": rrset.ttl}
        data = value
        if rrset.type == "MX":
            priority, data = value.split(" ", 1)
            extra["priority"] = int(priority)
        elif rrset.type == "TXT":
            data = _text(value) or ""
        self.driver.create_record("" if owner == "@" else owner, zone, rrset.type, data, extra)

    def _read_back(self, zone_id: str, puts: Iterable[RRSet]) -> None:
        _, found = self.ex_read_zone(zone_id)
        there = {(rrset.name, rrset.type): rrset for rrset in found}
        for rrset in puts:
            kept = there.get((rrset.name, rrset.type))
            if kept is None or not rdata.same(rrset.type, kept.values, rrset.values):
                shown = ", ".join(kept.values) if kept else "nothing"
                raise Unsupported(
                    f"{rrset.name} {rrset.type}: the libcloud driver {self._name} kept {shown}",
                    "this driver loses data; choose another provider for this zone",
                )
            if "ttl" in self._expresses and kept.ttl != rrset.ttl:
                raise Unsupported(
                    f"{rrset.name} {rrset.type}: the libcloud driver {self._name} kept TTL {kept.ttl}",
                    "choose another provider for this zone",
                )


def _identity(zone: Zone, record: Record) -> tuple[str, str]:
    name = record.name or "@"
    absolute = name if name.endswith(".") or names.below(name, zone.domain) else names.absolute(name, zone.domain)
    return names.canonical(absolute), str(record.type)


def _grouped(zone: Zone, records: Iterable[Record]) -> Iterator[RRSet]:
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault(_identity(zone, record), []).append(record)
    for (name, rdtype), members in groups.items():
        ttls = [ttl for record in members if (ttl := record.ttl or record.extra.get("ttl")) is not None]
        yield plain(name, rdtype, min((int(ttl) for ttl in ttls), default=0), (_value(r) for r in members))


def _value(record: Record) -> str:
    data = str(record.data)
    if record.type == "MX" and "priority" in record.extra:
        return f"{record.extra['priority']} {data}"
    if record.type == "TXT" and not data.startswith('"'):
        return f'"{data}"'
    return data


def _text(value: str) -> str | None:
    """Return a TXT value as one plain string, or ``None`` where quoting would be a guess."""
    strings: tuple[bytes, ...] = getattr(rdata.parse("TXT", value), "strings")  # noqa: B009 (dnspython declares it on TXT only)
    if len(strings) != 1 or not strings[0].isascii():
        return None
    text = strings[0].decode()
    return text if text.isprintable() and '"' not in text and "\\" not in text else None
