"""The later phases: point records at the new side, move the delegation, look at the registrar.

Enters: the wanted zones, both drivers, hints and the registrar. Leaves: changes of the phases
``traffic``, ``dns`` and ``registrar``, and their execution. Everything written to the source is one of
the named, consented, undoable steps. Raises ``CutoverError`` when the target is not ready, ``Refused``
when a DS record would break the zone, ``Paused`` while the parents do not show the change yet.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from toolkit.dns import names, rdata
from toolkit.dns.content import APEX, TRAFFIC, Sets, content_change, only_ttl_differs, rivals
from toolkit.dns.delegation import ask_parents, is_signed
from toolkit.dns.drivers.registrar import Registrar
from toolkit.dns.model import RRSet, ZoneInfo, from_body
from toolkit.dns.parity import Server, differences, serials, wait_for_serials
from toolkit.dns.settle import Wanted
from toolkit.errors import CutoverError, NeedsHuman, Paused, Refused, Unreachable
from toolkit.families import Progress, Tick
from toolkit.model import Change, Json, Resource, Seen, address
from toolkit.wire import Hints, split_address

#: TTL of the apex NS set in the old zone while the delegation moves.
APEX_TTL = 300
PARENT_WAIT = 120.0
SERIAL_WAIT = 30.0
#: Types that lead clients (and mail) somewhere; delegations inside the zone move with the zone.
_TRAFFIC = frozenset({"A", "AAAA", "CNAME", "TXT", "SPF", "MX", "SRV", "SVCB", "HTTPS"})


def traffic(zone: Wanted, info: ZoneInfo, existing: Sets) -> Change | None:
    """Update in the source zone what now lives elsewhere: same data needs no write."""
    after = {key: rrset for key, rrset in zone.rrsets.items() if _moves(key, rrset, zone, existing)}
    if not after:
        return None
    before = {key: existing[key] for key in after if key in existing}
    before |= {key: rrset for key, rrset in rivals(after.values(), existing).items() if key not in after}
    return content_change(TRAFFIC, zone.slug, info, (before, after), phase="traffic")


def _moves(key: str, rrset: RRSet, zone: Wanted, existing: Sets) -> bool:
    if rrset.alias or rrset.routing or key in zone.servers or rrset.type not in _TRAFFIC:
        return False
    old = existing.get(key)
    if old is None:
        # New names are the target's business; a name that changed its type has an old CNAME or address.
        return any(item.name == rrset.name for item in rivals([rrset], existing).values())
    if old.routing or only_ttl_differs(rrset, old):
        return False
    # An alias inside the zone follows its target, which is among these changes if it moves.
    return old.alias is None or not names.below(str(old.alias["name"]), zone.name)


def dns_changes(
    zone: Wanted,
    servers: Sequence[Server],
    source: tuple[ZoneInfo, Sets] | None,
    registrar: Registrar,
    hints: Hints,
) -> Iterator[Change]:
    """Hand the zone over: the apex NS set of the old zone first, then the parent's delegation."""
    wanted = sorted(names.canonical(name) for name, _ in servers)
    needs: tuple[str, ...] = ()
    if source is not None:
        apex = _apex(zone, wanted, *source)
        if apex is not None:
            needs = (apex.id,)
            yield apex
    seen = ask_parents(zone.name, hints)
    held = registrar.get(zone.name)
    if all(list(found) == wanted for found in seen.by_server.values()) and list(held.nameservers) == wanted:
        return
    where = address("dns", "delegation", zone.slug)
    glue = {names.canonical(name): split_address(where_)[0] for name, where_ in servers if names.below(name, zone.name)}
    # Where the registrar was told already but the parents still publish the old set (a run stopped while
    # waiting), the old set is what the parents say: a way back must never lead to the new side.
    told = list(held.nameservers) == wanted
    published = sorted({name for found in seen.by_server.values() for name in found if list(found) != wanted})
    before: dict[str, Json] = {
        "zone": zone.name,
        "nameservers": published if told else list(held.nameservers),
        "glue": dict(held.glue),
    }
    after: dict[str, Json] = {
        "zone": zone.name,
        "nameservers": wanted,
        "glue": glue,
        "servers": {names.canonical(name): where_ for name, where_ in servers},
        "rrsets": {key: rrset.body for key, rrset in zone.everything.items()},
    }
    yield Change(
        where,
        "update",
        Resource(where, before),
        Resource(where, after),
        "dns",
        needs,
        note=f"delegate {zone.name} to {', '.join(wanted)}",
        figures={"wait_s": max(seen.ttl, source[0].ns_ttl or 0 if source else 0)},
    )


def _apex(zone: Wanted, wanted: Sequence[str], info: ZoneInfo, existing: Sets) -> Change | None:
    old = existing.get("@/NS")
    ttl = min(old.ttl or APEX_TTL, APEX_TTL) if old else APEX_TTL
    new = RRSet(names.canonical(zone.name), "NS", ttl, rdata.canonical_set("NS", wanted))
    after = {"@/NS": new, **zone.servers}
    after = {key: rrset for key, rrset in after.items() if existing.get(key) != rrset}
    if not after:
        return None
    before = {key: existing[key] for key in after if key in existing}
    return content_change(APEX, zone.slug, info, (before, after), phase="dns")


def registrar_change(zone: Wanted, registrar: Registrar, kind: str) -> Change | None:
    """Return a change only a human can make, if the old provider is the registrar."""
    held = registrar.get(zone.name)
    if not held.held_by(kind):
        return None
    where = address("dns", "registrar", zone.slug)
    return Change(
        where,
        "update",
        Resource(where, {"zone": zone.name, "registrar": held.registrar}),
        Resource(where, {"zone": zone.name, "registrar": "another registrar"}),
        "registrar",
        note=f"transfer {zone.name} away from {held.registrar}",
    )


def observe_delegation(change: Change, hints: Hints) -> Seen:
    """Ask all parents: the new set everywhere, the old one, or a stranger's."""
    before, after = _nameservers(change.before), _nameservers(change.after)
    seen = ask_parents(_zone(change), hints)
    if all(found == after for found in seen.by_server.values()):
        return "after"
    return "before" if all(found in (before, after) for found in seen.by_server.values()) else "other"


def delegate(change: Change, registrar: Registrar, hints: Hints, tick: Tick) -> None:
    """Check that the target is ready, change the delegation, wait until every parent serves it."""
    after = change.after
    if after is None:
        return
    ready(change, hints, tick)
    registrar.set_nameservers(_zone(change), _nameservers(after), after.body.get("glue") or {})
    _wait(change, _nameservers(after), hints, tick)


def undelegate(change: Change, registrar: Registrar, hints: Hints, tick: Tick) -> None:
    """Give the delegation back to the name servers it had."""
    before = change.before
    if before is None or not _nameservers(before):
        return
    registrar.set_nameservers(_zone(change), _nameservers(before), before.body.get("glue") or {})
    _wait(change, _nameservers(before), hints, tick)


def ready(change: Change, hints: Hints, tick: Tick) -> None:
    """Refuse to move a delegation to servers that do not answer as the zone is meant to be."""
    if change.after is None:
        return
    zone, body = _zone(change), change.after.body
    servers = sorted((str(name), str(where)) for name, where in body["servers"].items())
    if not servers:
        raise CutoverError(f"no name server of the target is known for {zone}", "give `nameservers` in site.yaml")
    seen = ask_parents(zone, hints)
    if seen.ds and not all(_signed(zone, where) for _, where in servers):
        raise Refused(
            f"the parent has a DS record for {zone}, and the new name servers do not sign it: "
            "every validating resolver would call the zone bogus",
            "remove the DS at the registrar, wait for its TTL, then cut over again",
        )
    tick(Progress("dns", change.address, 0, len(body["rrsets"]), wait="comparing the zone on every new name server"))
    wait_for_serials(zone, servers, SERIAL_WAIT)
    found = serials(zone, servers)
    if len(set(found.values())) > 1 or None in found.values():
        shown = ", ".join(f"{server}: {serial or 'no authoritative answer'}" for server, serial in found.items())
        raise CutoverError(
            f"the new name servers of {zone} do not serve one serial ({shown})",
            "check transfers and notifications between them",
        )
    rrsets = {key: from_body(zone, key, value) for key, value in body["rrsets"].items()}
    wrong = list(differences(zone, rrsets, servers))
    if wrong:
        first = wrong[0]
        raise CutoverError(
            f"{len({item.key for item in wrong})} record sets of {zone} differ on the new name servers; "
            f"{first.key} at {first.server} over {first.transport}: {first.text}",
            "run `rehost verify`, then `rehost apply`",
        )


def _signed(zone: str, where: str) -> bool:
    try:
        return is_signed(zone, where)
    except Unreachable:
        return False


def _wait(change: Change, wanted: tuple[str, ...], hints: Hints, tick: Tick) -> None:
    end = time.monotonic() + PARENT_WAIT
    while True:
        seen = ask_parents(_zone(change), hints)
        if all(found == wanted for found in seen.by_server.values()):
            return
        if time.monotonic() > end:
            raise Paused(
                f"the registrar took the new name servers of {_zone(change)}, but its parents do not serve them yet",
                "registries publish in minutes to hours: run the same command again",
            )
        tick(Progress("dns", change.address, 0, 1, wait="waiting for the parent servers to publish the delegation"))
        time.sleep(0.2)


def transfer(change: Change) -> None:
    """Tell the human how to move a domain to another registrar."""
    held = str(change.before.body["registrar"]) if change.before else "the old provider"
    raise NeedsHuman(
        f"{_zone(change)} is registered at {held}: a transfer takes five to seven days and needs you. "
        "1. turn off the transfer lock and ask for the authorisation code; 2. check the expiry date and the "
        "60-day rule; 3. order the transfer at the new registrar with the code, keeping the name servers as they "
        "are and DNSSEC off; 4. confirm the mails; 5. check NS and DS again.",
        "run the same command again when the registry names the new registrar; never move NS or DS in the same step",
    )


def observe_registrar(change: Change, registrar: Registrar) -> Seen:
    """Say whether the old provider still is the registrar."""
    held = registrar.get(_zone(change)).registrar
    return "before" if change.before and held == change.before.body["registrar"] else "after"


def _zone(change: Change) -> str:
    resource = change.after or change.before
    return str(resource.body["zone"]) if resource else ""


def _nameservers(resource: Resource | None) -> tuple[str, ...]:
    return tuple(sorted(resource.body["nameservers"])) if resource else ()
