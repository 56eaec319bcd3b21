"""What of a zone still hangs on the side we left.

Enters: wanted zones, hints, the registrar, and what counts as the old side. Leaves: findings with the
features ``resolution``, ``delegation``, ``ds`` and ``registrar``, and one tally of resolved record sets
per zone. What cannot be looked at is ``unproven``, never fine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence

from toolkit.dns import names, rdata
from toolkit.dns.delegation import Delegation, ask_parents, is_signed
from toolkit.dns.drivers.registrar import Registrar, Registration
from toolkit.dns.model import RRSet, rrset_address, zone_address
from toolkit.dns.parity import Server, cut_of_name, cuts_in
from toolkit.dns.settle import Wanted
from toolkit.errors import RehostError, Unreachable
from toolkit.families import OldSide
from toolkit.model import Finding, Tally
from toolkit.wire import Cache, Chain, Hints, Step, chain, split_address

_HOST = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+")
_ADDRESS = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
LIMIT = 1000


def dependence_of(
    zone: Wanted, servers: Sequence[Server], old: OldSide, *, hints: Hints, registrar: Registrar | None
) -> Iterator[Finding | Tally]:
    """Look at one public zone."""
    where = zone_address(zone.slug)
    yield from _delegation(where, zone, servers, old, hints)
    yield from _registrar(where, zone, old, registrar)
    cache: Cache = {}
    clean, shown = 0, 0
    cuts = cuts_in(zone.name, zone.rrsets.values())
    for key, rrset in zone.rrsets.items():
        finding = _resolution(rrset_address(zone.slug, key), rrset, cuts, old, hints, cache)
        if finding is None:
            clean += 1
        elif shown < LIMIT:
            shown += 1
            yield finding
    yield Tally(where, len(zone.rrsets), clean)


def _resolution(where: str, rrset: RRSet, cuts: set[str], old: OldSide, hints: Hints, cache: Cache) -> Finding | None:
    mention = next((hit for value in rrset.values if (hit := mentions(rrset.type, value, old))), "")
    if mention:
        return Finding(
            where,
            "resolution",
            "dependent",
            f"{rrset.name} {rrset.type} names {mention}, which belongs to the old side",
            "replace the service behind it, then the record",
            evidence={"values": list(rrset.values)[:10]},
        )
    if cut_of_name(rrset.name, cuts) is not None and rrset.type != "DS":
        found = None  # at or below a delegation: other servers answer, for whom others are responsible
    else:
        try:
            found = chain(rrset.name, rrset.type, hints, cache)
        except Unreachable as exc:
            return Finding(where, "resolution", "unreachable", f"{rrset.name} {rrset.type}: {exc.text}", exc.remedy)
    if found is not None and (hit := touches(found, old)):
        return _dependent(where, rrset, hit)
    for host in [host for value in rrset.values if (host := rdata.target(rrset.type, value))]:
        # Below our own delegations the glue in this zone is all there is to judge, and it is judged by itself.
        if host == names.canonical(".") or cut_of_name(host, cuts) is not None:
            continue
        try:
            hit = touches(chain(host, "A", hints, cache), old)
        except RehostError as exc:
            text = f"{rrset.name} {rrset.type} points at {host}, which could not be looked at: {exc.text}"
            return Finding(where, "resolution", "unproven", text, exc.remedy, "warning")
        if hit:
            return _dependent(where, rrset, f"its host {host}: {hit}")
    return None


def _dependent(where: str, rrset: RRSet, hit: str) -> Finding:
    return Finding(
        where,
        "resolution",
        "dependent",
        f"resolving {rrset.name} {rrset.type} touches the old side: {hit}",
        "finish `rehost cutover traffic` and `rehost cutover dns`, or give the record a new value",
    )


def mentions(rdtype: str, value: str, old: OldSide) -> str:
    """Return what of the old side a value names: a host under its suffixes, or one of its addresses."""
    if rdtype in ("A", "AAAA"):
        return value if rdata.address_type(value) and inside(value, old.addresses) else ""
    if rdtype in ("TXT", "SPF"):
        text = value.replace('" "', "")
        hosts = _HOST.findall(text)
        ips = [ip for ip in _ADDRESS.findall(text) if rdata.address_type(ip)]
    else:
        hosts, ips = [host for host in (rdata.target(rdtype, value),) if host], []
        hosts += _HOST.findall(value) if rdtype in ("CAA", "NAPTR") else []
    for host in hosts:
        if under(host, old.suffixes):
            return str(host)
    return next((ip for ip in ips if inside(ip, old.addresses)), "")


def under(host: str, suffixes: Iterable[str]) -> bool:
    """Say whether a host lies under one of the suffixes."""
    bare = host.lower().rstrip(".")
    return any(bare == suffix or bare.endswith(f".{suffix}") for suffix in (s.lower().strip(".") for s in suffixes))


def inside(ip: str, ranges: Iterable[str]) -> bool:
    """Say whether an address is one of, or lies in one of, ``ranges`` (addresses and CIDRs)."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    nets = (ipaddress.ip_network(item, strict=False) for item in ranges)
    return any(net.version == address.version and address in net for net in nets)


def touches(found: Chain, old: OldSide) -> str:
    """Return where a resolution chain touches the old side, or an empty string."""
    for step in found.steps:
        hit = _step(step, old)
        if hit:
            return hit
    for cname in found.cnames:
        if under(cname, old.suffixes):
            return f"it is an alias of {cname}"
    for answer in found.answers:
        if hit := mentions(found.rdtype, answer, old):
            return f"the answer names {hit}"
    return ""


def _step(step: Step, old: OldSide) -> str:
    ip, _ = split_address(step.address)
    if under(step.server, old.suffixes):
        return f"{step.zone} is served by {step.server}"
    # A parent's own address is nobody's dependence: it is asked before any choice was made.
    if step.server != step.address and inside(ip, old.addresses):
        return f"{step.zone} is served by {step.server} at {ip}"
    return next((f"{step.name} is referred to {server}" for server in step.referral if under(server, old.suffixes)), "")


def _delegation(where: str, zone: Wanted, servers: Sequence[Server], old: OldSide, hints: Hints) -> Iterator[Finding]:
    try:
        seen = ask_parents(zone.name, hints)
    except RehostError as exc:
        yield Finding(where, "delegation", "unreachable", exc.text, exc.remedy)
        return
    yield from _servers(where, zone, servers, old, seen)
    if seen.ds and not _signed(zone.name, servers):
        yield Finding(
            where,
            "ds",
            "dependent",
            f"the parent of {zone.name} still has a DS record of the old side's keys, and the target is not signed",
            "remove the DS at the registrar: until then validating resolvers call the zone bogus",
            evidence={"ds": list(seen.ds)},
        )


def _servers(where: str, zone: Wanted, servers: Sequence[Server], old: OldSide, seen: Delegation) -> Iterator[Finding]:
    wanted = {names.canonical(name) for name, _ in servers}
    at_parent = {name for found in seen.by_server.values() for name in found}
    evidence = {"parents": {server: list(found) for server, found in seen.by_server.items()}, "target": sorted(wanted)}
    ours = [
        name
        for name in sorted(at_parent - wanted)
        if under(name, old.suffixes) or ((ip := seen.glue.get(name)) is not None and inside(ip, old.addresses))
    ]
    if ours:
        text = f"{zone.name} is still delegated to {', '.join(ours)}"
        yield Finding(where, "delegation", "dependent", text, "run `rehost cutover dns`", evidence=evidence)
    elif any(set(found) != wanted for found in seen.by_server.values()):
        now, then = ", ".join(sorted(at_parent)) or "nobody", ", ".join(sorted(wanted))
        text = f"{zone.name} is delegated to {now}, not to {then}"
        yield Finding(where, "delegation", "different", text, "run `rehost cutover dns`", evidence=evidence)


def _signed(zone: str, servers: Sequence[Server]) -> bool:
    try:
        return bool(servers) and all(is_signed(zone, address) for _, address in servers)
    except Unreachable:
        return False


def _registrar(where: str, zone: Wanted, old: OldSide, registrar: Registrar | None) -> Iterator[Finding]:
    try:
        held = registrar.get(zone.name) if registrar else Registration("", ())
    except RehostError as exc:
        yield Finding(where, "registrar", "unproven", f"{zone.name}: {exc.text}", exc.remedy, "warning")
        return
    if not held.registrar:
        yield Finding(
            where,
            "registrar",
            "unproven",
            f"nobody can tell at which registrar {zone.name} is",
            "look it up (RDAP), and declare the registrar in site.yaml",
            "warning",
        )
    elif held.held_by(old.kind):
        yield Finding(
            where,
            "registrar",
            "dependent",
            f"{zone.name} is registered at {held.registrar}, the provider we left",
            "transfer the domain to another registrar; `rehost cutover registrar` lists the steps",
        )
