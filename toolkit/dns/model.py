"""Record sets and zones as this family thinks of them, and their form in the site definition.

One :class:`RRSet` is one whole set of one name and type (and one set identifier, where the provider
routes between several). Nothing is ever written by single record: that is how values get lost.
Enters: bodies of the site definition. Leaves: the same. Raises ``Unsupported`` for bodies without sense.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from toolkit.dns import names, rdata
from toolkit.errors import Unsupported
from toolkit.model import Json, address, escape, split

_KEY = re.compile(r"^(?P<owner>.*?)/(?P<type>[A-Z0-9-]+)(?:#(?P<set>.*))?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RRSet:
    """One record set: plain (``ttl`` and ``values``) or an ``alias``; ``routing`` if it shares its name.

    ``name`` is absolute and canonical, ``values`` canonical presentation text, sorted. ``facts`` are
    never compared: disabled records, comments. ``raw`` is the provider's own form, as it was read.
    """

    name: str
    type: str
    ttl: int | None = None
    values: tuple[str, ...] = ()
    set_id: str = ""
    alias: Mapping[str, Json] | None = None
    routing: Mapping[str, Json] | None = None
    facts: Mapping[str, Json] = field(default_factory=dict, compare=False)
    raw: Mapping[str, Json] | None = field(default=None, compare=False, repr=False)

    def key(self, zone: str) -> str:
        """``www/A`` or ``@/A#blue``: how the site definition names this set."""
        return make_key(names.owner(self.name, zone), self.type, self.set_id)

    @property
    def body(self) -> dict[str, Json]:
        """The neutral form that is compared and written to site.yaml."""
        body: dict[str, Json] = (
            {"alias": dict(self.alias)} if self.alias is not None else {"ttl": self.ttl, "values": list(self.values)}
        )
        if self.routing is not None:
            body["routing"] = dict(self.routing)
        return body


@dataclass(frozen=True, slots=True)
class ZoneInfo:
    """A hosted zone: ``name`` without the final dot, ``id`` as the provider calls it."""

    id: str
    name: str
    private: bool = False
    nameservers: tuple[str, ...] = ()  # canonical names, as the apex NS set says
    soa: str = ""
    ns_ttl: int | None = None
    facts: Mapping[str, Json] = field(default_factory=dict, compare=False)


def plain(name: str, rdtype: str, ttl: int, values: Iterable[str]) -> RRSet:
    """Make a plain record set from presentation text."""
    return RRSet(names.canonical(name), rdtype, ttl, rdata.canonical_set(rdtype, values))


def make_key(owner: str, rdtype: str, set_id: str = "") -> str:
    """Join owner, type and set identifier as the site definition does."""
    return f"{owner}/{rdtype}" + (f"#{set_id}" if set_id else "")


def parse_key(key: str) -> tuple[str, str, str]:
    """Split ``www/A#blue`` into owner, type and set identifier."""
    found = _KEY.match(key)
    if found is None:
        raise Unsupported(f"{key!r} does not name a record set", "write it as OWNER/TYPE, for example www/A")
    return found["owner"], found["type"], found["set"] or ""


def from_body(zone: str, key: str, body: Mapping[str, Json], *, strict: bool = True) -> RRSet:
    """Read a record set from its body; ``values`` may stand in any spelling and order.

    ``strict=False`` takes values that make no sense as they are: a provider holds them so.
    """
    spelled = rdata.canonical_set if strict else rdata.readable_set
    owner, rdtype, set_id = parse_key(key)
    alias, routing = body.get("alias"), body.get("routing")
    if alias is not None:
        alias = {**alias, "name": names.canonical(str(alias["name"]))}
    elif not body.get("values") and strict:
        raise Unsupported(f"{key} in zone {zone} has no values", "give `values` or `alias`")
    return RRSet(
        names.absolute(owner, zone),
        rdtype,
        None if alias is not None else int(body.get("ttl") or 0),
        () if alias is not None else spelled(rdtype, (str(value) for value in body["values"])),
        set_id,
        alias,
        routing,
    )


def zone_address(slug: str) -> str:
    """``dns/zone/<slug>``."""
    return address("dns", "zone", slug)


def rrset_address(slug: str, key: str) -> str:
    """``dns/rrset/<slug>/<owner>/<TYPE>[#set]``."""
    owner, rdtype, set_id = parse_key(key)
    return address("dns", "rrset", slug, owner, rdtype) + (f"#{escape(set_id)}" if set_id else "")


def rrset_key(addr: str) -> tuple[str, str]:
    """Return zone slug and key of ``dns/rrset/…``."""
    parts = split(addr)
    if len(parts) != 5 or parts[:2] != ("dns", "rrset"):
        raise Unsupported(f"{addr!r} is not the address of a record set", "write dns/rrset/ZONE/OWNER/TYPE")
    return parts[2], f"{parts[3]}/{parts[4]}"


def same(one: RRSet | None, other: RRSet | None) -> bool:
    """Say whether two record sets mean the same: TTL, data as on the wire, alias and routing."""
    if one is None or other is None:
        return one is other
    if (one.name, one.type, one.set_id, one.ttl) != (other.name, other.type, other.set_id, other.ttl):
        return False
    return (
        _plain_alias(one) == _plain_alias(other)
        and one.routing == other.routing
        and rdata.same(one.type, one.values, other.values)
    )


def _plain_alias(rrset: RRSet) -> tuple[str, bool] | None:
    if rrset.alias is None:
        return None
    return str(rrset.alias["name"]), bool(rrset.alias.get("evaluate_health"))


def with_values(rrset: RRSet, values: Iterable[str]) -> RRSet:
    """The same set with other values."""
    return replace(rrset, values=rdata.canonical_set(rrset.type, values))
