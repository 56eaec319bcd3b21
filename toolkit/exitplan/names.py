"""What name servers say about a zone: who serves it, whether all say the same, how long the parent is cached.

Enters: a zone, the owners and types of its records, hints. Leaves: plain values for the record of the plan.
Raises ``Unreachable`` when a server that should answer does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from toolkit import wire
from toolkit.errors import Unreachable


@dataclass(frozen=True, slots=True)
class Delegation:
    """What the parent says: how long it may be cached (seconds), and the servers as (name, ``ip:port``)."""

    ttl: int
    servers: tuple[tuple[str, str], ...]


def delegation(zone: str, hints: wire.Hints) -> Delegation:
    """Ask the parent for the delegation of a zone, itself and not a cache."""
    parents = wire.parents_of(zone, hints)
    for _, address in parents.servers:
        try:
            message = wire.query(address, zone, "NS")
        except Unreachable:
            continue
        for rrset in (*message.authority, *message.answer):
            if rrset.rdtype.name == "NS" and rrset.name.to_text().rstrip(".").lower() == zone.rstrip(".").lower():
                names = [record.target.to_text() for record in rrset]
                return Delegation(int(rrset.ttl), tuple(_located(names, hints)))
    raise Unreachable(f"no parent of {zone} tells its delegation", "check that the zone is delegated")


def _located(names: Iterable[str], hints: wire.Hints) -> Iterator[tuple[str, str]]:
    for name in names:
        hinted = hints.host(name)
        if hinted is not None:
            yield name, hinted
            continue
        yield from ((name, wire.with_port(ip, hints.port(ip))) for ip in wire.addresses(name, hints))


def operator(server: str) -> str:
    """Return who runs a name server, by its name: ``ns-12.awsdns-34.org`` → ``awsdns``, else its own domain."""
    labels = server.rstrip(".").lower().split(".")
    if any(label.startswith("awsdns-") for label in labels):
        return "awsdns"
    return ".".join(labels[-2:])


def unequal(servers: Iterable[tuple[str, str]], sets: Iterable[tuple[str, str]]) -> list[str]:
    """Return the record sets, as ``name TYPE``, that not all servers answer alike."""
    asked = tuple(servers)
    return [
        f"{name} {rdtype}" for name, rdtype in sets if len({_answer(address, name, rdtype) for _, address in asked}) > 1
    ]


def _answer(address: str, name: str, rdtype: str) -> frozenset[str]:
    message = wire.query(address, name, rdtype, tcp=True)
    # An alias is answered with what it stands for, too; only the set that was asked for is compared.
    return frozenset(
        f"{rrset.rdtype.name} {record.to_text()}"
        for rrset in message.answer
        if rrset.name.to_text().rstrip(".").lower() == name.rstrip(".").lower()
        for record in rrset
    )
