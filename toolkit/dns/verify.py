"""Verify zones: every wanted record set at every name server of the target.

Enters: wanted zones and, per zone, its name servers. Leaves: findings (at most a thousand per zone, then
one that sums up) and one tally per zone, in record sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolkit.dns import names
from toolkit.dns.model import rrset_address, zone_address
from toolkit.dns.parity import Difference, Server, differences, negative, serials, wait_for_serials
from toolkit.dns.settle import Wanted
from toolkit.families import Progress, Tick
from toolkit.model import Finding, Tally

LIMIT = 1000
SERIAL_WAIT = 15.0


def verify_zone(zone: Wanted, servers: Sequence[Server] | None, tick: Tick) -> Iterator[Finding | Tally]:
    """Compare one zone; ``servers`` is ``None`` when the zone does not exist at the target."""
    total = len(zone.rrsets) + len(zone.unexpressed)
    where = zone_address(zone.slug)
    found: list[Finding] = [
        Finding(
            rrset_address(zone.slug, key),
            "wire",
            "missing",
            f"{key} of {zone.name} was not written: {why}",
            "give it plain values in site.yaml, or ignore it with a reason",
        )
        for key, (_, why) in zone.unexpressed.items()
    ]
    if servers is None:
        yield Finding(where, "zone", "missing", f"zone {zone.name} is not at the target", "run `rehost apply`")
        yield Tally(where, total, 0)
        return
    if not servers:
        yield Finding(
            where,
            "wire",
            "unreachable",
            f"no name server of {zone.name} is known, so nothing can be asked on the wire",
            "give `nameservers` to the target provider in site.yaml",
        )
        yield Tally(where, total, 0)
        return
    tick(Progress("dns", where, 0, total))
    wait_for_serials(zone.name, servers, SERIAL_WAIT)
    bad = set(zone.unexpressed)
    by_set: dict[str, list[Difference]] = {}
    for item in differences(zone.name, zone.everything, servers):
        by_set.setdefault(item.key, []).append(item)
    for key, items in by_set.items():
        bad.add(key)
        found.append(_finding(zone, key, items))
    found += _of_zone(zone, servers)
    tick(Progress("dns", where, total - len(bad), total))
    yield from found[:LIMIT]
    if len(found) > LIMIT:
        text = f"{len(found) - LIMIT} more record sets of {zone.name} differ"
        yield Finding(where, "wire-more", "different", text, "see the first ones")
    yield Tally(where, total, total - len(bad & (zone.rrsets.keys() | zone.unexpressed.keys())))


def _finding(zone: Wanted, key: str, items: Sequence[Difference]) -> Finding:
    first = items[0]
    verdict = next((kind for kind in ("unreachable", "missing") if first.kind == kind), "different")
    places = sorted({f"{item.server}/{item.transport}" for item in items})
    return Finding(
        rrset_address(zone.slug, key),
        "wire",
        verdict,
        f"{key} of {zone.name} at {first.server} over {first.transport}: {first.text}",
        "run `rehost apply`, then verify again; if it stays, look at the name server",
        evidence={"places": places, "kinds": sorted({item.kind for item in items})},
    )


def _of_zone(zone: Wanted, servers: Sequence[Server]) -> Iterator[Finding]:
    where = zone_address(zone.slug)
    wildcard = any(rrset.name == f"*.{names.canonical(zone.name)}" for rrset in zone.rrsets.values())
    for item in negative(zone.name, servers, wildcard=wildcard):
        text = f"{zone.name} at {item.server} over {item.transport}: {item.text}"
        yield Finding(where, "negative", item.kind, text, "look at the name server", evidence={"server": item.server})
        break
    found = serials(zone.name, servers)
    if len(set(found.values())) > 1 or None in found.values():
        shown = ", ".join(f"{server}: {serial or 'none'}" for server, serial in found.items())
        yield Finding(
            where,
            "serial",
            "different",
            f"the servers of {zone.name} do not serve one serial ({shown})",
            "check that the secondaries may transfer the zone and are notified",
            evidence={"serials": dict(found)},
        )
