"""The DNS family: zones and their record sets, from one provider to another and back.

Enters: two drivers, the run folder, hints for the wire, the target's name servers, a registrar.
Leaves: what :class:`toolkit.families.Family` promises. Raises ``toolkit.errors``. Record sets travel as
one change per zone, because a provider takes thousands at once and a name must never be half changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from toolkit import verdicts
from toolkit.dns import content, cutover, names, parity, settle, zones
from toolkit.dns.dependence import dependence_of
from toolkit.dns.drivers.base import DnsDriver
from toolkit.dns.drivers.registrar import ManualRegistrar, Registrar
from toolkit.dns.features import features
from toolkit.dns.model import RRSet, ZoneInfo, from_body, parse_key, rrset_address, rrset_key, zone_address
from toolkit.dns.translate import ALIAS_TTL, translate
from toolkit.dns.verify import verify_zone
from toolkit.errors import AuthError, NotFound, RehostError, Unreachable, Unsupported
from toolkit.families import Lease, OldSide, Progress, Shard, Tick
from toolkit.model import (
    Abilities,
    Change,
    Endpoint,
    Finding,
    Json,
    NotSeen,
    Phase,
    Resource,
    Seen,
    Side,
    State,
    Tally,
    Verdict,
    split,
)
from toolkit.powers import power
from toolkit.providers import KINDS
from toolkit.wire import Hints, addresses, with_port


class DnsFamily:
    """Zones and record sets of one move."""

    name = "dns"

    def __init__(
        self,
        *,
        source: DnsDriver | None,
        target: DnsDriver | None,
        workspace: Path,
        tick: Tick,
        hints: Hints,
        target_nameservers: Mapping[str, str],
        registrar: Registrar | None = None,
        alias_ttl: int = ALIAS_TTL,
    ) -> None:
        self._source, self._target = source, target
        self._workspace, self._tick, self._hints = workspace, tick, hints
        self._servers = {names.bare(name): where for name, where in target_nameservers.items()}
        self._registrar: Registrar = registrar or ManualRegistrar(hints)
        self._alias_ttl = alias_ttl
        self._rows = verdicts.load("toolkit.dns")
        # Record sets do not name their zone; every zone resource that passes by is noted.
        self._zone_names: dict[str, str] = {}

    # --- reading and judging ------------------------------------------------------------------------

    def read(self, side: Side, wanted: State | None) -> Iterator[Resource | NotSeen]:
        """Yield zones and record sets; apex SOA and NS are facts of the zone, not record sets."""
        driver = self._driver(side)
        if wanted is None:
            yield from self._read_all(driver)
            return
        self._note(wanted)
        keys: dict[str, set[str]] = {}
        for address in wanted:
            if split(address)[1] == "rrset":
                slug, key = rrset_key(address)
                keys.setdefault(slug, set()).add(key)
        slugs = dict.fromkeys([*(split(a)[2] for a in wanted if split(a)[1] == "zone"), *keys])
        for slug in slugs:
            yield from self._read_wanted(driver, side, slug, wanted, keys.get(slug, set()))

    def _read_all(self, driver: DnsDriver) -> Iterator[Resource | NotSeen]:
        used: set[str] = set()
        for zone in sorted(driver.ex_zones(), key=lambda item: (item.name, item.private, item.id)):
            plain = re.sub(r"[^a-z0-9.-]", "-", zone.name)
            slug, number = plain, 1
            while slug in used:
                number += 1
                slug = f"{plain}~{number}"
            used.add(slug)
            try:
                info, sets = content.read_sets(driver, zone)
            except RehostError as exc:
                yield NotSeen(zone_address(slug), exc.text)
                continue
            self._zone_names[slug] = info.name
            yield from self._resources(driver, slug, info, sets)

    def _read_wanted(
        self, driver: DnsDriver, side: Side, slug: str, wanted: State, keys: set[str]
    ) -> Iterator[Resource]:
        resource = wanted.get(zone_address(slug))
        name = names.bare(self._zone_names[slug]) if slug in self._zone_names else ""
        if not name:
            raise NotFound(f"no zone is known for {slug}", f"name zones.{slug} in site.yaml")
        private = bool(resource.body.get("private")) if resource else False
        zone = content.find_zone(driver, name, private=private, zone_id=resource.id if resource else "")
        if zone is None:
            if side == "source":
                raise NotFound(f"zone {name} is not at the source", "discover again, or take the zone out of site.yaml")
            return
        info, sets = content.read_sets(driver, zone)
        owners = {parse_key(key)[0] for key in keys}
        if side == "target":
            owners |= {names.owner(server, name) for server in self._servers if names.below(server, name)}
        # All sets at a wanted name: a CNAME in the way must be seen, or the write is refused later.
        shown = {key: rrset for key, rrset in sets.items() if key in keys or parse_key(key)[0] in owners}
        yield from self._resources(driver, slug, info, shown)

    def _resources(self, driver: DnsDriver, slug: str, info: ZoneInfo, sets: Mapping[str, RRSet]) -> Iterator[Resource]:
        facts = {**info.facts, "nameservers": list(info.nameservers), "soa": info.soa, "ns_ttl": info.ns_ttl}
        body = {"name": info.name, "private": info.private}
        yield Resource(zone_address(slug), body, driver.ex_kind, info.id, facts)
        for number, (key, rrset) in enumerate(sets.items(), 1):
            if key in ("@/SOA", "@/NS"):
                continue
            if number % 1000 == 0:
                self._tick(Progress("dns", zone_address(slug), number, len(sets)))
            facts = {"zone": info.name, **rrset.facts}
            yield Resource(rrset_address(slug, key), rrset.body, driver.ex_kind, f"{info.id}/{key}", facts)

    def probe(self, side: Side) -> Abilities:
        """Make one harmless call with the credentials; the rest is known from the driver."""
        driver = self._driver(side)
        server = driver.ex_probe()
        self._tick(Progress("dns", f"dns/{side}", 0, wait=f"{server} answers"))
        return Abilities(driver.ex_kind, driver.ex_capabilities())

    def assess(
        self, resource: Resource, abilities: Abilities, *, moved: Mapping[str, Endpoint] | None = None
    ) -> Iterator[Verdict]:
        """Judge every feature of a zone or record set."""
        self._note({resource.address: resource})
        source = self._source.ex_kind if self._source else resource.provider
        for feature, detail in features(resource, moved):
            yield verdicts.judge(self._rows, resource.address, feature, source=source, target=abilities, detail=detail)

    def leftovers(self, desired: State, *, gone: frozenset[str] = frozenset()) -> Iterator[Verdict]:
        """Judge the translated state: what could not be expressed, what still points at the old side."""
        suffixes = KINDS[self._source.ex_kind].suffixes if self._source and self._source.ex_kind in KINDS else ()
        if self._source and self._target and self._source.ex_kind == self._target.ex_kind:
            suffixes = ()
        unserved = zones.picks_servers(self._target) and not self._servers
        wanted = [replace(zone, served=not unserved) for zone in self._wanted(desired).values()]
        return settle.leftovers(wanted, suffixes, gone=gone)

    def translate(self, resource: Resource, moved: Mapping[str, Endpoint]) -> Iterator[Resource]:
        """Say what stands at the target for one zone or record set."""
        self._note({resource.address: resource})
        if split(resource.address)[1] == "rrset":
            yield from translate(resource, moved, alias_ttl=self._alias_ttl)
            return
        facts = {key: resource.facts[key] for key in ("soa", "ns_ttl") if resource.facts.get(key)}
        yield Resource(resource.address, dict(resource.body), facts=facts)

    def endpoints(self, resource: Resource) -> Iterator[Endpoint]:  # noqa: ARG002 (the Protocol's signature)
        """Names are what points; nothing points at a record set."""
        yield from ()

    # --- planning -------------------------------------------------------------------------------------

    def diff(self, desired: State, existing: State) -> Iterator[Change]:
        """One change for each missing zone, and one for all differing record sets of a zone."""
        for slug, zone in self._wanted(desired).items():
            address = zone_address(slug)
            there = existing.get(address)
            needs: tuple[str, ...] = ()
            info = ZoneInfo(there.id if there else "", zone.name, zone.private)
            if address in desired and (there is None or self._wrong_servers(there)):
                change = zones.zone_change(zone, there, self._servers)
                needs = (change.id,)
                yield change
            have = {
                key: from_body(zone.name, key, item.body, strict=False)
                for item in existing.values()
                if split(item.address)[1] == "rrset" and (found := rrset_key(item.address))[0] == slug
                for key in [found[1]]
            }
            before, after = content.differing(zone.everything, have)
            if after:
                yield content.content_change(content.BUILD, slug, info, (before, after), phase="build", needs=needs)

    def _wrong_servers(self, there: Resource) -> bool:
        have = {names.bare(name) for name in there.facts.get("nameservers") or ()}
        return bool(self._servers) and zones.picks_servers(self._target) and have != set(self._servers)

    def cutover(self, phase: Phase, desired: State) -> Iterator[Change]:
        """List the changes of a later phase."""
        for zone in self._wanted(desired).values():
            if zone.private:
                continue
            if phase == "traffic":
                info, sets = self._source_zone(zone)
                change = cutover.traffic(zone, info, sets)
                if change is not None:
                    yield change
            elif phase == "dns":
                source = self._source_if_there(zone)
                servers = self._servers_of(zone)
                yield from cutover.dns_changes(zone, servers, source, self._registrar, self._hints)
            elif phase == "registrar" and self._source is not None:
                change = cutover.registrar_change(zone, self._registrar, self._source.ex_kind)
                if change is not None:
                    yield change

    # --- doing ----------------------------------------------------------------------------------------

    def observe(self, change: Change) -> Seen:
        """Look at the provider, or on the wire, and say which side of the change it shows."""
        match split(change.address)[1]:
            case "zone":
                return zones.observe(self._driver("target"), change)
            case content.BUILD:
                return content.observe(self._driver("target"), change)
            case content.TRAFFIC | content.APEX:
                return content.observe(self._driver("source"), change)
            case "delegation":
                return cutover.observe_delegation(change, self._hints)
            case "registrar":
                return cutover.observe_registrar(change, self._registrar)
        raise Unsupported(f"{change.address} is not a DNS change", "make a new plan")

    def took(self, change: Change) -> Seen:
        return self.observe(change)

    def giving_back(self, change: Change) -> Iterator[Change]:  # noqa: ARG002  (the Protocol's shape)
        return iter(())

    def bulk(self, change: Change) -> Iterator[Shard] | None:  # noqa: ARG002
        """Every DNS change is one step."""
        return None

    def do(self, change: Change, lease: Lease | None) -> Mapping[str, Json]:  # noqa: ARG002
        """Make one change; returns when the provider, or the parents, serve it."""
        match split(change.address)[1]:
            case "zone":
                return zones.create(self._driver("target"), change)
            case content.BUILD:
                count = content.write(self._driver("target"), change)
                self._let_secondaries_follow(change)
                return {"written": count}
            case content.TRAFFIC | content.APEX:
                return {"written": content.write(self._driver("source"), change)}
            case "delegation":
                cutover.delegate(change, self._registrar, self._hints, self._tick)
                return {}
            case "registrar":
                cutover.transfer(change)
                return {}
        raise Unsupported(f"{change.address} is not a DNS change", "make a new plan")

    def outputs(self, change: Change) -> Mapping[str, Json]:  # noqa: ARG002  (the Protocol's shape)
        """Nothing here is needed by other changes."""
        return {}

    def undo(self, change: Change, *, purge: bool) -> None:  # noqa: ARG002
        """Restore what was there before, where what is there is still ours."""
        match split(change.address)[1]:
            case "zone":
                zones.take_back(self._driver("target"), change)
            case content.BUILD:
                content.take_back(self._driver("target"), change)
            case content.TRAFFIC | content.APEX:
                content.take_back(self._driver("source"), change)
            case "delegation":
                cutover.undelegate(change, self._registrar, self._hints, self._tick)

    # --- checking -------------------------------------------------------------------------------------

    def verify(self, desired: State, tier: str) -> Iterator[Finding | Tally]:  # noqa: ARG002
        """Ask every name server of the target for every record set; the tier makes no difference."""
        driver = self._driver("target")
        for zone in self._wanted(desired).values():
            found = content.find_zone(driver, zone.name, private=zone.private)
            servers = self._servers_of(zone) if found else None
            yield from verify_zone(zone, servers, self._tick)

    def dependence(self, desired: State, old: OldSide) -> Iterator[Finding | Tally]:
        """Look for what still hangs on the old side: names, delegation, DS, registrar."""
        for zone in self._wanted(desired).values():
            if not zone.private:
                servers = self._servers_of(zone)
                yield from dependence_of(zone, servers, old, hints=self._hints, registrar=self._registrar)

    # --- helpers --------------------------------------------------------------------------------------

    def _driver(self, side: Side) -> DnsDriver:
        driver = self._source if side == "source" else self._target
        if driver is None:
            raise NotFound(f"the site names no {side} for DNS", "give `move.dns` both `from` and `to`")
        return driver

    def _note(self, resources: State) -> None:
        for resource in resources.values():
            parts = split(resource.address)
            if parts[1] == "zone":
                self._zone_names[parts[2]] = str(resource.body["name"])
            elif resource.facts.get("zone"):
                self._zone_names.setdefault(parts[2], str(resource.facts["zone"]))

    def _wanted(self, desired: State) -> dict[str, settle.Wanted]:
        self._note(desired)
        keeps = self._target is not None and "alias" in self._target.ex_capabilities()
        servers = self._servers if zones.picks_servers(self._target) else {}
        return settle.settle(desired, self._zone_names, servers, keeps_alias=keeps)

    def _source_zone(self, zone: settle.Wanted) -> tuple[ZoneInfo, dict[str, RRSet]]:
        driver = self._driver("source")
        found = content.find_zone(driver, zone.name, private=zone.private)
        if found is None:
            raise NotFound(f"zone {zone.name} is not at the source", "nothing is left to cut over from")
        return content.read_sets(driver, found)

    def try_write(self) -> Iterator[Finding]:
        """Show whether the source credentials could change records."""
        if self._source is not None:
            yield power("dns/source", "change records", self._source.ex_could_write())

    def _source_if_there(self, zone: settle.Wanted) -> tuple[ZoneInfo, dict[str, RRSet]] | None:
        """The old zone, or nothing when the old side is gone: the delegation must move all the same."""
        try:
            return self._source_zone(zone) if self._source else None
        except (AuthError, NotFound, Unreachable) as exc:
            self._tick(Progress("dns", zone_address(zone.slug), 0, wait=f"the old zone is out of reach: {exc.text}"))
            return None

    def _servers_of(self, zone: settle.Wanted) -> list[parity.Server]:
        """The target's name servers of a zone with their addresses; those without one are left out."""
        if self._servers and zones.picks_servers(self._target):
            return sorted((name, with_port(where)) for name, where in self._servers.items())
        driver = self._driver("target")
        found = content.find_zone(driver, zone.name, private=zone.private)
        if found is None:
            return []
        info, _ = driver.ex_read_zone(found.id)
        result: list[parity.Server] = []
        for server in info.nameservers:
            where = self._servers.get(names.bare(server)) or self._hints.host(server)
            ips = [with_port(where)] if where else [with_port(ip, self._hints.port(ip)) for ip in self._lookup(server)]
            result += [(names.bare(server), ip) for ip in ips[:1]]
        return sorted(result)

    def _lookup(self, server: str) -> tuple[str, ...]:
        return addresses(server, self._hints)

    def _let_secondaries_follow(self, change: Change) -> None:
        """Wait a while for all name servers to serve one serial; verify reports it if they do not."""
        if change.after is None or not self._servers:
            return
        zone = str(change.after.body["zone"])
        servers = sorted((name, with_port(where)) for name, where in self._servers.items())
        self._tick(Progress("dns", change.address, 0, 1, wait="secondaries transfer the zone"))
        parity.wait_for_serials(zone, servers, timeout=10.0)
