"""libcloud's record-by-record methods, kept alive on top of whole record sets.

Stock drivers replace or lose the other values of a set when one record is created, changed or
deleted. Here every such call reads the set, changes one value and writes the whole set back.
Record names are relative to the zone (empty at the apex), as the libcloud base class means them;
absolute names are accepted too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from libcloud.dns.base import Record, Zone
from libcloud.dns.types import RecordAlreadyExistsError, RecordDoesNotExistError

from toolkit.dns import names, rdata
from toolkit.dns.drivers.base import DnsDriver
from toolkit.dns.model import RRSet, plain, with_values
from toolkit.errors import Unsupported
from toolkit.model import Json

DEFAULT_TTL = 300


class Extra(Protocol):
    """libcloud's loose ``extra`` dictionary."""

    def get(self, key: str, default: Any = None) -> Any: ...


def iterate(driver: DnsDriver, zone: Zone) -> Iterator[Record]:
    """Yield one record per value; an alias is one record whose data is the aliased name."""
    _, rrsets = driver.ex_read_zone(zone.id)
    for rrset in rrsets:
        for value in rrset.values or ([str(rrset.alias["name"])] if rrset.alias else []):
            yield _record(driver, zone, rrset, value)


def get(driver: DnsDriver, zone: Zone, record_id: str) -> Record:
    """Return the record with this id."""
    for record in iterate(driver, zone):
        if record.id == record_id:
            return record
    raise RecordDoesNotExistError(value="no such record", driver=driver, record_id=record_id)


def create(driver: DnsDriver, zone: Zone, name: str, rdtype: str, data: str, extra: Extra | None = None) -> Record:
    """Add one value to its set; the others stay."""
    full, value = _absolute(zone, name), _value(rdtype, data, extra)
    old = _find(driver, zone, full, rdtype)
    if old is not None and value in old.values:
        raise RecordAlreadyExistsError(value="this value exists", driver=driver, record_id=_id(zone, old, value))
    ttl = _ttl(extra, old)
    new = plain(full, rdtype, ttl, [*(old.values if old else ()), value])
    driver.ex_write_rrsets(zone.id, [new])
    return _record(driver, zone, new, value)


def update(
    driver: DnsDriver, record: Record, name: str | None, rdtype: str | None, data: str | None, extra: Extra | None
) -> Record:
    """Change one value of a set, or move it to another name or type."""
    zone = record.zone
    old_name, old_value = _absolute(zone, record.name), _value(str(record.type), record.data, None)
    old = _find(driver, zone, old_name, str(record.type))
    if old is None or old_value not in old.values:
        raise RecordDoesNotExistError(value="it is gone", driver=driver, record_id=record.id)
    full = _absolute(zone, record.name if name is None else name)
    kind = str(rdtype or record.type)
    value = old_value if data is None else _value(kind, data, extra)
    rest = [item for item in old.values if item != old_value]
    if (full, kind) == (old.name, old.type):
        new = plain(full, kind, _ttl(extra, old), [*rest, value])
        driver.ex_write_rrsets(zone.id, [new])
        return _record(driver, zone, new, value)
    there = _find(driver, zone, full, kind)
    new = plain(full, kind, _ttl(extra, there or old), [*(there.values if there else ()), value])
    left = [with_values(old, rest)] if rest else []
    driver.ex_write_rrsets(zone.id, [*left, new], [] if rest else [old])
    return _record(driver, zone, new, value)


def delete(driver: DnsDriver, record: Record) -> bool:
    """Remove one value; the set goes with its last value."""
    zone = record.zone
    value = _value(str(record.type), record.data, None)
    old = _find(driver, zone, _absolute(zone, record.name), str(record.type))
    if old is None or value not in old.values:
        raise RecordDoesNotExistError(value="it is gone", driver=driver, record_id=record.id)
    rest = [item for item in old.values if item != value]
    driver.ex_write_rrsets(zone.id, [with_values(old, rest)] if rest else [], [] if rest else [old])
    return True


def _find(driver: DnsDriver, zone: Zone, name: str, rdtype: str) -> RRSet | None:
    _, rrsets = driver.ex_read_zone(zone.id)
    found = [rrset for rrset in rrsets if (rrset.name, rrset.type) == (name, rdtype)]
    if any(rrset.alias or rrset.routing for rrset in found):
        raise Unsupported(
            f"{name} {rdtype} is an alias or a routing set; single records cannot express it",
            "use ex_write_rrsets",
        )
    return found[0] if found else None


def _record(driver: DnsDriver, zone: Zone, rrset: RRSet, value: str) -> Record:
    name = names.owner(rrset.name, zone.domain)
    extra: dict[str, Json] = {"ttl": rrset.ttl, "ex_rrset": rrset.body, **rrset.facts}
    return Record(
        id=_id(zone, rrset, value),
        name="" if name == "@" else name,
        type=rrset.type,
        data=value,
        zone=zone,
        driver=driver,
        ttl=rrset.ttl,
        extra=extra,
    )


def _id(zone: Zone, rrset: RRSet, value: str) -> str:
    name = names.owner(rrset.name, zone.domain)
    return f"{rrset.type}:{'' if name == '@' else name}:{rrset.set_id}:{value}"


def _absolute(zone: Zone, name: str | None) -> str:
    if not name or name == "@":
        return names.canonical(zone.domain)
    if name.endswith(".") or names.below(name, zone.domain):
        return names.canonical(name)
    return names.absolute(name, zone.domain)


def _value(rdtype: str, data: str, extra: Extra | None) -> str:
    more: Mapping[str, Any] | Extra = extra or {}
    if rdtype in ("TXT", "SPF") and not data.startswith('"'):
        data = '"' + data.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if rdtype == "MX" and len(data.split()) == 1:
        data = f"{more.get('priority', 10)} {data}"
    if rdtype == "SRV" and len(data.split()) == 1:
        data = f"{more.get('priority', 0)} {more.get('weight', 0)} {more.get('port', 0)} {data}"
    return rdata.canonical(rdtype, data)


def _ttl(extra: Extra | None, old: RRSet | None) -> int:
    wanted = extra.get("ttl") if extra else None
    if wanted is not None:
        return int(wanted)
    return old.ttl if old and old.ttl is not None else DEFAULT_TTL
