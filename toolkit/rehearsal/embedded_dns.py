"""The embedded name server: an authoritative DNS in this process with PowerDNS's own HTTP API.

Enters: addresses to listen on and the API key. Leaves: a :class:`Handle`. It serves the part of the
PowerDNS v1 API that the driver uses, with the status codes and refusals of PowerDNS 4.7, so the same
driver works on both. Serials count up by one, so runs are repeatable. A secondary is one more address
of the same store. Raises ``Unreachable`` when an address cannot be bound.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import unquote

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from toolkit.dns import rdata
from toolkit.errors import Unreachable, Unsupported
from toolkit.rehearsal.authority import Held, Listeners, Name, Type, ZoneData, Zones, make_rrset, zone_data

MAX_BODY = 2 * 1000 * 1000
_ROOT = "/api/v1/servers/localhost"
_OWNER = re.compile(r"^(?:\*\.)?[A-Za-z0-9_/.\-]*$")
Json = Any
Key = tuple[Name, str]


class Revealable(Protocol):
    """A resolved secret."""

    def reveal(self) -> str: ...


class Refusal(Exception):
    """The API says no, with this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass(frozen=True, slots=True)
class Stored:
    """One record set as the API holds it."""

    ttl: int
    records: tuple[Mapping[str, Json], ...]
    comments: tuple[Mapping[str, Json], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredZone:
    """One zone: what the API shows and what the wire answers from. Replaced whole at every change."""

    name: Name
    kind: str
    serial: int
    sets: Mapping[Key, Stored]
    data: ZoneData
    api_rectify: bool = False


@dataclass(slots=True)
class Store:
    """All zones of one server; changes are made under its lock, answers read without."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    zones: dict[Name, StoredZone] = field(default_factory=dict)
    wire: Zones = field(default_factory=dict)

    def keep(self, zone: StoredZone) -> None:
        self.zones[zone.name] = zone
        self.wire = {name: item.data for name, item in self.zones.items()}

    def drop(self, name: Name) -> None:
        del self.zones[name]
        self.wire = {key: item.data for key, item in self.zones.items()}


@dataclass(frozen=True, slots=True)
class Handle:
    """A running server. ``dns`` and ``api`` are the addresses it really listens on."""

    store: Store
    dns: tuple[tuple[str, int], ...]
    api: str
    _listeners: Listeners
    _http: ThreadingHTTPServer

    def close(self) -> None:
        """Stop serving; the zones are gone with the handle."""
        self._listeners.close()
        self._http.shutdown()
        self._http.server_close()


def serve(*, dns: Sequence[tuple[str, int]], api: tuple[str, int], key: Revealable | str) -> Handle:
    """Start answering; returns when every address is bound."""
    store = Store()
    secret = key if isinstance(key, str) else key.reveal()
    listeners = Listeners(dns, lambda: store.wire)
    try:
        server = ThreadingHTTPServer(api, _handler(store, secret))
    except OSError as exc:
        listeners.close()
        raise Unreachable(f"cannot listen on {api[0]}:{api[1]}: {exc}", "choose another address") from exc
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    host, port = server.server_address[:2]
    return Handle(store, listeners.addresses, f"http://{host!s}:{port}", listeners, server)


def call(store: Store, method: str, path: str, body: Json) -> tuple[int, Json]:
    """One API call: status and answer. Raises :class:`Refusal`."""
    parts = [part for part in path.removeprefix(_ROOT).split("/") if part]
    with store.lock:
        match (method, parts):
            case ("GET", []):
                return 200, {"type": "Server", "id": "localhost", "daemon_type": "authoritative", "version": "4.7.3"}
            case ("GET", ["zones"]):
                return 200, [_summary(zone) for zone in store.zones.values()]
            case ("POST", ["zones"]):
                return 201, _create(store, body)
            case ("GET", ["zones", zone_id]):
                return 200, _show(_zone(store, zone_id))
            case ("DELETE", ["zones", zone_id]):
                store.drop(_zone(store, zone_id).name)
                return 204, None
            case ("PATCH", ["zones", zone_id]):
                zone = _zone(store, zone_id)
                store.keep(_patched(zone, body.get("rrsets") or []))
                return 204, None
            case ("PUT", ["zones", zone_id, "notify"]):
                _zone(store, zone_id)
                return 200, {"result": "Notification queued"}
            case ("PUT", ["zones", zone_id, "rectify"]):
                _zone(store, zone_id)
                return 200, {"result": "Rectified"}
    raise Refusal(404, "Not Found")


def _zone(store: Store, zone_id: str) -> StoredZone:
    name = _canonical(unquote(zone_id).replace("=2F", "/"))
    if name not in store.zones:
        raise Refusal(404, "Not Found")
    return store.zones[name]


def _create(store: Store, body: Json) -> Json:
    name = _canonical(str(body.get("name", "")))
    if name in store.zones:
        raise Refusal(409, "Conflict")
    servers = [str(server) for server in body.get("nameservers") or ()]
    for server in servers:
        if not server.endswith("."):
            raise Refusal(422, f"Nameserver is not canonical: '{server}'")
    text = name.to_text()
    soa = f"a.misconfigured.dns.server.invalid. hostmaster.{text} 0 10800 3600 604800 3600"
    wanted: list[Json] = [_replace(text, "SOA", [soa])]
    if servers:
        wanted.append(_replace(text, "NS", servers))
    given = [{**rrset, "changetype": "REPLACE"} for rrset in body.get("rrsets") or ()]
    empty = StoredZone(name, str(body.get("kind", "Native")), 0, {}, zone_data(name, {}), bool(body.get("api_rectify")))
    store.keep(_patched(empty, [*wanted, *given]))
    return _show(store.zones[name])


def _replace(name: str, rdtype: str, contents: Sequence[str]) -> Json:
    records = [{"content": content, "disabled": False} for content in contents]
    return {"name": name, "type": rdtype, "ttl": 3600, "changetype": "REPLACE", "records": records}


def _patched(zone: StoredZone, changes: Sequence[Json]) -> StoredZone:
    """Apply all changes or none."""
    sets, nodes = dict(zone.sets), dict(zone.data.nodes)
    touched: set[Name] = set()
    for change in changes:
        key = _key(zone, change)
        touched.add(key[0])
        kind = str(change.get("changetype", ""))
        if kind == "DELETE" or (kind == "REPLACE" and not change.get("records")):
            sets.pop(key, None)
            _set_node(nodes, key, None)
        elif kind == "REPLACE":
            sets[key] = Stored(int(change["ttl"]), tuple(change["records"]), tuple(change.get("comments") or ()))
            _set_node(nodes, key, _parsed(key, sets[key]))
        else:
            raise Refusal(422, "Changetype not understood")
    for name in touched:
        _no_conflict(name, nodes.get(name, {}))
    serial = zone.serial + 1
    _with_serial(zone.name, sets, nodes, serial)
    return StoredZone(zone.name, zone.kind, serial, sets, zone_data(zone.name, nodes), zone.api_rectify)


def _key(zone: StoredZone, change: Json) -> Key:
    text, rdtype = str(change.get("name", "")), str(change.get("type", ""))
    name = _canonical(text)
    if not name.is_subdomain(zone.name):
        raise Refusal(422, f"RRset {text} IN {rdtype}: Name is out of zone")
    if not _OWNER.match(name.to_text()):
        raise Refusal(422, f"Name '{text}' contains unsupported characters")
    try:
        dns.rdatatype.from_text(rdtype)
    except (dns.exception.DNSException, ValueError) as exc:
        raise Refusal(422, f"RRset {text} IN {rdtype}: unknown type given") from exc
    return name, rdtype


def _parsed(key: Key, stored: Stored) -> Held | None:
    name, rdtype = key
    contents = [str(record["content"]) for record in stored.records]
    if len(set(contents)) != len(contents):
        raise Refusal(422, f"Duplicate record in RRset {name} IN {rdtype}")
    if rdtype == "CNAME" and len(contents) > 1:
        raise Refusal(422, f"RRset {name} IN CNAME has more than one record")
    parsed: list[dns.rdata.Rdata] = []
    for record in stored.records:
        content = str(record["content"])
        try:
            wanted = content if rdtype == "SOA" else rdata.to_powerdns(rdtype, content)
            value = rdata.parse(rdtype, content)
        except Unsupported as exc:
            raise Refusal(422, f"Record {name}/{rdtype} '{content}': Parsing record content: {exc}") from exc
        if wanted.lower() != content.lower():
            text = f"Record {name}/{rdtype} '{content}': Not in expected format (parsed as '{wanted}')"
            raise Refusal(422, text)
        if not record.get("disabled"):
            parsed.append(value)
    return make_rrset(name, stored.ttl, parsed) if parsed else None


def _set_node(nodes: dict[Name, Mapping[Type, Held]], key: Key, held: Held | None) -> None:
    name, rdtype = key[0], dns.rdatatype.from_text(key[1])
    here = dict(nodes.get(name, {}))
    here.pop(rdtype, None)
    if held is not None:
        here[rdtype] = held
    if here:
        nodes[name] = here
    else:
        nodes.pop(name, None)


def _no_conflict(name: Name, here: Mapping[Type, Held]) -> None:
    if dns.rdatatype.CNAME in here and len(here) > 1:
        raise Refusal(422, f"RRset {name} IN CNAME: Conflicts with pre-existing RRset")


def _with_serial(name: Name, sets: dict[Key, Stored], nodes: dict[Name, Mapping[Type, Held]], serial: int) -> None:
    key = (name, "SOA")
    if key not in sets:
        return
    words = str(sets[key].records[0]["content"]).split()
    words[2] = str(serial)
    sets[key] = Stored(sets[key].ttl, ({"content": " ".join(words), "disabled": False},))
    _set_node(nodes, key, _parsed(key, sets[key]))


def _summary(zone: StoredZone) -> dict[str, Json]:
    text = zone.name.to_text()
    return {
        "id": text.replace("/", "=2F"),
        "name": text,
        "kind": zone.kind,
        "serial": zone.serial,
        "dnssec": False,
        "masters": [],
        "account": "",
        "url": f"{_ROOT}/zones/{text}",
    }


def _show(zone: StoredZone) -> dict[str, Json]:
    rrsets = [
        {
            "name": name.to_text(),
            "type": rdtype,
            "ttl": stored.ttl,
            "records": [
                {"content": record["content"], "disabled": bool(record.get("disabled"))} for record in stored.records
            ],
            "comments": list(stored.comments),
        }
        for (name, rdtype), stored in zone.sets.items()
    ]
    return {**_summary(zone), "api_rectify": zone.api_rectify, "rrsets": rrsets}


def _canonical(text: str) -> Name:
    try:
        name = dns.name.from_text(text, None)
    except dns.exception.DNSException as exc:
        raise Refusal(422, f"Unable to parse DNS Name '{text}'") from exc
    if not name.is_absolute():
        raise Refusal(422, f"DNS Name '{text}' is not canonical")
    return name.canonicalize()


def _handler(store: Store, key: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            try:
                status, answer = self._called()
            except Refusal as exc:
                self._send(exc.status, {"error": exc.text} if exc.status == 422 else exc.text)
                return
            self._send(status, answer)

        def _called(self) -> tuple[int, Json]:
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_BODY:
                self.close_connection = True
                raise Refusal(400, "Bad Request")
            raw = self.rfile.read(length)
            if not hmac.compare_digest(self.headers.get("X-API-Key", "").encode(), key.encode()):
                raise Refusal(401, "Unauthorized")
            try:
                body = json.loads(raw) if raw else {}
            except ValueError as exc:
                raise Refusal(400, "Bad Request") from exc
            return call(store, self.command, self.path.partition("?")[0], body)

        def _send(self, status: int, answer: Json) -> None:
            text = isinstance(answer, str)
            data = b"" if answer is None else answer.encode() if text else json.dumps(answer).encode()
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; charset=utf-8" if text else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 (http.server looks for these)

        def log_message(self, *args: object) -> None:
            """The caller's log is enough."""

    return Handler
