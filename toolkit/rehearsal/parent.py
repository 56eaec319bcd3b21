"""The parent servers of a rehearsal: root and top-level domains in one, with a registry behind them.

Enters: addresses, suffixes and fixed delegations. Leaves: a running :class:`Parent`. Domains are
delegated as the registry in memory says; its HTTP API (``GET`` and ``PUT /domains/<name>``) is what the
``registry`` registrar talks to. Raises ``Unreachable`` when an address cannot be bound.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import dns.name
import dns.rdatatype
import dns.rrset

from toolkit.dns import names, rdata
from toolkit.errors import Unreachable, Unsupported
from toolkit.rehearsal.authority import Held, Listeners, Name, Type, Zones, apex_sets, make_rrset, zone_data

Json = Any


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
            origin: {origin: dict(apex_sets(origin, ["a.parent-servers.invalid"]))} for origin in origins
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
