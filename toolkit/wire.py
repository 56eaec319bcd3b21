"""Names and HTTP as the world sees them: resolution from the parents down, one request to one address.

Enters: a name or URL and :class:`Hints`, which say where the parent servers are and at which address
and port a named server listens (rehearsals do not use port 53). Leaves: a :class:`Chain` with every
step of the resolution, addresses, or an :class:`HttpAnswer`. The system resolver is used only to find
the root servers when no parent is given. Raises ``Unreachable`` when nobody answers.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset

from toolkit.errors import Refused, Unreachable, UsageError

TIMEOUT = 5.0
TRIES = 2
_MAX_STEPS = 60
_MAX_DEPTH = 4
_MAX_BODY = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Hints:
    """Where resolution starts (``ip:port``), and where named hosts listen (``ip`` or ``ip:port``)."""

    parents: tuple[str, ...] = ()
    hosts: Mapping[str, str] = field(default_factory=dict)

    def host(self, name: str) -> str | None:
        """Return ``ip:port`` of a hinted host."""
        wanted = _bare(name)
        for host, address in self.hosts.items():
            if _bare(host) == wanted:
                return with_port(address)
        return None

    def port(self, ip: str) -> int:
        """Return the port at which name servers of this address listen."""
        for address in (*self.hosts.values(), *self.parents):
            host, port = split_address(address)
            if host == ip and port != 53:
                return port
        return 53


@dataclass(frozen=True, slots=True)
class Step:
    """One question to one server. ``zone`` is the zone whose servers were asked."""

    zone: str
    server: str
    address: str
    name: str
    rdtype: str
    rcode: str
    aa: bool
    answers: tuple[str, ...] = ()
    referral: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """The whole way to an answer. ``cnames`` are the names passed on the way, in order."""

    name: str
    rdtype: str
    rcode: str
    answers: tuple[str, ...]
    cnames: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer, who gave it, and the organisation that vouches for its certificate."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    peer: str
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Servers:
    """The name servers of a zone, and the steps by which they were found."""

    zone: dns.name.Name
    servers: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...] = ()


#: Delegations found so far, for callers who ask for many names in one zone.
Cache = dict[dns.name.Name, Servers]


def split_address(address: str) -> tuple[str, int]:
    """Split ``ip``, ``ip:port`` or ``[ip6]:port``; the default port is 53."""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        return host, int(port.lstrip(":") or 53)
    if address.count(":") == 1:
        host, _, port = address.partition(":")
        return host, int(port)
    return address, 53


def with_port(address: str, port: int = 53) -> str:
    """Write ``ip:port``, adding the port if it is missing."""
    host, found = split_address(address)
    found = port if found == 53 else found
    return f"[{host}]:{found}" if ":" in host else f"{host}:{found}"


def query(
    server: str, name: str, rdtype: str, tcp: bool = False, *, timeout: float = TIMEOUT, tries: int = TRIES
) -> dns.message.Message:
    """Ask one server one question, without recursion; a truncated UDP answer comes back as it is."""
    host, port = split_address(server)
    question = dns.message.make_query(name, rdtype, use_edns=0, payload=1232, flags=0)
    last: Exception | None = None
    for _ in range(tries):
        try:
            if tcp:
                return dns.query.tcp(question, host, timeout=timeout, port=port)
            return dns.query.udp(question, host, timeout=timeout, port=port, ignore_unexpected=True)
        except (dns.exception.DNSException, OSError, EOFError) as exc:
            last = exc
    raise Unreachable(
        f"name server {server} does not answer for {name} {rdtype} over {'TCP' if tcp else 'UDP'}",
        "check that it runs, and that UDP and TCP port 53 reach it",
    ) from last


def chain(name: str, rdtype: str, hints: Hints, cache: Cache | None = None) -> Chain:
    """Resolve from the parents down: delegations, glue, CNAMEs. Every question asked is a step."""
    steps: list[Step] = []
    known: Cache = {} if cache is None else cache
    target, seen = dns.name.from_text(name), [dns.name.from_text(name)]
    while True:
        message = _authoritative(target, rdtype, hints, known, steps)
        followed, answers = _follow(message, target, rdtype)
        seen += followed
        if answers or not followed or len(seen) > 16:
            return Chain(
                seen[0].to_text(),
                rdtype,
                dns.rcode.to_text(message.rcode()),
                answers,
                tuple(item.to_text() for item in seen[1:]),
                tuple(steps),
            )
        target = followed[-1]


def parents_of(zone: str, hints: Hints, cache: Cache | None = None) -> Servers:
    """Return the servers of the zone in which ``zone`` is delegated."""
    known: Cache = {} if cache is None else cache
    name = dns.name.from_text(zone)
    steps: list[Step] = []
    _authoritative(name, "DS", hints, known, steps)
    return _start(name, "DS", hints, known)


def addresses(name: str, hints: Hints, cache: Cache | None = None) -> tuple[str, ...]:
    """Return the addresses of a host: itself if it is one, IPv4 before IPv6."""
    if _is_ip(name):
        return (name,)
    if (hinted := hints.host(name)) is not None:
        return (split_address(hinted)[0],)
    return tuple(answer for rdtype in ("A", "AAAA") for answer in chain(name, rdtype, hints, cache).answers)


def http_request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    hints: Hints,
    timeout: float = 30.0,
    ca: str | None = None,
) -> HttpAnswer:
    """Send one request to the address the name has at this moment; redirects are returned, not followed.

    ``ca`` is a file of certificates to trust instead of the system's.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is not an HTTP address", "write it as http://host[:port]/path")
    host, secure = parts.hostname, parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    found = addresses(host, hints)
    if not found:
        raise Unreachable(f"{host} has no address", "look at the name with `rehost dns`, or at its zone")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {"Host": parts.netloc.rpartition("@")[2], "Connection": "close", **(headers or {})}
    failures: list[str] = []
    for ip in found:
        context = ssl.create_default_context(cafile=ca) if secure else None
        connection = _Connection(ip, port, timeout, context, host)
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            content = answer.read(_MAX_BODY)
            lowered = {key.lower(): value for key, value in answer.getheaders()}
            return HttpAnswer(answer.status, lowered, content, ip, connection.issuer)
        except (OSError, http.client.HTTPException) as exc:
            failures.append(f"{ip}:{port}: {exc or type(exc).__name__}")
        finally:
            connection.close()
    raise Unreachable(f"{method} {url}: {'; '.join(failures)}", "check that the service runs and is reachable")


class _Connection(http.client.HTTPConnection):
    """A connection to one address that speaks, under TLS, to the name it was asked for."""

    def __init__(self, ip: str, port: int, timeout: float, context: ssl.SSLContext | None, name: str) -> None:
        super().__init__(ip, port, timeout=timeout)
        self.issuer = ""
        self._context, self._name = context, name

    def connect(self) -> None:
        super().connect()
        if self._context is None:
            return
        plain: socket.socket = self.sock
        secured = self._context.wrap_socket(plain, server_hostname=self._name)
        self.sock = secured
        pairs = [pair for part in (secured.getpeercert() or {}).get("issuer", ()) for pair in part]
        self.issuer = ", ".join(str(pair[1]) for pair in pairs if pair[0] in ("organizationName", "commonName"))


def _authoritative(
    name: dns.name.Name, rdtype: str, hints: Hints, cache: Cache, steps: list[Step], depth: int = 0
) -> dns.message.Message:
    """Walk down to the servers that answer for ``name`` themselves."""
    current = _start(name, rdtype, hints, cache)
    steps += current.steps
    trail: list[Step] = list(current.steps)
    while len(steps) < _MAX_STEPS:
        message, step = _ask(current, name, rdtype)
        steps.append(step)
        trail.append(step)
        below = _referral(message, name, current.zone)
        if below is None:
            return message
        current = _servers(below, message, hints, cache, steps, depth)
        current = replace(current, steps=tuple(trail))
        cache[current.zone] = current
    raise Unreachable(f"{name} {rdtype}: resolution does not end", "look for a delegation that points in a circle")


def _start(name: dns.name.Name, rdtype: str, hints: Hints, cache: Cache) -> Servers:
    # The parent answers for DS: the set stands above the cut.
    origin = name.parent() if rdtype == "DS" and name != dns.name.root else name
    while True:
        if origin in cache:
            return cache[origin]
        if origin == dns.name.root:
            parents = tuple((address, with_port(address)) for address in hints.parents) or _system_roots()
            cache[origin] = Servers(origin, parents)
            return cache[origin]
        origin = origin.parent()


def _system_roots() -> tuple[tuple[str, str], ...]:
    try:
        stub = dns.resolver.Resolver()
        names = sorted(record.target.to_text() for record in stub.resolve(".", "NS"))[:3]
        return tuple((name, with_port(record.address)) for name in names for record in stub.resolve(name, "A"))
    except (dns.exception.DNSException, OSError) as exc:
        raise Unreachable(f"the root servers cannot be found: {exc}", "check the network, or name parents") from exc


def _ask(current: Servers, name: dns.name.Name, rdtype: str) -> tuple[dns.message.Message, Step]:
    failures: list[str] = []
    for server, address in current.servers:
        try:
            message = query(address, name.to_text(), rdtype)
            if message.flags & dns.flags.TC:
                message = query(address, name.to_text(), rdtype, tcp=True)
        except Unreachable:
            failures.append(f"{server} ({address}) does not answer")
            continue
        except Refused as exc:  # the guard of a rehearsal: this server belongs to the side that was left
            failures.append(f"{server} ({address}): {exc.text}")
            continue
        rcode = dns.rcode.to_text(message.rcode())
        if rcode not in ("NOERROR", "NXDOMAIN"):
            failures.append(f"{server} ({address}) says {rcode}")
            continue
        return message, Step(
            current.zone.to_text(),
            server,
            address,
            name.to_text(),
            rdtype,
            rcode,
            bool(message.flags & dns.flags.AA),
            tuple(record.to_text() for rrset in message.answer for record in rrset),
            tuple(
                record.to_text()
                for rrset in message.authority
                if rrset.rdtype == dns.rdatatype.NS and not message.answer
                for record in rrset
            ),
        )
    why = "; ".join(failures) or "it has no name servers"
    raise Unreachable(f"{name} {rdtype}: no server of {current.zone} gives an answer: {why}", "check those servers")


def _referral(message: dns.message.Message, name: dns.name.Name, zone: dns.name.Name) -> dns.rrset.RRset | None:
    if message.answer or message.rcode() != dns.rcode.NOERROR:
        return None
    for rrset in message.authority:
        deeper = rrset.name != zone and rrset.name.is_subdomain(zone) and name.is_subdomain(rrset.name)
        if rrset.rdtype == dns.rdatatype.NS and deeper and not message.flags & dns.flags.AA:
            return rrset
    return None


def _servers(
    below: dns.rrset.RRset, message: dns.message.Message, hints: Hints, cache: Cache, steps: list[Step], depth: int
) -> Servers:
    """Find the addresses of delegated servers: hints first, then glue, then their own resolution."""
    found: list[tuple[str, str]] = []
    for record in below:
        name: dns.name.Name = record.target
        hinted = hints.host(name.to_text())
        if hinted is not None:
            found.append((name.to_text(), hinted))
            continue
        ips = [
            glue.address
            for rrset in message.additional
            if rrset.name == name and rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
            for glue in rrset
        ]
        found += [(name.to_text(), with_port(ip, hints.port(ip))) for ip in ips]
    for record in below if not found and depth < _MAX_DEPTH else ():
        name = record.target
        if not name.is_subdomain(below.name):
            ips = _resolve_host(name, hints, cache, steps, depth + 1)
            found += [(name.to_text(), with_port(ip, hints.port(ip))) for ip in ips]
        if len(found) > 1:
            break
    # IPv4 first: a machine without IPv6 must not wait for each of them.
    return Servers(below.name, tuple(sorted(found, key=lambda pair: pair[1].startswith("["))))


def _resolve_host(name: dns.name.Name, hints: Hints, cache: Cache, steps: list[Step], depth: int) -> list[str]:
    try:
        message = _authoritative(name, "A", hints, cache, steps, depth)
    except Unreachable:
        return []
    return list(_follow(message, name, "A")[1])


def _follow(
    message: dns.message.Message, name: dns.name.Name, rdtype: str
) -> tuple[list[dns.name.Name], tuple[str, ...]]:
    """Follow CNAMEs inside one answer; return the names passed and the data reached."""
    passed: list[dns.name.Name] = []
    kind = dns.rdatatype.from_text(rdtype)
    while len(passed) <= 16:
        for rrset in message.answer:
            if rrset.name == name and rrset.rdtype == kind:
                return passed, tuple(sorted(record.to_text() for record in rrset))
        alias = next((r for r in message.answer if r.name == name and r.rdtype == dns.rdatatype.CNAME), None)
        if alias is None:
            break
        name = alias[0].target
        passed.append(name)
    return passed, ()


def _bare(name: str) -> str:
    return name.rstrip(".").lower()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
