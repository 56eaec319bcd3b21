"""Record data in one spelling: dnspython's text, absolute names, TXT strings kept apart.

Enters: presentation text of any provider. Leaves: canonical text that can be compared, and the
dialects Route 53 and PowerDNS want to read. Raises ``Unsupported`` for text that is not valid data of
its type. Values that still hold a reference ``@{address:name}`` pass through untouched.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from toolkit.dns.names import canonical as canonical_name
from toolkit.dns.names import decimal_to_octal, octal_to_decimal
from toolkit.errors import Unsupported

#: Types that are moved as they are. Everything else needs a row of its own in verdicts.yaml.
PLAIN = (
    "A AAAA CNAME MX TXT SRV CAA NS PTR NAPTR TLSA SSHFP DS SVCB HTTPS SPF".split()  # noqa: SIM905
)
#: Types whose data is a provider's own language; never parsed.
FOREIGN = frozenset({"ALIAS", "LUA"})
#: Service parameters that PowerDNS 4.7 writes without quotes; it refuses them otherwise.
_PARAMETER = re.compile(r'\b(mandatory|alpn|port|ipv4hint|ipv6hint)="((?:[^"\\]|\\.)*)"')
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
#: One byte of a string as it is written: an escape, or characters that may be several bytes.
_UNIT = re.compile(r"\\[0-9]{3}|\\.|.", re.DOTALL)
_STRING_LIMIT = 255
_REFERENCE = "@{"
#: Which field of a type's text holds the name of another host.
_TARGET_FIELD = {"CNAME": 0, "NS": 0, "PTR": 0, "MX": 1, "SRV": 3, "SVCB": 1, "HTTPS": 1}


@lru_cache(maxsize=131072)
def parse(rdtype: str, text: str) -> dns.rdata.Rdata:
    """Read one value of a type; names without a final dot are absolute, as all providers mean them.

    A text string of more than 255 bytes is cut where every server cuts it on the wire.
    """
    if rdtype in ("TXT", "SPF"):
        if '"' not in text and len(text.split()) > 1:
            # Read as presentation text these would be several strings that run together without a space.
            raise Unsupported(f"{text!r} is text without quotes", "write it in double quotes: '\"v=spf1 -all\"'")
        text = _STRING.sub(_cut, text)
    try:
        return dns.rdata.from_text(
            dns.rdataclass.IN, dns.rdatatype.from_text(rdtype), text, origin=dns.name.root, relativize=False
        )
    except (dns.exception.DNSException, ValueError, UnicodeError) as exc:
        raise Unsupported(f"{text!r} is not valid {rdtype} data: {exc}", "correct the record") from exc


def _cut(found: re.Match[str]) -> str:
    if len(found[1]) <= _STRING_LIMIT and found[1].isascii():
        return found[0]
    parts, size = [""], 0
    for unit in _UNIT.findall(found[1]):
        weight = 1 if unit.startswith("\\") else len(unit.encode())
        if size + weight > _STRING_LIMIT:
            parts.append("")
            size = 0
        parts[-1] += unit
        size += weight
    return " ".join(f'"{part}"' for part in parts)


def canonical(rdtype: str, text: str) -> str:
    """Return the one spelling of a value."""
    if rdtype in FOREIGN or _REFERENCE in text:
        return text
    return _canonical(rdtype, text)


@lru_cache(maxsize=131072)
def _canonical(rdtype: str, text: str) -> str:
    return parse(rdtype, text).to_text()


def canonical_set(rdtype: str, values: Iterable[str]) -> tuple[str, ...]:
    """Return values in their one spelling, sorted, each once."""
    return tuple(sorted({canonical(rdtype, value) for value in values}))


def readable(rdtype: str, text: str) -> str:
    """Return the one spelling of a value, or the value itself if it makes no sense.

    For what a provider already holds: one odd record must not hide a whole zone.
    """
    try:
        return canonical(rdtype, text)
    except Unsupported:
        return text


def readable_set(rdtype: str, values: Iterable[str]) -> tuple[str, ...]:
    """Like :func:`canonical_set`, for what a provider already holds."""
    return tuple(sorted({readable(rdtype, value) for value in values}))


def same(rdtype: str, one: Iterable[str], other: Iterable[str]) -> bool:
    """Say whether two sets of values mean the same on the wire (names compare without case)."""
    left, right = readable_set(rdtype, one), readable_set(rdtype, other)
    if left == right:
        return True
    if rdtype in FOREIGN or len(left) != len(right) or any(_REFERENCE in value for value in (*left, *right)):
        return False
    try:
        return {parse(rdtype, value) for value in left} == {parse(rdtype, value) for value in right}
    except Unsupported:
        return False


def from_route53(rdtype: str, text: str) -> str:
    """Read a value as Route 53 writes it, octal escapes and all."""
    return readable(rdtype, octal_to_decimal(text))


def to_route53(rdtype: str, text: str) -> str:
    """Write a value as Route 53 reads it."""
    return decimal_to_octal(canonical(rdtype, text))


def to_powerdns(rdtype: str, text: str) -> str:
    """Write a value as PowerDNS 4.7 reads it: service parameters without quotes."""
    text = canonical(rdtype, text)
    if rdtype in ("SVCB", "HTTPS"):
        return _PARAMETER.sub(lambda found: f"{found[1]}={found[2]}", text)
    return text


def target(rdtype: str, text: str) -> str | None:
    """Return the host a value points at (canonical name), or ``None`` for types that name no host."""
    field = _TARGET_FIELD.get(rdtype)
    if rdtype == "ALIAS":
        field = 0
    if field is None or _REFERENCE in text:
        return None
    parts = text.split()
    return canonical_name(parts[field]) if len(parts) > field else None


def with_target(rdtype: str, text: str, host: str) -> str:
    """Return the value pointing at another host."""
    parts = text.split(" ")
    parts[_TARGET_FIELD[rdtype]] = canonical_name(host)
    return canonical(rdtype, " ".join(parts))


def address_type(value: str) -> str | None:
    """Say ``A`` or ``AAAA`` for an address or a reference to one, ``None`` for a host name."""
    if value.startswith(_REFERENCE):
        return "AAAA" if re.search(r":\w*(?:v6|ipv6)\w*\}$", value) else "A"
    try:
        return "A" if ipaddress.ip_address(value).version == 4 else "AAAA"
    except ValueError:
        return None
