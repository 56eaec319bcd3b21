"""What one record set must look like at the target, given the addresses that moved.

Pure functions: bodies in, bodies out. A value equal to an old address is replaced by the new ones; a
CNAME to a host that became addresses turns into A and AAAA at the same owner; an alias to something
moved is flattened. What cannot be replaced stays as it is: :mod:`toolkit.dns.settle` flattens aliases
inside the zone and reports the rest as blocked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from toolkit.dns import rdata
from toolkit.dns.model import RRSet, from_body, parse_key, rrset_address, rrset_key
from toolkit.model import Endpoint, Resource

#: TTL of a flattened alias: an alias has none of its own, its resolvers saw the 60 s of a balancer.
ALIAS_TTL = 60
#: Only for reading owners: bodies hold absolute names, so the zone's name does not matter here.
_ANY_ZONE = "zone.invalid"
_SPF_ADDRESS = re.compile(r"(?P<how>[+?~-]?ip[46]:)(?P<ip>[0-9A-Fa-f:.]+)(?=[\s\"]|$)")

Moved = Mapping[str, Endpoint]


def index(moved: Mapping[str, Endpoint]) -> dict[str, Endpoint]:
    """Key endpoints by their old address in one spelling."""
    return {spelled(end.old): end for end in moved.values()}


def spelled(value: str) -> str:
    """One spelling of a host name or address; ``dualstack.`` is the same balancer."""
    return value.lower().rstrip(".").removeprefix("dualstack.")


def translate(resource: Resource, moved: Mapping[str, Endpoint], *, alias_ttl: int = ALIAS_TTL) -> Iterator[Resource]:
    """Yield what stands for one ``dns/rrset`` resource at the target."""
    slug, key = rrset_key(resource.address)
    before = from_body(_ANY_ZONE, key, resource.body)
    for after in _rrset(before, index(moved), parse_key(key)[0] == "@", alias_ttl):
        address = rrset_address(slug, after.key(_ANY_ZONE))
        facts = dict(resource.facts)
        if address != resource.address or after.body != resource.body:
            facts["translated_from"] = resource.address
        yield Resource(address, after.body, facts=facts)


def _rrset(rrset: RRSet, moved: Moved, apex: bool, alias_ttl: int) -> Iterator[RRSet]:
    if rrset.alias is not None:
        yield _flattened(rrset, moved, alias_ttl)
    elif rrset.type == "CNAME":
        yield from _cname(rrset, moved, apex)
    elif rrset.type in ("A", "AAAA"):
        yield replace(rrset, values=_addresses(rrset, moved))
    elif rrset.type in ("TXT", "SPF"):
        yield replace(rrset, values=rdata.canonical_set(rrset.type, (_spf(v, moved) for v in rrset.values)))
    else:
        yield replace(rrset, values=_targets(rrset, moved))


def _flattened(rrset: RRSet, moved: Moved, alias_ttl: int) -> RRSet:
    """Replace an alias by addresses of its own type; without any, leave it for settle to report."""
    found = moved.get(spelled(str((rrset.alias or {})["name"])))
    values = _of_type(found.new, rrset.type) if found else ()
    if not values:
        return rrset
    return replace(rrset, alias=None, ttl=alias_ttl, values=rdata.canonical_set(rrset.type, values))


def _cname(rrset: RRSet, moved: Moved, apex: bool) -> Iterator[RRSet]:
    target = rdata.target("CNAME", rrset.values[0])
    found = moved.get(spelled(target)) if target else None
    if found is None:
        yield rrset
        return
    hosts = [value for value in found.new if rdata.address_type(value) is None]
    if hosts:
        # A CNAME holds exactly one name; several names cannot be said with it.
        yield replace(rrset, values=rdata.canonical_set("CNAME", hosts)) if len(hosts) == 1 and not apex else rrset
        return
    for rdtype in ("A", "AAAA"):
        values = _of_type(found.new, rdtype)
        if values:
            yield replace(rrset, type=rdtype, values=rdata.canonical_set(rdtype, values))


def _addresses(rrset: RRSet, moved: Moved) -> tuple[str, ...]:
    result: list[str] = []
    for value in rrset.values:
        found = moved.get(spelled(value))
        result += (_of_type(found.new, rrset.type) if found else ()) or (value,)
    return rdata.canonical_set(rrset.type, result)


def _targets(rrset: RRSet, moved: Moved) -> tuple[str, ...]:
    """Replace the hosts that MX, SRV, NS, PTR and service records point at; these take names only."""
    result: list[str] = []
    for value in rrset.values:
        target = rdata.target(rrset.type, value)
        found = moved.get(spelled(target)) if target else None
        hosts = [host for host in found.new if rdata.address_type(host) is None] if found else []
        result += [rdata.with_target(rrset.type, value, host) for host in hosts] or [value]
    return rdata.canonical_set(rrset.type, result)


def _spf(value: str, moved: Moved) -> str:
    """Replace moved addresses in an SPF policy, so that mail from the new machines is accepted."""
    if not value.lower().startswith('"v=spf1'):
        return value

    def swap(match: re.Match[str]) -> str:
        found = moved.get(spelled(match["ip"]))
        kind = "AAAA" if match["how"].endswith("6:") else "A"
        values = _of_type(found.new, kind) if found else ()
        return " ".join(match["how"] + new for new in values) or match[0]

    return _SPF_ADDRESS.sub(swap, value)


def _of_type(values: Iterable[str], rdtype: str) -> tuple[str, ...]:
    return tuple(value for value in values if rdata.address_type(value) == rdtype)
