"""Authoritative DNS for the mocked AWS: what Route 53's name servers would answer.

Enters: a callable that yields the mock's hosted zones of this moment (moto's own objects, in this
process), and what resolves AWS's own names. Leaves: running servers. The twin answers as Route 53's
name servers do: escapes in names, aliases resolved, weights drawn, failover and health respected,
at most eight values of a multivalue answer. The servers above are :class:`Parent`. Raises
``Unreachable`` when an address cannot be bound.
"""

from __future__ import annotations

import logging
import random
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from toolkit.dns import names, rdata
from toolkit.errors import Unsupported
from toolkit.rehearsal.authority import (
    Held,
    Listeners,
    Name,
    Type,
    Zone,
    ZoneData,
    Zones,
    apex_sets,
    make_rrset,
    zone_data,
)
from toolkit.rehearsal.parent import Parent as Parent

log = logging.getLogger(__name__)
#: Where the names of Route 53's servers live: ``ns-123.awsdns-12.com`` and so on.
SERVER_DOMAINS = tuple(f"awsdns-{number:02d}.{tld}" for number in range(68) for tld in ("com", "net", "org", "co.uk"))
_SERVER = re.compile(r"^ns-\d{1,4}\.awsdns-\d\d\.(?:com|net|org|co\.uk)$")
ALIAS_TTL = 60
MAX_MULTIVALUE = 8
Json = Any

#: AWS's own names: host → addresses, or nothing if there is no such host.
Elsewhere = Callable[[str], Sequence[str]]
Healthy = Callable[[str], bool]


class Recorded(Protocol):
    """One record set as moto holds it."""

    name: str
    type: str
    ttl: Any
    records: Sequence[Any]
    set_identifier: str | None
    weight: Any
    region: str | None
    health_check_id: str | None
    alias_target: Mapping[str, Any] | None
    failover: str | None
    geo_location: Mapping[str, Any] | None
    multi_value_answer: Any


class Hosted(Protocol):
    """One hosted zone as moto holds it."""

    name: str
    private_zone: bool
    rrsets: Sequence[Any]


def moto_zones(account: str = "123456789012") -> Iterable[Hosted]:
    """Yield the hosted zones moto holds in this process."""
    from moto.route53.models import route53_backends  # only a process that runs the mock has it loaded

    return list(route53_backends[account]["aws"].zones.values())


@dataclass(frozen=True, slots=True)
class Handle:
    """Running name servers."""

    dns: tuple[tuple[str, int], ...]
    _listeners: Listeners

    def close(self) -> None:
        """Stop answering."""
        self._listeners.close()


@dataclass(slots=True)
class _Twin:
    """The zones seen last, so that only a changed one is read again."""

    backend: Callable[[], Iterable[Hosted]]
    elsewhere: Elsewhere
    healthy: Healthy
    own: Zones
    alias_ttl: int
    rng: random.Random
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: dict[Name, tuple[tuple[Any, ...], ZoneData]] = field(default_factory=dict)

    def zones(self) -> Zones:
        with self.lock:
            found: dict[Name, Zone] = dict(self.own)
            live: dict[Name, tuple[tuple[Any, ...], ZoneData]] = {}
            for hosted in self.backend():
                if hosted.private_zone:
                    continue
                origin = names.parse(names.from_route53(hosted.name))
                before = self.seen.get(origin)
                state = _state(hosted)
                if before is None or not _same(before[0], state):
                    before = (state, _zone(origin, hosted.rrsets, self))
                live[origin] = before
                found[origin] = live[origin][1]
            self.seen = live
            return found


def _state(hosted: Hosted) -> tuple[Any, ...]:
    """What is another object when the zone has changed: neither mock ever changes a record set in place."""
    sets = getattr(hosted, "sets", None)
    return tuple(hosted.rrsets) if sets is None else (sets, *sets.values())


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(left is right for left, right in zip(one, other, strict=True))


def serve(
    addresses: Sequence[tuple[str, int]],
    backend: Callable[[], Iterable[Hosted]],
    *,
    elsewhere: Elsewhere = lambda _host: (),
    healthy: Healthy = lambda _check: True,
    alias_ttl: int = ALIAS_TTL,
    seed: int = 1,
) -> Handle:
    """Answer for every public hosted zone of ``backend``, for AWS's own names and for the NS names."""
    listeners: Listeners | None = None
    twin = _Twin(backend, elsewhere, healthy, {}, alias_ttl, random.Random(seed))  # noqa: S311 (weights, not secrets)
    listeners = Listeners(addresses, twin.zones)
    twin.own = _own_zones([ip for ip, _ in listeners.addresses], elsewhere)
    return Handle(listeners.addresses, listeners)


def _own_zones(ips: Sequence[str], elsewhere: Elsewhere) -> Zones:
    zones: dict[Name, Zone] = {}

    def server(host: str) -> Sequence[str]:
        return ips if _SERVER.match(host) or host.startswith("twin.") else ()

    for domain in (*SERVER_DOMAINS, "amazonaws.com"):
        origin = names.parse(domain)
        apex = zone_data(origin, {origin: dict(apex_sets(origin, [f"twin.{domain}"]))})
        zones[origin] = _Anything(apex, server if domain != "amazonaws.com" else _or_twin(elsewhere, ips))
    return zones


def _or_twin(elsewhere: Elsewhere, ips: Sequence[str]) -> Elsewhere:
    return lambda host: ips if host == "twin.amazonaws.com" else elsewhere(host)


def _a(name: Name, ips: Iterable[str], ttl: int = 60) -> dns.rrset.RRset:
    return make_rrset(name, ttl, [rdata.parse("A", ip) for ip in ips])


@dataclass(frozen=True, slots=True)
class _Anything:
    """AWS's own zone: a host exists as long as the callable knows an address for it."""

    apex: ZoneData
    elsewhere: Elsewhere

    @property
    def origin(self) -> Name:
        return self.apex.origin

    def has(self, name: Name) -> bool:
        return self.apex.has(name) or bool(_hosts(name, self.elsewhere))

    def at(self, name: Name, rdtype: Type) -> dns.rrset.RRset | None:
        if name == self.origin or rdtype != dns.rdatatype.A:
            return self.apex.at(name, rdtype)
        ips = _hosts(name, self.elsewhere)
        return _a(name, ips) if ips else None


def _hosts(name: Name, elsewhere: Elsewhere) -> list[str]:
    return [ip for ip in elsewhere(names.bare(name.to_text())) if rdata.address_type(ip) == "A"]


def _zone(origin: Name, state: Sequence[Recorded], twin: _Twin) -> ZoneData:
    grouped: dict[tuple[Name, str], list[Recorded]] = {}
    for record in state:
        name = names.parse(names.from_route53(record.name))
        grouped.setdefault((name, record.type), []).append(record)
    nodes: dict[Name, dict[Type, Held]] = {}
    for (name, rdtype), group in grouped.items():
        try:
            kind = dns.rdatatype.from_text(rdtype)
            held = _held(name, rdtype, group, grouped, twin)
        except (Unsupported, ValueError) as exc:
            log.warning("the mock holds a record set that cannot be served: %s %s: %s", name, rdtype, exc)
            continue
        nodes.setdefault(name, {})[kind] = held
    return zone_data(origin, nodes)


def _held(
    name: Name,
    rdtype: str,
    group: Sequence[Recorded],
    grouped: Mapping[tuple[Name, str], Sequence[Recorded]],
    twin: _Twin,
) -> Held:
    if len(group) == 1 and not group[0].alias_target and not group[0].health_check_id:
        return _fixed(name, rdtype, group[0])

    def choose() -> dns.rrset.RRset | None:
        return _answer(name, name, rdtype, grouped, twin, 0)

    return choose


def _fixed(name: Name, rdtype: str, record: Recorded) -> dns.rrset.RRset:
    values = [value["Value"] if isinstance(value, Mapping) else str(value) for value in record.records]
    parsed = [rdata.parse(rdtype, rdata.from_route53(rdtype, value)) for value in values]
    return make_rrset(name, int(record.ttl or 0), parsed)


def _answer(
    shown: Name,
    name: Name,
    rdtype: str,
    grouped: Mapping[tuple[Name, str], Sequence[Recorded]],
    twin: _Twin,
    depth: int,
) -> dns.rrset.RRset | None:
    """Decide among the record sets of one name and type, then follow aliases to data."""
    group = list(grouped.get((name, rdtype), ()))
    if not group or depth > 8:
        return None
    if any(record.multi_value_answer for record in group):
        alive = [record for record in group if _alive(record, twin)] or group
        drawn = twin.rng.sample(alive, min(MAX_MULTIVALUE, len(alive)))
        parts = [_fixed(shown, rdtype, record) for record in drawn]
        return make_rrset(shown, min(part.ttl for part in parts), [item for part in parts for item in part])
    record = _chosen(group, twin)
    if record.alias_target is None:
        return _fixed(shown, rdtype, record)
    target = names.parse(names.from_route53(record.alias_target["DNSName"]))
    if (target, rdtype) in grouped:
        return _answer(shown, target, rdtype, grouped, twin, depth + 1)
    ips = [ip for ip in twin.elsewhere(names.bare(target.to_text())) if rdata.address_type(ip) == rdtype]
    return make_rrset(shown, twin.alias_ttl, [rdata.parse(rdtype, ip) for ip in ips]) if ips else None


def _alive(record: Recorded, twin: _Twin) -> bool:
    return not record.health_check_id or twin.healthy(record.health_check_id)


def _chosen(group: Sequence[Recorded], twin: _Twin) -> Recorded:
    alive = [record for record in group if _alive(record, twin)] or list(group)
    if any(record.failover for record in group):
        primary = [record for record in alive if record.failover == "PRIMARY"]
        return (primary or alive)[0]
    if any(record.geo_location for record in group):
        anywhere = [r for r in alive if (r.geo_location or {}).get("CountryCode") == "*"]
        return (anywhere or alive)[0]
    weights = [int(record.weight) if record.weight not in (None, "") else 1 for record in alive]
    # All weights zero means equal shares.
    return twin.rng.choices(alive, weights if any(weights) else None)[0]


def aws_delegations(twin_ip: str) -> dict[str, dict[str, str | None]]:
    """Delegations to the twin that a parent needs for AWS's own names."""
    return {domain: {f"twin.{domain}": twin_ip} for domain in (*SERVER_DOMAINS, "amazonaws.com")}
