"""Apply: make the changes of a plan, one after another, each intended durably before it happens.

Enters: a plan and the journal. Leaves: the journal's steps. Raises ``Refused`` while a blocked or
unaccepted verdict stands, ``Conflict`` when the world is neither before nor after a change,
``ApplyError`` when a change does not take.

Observation decides: for each change look first. Equals ``after``: done. Equals ``before``: do it.
Anything else: stop. The journal only says which changes are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from toolkit import leases
from toolkit.errors import ApplyError, Conflict, Refused
from toolkit.families import Family
from toolkit.journal import Journal
from toolkit.model import Change, Json, Phase, Plan, Resource
from toolkit.plan import in_the_way

MAX_PASSES = 5
_REFERENCE = re.compile(r"@\{([^}:]+):([A-Za-z0-9_]+)\}")

Announce = Callable[[Change, str], None]


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
) -> Applied:
    """Make every change of ``phase`` that the world does not show yet; stop before ``until`` says so."""
    standing = in_the_way(plan)
    if standing:
        shown = "; ".join(f"{verdict.id} ({verdict.outcome})" for verdict in standing[:5])
        raise Refused(
            f"{len(standing)} verdicts stand in the way: {shown}",
            "see `rehost assess`; accept a degraded one in site.yaml (`accept:`), ignore what may be left behind",
        )
    leases.release_dead(journal)
    journal.event("apply.start", {"plan": plan.digest, "phase": phase})
    made: list[str] = []
    present: list[str] = []
    for change in plan.phase(phase):
        if until(change):
            break
        (made if _one(change, families[change.family], journal, announce) else present).append(change.id)
    journal.event("apply.end", {"plan": plan.digest, "phase": phase, "made": len(made), "present": len(present)})
    return Applied(tuple(made), tuple(present))


def _one(change: Change, family: Family, journal: Journal, announce: Announce) -> bool:
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
    outputs = family.do(change, None) if shards is None else _bulk(change, family, journal)
    if family.observe(change) != "after":
        journal.settle(change, "failed", outputs)
        failed = leases.exceptions(journal, change.id)
        why = "; ".join(finding.text for finding in failed[:3]) or "the target does not show it"
        raise ApplyError(
            f"{change.address} did not take: {why}",
            "run the same command again to go on from here; `rehost status` shows what is missing",
        )
    journal.settle(change, "done", outputs)
    announce(change, "done")
    return True


def _bulk(change: Change, family: Family, journal: Journal) -> Mapping[str, Json]:
    """Copy a change that is too large for one step, shard by shard, in passes until nothing differs.

    Shards left from a killed run come first; then a new listing finds whatever is still missing, so a
    re-run is the resume and a delta pass at once. Copying starts with the first shard listed.
    """
    owner = leases.owner_name()
    for lease in leases.claims(journal, change.id, owner):
        family.do(change, lease)
    for _ in range(MAX_PASSES):
        before = leases.counts(journal, change.id)["done"]
        leases.clear_exceptions(journal, change.id)
        for shard in family.bulk(change) or ():
            leases.add(journal, change.id, shard)
            for lease in leases.claims(journal, change.id, owner):
                family.do(change, lease)
        if leases.counts(journal, change.id)["done"] == before:
            break
    return leases.counts(journal, change.id)


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
