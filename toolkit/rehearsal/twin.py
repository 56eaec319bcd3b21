"""Authoritative DNS for the mocked AWS, and the parent servers above both sides.

Enters: a callable that yields the mock's hosted zones of this moment (moto's own objects, in this
process), and what resolves AWS's own names. Leaves: running servers. The twin answers as Route 53's
name servers do: escapes in names, aliases resolved, weights drawn, failover and health respected,
at most eight values of a multivalue answer. The parent delegates domains from a registry in memory,
which an HTTP API reads and writes. Raises ``Unreachable`` when an address cannot be bound.
"""

from __future__ import annotations

import json
import logging
import random
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import unquote

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from toolkit.dns import names, rdata
from toolkit.errors import Unreachable, Unsupported
from toolkit.rehearsal.authority import Held, Listeners, Name, Type, Zone, ZoneData, Zones, make_rrset, zone_data

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
        apex = zone_data(origin, {origin: dict(_apex(origin, [f"twin.{domain}"]))})
        zones[origin] = _Anything(apex, server if domain != "amazonaws.com" else _or_twin(elsewhere, ips))
    return zones


def _or_twin(elsewhere: Elsewhere, ips: Sequence[str]) -> Elsewhere:
    return lambda host: ips if host == "twin.amazonaws.com" else elsewhere(host)


def _apex(origin: Name, servers: Sequence[str]) -> Iterable[tuple[Type, Held]]:
    soa = f"{names.canonical(servers[0])} awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"
    yield dns.rdatatype.NS, make_rrset(origin, 3600, [rdata.parse("NS", server) for server in servers])
    yield dns.rdatatype.SOA, make_rrset(origin, 900, [rdata.parse("SOA", soa)])


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


# --- the parent -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Domain:
    """What the registry holds for one domain."""

    registrar: str
    nameservers: Mapping[str, str | None]
    ds: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        return {"registrar": self.registrar, "nameservers": dict(self.nameservers), "ds": list(self.ds)}


@dataclass(slots=True)
class _Registry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    domains: dict[str, Domain] = field(default_factory=dict)
    wire: Zones = field(default_factory=dict)


class Parent:
    """Root and top-level domains in one: delegates what its registry holds, denies the rest."""

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]],
        api: tuple[str, int],
        *,
        suffixes: Sequence[str] = ("example",),
        fixed: Mapping[str, Mapping[str, str | None]] | None = None,
        ns_ttl: int = 172_800,
        ds_ttl: int = 86_400,
    ) -> None:
        self._registry = _Registry()
        self._suffixes = [names.parse(suffix) for suffix in suffixes]
        self._fixed = {names.bare(domain): dict(servers) for domain, servers in (fixed or {}).items()}
        self._ttls = (ns_ttl, ds_ttl)
        self._rebuild()
        self._listeners = Listeners(addresses, lambda: self._registry.wire)
        self.dns = self._listeners.addresses
        try:
            self._http = ThreadingHTTPServer(api, _registry_handler(self))
        except OSError as exc:
            self._listeners.close()
            raise Unreachable(f"cannot listen on {api[0]}:{api[1]}: {exc}", "choose another address") from exc
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        host, port = self._http.server_address[:2]
        self.api = f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop answering."""
        self._listeners.close()
        self._http.shutdown()
        self._http.server_close()

    def get(self, domain: str) -> Domain | None:
        """Return what the registry holds."""
        return self._registry.domains.get(names.bare(domain))

    def put(self, domain: str, data: Mapping[str, Json]) -> Domain:
        """Register a domain or change it; raises ``Unsupported`` for data without sense."""
        servers = data.get("nameservers")
        if not isinstance(servers, Mapping) or not servers:
            raise Unsupported("a domain needs name servers", 'send {"nameservers": {"NAME": "ADDRESS" or null}}')
        kept = {names.bare(name): str(ip) if ip else None for name, ip in servers.items()}
        ds = tuple(rdata.canonical("DS", str(item)) for item in data.get("ds") or ())
        with self._registry.lock:
            made = Domain(str(data.get("registrar") or ""), kept, ds)
            self._registry.domains[names.bare(domain)] = made
            self._rebuild()
        return made

    def _rebuild(self) -> None:
        root = dns.name.root
        origins = [root, *self._suffixes]
        nodes: dict[Name, dict[Name, dict[Type, Held]]] = {
            origin: {origin: dict(_apex(origin, ["a.parent-servers.invalid"]))} for origin in origins
        }
        fixed = {domain: Domain("", servers) for domain, servers in self._fixed.items()}
        for domain, item in {**fixed, **self._registry.domains}.items():
            self._delegate(nodes, names.parse(domain), item)
        for suffix in self._suffixes:
            nodes[root].setdefault(suffix, {})[dns.rdatatype.NS] = _ns(suffix, ["a.parent-servers.invalid"], 172_800)
        self._registry.wire = {origin: zone_data(origin, nodes[origin]) for origin in origins}

    def _delegate(
        self,
        nodes: dict[Name, dict[Name, dict[Type, Held]]],
        domain: Name,
        item: Domain,
    ) -> None:
        origin = max((o for o in nodes if domain.is_subdomain(o)), key=lambda name: len(name.labels))
        zone = nodes[origin]
        here = zone.setdefault(domain, {})
        here[dns.rdatatype.NS] = _ns(domain, item.nameservers, self._ttls[0])
        if item.ds:
            here[dns.rdatatype.DS] = make_rrset(domain, self._ttls[1], [rdata.parse("DS", text) for text in item.ds])
        for server, ip in item.nameservers.items():
            if ip:
                name = names.parse(server)
                kind = dns.rdatatype.from_text(rdata.address_type(ip) or "A")
                zone.setdefault(name, {})[kind] = make_rrset(
                    name, self._ttls[0], [rdata.parse(rdata.address_type(ip) or "A", ip)]
                )


def _ns(name: Name, servers: Iterable[str], ttl: int) -> dns.rrset.RRset:
    return make_rrset(name, ttl, [rdata.parse("NS", names.canonical(server)) for server in servers])


def aws_delegations(twin_ip: str) -> dict[str, dict[str, str | None]]:
    """Delegations to the twin that a parent needs for AWS's own names."""
    return {domain: {f"twin.{domain}": twin_ip} for domain in (*SERVER_DOMAINS, "amazonaws.com")}


def _registry_handler(parent: Parent) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            prefix, _, domain = self.path.partition("?")[0].rpartition("/")
            if prefix != "/domains" or not domain:
                return self._send(404, {"error": "no such page"})
            domain = unquote(domain)
            if self.command == "PUT":
                try:
                    return self._send(200, parent.put(domain, json.loads(data or b"{}")).to_json())
                except (Unsupported, ValueError, AttributeError) as exc:
                    return self._send(422, {"error": str(exc)})
            found = parent.get(domain)
            return self._send(200, found.to_json()) if found else self._send(404, {"error": "not registered"})

        def _send(self, status: int, answer: Json) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = _serve  # noqa: N815 (http.server looks for these)

        def log_message(self, *args: object) -> None:
            """The caller's log is enough."""

    return Handler
