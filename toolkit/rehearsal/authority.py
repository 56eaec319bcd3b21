"""An authoritative name server: answers from zone data, over UDP and TCP, in threads of this process.

Enters: a callable that returns the zones of this moment. Leaves: answers as RFC 1034 wants them: AA,
referrals with glue, NODATA and NXDOMAIN with SOA, CNAME chains, wildcards, truncation. Used by the
embedded DNS of the target, by the twin of Route 53 and by the parent servers. Raises ``Unreachable``
when an address cannot be bound.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from toolkit.errors import Unreachable

log = logging.getLogger(__name__)
Name = dns.name.Name
Type = dns.rdatatype.RdataType
#: A set, or what decides at each question which set it is (weights, health).
Held = dns.rrset.RRset | Callable[[], dns.rrset.RRset | None]
_MAX_CHAIN = 12
#: Meta types: TKEY, TSIG, zone transfers, mail A and B, ANY.
_META = range(249, 256)


class Zone(Protocol):
    """What answers come from."""

    @property
    def origin(self) -> Name: ...

    def has(self, name: Name) -> bool:
        """Say whether a name exists, be it only because something lies below it."""
        ...

    def at(self, name: Name, rdtype: Type) -> dns.rrset.RRset | None:
        """Return the set held at a name now."""
        ...


@dataclass(frozen=True, slots=True)
class ZoneData:
    """One zone, ready to answer from. ``names`` holds every existing name, empty ones between included."""

    origin: Name
    nodes: Mapping[Name, Mapping[Type, Held]]
    names: frozenset[Name] = field(default=frozenset())

    def has(self, name: Name) -> bool:
        return name in self.names

    def at(self, name: Name, rdtype: Type) -> dns.rrset.RRset | None:
        held = self.nodes.get(name, {}).get(rdtype)
        return held() if callable(held) else held


Zones = Mapping[Name, Zone]


def zone_data(origin: Name, nodes: Mapping[Name, Mapping[Type, Held]]) -> ZoneData:
    """Complete zone data with the names that exist only because something lies below them."""
    names: set[Name] = {origin}
    for name, held in nodes.items():
        while held and name not in names and name.is_subdomain(origin):
            names.add(name)
            name = name.parent()
    return ZoneData(origin, nodes, frozenset(names))


def make_rrset(name: Name, ttl: int, rdatas: Iterable[dns.rdata.Rdata]) -> dns.rrset.RRset:
    """Make a set from parsed data."""
    return dns.rrset.from_rdata_list(name, ttl, list(rdatas))


def apex_sets(origin: Name, servers: Sequence[str]) -> Iterator[tuple[Type, dns.rrset.RRset]]:
    """Yield NS and SOA for a zone of our own making."""
    ns = [dns.rdata.from_text("IN", "NS", server, dns.name.root, False) for server in servers]
    text = f"{servers[0]} hostmaster.invalid. 1 7200 900 1209600 86400"
    yield dns.rdatatype.NS, make_rrset(origin, 3600, ns)
    yield dns.rdatatype.SOA, make_rrset(origin, 900, [dns.rdata.from_text("IN", "SOA", text, dns.name.root, False)])


def respond(wire: bytes, zones: Zones, *, tcp: bool) -> bytes | None:
    """Answer one message; ``None`` for what is not worth an answer."""
    try:
        query = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return None
    if query.flags & dns.flags.QR:
        return None
    answer = dns.message.make_response(query, our_payload=1232)
    if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
        answer.set_rcode(dns.rcode.NOTIMP)
    elif query.question[0].rdclass != dns.rdataclass.IN or query.question[0].rdtype in _META:
        # ANY and zone transfers are nobody's business here; meta types neither.
        answer.set_rcode(dns.rcode.REFUSED)
    else:
        _fill(answer, query.question[0].name.canonicalize(), query.question[0].rdtype, zones)
    limit = 65535 if tcp else max(512, min(query.payload or 512, 1232))
    return answer.to_wire(max_size=limit, prefer_truncation=True)


def _fill(answer: dns.message.Message, name: Name, rdtype: Type, zones: Zones) -> None:
    for hop in range(_MAX_CHAIN):
        zone = _zone_of(name, rdtype, zones)
        if zone is None:
            if not hop:
                answer.set_rcode(dns.rcode.REFUSED)
            return
        target = _fill_from(answer, name, rdtype, zone)
        if target is None:
            return
        name = target


def _zone_of(name: Name, rdtype: Type, zones: Zones) -> Zone | None:
    origin = name
    # DS stands at the parent's side of a cut, if the parent is served here too.
    if rdtype == dns.rdatatype.DS and name in zones and name != dns.name.root:
        above = _zone_of(name.parent(), dns.rdatatype.NS, zones)
        if above is not None:
            return above
    while origin not in zones:
        if origin == dns.name.root:
            return None
        origin = origin.parent()
    return zones[origin]


def _fill_from(answer: dns.message.Message, name: Name, rdtype: Type, zone: Zone) -> Name | None:
    """Fill in what one zone knows; return the name to go on with after a CNAME."""
    first = not answer.answer
    cut = _cut(name, rdtype, zone)
    if cut is not None:
        if first:
            _refer(answer, cut, zone)
        return None
    if first:
        answer.flags |= dns.flags.AA
    owner = _owner(name, zone)
    if owner is None:
        answer.set_rcode(dns.rcode.NXDOMAIN)
        _negative(answer, zone)
        return None
    alias = zone.at(owner, dns.rdatatype.CNAME)
    if alias is not None and rdtype != dns.rdatatype.CNAME:
        answer.answer.append(_renamed(alias, name))
        target: Name = alias[0].target
        return target.canonicalize()
    found = zone.at(owner, rdtype)
    if found is None:
        _negative(answer, zone)
        return None
    answer.answer.append(_renamed(found, name))
    _add_glue(answer, found, zone)
    return None


def _cut(name: Name, rdtype: Type, zone: Zone) -> Name | None:
    """Return the topmost delegation between the apex and ``name``."""
    above: list[Name] = []
    while name != zone.origin:
        above.append(name)
        name = name.parent()
    for index, candidate in enumerate(reversed(above)):
        if zone.at(candidate, dns.rdatatype.NS) is not None:
            at_cut = index == len(above) - 1
            return None if at_cut and rdtype == dns.rdatatype.DS else candidate
    return None


def _owner(name: Name, zone: Zone) -> Name | None:
    """Return the name itself, the wildcard that covers it, or nothing."""
    if zone.has(name):
        return name
    while not zone.has(name):
        name = name.parent()
    wildcard = dns.name.Name((b"*", *name.labels))
    return wildcard if zone.has(wildcard) else None


def _renamed(rrset: dns.rrset.RRset, name: Name) -> dns.rrset.RRset:
    return rrset if rrset.name == name else dns.rrset.from_rdata_list(name, rrset.ttl, list(rrset))


def _refer(answer: dns.message.Message, cut: Name, zone: Zone) -> None:
    servers = zone.at(cut, dns.rdatatype.NS)
    if servers is None:
        return
    answer.authority.append(servers)
    signer = zone.at(cut, dns.rdatatype.DS)
    if signer is not None:
        answer.authority.append(signer)
    _add_glue(answer, servers, zone)


def _negative(answer: dns.message.Message, zone: Zone) -> None:
    soa = zone.at(zone.origin, dns.rdatatype.SOA)
    if soa is not None:
        answer.authority.append(dns.rrset.from_rdata_list(zone.origin, min(soa.ttl, soa[0].minimum), list(soa)))


def _add_glue(answer: dns.message.Message, rrset: dns.rrset.RRset, zone: Zone) -> None:
    field_of = {dns.rdatatype.NS: "target", dns.rdatatype.MX: "exchange", dns.rdatatype.SRV: "target"}
    attribute = field_of.get(rrset.rdtype)
    if attribute is None:
        return
    for record in rrset:
        name = getattr(record, attribute).canonicalize()
        for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            found = zone.at(name, rdtype)
            if found is not None and found not in answer.additional:
                answer.additional.append(found)


class Listeners:
    """Threads that answer on a list of addresses, each over UDP and TCP, until :meth:`close`."""

    def __init__(self, addresses: Sequence[tuple[str, int]], zones: Callable[[], Zones]) -> None:
        self._zones = zones
        self._stop, self._waker = socket.socketpair()
        self._open: set[socket.socket] = set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        try:
            self._pairs = [_bind(ip, port) for ip, port in addresses]
        except Unreachable:
            self._stop.close()
            self._waker.close()
            raise
        self.addresses = tuple(udp.getsockname()[:2] for udp, _ in self._pairs)
        for udp, tcp in self._pairs:
            self._threads.append(threading.Thread(target=self._serve, args=(udp, tcp), daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop answering and free the addresses."""
        self._waker.close()
        for thread in self._threads:
            thread.join(10)
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._stop.close()
        for pair in self._pairs:
            for each in pair:
                each.close()

    def _serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            for each in (udp, tcp, self._stop):
                selector.register(each, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._stop in ready:
                    return
                if udp in ready:
                    self._datagram(udp)
                if tcp in ready:
                    with contextlib.suppress(OSError):
                        connection, _ = tcp.accept()
                        threading.Thread(target=self._stream, args=(connection,), daemon=True).start()

    def _datagram(self, udp: socket.socket) -> None:
        # Everything waiting is answered before the next select: half the system calls under load.
        for _ in range(64):
            try:
                wire, peer = udp.recvfrom(65535, socket.MSG_DONTWAIT)
            except OSError:
                return
            answer = self._answer(wire, tcp=False)
            if answer is not None:
                with contextlib.suppress(OSError):
                    udp.sendto(answer, peer)

    def _stream(self, connection: socket.socket) -> None:
        self._open.add(connection)
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            for wire in _messages(connection):
                answer = self._answer(wire, tcp=True)
                if answer is None:
                    break
                connection.sendall(struct.pack("!H", len(answer)) + answer)
        self._open.discard(connection)

    def _answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        try:
            return respond(wire, self._zones(), tcp=tcp)
        except Exception:  # one bad question must not end the server's thread
            log.exception("a question could not be answered")
            return None


def _messages(connection: socket.socket) -> Iterator[bytes]:
    while True:
        head = _exactly(connection, 2)
        if head is None:
            return
        wire = _exactly(connection, struct.unpack("!H", head)[0])
        if wire is None:
            return
        yield wire


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            return None
        data += part
    return data


def _bind(ip: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Bind UDP and TCP at one port; port 0 finds one free for both."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    last: OSError | None = None
    for _ in range(20 if port == 0 else 1):
        tcp, udp = socket.socket(family, socket.SOCK_STREAM), socket.socket(family, socket.SOCK_DGRAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        try:
            tcp.bind((ip, port))
            udp.bind((ip, tcp.getsockname()[1]))
            tcp.listen(128)
        except OSError as exc:
            tcp.close()
            udp.close()
            last = exc
        else:
            return udp, tcp
    raise Unreachable(f"cannot listen on {ip}:{port}: {last}", "another process holds it; choose another address")
