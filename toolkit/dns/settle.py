"""The desired record sets of whole zones, ready to write: what one set alone cannot know.

Enters: the translated state and the target's name servers. Leaves: one :class:`Wanted` per zone and
the verdicts about what could not be expressed. Aliases inside a zone are flattened to what they point
at, name servers inside the zone get their addresses, delegations between the site's own zones follow
them. Nothing raises: what is left over is a blocked verdict and is never written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from toolkit.dns import names, rdata
from toolkit.dns.model import RRSet, from_body, plain, rrset_address, rrset_key, zone_address
from toolkit.errors import Unsupported
from toolkit.model import Resource, State, Verdict, split
from toolkit.wire import split_address

#: Upper bound for the TTL of the apex NS set and its addresses: what a roll back has to wait for.
NS_TTL = 3600
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """One zone as the target must serve it. ``servers`` are the addresses of in-zone name servers."""

    slug: str
    name: str
    private: bool = False
    ns_ttl: int = NS_TTL
    soa: str = ""
    rrsets: Mapping[str, RRSet] = field(default_factory=dict)
    servers: Mapping[str, RRSet] = field(default_factory=dict)
    unexpressed: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # key → feature and why
    served: bool = True  # whether anybody is known who will serve it

    @property
    def everything(self) -> dict[str, RRSet]:
        """What is written: the desired sets, and the name servers' addresses over them."""
        return {**self.rrsets, **self.servers}


def settle(
    desired: State, zone_names: Mapping[str, str], nameservers: Mapping[str, str], *, keeps_alias: bool = False
) -> dict[str, Wanted]:
    """Group the desired state by zone and finish it. ``zone_names`` knows zones that are not in it."""
    zones: dict[str, Resource] = {}
    sets: dict[str, dict[str, Resource]] = {}
    for resource in desired.values():
        parts = split(resource.address)
        if parts[1] == "zone":
            zones[parts[2]] = resource
        elif parts[1] == "rrset":
            slug, key = rrset_key(resource.address)
            sets.setdefault(slug, {})[key] = resource
    found: dict[str, Wanted] = {}
    for slug in [*zones, *(slug for slug in sets if slug not in zones)]:
        name = str(zones[slug].body["name"]) if slug in zones else zone_names.get(slug, "")
        if name:
            found[slug] = _wanted(slug, name, zones.get(slug), sets.get(slug, {}), nameservers)
    public = {names.canonical(zone.name) for zone in found.values() if not zone.private}
    return {slug: _finished(zone, found, public, nameservers, keeps_alias) for slug, zone in found.items()}


def _wanted(
    slug: str, name: str, zone: Resource | None, sets: Mapping[str, Resource], nameservers: Mapping[str, str]
) -> Wanted:
    facts = zone.facts if zone else {}
    private = bool(zone.body.get("private")) if zone else False
    ns_ttl = min(int(facts.get("ns_ttl") or NS_TTL), NS_TTL)
    rrsets: dict[str, RRSet] = {}
    wrong: dict[str, tuple[str, str]] = {}
    for key, resource in sets.items():
        try:
            rrsets[key] = from_body(name, key, resource.body)
        except Unsupported as exc:
            wrong[key] = ("unreadable-data", exc.text)
    servers = {} if private else dict(_server_addresses(name, ns_ttl, nameservers))
    return Wanted(slug, name, private, ns_ttl, str(facts.get("soa") or ""), rrsets, servers, wrong)


def _server_addresses(zone: str, ttl: int, nameservers: Mapping[str, str]) -> Iterator[tuple[str, RRSet]]:
    for server, where in nameservers.items():
        ip, _ = split_address(where)
        if names.below(server, zone) and rdata.address_type(ip):
            rrset = plain(server, str(rdata.address_type(ip)), ttl, [ip])
            yield rrset.key(zone), rrset


def _finished(
    zone: Wanted,
    zones: Mapping[str, Wanted],
    public: set[str],
    nameservers: Mapping[str, str],
    keeps_alias: bool,
) -> Wanted:
    lookup = {(r.name, r.type): r for other in zones.values() if other.private == zone.private for r in _plain(other)}
    rrsets: dict[str, RRSet] = {}
    wrong = dict(zone.unexpressed)
    for key, rrset in zone.rrsets.items():
        if rrset.alias is not None and not rrset.routing:
            flat = _flatten(rrset, lookup)
            if flat is not None:
                rrsets[key] = flat
            elif keeps_alias:
                rrsets[key] = rrset
            else:
                text = f"an alias to {rrset.alias['name']}, for which no {rrset.type} address is known"
                wrong[key] = ("still-points-at-old-side", text)
        elif rrset.type == "NS" and rrset.name in public and nameservers and rrset.name != names.canonical(zone.name):
            rrsets[key] = replace(rrset, values=rdata.canonical_set("NS", nameservers))
        else:
            rrsets[key] = rrset
    return replace(zone, rrsets=rrsets, unexpressed=wrong)


def _plain(zone: Wanted) -> Iterator[RRSet]:
    return (rrset for rrset in zone.rrsets.values() if not rrset.routing)


def _flatten(rrset: RRSet, lookup: Mapping[tuple[str, str], RRSet]) -> RRSet | None:
    """Follow aliases of one type to the plain set at their end."""
    current: RRSet | None = rrset
    for _ in range(_DEPTH):
        if current is None or current.alias is None:
            break
        current = lookup.get((str(current.alias["name"]), rrset.type))
    if current is None or current.alias is not None:
        return None
    return replace(rrset, alias=None, ttl=current.ttl, values=current.values)


def leftovers(
    wanted: Iterable[Wanted], suffixes: Iterable[str], *, gone: frozenset[str] = frozenset()
) -> Iterator[Verdict]:
    """Say what could not be expressed, and what still points at the old side. All of it is blocked.

    ``gone`` are old addresses that nothing replaces.
    """
    endings = [names.canonical(suffix) for suffix in suffixes]
    for zone in wanted:
        if not zone.served:
            yield Verdict(
                zone_address(zone.slug),
                "nameservers",
                "blocked",
                f"the target provider names no name server for {zone.name}",
                "give it `nameservers: {NAME: ADDRESS}` in site.yaml",
            )
        for key, (feature, why) in zone.unexpressed.items():
            yield Verdict(
                rrset_address(zone.slug, key),
                feature,
                "blocked",
                f"{key} of {zone.name}: {why}",
                "move what it points at, give the record plain values in site.yaml, or ignore it with a reason",
            )
        for key, rrset in zone.rrsets.items():
            hit = points_at(rrset, endings, gone)
            if hit:
                yield Verdict(
                    rrset_address(zone.slug, key),
                    "still-points-at-old-side",
                    "blocked",
                    f"{key} in {zone.name} points at {hit}, and nothing replaces it",
                    "give the record a new value in site.yaml, or ignore it with a reason",
                )


def points_at(rrset: RRSet, endings: Iterable[str], gone: frozenset[str] = frozenset()) -> str:
    """Return the host or address of the old side that a set points at, or an empty string."""
    hosts = [str(rrset.alias["name"])] if rrset.alias else []
    hosts += [host for value in rrset.values if (host := rdata.target(rrset.type, value))]
    for host in hosts:
        if any(names.below(host, ending) for ending in endings):
            return host
    return next((value for value in rrset.values if value in gone), "")
