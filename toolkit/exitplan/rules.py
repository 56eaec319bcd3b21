"""Checks that need more than one condition: each a function from a :class:`View` to an :class:`Outcome`.

The catalogue names them (``rule:``). They run beside the conditions of the item; both must hold.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import replace

from toolkit.exitplan import tables, vendors
from toolkit.exitplan.record import Evidence, Kind
from toolkit.exitplan.rules_plan import (
    full_drill,
    new_host,
    old_side,
    preservation,
    promises,
    returns,
    shared_authority,
    stressed_drills,
    vendor_files,
)
from toolkit.exitplan.view import Outcome, View, failed, passed, unknown
from toolkit.model import Json

Rule = Callable[[View], Outcome]
_FIELDS = ("bytes", "objects", "tier", "growth_gbps", "owner")
_AUTHORITY = ("account", "billing", "kms", "region")
_DAY = datetime.timedelta(days=1)


def _seen(view: View, name: str) -> Evidence | None:
    found = view.record.evidence.get(name)
    return found if found is not None and isinstance(found.value, dict) else None


def stores(view: View) -> Outcome:
    """D1: every bucket of the site is in the inventory, with every figure."""
    seen = _seen(view, "stores")
    if seen is None:
        return unknown("stores was never observed as a mapping of stores")
    missing = [name for name in view.inventory.sections.get("buckets", ()) if name not in seen.value]
    if missing:
        return failed(f"not inventoried: {', '.join(missing)}", seen.at, seen.kind)
    holes = [
        f"{name}.{key}"
        for name, row in seen.value.items()
        for key in _FIELDS
        if not isinstance(row, dict) or row.get(key) in (None, "", vendors.UNKNOWN)
    ]
    if holes:
        return failed(f"unknown: {', '.join(holes[:6])}", seen.at, seen.kind)
    return passed(f"{len(seen.value)} stores with all figures", seen.at, seen.kind)


def copies(view: View) -> Outcome:
    """D2: for every store a copy that no principal of the source can delete, and young enough."""
    seen = _seen(view, "copies")
    if seen is None:
        return unknown("copies was never observed")
    if view.rpo_h is None:
        return unknown("the site has no RPO: set objectives.rpo")
    source = seen.value.get("source") or {}
    if any(not source.get(part) for part in _AUTHORITY):
        return unknown(f"the source's authority is not known in all of: {', '.join(_AUTHORITY)}")
    listed = _seen(view, "stores")
    wanted = set(view.inventory.sections.get("buckets", ())) | set(listed.value if listed else ())
    if not wanted:
        return unknown("no store is known, so no copy can be complete")
    safe: set[str] = set()
    shared: list[str] = []
    for row in seen.value.get("outside") or ():
        same = [part for part in _AUTHORITY if not row.get(part) or row[part] == source[part]]
        if same:
            shared.append(f"{row.get('name', 'a copy')} shares {', '.join(same)} with its source")
            continue
        age = (view.now - tables.moment(row["newest"])).total_seconds() / 3600 if row.get("newest") else None
        if age is None or not 0 <= age <= view.rpo_h:
            old = "of unknown age" if age is None else f"{age:.1f} h old"
            shared.append(f"{row.get('name', 'a copy')} is {old}, the RPO is {view.rpo_h:g} h")
            continue
        safe |= wanted if row.get("stores") == "all" else set(row.get("stores") or ())
    if lacking := sorted(wanted - safe):
        why = "; ".join(shared) or "there is none"
        return failed(f"no copy outside the authority for {', '.join(lacking)}: {why}", seen.at, seen.kind)
    return passed(f"{len(wanted)} stores have a copy that nobody at the source can delete", seen.at, seen.kind)


def deadline(view: View) -> Outcome:
    """D8: the arithmetic says GO."""
    if view.deadline is None:
        return unknown(f"the deadline cannot be computed without {', '.join(view.missing)}")
    part = view.record.part("deadline")
    kind: Kind = "real" if part.get("kind") == "real" else "mock"  # what nobody calls real is none
    at = tables.moment(part["at"]) if part.get("at") else None
    found = view.deadline
    said = f"{found.verdict}: shortest notice {found.n_min:.0f} h ({found.bound_by}), notice {view.notice_h:g} h"
    listed = view.record.evidence.get("stores")
    if at is not None and listed is not None and (part.get("bytes") is None or part.get("objects") is None):
        at = min(at, listed.at)  # volumes that come from the inventory are as old as it
    if at is None:
        return unknown(f"{said}; when the rates were measured is not said (deadline.at)")
    fits = found.verdict == "GO" and found.n_min <= view.notice_h
    return passed(said, at, kind) if fits else failed(said, at, kind)


def registrar(view: View) -> Outcome:
    """N1: who registers the name hosts nothing, and has its own login with a second factor."""
    seen = _seen(view, "registrar")
    if seen is None:
        return unknown("registrar was never observed")
    name = seen.value.get("vendor")
    hosts = [one.name for one in view.current() if one.kind == "hosting"]
    if not name or (not hosts and seen.value.get("hosts_nothing") is None):
        return unknown("registrar.vendor, or which vendor hosts the site, is not known")
    over = vendors.above(str(name), view.vendors)
    if common := sorted(over & set(hosts)):
        return failed(f"one authority: {common[0]} hosts the site and can take the name", seen.at, seen.kind)
    for key, why in (("mfa", "no second factor"), ("separate_login", "its login is shared with another vendor")):
        if seen.value.get(key) is None:
            return unknown(f"registrar.{key} was not observed")
        if seen.value[key] is not True:
            return failed(f"{name}: {why}", seen.at, seen.kind)
    return passed(f"{name}, with a login and a second factor of its own", seen.at, seen.kind)


def domain(view: View) -> Outcome:
    """N2: transferable today, and not about to expire."""
    seen = _seen(view, "domain")
    if seen is None or not isinstance(seen.value.get("status"), list) or not seen.value.get("expires"):
        return unknown("domain.status and domain.expires were not observed")
    held = [word for word in seen.value["status"] if word in ("server transfer prohibited", "pending transfer")]
    if held:
        return failed(f"the registry says: {', '.join(held)}", seen.at, seen.kind)
    if seen.value.get("locked_until") and tables.moment(seen.value["locked_until"]) > view.now:
        return failed(f"locked until {seen.value['locked_until']}", seen.at, seen.kind)
    left = (tables.moment(seen.value["expires"]) - view.now) / _DAY
    if left <= 90:
        return failed(f"it expires in {left:.0f} days", seen.at, seen.kind)
    return passed(f"transferable, expires in {left:.0f} days", seen.at, seen.kind)


def parent_ttl(view: View) -> Outcome:
    """N4: the delegation is forgotten within the notice, or somebody else serves the zone already."""
    seen = _seen(view, "parent_ttl")
    if seen is None or not isinstance(seen.value.get("seconds"), int):
        return unknown("parent_ttl.seconds was not observed")
    hours = seen.value["seconds"] / 3600
    if hours <= view.notice_h:
        return passed(f"cached for {hours:g} h, notice {view.notice_h:g} h", seen.at, seen.kind)
    second = _seen(view, "operators")
    if second is not None and (second.value.get("distinct") or 0) >= 2 and second.value.get("differences") == 0:
        at = min(seen.at, second.at)
        return passed(f"cached for {hours:g} h, and two operators serve the zone", at, seen.kind)
    return failed(
        f"parent NS TTL {hours:g} h > notice {view.notice_h:g} h, and one operator serves the zone", seen.at, seen.kind
    )


def status_page(view: View) -> Outcome:
    """N6: seen with 200 from two places while the provider is out of reach, on a network of its own."""
    seen = _seen(view, "status_page")
    if seen is None:
        return unknown("status_page was never observed")
    if not seen.value.get("network"):
        return unknown("status_page.network is not known")
    shared = set(vendors.above(str(seen.value["network"]), view.vendors))
    hosts = {one.name for one in view.current() if one.kind == "hosting"}
    if common := sorted(shared & hosts):
        return failed(f"the status page lives at {common[0]}, as the site does", seen.at, seen.kind)
    good = {
        row.get("from")
        for row in seen.value.get("answers") or ()
        if row.get("status") == 200 and row.get("provider_out_of_reach") is True
    }
    if len(good) < 2:
        return failed(f"answers from {len(good)} places with the provider out of reach, 2 needed", seen.at, seen.kind)
    return passed(f"200 from {len(good)} places with the provider out of reach", seen.at, seen.kind)


def capacity(view: View) -> Outcome:
    """C4: at least 1.2 times the peak, signed, and the contract has not ended."""
    seen = _seen(view, "capacity")
    if seen is None or any(seen.value.get(key) is None for key in ("peak", "offered", "quota", "signed", "until")):
        return unknown("capacity: peak, offered, quota, signed and until must all be known")
    need = 1.2 * float(seen.value["peak"])
    for key in ("offered", "quota"):
        if float(seen.value[key]) < need:
            return failed(f"{key} {seen.value[key]} < 1.2 × peak = {need:g}", seen.at, seen.kind)
    if seen.value["signed"] is not True:
        return failed("nothing is signed", seen.at, seen.kind)
    if tables.moment(seen.value["until"]) <= view.now:
        return failed(f"the contract ended on {seen.value['until']}", seen.at, seen.kind)
    return passed(f"{seen.value['offered']} offered for a peak of {seen.value['peak']}", seen.at, seen.kind)


def gate(view: View) -> Outcome:
    """X1 is judged last, from all other items: see :mod:`toolkit.exitplan.judge`."""
    return unknown(f"the other items decide (as of {view.now:%Y-%m-%d})")


RULES: Mapping[str, Rule] = {
    "stores": stores,
    "copies": copies,
    "deadline": deadline,
    "registrar": registrar,
    "domain": domain,
    "parent_ttl": parent_ttl,
    "status_page": status_page,
    "capacity": capacity,
    "vendor_files": vendor_files,
    "shared_authority": shared_authority,
    "new_host": new_host,
    "preservation": preservation,
    "returns": returns,
    "promises": promises,
    "full_drill": full_drill,
    "stressed_drills": stressed_drills,
    "old_side": old_side,
    "gate": gate,
}


#: Rules that look at a part of the record rather than at observations.
PARTS: Mapping[str, str] = {
    "deadline": "deadline",
    "vendor_files": "vendors",
    "shared_authority": "vendors",
    "new_host": "vendors",
    "preservation": "preservation",
    "returns": "returns",
    "promises": "promises",
    "full_drill": "drills",
    "stressed_drills": "drills",
}


def run(name: str, view: View, needs: tuple[str, ...]) -> Outcome:
    """Run one rule; evidence in a shape that it cannot read makes the item unknown."""
    try:
        found = RULES[name](view)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        return Outcome("unknown", f"the evidence cannot be read: {_short(exc)}", evidence=needs)
    return replace(found, evidence=found.evidence or needs or (PARTS.get(name, name),))


def _short(exc: Exception) -> Json:
    return f"{type(exc).__name__} {exc}"[:120]
