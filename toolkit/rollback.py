"""Roll back: the inverse of what the journal says we did, newest first.

Enters: the journal. Leaves: the world as it was before the named state. Never deletes data, unless
``purge`` is asked for, and then only what we created and whose content is still what we wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.apply import Announce, one, silent
from toolkit.cutover import switched
from toolkit.errors import Conflict, Refused, UsageError
from toolkit.families import Family
from toolkit.journal import Journal, Step
from toolkit.model import Change, Finding

#: State to return to → phases that are taken back.
STATES: Mapping[str, tuple[str, ...]] = {
    "planned": ("registrar", "dns", "traffic", "build"),
    "applied": ("registrar", "dns", "traffic"),
    "traffic": ("registrar", "dns"),
    "dns": ("registrar",),
}


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback undid, and what it left alone because someone else changed it since."""

    undone: tuple[str, ...]
    left: tuple[Finding, ...]


def steps_to_undo(journal: Journal, to: str) -> list[Step]:
    """Our own steps after the state ``to``, newest first."""
    if to not in STATES:
        raise UsageError(f"there is no state {to!r}", f"choose one of: {', '.join(STATES)}")
    return [step for step in reversed(journal.steps()) if step.ours and step.change.phase in STATES[to]]


def to_give_back(journal: Journal, families: Mapping[str, Family], to: str) -> list[Change]:
    """Return the changes that bring back what users wrote at the new side, if names point there."""
    if "traffic" not in STATES[to] or not switched(journal):
        return []
    copies = {step.id: step.change for step in journal.steps() if step.state in ("done", "present")}
    found = [
        back
        for change in copies.values()
        if change.phase == "traffic" and change.family in families
        for back in families[change.family].giving_back(change)
    ]
    # Writing stops everywhere before the first bucket is compared; a bucket of several rounds is held once.
    unique = {change.id: change for change in found}
    return sorted(unique.values(), key=lambda change: change.action == "copy")


def _give_back(journal: Journal, families: Mapping[str, Family], to: str, announce: Announce) -> None:
    changes = to_give_back(journal, families, to)
    try:
        for change in changes:
            one(change, families[change.family], journal, announce)
    except BaseException:
        # Nothing has been undone: the new side goes on serving, and its users may write again.
        for change in changes:
            if change.action != "copy":
                families[change.family].undo(change, purge=False)
        raise


def rollback(
    journal: Journal,
    families: Mapping[str, Family],
    *,
    to: str = "planned",
    purge: bool = False,
    reverse: bool = True,
    announce: Announce = silent,
) -> RolledBack:
    """Undo our steps back to the state ``to``; observe each one first.

    ``reverse``: what was written at the new side since the switch first comes back to the source. If that
    cannot be done whole, nothing is undone.
    """
    undone: list[str] = []
    left: list[Finding] = []
    journal.event("rollback.start", {"to": to, "purge": purge})
    steps = steps_to_undo(journal, to)
    if reverse:
        _give_back(journal, families, to, announce)
    for step in steps:
        change = step.change
        family = families.get(change.family)
        if family is None:
            raise Refused(
                f"{change.address} is ours, but site.yaml no longer says where {change.family} moves",
                f"put move.{change.family} back as it was, then roll back again",
            )
        seen = family.observe(change)
        if seen == "other" and step.state == "done" and not change.data:
            left.append(
                Finding(
                    change.address,
                    "rollback",
                    "different",
                    f"{change.address} was changed by somebody since; it was left alone",
                    "look at it and decide",
                    "warning",
                )
            )
            continue
        announce(change, "undo")
        try:
            family.undo(change, purge=purge)
        except Conflict as exc:
            left.append(Finding(change.address, "rollback", "different", exc.text, exc.remedy, "warning"))
            continue
        # Data that a plain rollback keeps stays ours, so that a later purge still finds it.
        if purge or not change.data:
            journal.undone(step)
        undone.append(change.id)
    journal.event("rollback.end", {"undone": len(undone), "left": len(left)})
    return RolledBack(tuple(undone), tuple(left))
