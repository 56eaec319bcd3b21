"""Checks on what people keep in the plan: vendors, drills, promises, orders, conditions for a return."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping

from toolkit.exitplan import drills, tables, vendors
from toolkit.exitplan.vendors import Vendor
from toolkit.exitplan.view import Outcome, View, failed, passed, unknown
from toolkit.model import Json


def vendor_files(view: View) -> Outcome:
    """L1: a fact file for each vendor, complete, not run out, and a schedule that fits the contract."""
    if not view.vendors:
        return unknown("no vendor is listed")
    named = view.inventory.sections.get("vendors", ())
    kinds = {one.kind for one in view.vendors.values()} | set(view.vendors)
    if missing := [name for name in named if name not in kinds and not _covered(name, view)]:
        return failed(f"no fact file for {', '.join(missing)}")
    old = view.current()
    at = _oldest(old, vendors.REQUIRED)
    for one in old:
        if one.contract_until is not None and one.contract_until <= view.now:
            return failed(f"{one.name}: the contract ended on {one.contract_until:%Y-%m-%d}", at)
    for clock in vendors.clocks(old):
        if clock.fits_planned is False:
            said = f"leaving takes {clock.schedule_h:g} h, notice and transition are {clock.planned_h:g} h"
            return failed(f"{clock.vendor}: {said}", at)
    holes = [f"{one.name}.{name}" for one in old for name in vendors.REQUIRED if not one.fact(name).known]
    holes += [f"{one.name}.schedule" for one in old if one.schedule_h is None]
    if holes:
        return unknown(f"not known: {', '.join(holes[:6])}" + (f" and {len(holes) - 6} more" if len(holes) > 6 else ""))
    return passed(f"{len(old)} vendors; every schedule fits its contract", at)


def _covered(name: str, view: View) -> bool:
    """The site may name a vendor by its trade (``sms``) while the plan names the company."""
    return any(name.startswith(one.kind) for one in view.vendors.values())


def shared_authority(view: View) -> Outcome:
    """L5: nobody can remove something of the old side and something of the new."""
    sides = {one.side for one in view.vendors.values()}
    if "new" not in sides and "both" not in sides:
        return unknown("no vendor of the new side is listed")
    common = vendors.shared(view.vendors)
    if common:
        name, hit = next(iter(common.items()))
        return failed(f"{name} can remove {', '.join(hit)} on both sides ({len(common)} shared)")
    bare = [one.name for one in view.vendors.values() if one.side == "new" and not one.rests_on]
    if bare:
        return unknown(f"whom these rest on is not known: {', '.join(sorted(bare))}")
    return passed("old and new side share nobody")


def new_host(view: View) -> Outcome:
    """L9: who we go to is known as well as who we leave."""
    new = [one for one in view.vendors.values() if one.side in ("new", "both") and one.kind == "hosting"]
    if not new:
        return unknown("no new host is listed")
    holes = [f"{one.name}.{name}" for one in new for name in vendors.NEW_HOST if not one.fact(name).known]
    if holes:
        return failed(f"not known: {', '.join(holes)}", _oldest(new, vendors.NEW_HOST))
    return passed(f"{', '.join(one.title for one in new)}: everything asked is known", _oldest(new, vendors.NEW_HOST))


def preservation(view: View) -> Outcome:
    """L7: somebody looked for orders, and nothing was removed while one is open."""
    part = view.record.part("preservation")
    if not part.get("checked"):
        return unknown("nobody looked for orders to preserve data (preservation.checked)")
    at = tables.moment(part["checked"])
    open_ = open_orders(part)
    if open_ and view.record.phase == "after" and "old_side" in view.record.evidence:
        return failed(f"the old side was closed while {', '.join(open_)} is open", at)
    if open_:
        return passed(f"open: {', '.join(open_)}; nothing may be removed", at)
    return passed("no order is open", at)


def open_orders(part: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the names of orders to preserve data that are not lifted."""
    return tuple(str(row.get("name", "an order")) for row in part.get("orders") or () if not row.get("lifted"))


def old_side(view: View) -> Outcome:
    """E2: nothing is closed while an order to preserve is open."""
    if open_ := open_orders(view.record.part("preservation")):
        return failed(f"refused while {', '.join(open_)} is open: nothing may be removed")
    return passed("no order stands against closing the old side")


def returns(view: View) -> Outcome:
    """L8: every condition for a return has an owner and a clock that has not run out."""
    part = view.record.part("returns")
    if not part.get("checked"):
        return unknown("nobody asked for conditions (returns.checked)")
    at = tables.moment(part["checked"])
    for row in part.get("conditions") or ():
        what = f"{row.get('vendor', '?')}: {row.get('condition', '?')}"
        if not row.get("owner") or not row.get("due"):
            return failed(f"{what} has no owner or no date", at)
        if not row.get("met") and tables.moment(row["due"]) < view.now:
            return failed(f"{what} was due on {row['due']}", at)
    return passed(f"{len(part.get('conditions') or ())} conditions, each with owner and date", at)


def promises(view: View) -> Outcome:
    """H2: no message promises a time that the arithmetic does not give with 90 % certainty."""
    rows = view.record.rows("promises")
    if not rows:
        return unknown("no message is drafted (promises)")
    if view.deadline is None:
        return unknown(f"no time can be promised without {', '.join(view.missing)}")
    needs = view.deadline.n_min_p90
    early = [row for row in rows if row.get("back_within") and tables.hours(row["back_within"]) < needs]
    if early:
        return failed(f"“{early[0].get('to', 'a message')}” promises {early[0]['back_within']}, P90 is {needs:.0f} h")
    return passed(f"{len(rows)} messages, none promises less than {needs:.0f} h")


def full_drill(view: View) -> Outcome:
    """R1: the latest rehearsal of everything, planned against actual."""
    found = drills.latest(drills.of(view.record), lambda drill: drill.scope == "full" and drill.variant == "")
    if found is None:
        return unknown("no full rehearsal is on record")
    if open_ := found.holes():
        return failed(f"{found.name}: the record lacks {', '.join(open_)}", found.at, found.kind)
    if not found.passed:
        return failed(f"{found.name} did not reach its goal: {found.deviations or 'no deviation noted'}", found.at)
    if view.rto_h is not None and found.actual_h is not None and found.actual_h > view.rto_h:
        return failed(f"{found.name} took {found.actual_h:g} h, the RTO is {view.rto_h:g} h", found.at, found.kind)
    if found.retest is not None and found.retest < view.now:
        return failed(f"{found.name} asked for a retest on {found.retest:%Y-%m-%d}", found.at, found.kind)
    said = f"{found.name}: planned {found.planned_h:g} h, took {found.actual_h:g} h"
    return passed(said, found.at, found.kind)


def stressed_drills(view: View) -> Outcome:
    """R2: with 24 h, with 48 h, and without any access to the source."""
    done = drills.of(view.record)
    lacking, times, kinds = [], [], []
    for variant in ("24h", "48h", "0h"):
        found = drills.latest(done, lambda drill, wanted=variant: drill.variant == wanted)  # type: ignore[misc]
        if found is None:
            lacking.append(variant)
            continue
        if not found.passed:
            return failed(f"{found.name} (notice {variant}) did not reach its goal", found.at, found.kind)
        times.append(found.at)
        kinds.append(found.kind)
    if len(lacking) == 3:
        return unknown("no stressed rehearsal is on record")
    if lacking:
        return failed(f"never rehearsed with a notice of {', '.join(lacking)}", min(times))
    return passed("rehearsed with 24 h, 48 h and no notice", min(times), "mock" if "mock" in kinds else "real")


def _oldest(found: Iterable[Vendor], names: tuple[str, ...]) -> datetime.datetime | None:
    """Return the date of the oldest of these facts: contracts change, and so must the file."""
    dates = [fact.dated for one in found for name in names if (fact := one.fact(name)).dated is not None]
    return min((date for date in dates if date is not None), default=None)
