"""What Route 53 accepts: spelling of names, records of each type, one whole change batch.

Enters: names and changes as the API receives them. Leaves: the canonical spelling, or the record
sets after the batch. Raises :class:`ChangeRefused` with every mistake of the batch at once, as
Route 53 does; then nothing of the batch is applied.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

Key = tuple[str, str, str]  # owner name, type, set identifier ("" = none)
RecordSets = dict[Key, Mapping[str, Any]]

_ADDRESSED = {"A", "AAAA", "CNAME", "MX", "NS", "PTR", "SRV"}
TYPES = frozenset(_ADDRESSED | {"CAA", "DS", "HTTPS", "NAPTR", "SOA", "SPF", "SSHFP", "SVCB", "TLSA", "TXT"})
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MAX_CHARACTERS = 32_000
_MAX_VALUES = 400


class ChangeRefused(Exception):
    """A change batch is not acceptable; ``reasons`` names every mistake."""

    def __init__(self, reasons: Iterable[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(self.reasons))


def _labels(name: str) -> list[bytes]:
    """Split a name at its dots and undo ``\\ooo`` (octal) escapes; ``\\056`` is no separator."""
    labels = [bytearray()]
    place = 0
    data = name.encode("utf-8")
    while place < len(data):
        if data[place] == 0x5C and re.fullmatch(rb"[0-3][0-7]{2}", data[place + 1 : place + 4]):
            labels[-1].append(int(data[place + 1 : place + 4], 8))
            place += 4
        elif data[place] == 0x2E:
            labels.append(bytearray())
            place += 1
        else:
            labels[-1].append(data[place])
            place += 1
    return [bytes(label) for label in labels]


def canonical_name(name: str) -> str:
    """Return ``name`` as Route 53 spells it: lower case, absolute, all but a-z 0-9 - _ in octal."""
    labels = _labels(name.removesuffix("."))
    if any(not label or len(label) > 63 for label in labels) or sum(map(len, labels)) + len(labels) > 254:
        raise ChangeRefused([f"[Invalid Resource Record: FATAL problem: DomainLabelTooLong or empty in '{name}']"])
    return "".join(_spell(label) + "." for label in labels)


def _spell(label: bytes) -> str:
    return "".join(c if c in _PLAIN else f"\\{ord(c):03o}" for c in label.lower().decode("latin-1"))


def order_key(key: Key) -> tuple[str, str, str]:
    """Sort as ListResourceRecordSets does: labels from the right, then type, then set identifier."""
    name, kind, ident = key
    return ".".join(reversed(name.removesuffix(".").split("."))), kind, ident


def _address(value: str, version: int) -> None:
    if ipaddress.ip_address(value).version != version:
        raise ValueError(f"not an IPv{version} address")


def _strings(value: str) -> None:
    rest = _STRING.sub("", value).strip()
    if rest or '"' not in value:
        raise ValueError("the value must be enclosed in quotation marks")
    for text in _STRING.findall(value):
        plain = re.sub(r"\\[0-3][0-7]{2}|\\.", "x", text)
        if len(plain.encode()) > 255:
            raise ValueError("CharacterStringTooLong (Value is too long)")


def _numbers(fields: list[str], *limits: int) -> None:
    for field, limit in zip(fields, limits, strict=False):
        if not field.isdigit() or int(field) > limit:
            raise ValueError(f"{field!r} is not a number from 0 to {limit}")


def check_value(kind: str, value: str) -> None:
    """Raise ValueError when ``value`` cannot be the rdata of ``kind``."""
    fields = value.split()
    if not fields:
        raise ValueError("the value is empty")
    if kind in ("A", "AAAA"):
        _address(value, 4 if kind == "A" else 6)
    elif kind in ("TXT", "SPF"):
        _strings(value)
    elif kind in ("CNAME", "NS", "PTR"):
        if len(fields) != 1:
            raise ValueError("the value must be one domain name")
        canonical_name(value)
    elif kind == "MX":
        _shape(fields, 2)
        _numbers(fields, 65535)
        canonical_name(fields[1]) if fields[1] != "." else None
    elif kind == "SRV":
        _shape(fields, 4)
        _numbers(fields, 65535, 65535, 65535)
    elif kind == "CAA":
        _numbers(fields, 255)
        _strings(value.split(None, 2)[2] if len(fields) > 2 else "")
    elif kind == "SOA":
        _shape(fields, 7)
        _numbers(fields[2:], *[2**32 - 1] * 5)
    elif kind in ("DS", "TLSA"):
        _numbers(fields, 65535, 255, 255)
    elif kind == "SSHFP":
        _numbers(fields, 255, 255)
    elif kind in ("SVCB", "HTTPS", "NAPTR"):
        _numbers(fields, 65535)


def _shape(fields: list[str], count: int) -> None:
    if len(fields) != count:
        raise ValueError(f"the value must have {count} fields")


def _check_set(rrset: Mapping[str, Any], zone: str) -> Iterable[str]:
    """Yield every mistake of one record set that is to be created."""
    name, kind = rrset["Name"], rrset["Type"]
    where = f"[name='{name}', type='{kind}']"
    if kind not in TYPES:
        yield f"Invalid XML: {kind} is not a record type, {where}"
    if name != zone and not name.endswith("." + zone):
        yield f"RRSet with DNS name {name} is not permitted in zone {zone}"
    if kind == "CNAME" and name == zone:
        yield f"RRSet of type CNAME with DNS name {name} is not permitted at apex in zone {zone}"
    values = [record["Value"] for record in rrset.get("ResourceRecords") or ()]
    if rrset.get("AliasTarget"):
        if values or rrset.get("TTL") is not None:
            yield f"Invalid request: an alias has neither TTL nor ResourceRecords {where}"
        return
    if not values or rrset.get("TTL") is None:
        yield (
            "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or "
            f"TrafficPolicyInstanceId], but found none in Change with {where}"
        )
    if len(values) > _MAX_VALUES or (kind in ("CNAME", "SOA") and len(values) > 1):
        yield f"Resource record set {where} holds too many values"
    if len(set(values)) != len(values):
        yield f"Duplicate Resource Record: {where}"
    for value in values:
        try:
            check_value(kind, value)
        except (ValueError, ChangeRefused) as exc:
            yield f"Invalid Resource Record: FATAL problem: {exc} encountered with '{value}' {where}"


def _neighbours(after: RecordSets, key: Key) -> Iterable[str]:
    """Yield what a new record set may not stand beside."""
    name, kind, ident = key
    for other in after:
        if other[0] != name or other == key:
            continue
        if (other[1] == "CNAME") != (kind == "CNAME"):
            yield f"RRSet of type {kind} with DNS name {name} is not permitted: it conflicts with a {other[1]} there"
        elif other[1] == kind and bool(other[2]) != bool(ident):
            yield f"RRSet {name} {kind}: simple and routed record sets may not stand side by side"


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Say whether a DELETE names the values that are there."""
    return _facts(one) == _facts(other)


def _facts(rrset: Mapping[str, Any]) -> tuple[Any, ...]:
    alias = rrset.get("AliasTarget") or {}
    return (
        None if rrset.get("TTL") is None else int(rrset["TTL"]),
        sorted(record["Value"] for record in rrset.get("ResourceRecords") or ()),
        {name: str(value).lower().rstrip(".") for name, value in alias.items()},
        rrset.get("Weight"),
        rrset.get("Region"),
        rrset.get("Failover"),
    )


def apply_batch(before: RecordSets, changes: Iterable[Mapping[str, Any]], zone: str) -> RecordSets:
    """Return the record sets after ``changes``; all or nothing."""
    after, reasons, characters, count = dict(before), list[str](), 0, 0
    touched: list[Key] = []
    by_name: dict[str, RecordSets] = {}
    for change in changes:
        rrset = dict(change["ResourceRecordSet"])
        try:
            rrset["Name"] = canonical_name(rrset["Name"])
        except ChangeRefused as exc:
            reasons += exc.reasons
            continue
        key = (rrset["Name"], rrset["Type"], rrset.get("SetIdentifier") or "")
        where = f"[name='{key[0]}', type='{key[1]}'{f', set-identifier={key[2]!r}' if key[2] else ''}]"
        values = [record["Value"] for record in rrset.get("ResourceRecords") or ()]
        weight = 2 if change["Action"] == "UPSERT" else 1
        characters += weight * sum(map(len, values))
        count += weight * len(values)
        if change["Action"] == "DELETE":
            reasons += _delete(after, key, rrset, zone=zone, where=where)
            continue
        if change["Action"] == "CREATE" and key in after:
            reasons.append(f"Tried to create resource record set {where} but it already exists")
            continue
        reasons += _check_set(rrset, zone)
        after[key] = rrset
        touched.append(key)
    if count > 1000:
        reasons.append("Number of records limit of 1000 exceeded.")
    if characters > _MAX_CHARACTERS:
        reasons.append("Number of characters limit of 32000 exceeded.")
    if touched:
        for key, found in after.items():
            by_name.setdefault(key[0], {})[key] = found
        for key in touched:
            if key in after:
                reasons += _neighbours(by_name[key[0]], key)
    if reasons:
        raise ChangeRefused(dict.fromkeys(reasons))
    return after


def _delete(after: RecordSets, key: Key, rrset: Mapping[str, Any], *, zone: str, where: str) -> Iterable[str]:
    if key not in after:
        yield f"Tried to delete resource record set {where} but it was not found"
    elif not _same(after[key], rrset):
        yield f"Tried to delete resource record set {where} but the values provided do not match the current values"
    elif key[0] == zone and key[1] in ("NS", "SOA"):
        yield f"A HostedZone must contain at least one NS record for the zone itself, and one SOA record: {where}"
    else:
        del after[key]
