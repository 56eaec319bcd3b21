"""Who a zone is delegated to: what its parent's servers say on the wire.

Enters: a zone and hints. Leaves: a :class:`Delegation`. Nothing is cached: a cut-over is decided by
what the parents say now. Raises ``Unreachable`` when no parent server answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rdatatype

from toolkit.dns import names
from toolkit.errors import Unreachable
from toolkit.wire import Hints, parents_of, query


@dataclass(frozen=True, slots=True)
class Delegation:
    """NS sets by parent server; ``glue`` and ``ds`` as any of them gave."""

    zone: str
    by_server: Mapping[str, tuple[str, ...]]
    glue: Mapping[str, str]
    ds: tuple[str, ...]
    ttl: int

    @property
    def nameservers(self) -> tuple[str, ...] | None:
        """The one NS set all parents serve, or ``None`` while they disagree."""
        found = set(self.by_server.values())
        return found.pop() if len(found) == 1 else None


def ask_parents(zone: str, hints: Hints) -> Delegation:
    """Ask every server of the parent zone for the delegation and the DS set."""
    by_server: dict[str, tuple[str, ...]] = {}
    glue: dict[str, str] = {}
    ds: set[str] = set()
    ttl = 0
    for server, address in parents_of(zone, hints).servers:
        try:
            answer = query(address, names.canonical(zone), "NS")
            signed = query(address, names.canonical(zone), "DS")
        except Unreachable:
            continue
        found, ttl = _servers_in(answer, zone, ttl)
        by_server[server] = found
        glue.update(_glue_in(answer))
        ds |= {
            record.to_text()
            for rrset in signed.answer
            if rrset.rdtype == dns.rdatatype.DS and rrset.name == names.parse(zone)
            for record in rrset
        }
    if not by_server:
        raise Unreachable(f"no parent server of {zone} answers", "check the network and the hints for parent servers")
    return Delegation(zone, by_server, glue, tuple(sorted(ds)), ttl)


def _servers_in(answer: dns.message.Message, zone: str, ttl: int) -> tuple[tuple[str, ...], int]:
    for rrset in (*answer.authority, *answer.answer):
        if rrset.rdtype == dns.rdatatype.NS and rrset.name == names.parse(zone):
            return tuple(sorted(names.canonical(record.target.to_text()) for record in rrset)), max(ttl, rrset.ttl)
    return (), ttl


def _glue_in(answer: dns.message.Message) -> dict[str, str]:
    return {
        names.canonical(rrset.name.to_text()): record.address
        for rrset in answer.additional
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for record in rrset
    }


def is_signed(zone: str, address: str) -> bool:
    """Say whether a name server serves DNSKEYs for the zone."""
    answer = query(address, names.canonical(zone), "DNSKEY", tcp=True)
    return any(rrset.rdtype == dns.rdatatype.DNSKEY for rrset in answer.answer)
