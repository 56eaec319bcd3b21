"""Apply: make the changes of a plan, one after another, each intended durably before it happens.

Enters: a plan and the journal. Leaves: the journal's steps. Raises ``Refused`` while a blocked or
unaccepted verdict stands, ``Conflict`` when the world is neither before nor after a change,
``ApplyError`` when a change does not take.

Observation decides: for each change look first. Equals ``after``: done. Equals ``before``: do it.
Anything else: stop. The journal only says which changes are ours.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from toolkit import leases, passes
from toolkit.errors import ApplyError, Conflict, Paused, Refused
from toolkit.families import Family
from toolkit.journal import Journal
from toolkit.model import Change, Json, Phase, Plan, Resource, Seen
from toolkit.plan import in_the_way
from toolkit.standing import standing

MAX_PASSES = 5
#: With a window to fit: so many passes at most; far fewer show whether they get shorter.
MAX_FITTING = 50
_REFERENCE = re.compile(r"@\{([^}:]+):([A-Za-z0-9_]+)\}")

Announce = Callable[[Change, str], None]


def forecasts(journal: Journal, fit: float | None = None) -> list[passes.Forecast]:
    """Say for each change that is made in passes what its last one will take."""
    found = (passes.forecast(done, fit) for done in passes.passes(journal.events()).values())
    return [one for one in found if one is not None and one.last.change.startswith("build:")]


def silent(_change: Change, _what: str, /) -> None:
    """Announce nothing."""


def never(_change: Change, /) -> bool:
    """Stop before no change."""
    return False


@dataclass(frozen=True, slots=True)
class Applied:
    """What one apply did: ids of changes made now, and of those that were already so."""

    made: tuple[str, ...]
    present: tuple[str, ...]


def apply(
    plan: Plan,
    families: Mapping[str, Family],
    journal: Journal,
    *,
    phase: Phase = "build",
    announce: Announce = silent,
    until: Callable[[Change], bool] = never,
    fit: float | None = None,
) -> Applied:
    """Make every change of ``phase`` that the world does not show yet; stop before ``until`` says so.

    ``fit``: repeat the passes over a source in use until one more is forecast to take at most so many seconds.
    """
    blocked = in_the_way(plan)
    if blocked:
        shown = "; ".join(f"{verdict.id} ({verdict.outcome})" for verdict in blocked[:5])
        raise Refused(
            f"{len(blocked)} verdicts stand in the way: {shown}",
            "see `rehost assess`; accept a degraded one in site.yaml (`accept:`), ignore what may be left behind",
        )
    leases.release_dead(journal)
    journal.event("apply.start", {"plan": plan.digest, "phase": phase})
    made: list[str] = []
    present: list[str] = []
    try:
        for change in plan.phase(phase):
            if until(change):
                break
            (made if one(change, families[change.family], journal, announce, fit) else present).append(change.id)
    except Paused as exc:
        told = "\n".join((exc.text, *standing(plan.phase(phase), journal)))
        raise Paused(told, exc.remedy) from exc
    journal.event("apply.end", {"plan": plan.digest, "phase": phase, "made": len(made), "present": len(present)})
    return Applied(tuple(made), tuple(present))


def one(
    change: Change, family: Family, journal: Journal, announce: Announce = silent, fit: float | None = None
) -> bool:
    """Bring about one change; return whether anything had to be done."""
    change = with_outputs(change, journal.outputs())
    last = journal.step(change.id)
    ours = last is not None and last.ours
    seen = family.observe(change)
    if seen == "after":
        if not (ours and last and last.state == "done"):
            # A kill may have come between the action and its result, so what others need is read again.
            journal.settle(change, "done" if ours else "present", family.outputs(change))
        announce(change, "already so")
        return False
    if seen == "other":
        # What is ours stays ours in the journal, so that a rollback still finds it.
        if ours:
            journal.event("conflict", {"id": change.id})
        else:
            journal.settle(change, "conflict")
        raise Conflict(
            f"{change.address} is neither as it was when planned nor as it should become",
            "look at it, then run `rehost plan` again: the plan will start from what is there now",
        )
    announce(change, "start")
    journal.intend(change)
    shards = family.bulk(change)
    if shards is None:
        outputs, shown = family.do(change, None), family.observe(change)
    else:
        outputs, shown = _bulk(change, family, journal, fit)
    if shown != "after":
        journal.settle(change, "failed", outputs)
        failed = sorted(leases.exceptions(journal, change.id), key=lambda found: found.severity == "info")
        why = "; ".join(finding.text for finding in failed[:3]) or "the target does not show it"
        raise ApplyError(
            f"{change.address} did not take: {why}",
            "run the same command again to go on from here; `rehost status` shows what is missing",
        )
    journal.settle(change, "done", outputs)
    announce(change, "done")
    return True


def _bulk(change: Change, family: Family, journal: Journal, fit: float | None) -> tuple[Mapping[str, Json], Seen]:
    """Copy a change that is too large for one step, shard by shard, in passes until one takes.

    Shards left from a killed run come first; then a new listing finds whatever is still missing, so a
    re-run is the resume and a delta pass at once. Copying starts with the first shard listed. Returns the
    counts, and what the last pass showed.
    """
    owner = leases.owner_name()
    for lease in leases.claims(journal, change.id, owner):
        family.do(change, lease)
    shown: Seen = "before"
    for number in range(1, (MAX_PASSES if fit is None else MAX_FITTING) + 1):
        before = leases.counts(journal, change.id)["done"]
        leases.clear_exceptions(journal, change.id)
        done = _pass(change, family, journal, owner)
        shown = family.took(change)
        journal.event("pass", replace(done, took=shown == "after").to_json())
        if shown == "after":
            so_far = passes.passes(journal.events())[change.id]
            expected = passes.forecast(so_far, fit)
            if expected is None or expected.fits or not passes.settles(so_far[-number:]):
                break
        elif leases.counts(journal, change.id)["done"] == before:
            break
    return leases.counts(journal, change.id), shown


def _pass(change: Change, family: Family, journal: Journal, owner: str) -> passes.Pass:
    """List what is to be done and do it; measure how long either took."""
    began, start = datetime.now(UTC), time.monotonic()
    listing = copying = 0.0
    found: Counter[str] = Counter()
    moment = start
    for shard in family.bulk(change) or ():
        listing += time.monotonic() - moment
        found.update(shard.figures)
        leases.add(journal, change.id, shard)
        moment = time.monotonic()
        for lease in leases.claims(journal, change.id, owner):
            family.do(change, lease)
        copying += time.monotonic() - moment
        moment = time.monotonic()
    end = time.monotonic()
    listing += end - moment
    gone = found["removals"]
    whole = found["objects"] + gone
    return passes.Pass(
        change.id, change.address, began, end - start, whole, gone, found["bytes"], listing, copying, took=False
    )


def with_outputs(change: Change, outputs: Mapping[str, Mapping[str, Json]]) -> Change:
    """Replace ``@{address:name}`` by what an earlier change gave back."""
    if change.after is None:
        return change
    body = _fill(dict(change.after.body), outputs, change)
    return replace(change, after=replace(change.after, body=body))


def fill_resource(resource: Resource, outputs: Mapping[str, Mapping[str, Json]]) -> Resource:
    """Replace references in a desired resource, for verify and prove after apply."""
    return replace(resource, body=_fill(dict(resource.body), outputs, resource))


def _fill(value: Json, outputs: Mapping[str, Mapping[str, Json]], where: Change | Resource) -> Json:
    if isinstance(value, dict):
        return {key: _fill(item, outputs, where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fill(item, outputs, where) for item in value]
    if not isinstance(value, str) or "@{" not in value:
        return value

    def known(match: re.Match[str]) -> str:
        addr, name = match.groups()
        if name not in outputs.get(addr, {}):
            raise ApplyError(
                f"{where.address} needs the {name} of {addr}, which is not known yet",
                "apply that resource first (do not exclude it with --only/--except)",
            )
        return str(outputs[addr][name])

    return _REFERENCE.sub(known, value)
