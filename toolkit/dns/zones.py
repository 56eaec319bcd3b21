"""A zone as one change: build it, look at it, make it, take it back.

Enters: changes of ``dns/zone/<slug>``. The zone's own SOA and NS are made with it; its record sets are
a change of their own. Where the provider picks the name servers itself, it keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.dns import names
from toolkit.dns.content import find_zone, read_sets
from toolkit.dns.drivers.base import DnsDriver
from toolkit.dns.model import RRSet, plain, zone_address
from toolkit.dns.settle import NS_TTL, Wanted
from toolkit.errors import Conflict, Unsupported
from toolkit.model import Change, Json, Resource, Seen

_SOA = "{server} hostmaster.{zone} 1 10800 3600 604800 {minimum}"
_OWN = ("@/SOA", "@/NS")


def picks_servers(driver: DnsDriver | None) -> bool:
    """Say whether we name the servers of a zone at this provider."""
    return driver is not None and "own-nameservers" in driver.ex_capabilities()


def zone_change(zone: Wanted, there: Resource | None, servers: Mapping[str, str]) -> Change:
    """Make the change that creates a zone, or gives it the right name servers."""
    address = zone_address(zone.slug)
    facts = {"nameservers": sorted(servers), "ns_ttl": zone.ns_ttl, "soa": zone.soa}
    after = Resource(address, {"name": zone.name, "private": zone.private}, facts=facts)
    note = f"serve {zone.name}" + (f" from {', '.join(sorted(servers))}" if servers else "")
    return Change(address, "update" if there else "create", there, after, note=note)


def observe(driver: DnsDriver, change: Change) -> Seen:
    """Look whether the zone is there, with its name servers."""
    name, private, facts = _after(change)
    found = find_zone(driver, name, private=private)
    if found is None:
        return "before"
    if not picks_servers(driver) or not facts.get("nameservers"):
        return "after"
    info, _ = driver.ex_read_zone(found.id)
    return "after" if {names.bare(server) for server in info.nameservers} == set(facts["nameservers"]) else "before"


def create(driver: DnsDriver, change: Change) -> Mapping[str, Json]:
    """Create the zone if it is not there, and write its NS and SOA; return its id and name servers."""
    name, private, facts = _after(change)
    servers = [str(server) for server in facts.get("nameservers") or ()]
    zone = find_zone(driver, name, private=private)
    if zone is None:
        zone = driver.ex_create_zone(name, nameservers=servers)
    if servers and picks_servers(driver):
        ttl = int(facts.get("ns_ttl") or NS_TTL)
        driver.ex_write_rrsets(zone.id, [plain(name, "NS", ttl, servers), _soa(name, servers, facts, ttl)])
    info, _ = driver.ex_read_zone(zone.id)
    return {"id": info.id, "nameservers": [names.bare(server) for server in info.nameservers]}


def take_back(driver: DnsDriver, change: Change) -> None:
    """Delete a zone that we made and that holds nothing else, or restore its name servers."""
    name, private, _ = _after(change)
    zone = find_zone(driver, name, private=private)
    if zone is None:
        return
    info, sets = read_sets(driver, zone)
    if change.before is not None:
        servers = [str(server) for server in change.before.facts.get("nameservers") or ()]
        if servers:
            ttl = int(change.before.facts.get("ns_ttl") or NS_TTL)
            driver.ex_write_rrsets(zone.id, [plain(name, "NS", ttl, servers)])
        return
    strangers = sorted(key for key in sets if key not in _OWN)
    if strangers:
        raise Conflict(
            f"zone {name} holds record sets that rehost did not make: {', '.join(strangers[:5])}",
            "delete them or keep the zone; rehost deletes only what it made",
        )
    driver.ex_delete_zone(info.id)


def _after(change: Change) -> tuple[str, bool, Mapping[str, Json]]:
    if change.after is None:
        raise Unsupported(f"{change.address} says nothing about the zone", "make a new plan")
    return str(change.after.body["name"]), bool(change.after.body.get("private")), change.after.facts


def _soa(name: str, servers: list[str], facts: Mapping[str, Json], ttl: int) -> RRSet:
    """The zone's own SOA; the negative TTL is the old zone's."""
    words = str(facts.get("soa") or "").split()
    minimum = words[6] if len(words) == 7 and words[6].isdigit() else "900"
    text = _SOA.format(server=names.canonical(servers[0]), zone=names.canonical(name), minimum=minimum)
    return RRSet(names.canonical(name), "SOA", ttl, (text,))
