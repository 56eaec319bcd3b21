"""Cut over: the plan of a later phase, gated by a clean verify.

``traffic`` freezes the source, moves the last differences and the database, proves them equal, and
only then points the records at the new side. ``dns`` delegates the zone to the new name servers.
``registrar`` checks who holds the name.

Enters: the plan of the phase. Raises ``VerifyError`` while something differs, ``CutoverError`` when a
step does not take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from toolkit.apply import Announce, Applied, apply, fill_resource, silent
from toolkit.errors import ApplyError, Conflict, CutoverError, Refused, VerifyError
from toolkit.families import Family
from toolkit.journal import Journal
from toolkit.model import Phase, Plan, State, state
from toolkit.plan import after_the_gate
from toolkit.verify import Verified, verify

#: Families whose data must be equal before a name may move.
GATE = frozenset({"storage", "compute", "database", "dns"})


def cutover(
    phase: Phase,
    plan: Plan,
    families: Mapping[str, Family],
    journal: Journal,
    *,
    announce: Announce = silent,
) -> tuple[Applied, Verified]:
    """Run one phase: gate, data, gate again, names."""
    in_order(phase, journal)
    again = phase == "traffic" and switched(journal)
    if again:
        # The new side is in use: its data is the truth now, and nothing may be copied over it again.
        plan = replace(plan, changes=tuple(change for change in plan.changes if after_the_gate(change)))
    wanted = desired_now(plan, journal)
    # Databases and objects that are still being written differ until the freeze: they are gated below.
    early = GATE - {"database", "storage"} if phase == "traffic" else GATE
    checked = verify(wanted, families, only=early)
    if checked.tallies or checked.findings or early == GATE:  # a site of data alone has nothing to gate yet
        check(checked, phase)
    try:
        first = apply(plan, families, journal, phase=phase, announce=announce, until=after_the_gate)
        if not again and (first.made or early != GATE):
            checked = verify(wanted, families, only=GATE)
            check(checked, phase)
        second = apply(plan, families, journal, phase=phase, announce=announce)
        settle_what_came_true(phase, families, journal)
    except (ApplyError, Conflict) as exc:
        raise CutoverError(exc.text, exc.remedy) from exc
    journal.event("cutover.done", {"phase": phase, "plan": plan.digest})
    return Applied((*first.made, *second.made), second.present), checked


def settle_what_came_true(phase: Phase, families: Mapping[str, Family], journal: Journal) -> None:
    """Close steps that somebody else completed: a registrar's transfer is intended by us and done by others."""
    for step in journal.steps():
        if step.change.phase == phase and step.state in ("intended", "failed"):
            family = families.get(step.change.family)
            if family is not None and family.observe(step.change) == "after":
                journal.settle(step.change, "done")


def switched(journal: Journal) -> bool:
    """Say whether names point at the new side: traffic was cut over (or began to be) and not rolled back since."""
    done = False
    for _, kind, body in journal.events():
        if kind == "cutover.done" and body["phase"] == "traffic":
            done = True
        elif kind == "rollback.end":
            done = False
    return done or any(
        step.ours and step.change.phase == "traffic" and step.change.family == "dns" for step in journal.steps()
    )


def in_order(phase: Phase, journal: Journal) -> None:
    """Refuse a phase whose predecessor was not done, or was rolled back since."""
    before = {"dns": "traffic", "registrar": "dns"}.get(phase)
    if before is None:
        return
    done = False
    for _, kind, body in journal.events():
        if kind == "cutover.done" and body["phase"] == before:
            done = True
        elif kind == "rollback.end":
            done = False
    if not done:
        raise Refused(
            f"cut-over {phase} comes after cut-over {before}, which is not done",
            f"run `rehost cutover {before}` first: it freezes writing and moves the last differences",
        )


def desired_now(plan: Plan, journal: Journal) -> State:
    """The desired state with addresses known only after apply filled in."""
    outputs = journal.outputs()
    return state(fill_resource(resource, outputs) for resource in plan.desired)


def check(verified: Verified, phase: str) -> None:
    """Refuse to go on while anything is lost."""
    if verified.clean:
        return
    worst = [finding.text for finding in verified.findings if finding.severity == "error"][:3]
    lost = {name: row["lost"] for name, row in verified.totals().items() if row["lost"]}
    raise VerifyError(
        f"cut-over {phase} is gated: " + ("; ".join(worst) or f"lost {lost}"),
        "see `rehost verify`; run `rehost apply` for what is missing, then cut over again",
    )
