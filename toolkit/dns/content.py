"""Changes of record sets as one step: build, observe, write, take back.

One change holds the differing sets of one zone, before and after. A set that is missing on one side is
absent there. Writing is as atomic as the provider's batches; between two batches every set is as
before or as after, so a killed run is recognised as not done and simply done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from toolkit.dns import rdata
from toolkit.dns.drivers.base import DnsDriver
from toolkit.dns.model import RRSet, ZoneInfo, from_body, same
from toolkit.errors import Conflict, NotFound
from toolkit.model import Change, Phase, Resource, Seen, address

Sets = Mapping[str, RRSet]
#: Kinds of addresses of such changes.
BUILD, TRAFFIC, APEX = "rrsets", "traffic", "apex"


def content_change(
    kind: str, slug: str, zone: ZoneInfo, sides: tuple[Sets, Sets], *, phase: Phase, needs: tuple[str, ...] = ()
) -> Change:
    """Make the change that turns ``sides[0]`` into ``sides[1]``."""
    before, after = sides
    where = address("dns", kind, slug)
    figures = {
        "rrsets": len(before.keys() | after.keys()),
        "created": len(after.keys() - before.keys()),
        "deleted": len(before.keys() - after.keys()),
        "wait_s": max((rrset.ttl or 0 for rrset in before.values()), default=0),
    }
    return Change(
        where,
        "copy" if phase == "build" else "update",
        _resource(where, zone, before) if before or phase != "build" else None,
        _resource(where, zone, after),
        phase,
        needs,
        note=f"{figures['rrsets']} record sets of {zone.name}",
        figures=figures,
    )


def _resource(where: str, zone: ZoneInfo, sets: Sets) -> Resource:
    bodies = {key: rrset.body for key, rrset in sets.items()}
    return Resource(where, {"zone": zone.name, "private": zone.private, "rrsets": bodies}, id=zone.id)


def sets_of(resource: Resource | None) -> dict[str, RRSet]:
    """Read the record sets of one side of a change."""
    if resource is None:
        return {}
    zone = str(resource.body["zone"])
    return {key: from_body(zone, key, body, strict=False) for key, body in resource.body["rrsets"].items()}


def differing(desired: Sets, existing: Sets) -> tuple[dict[str, RRSet], dict[str, RRSet]]:
    """Return before and after of every desired set that exists otherwise, and of what must make room."""
    after = {key: rrset for key, rrset in desired.items() if not same(rrset, existing.get(key))}
    before = {key: existing[key] for key in after if key in existing}
    for key, rrset in rivals(after.values(), existing).items():
        if key not in desired:
            before[key] = rrset
    return before, after


def rivals(wanted: Iterable[RRSet], existing: Sets) -> dict[str, RRSet]:
    """Existing sets that cannot stand beside the wanted ones: a CNAME suffers nothing at its name."""
    types: dict[str, set[str]] = {}
    for rrset in wanted:
        types.setdefault(rrset.name, set()).add(rrset.type)
    return {
        key: rrset
        for key, rrset in existing.items()
        if rrset.name in types and ("CNAME" in types[rrset.name]) != (rrset.type == "CNAME")
    }


def find_zone(driver: DnsDriver, name: str, *, private: bool = False, zone_id: str = "") -> ZoneInfo | None:
    """Return the zone of this name; an id decides between several."""
    found = [zone for zone in driver.ex_zones() if zone.name == name and zone.private == private]
    chosen = [zone for zone in found if zone.id == zone_id] or found
    if len(chosen) > 1:
        ids = ", ".join(sorted(zone.id for zone in chosen))
        raise Conflict(f"there are {len(chosen)} zones named {name}: {ids}", "give the `id` of the one that is meant")
    return chosen[0] if chosen else None


def read_sets(driver: DnsDriver, zone: ZoneInfo) -> tuple[ZoneInfo, dict[str, RRSet]]:
    """Read a zone, keyed as in the site definition."""
    info, rrsets = driver.ex_read_zone(zone.id)
    return info, {rrset.key(zone.name): rrset for rrset in rrsets}


def observe(driver: DnsDriver, change: Change) -> Seen:
    """Look at every set of a change."""
    existing = _existing(driver, change)[1]
    before, after = sets_of(change.before), sets_of(change.after)
    keys = before.keys() | after.keys()
    if all(same(existing.get(key), after.get(key)) for key in keys):
        return "after"
    ok = all(same(existing.get(key), after.get(key)) or same(existing.get(key), before.get(key)) for key in keys)
    return "before" if ok else "other"


def write(driver: DnsDriver, change: Change) -> int:
    """Write the after side; return how many sets were touched."""
    zone, existing = _existing(driver, change)
    if zone is None:
        raise NotFound(f"zone {_named(change).body['zone']} is not there", "apply the zone first")
    before, after = sets_of(change.before), sets_of(change.after)
    puts = [rrset for key, rrset in after.items() if not same(existing.get(key), rrset)]
    gone = [existing[key] for key in before if key not in after and key in existing]
    if puts or gone:
        driver.ex_write_rrsets(zone.id, puts, gone)
    return len(puts) + len(gone)


def take_back(driver: DnsDriver, change: Change) -> int:
    """Restore the before side, but only where what is there is still what we wrote."""
    zone, existing = _existing(driver, change)
    if zone is None:
        return 0
    before, after = sets_of(change.before), sets_of(change.after)
    ours = [key for key in before.keys() | after.keys() if same(existing.get(key), after.get(key))]
    puts = [before[key] for key in ours if key in before and not same(existing.get(key), before[key])]
    gone = [existing[key] for key in ours if key not in before and key in existing]
    if puts or gone:
        driver.ex_write_rrsets(zone.id, puts, gone)
    return len(puts) + len(gone)


def only_ttl_differs(one: RRSet | None, other: RRSet | None) -> bool:
    """Say whether two plain sets hold the same data."""
    if one is None or other is None or one.alias or other.alias or one.routing or other.routing:
        return False
    return rdata.same(one.type, one.values, other.values)


def _named(change: Change) -> Resource:
    resource = change.after or change.before
    if resource is None:
        raise NotFound(f"{change.address} names no zone", "make a new plan")
    return resource


def _existing(driver: DnsDriver, change: Change) -> tuple[ZoneInfo | None, dict[str, RRSet]]:
    named = _named(change)
    found = find_zone(driver, str(named.body["zone"]), private=bool(named.body.get("private")), zone_id=named.id)
    if found is None:
        return None, {}
    return read_sets(driver, found)
