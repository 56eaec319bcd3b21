"""Roll back: the inverse of what the journal says we did, newest first.

Enters: the journal. Leaves: the world as it was before the named state. Never deletes data, unless
``purge`` is asked for, and then only what we created and whose content is still what we wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.apply import Announce, silent
from toolkit.errors import Conflict, Refused, UsageError
from toolkit.families import Family
from toolkit.journal import Journal, Step
from toolkit.model import Finding

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


def rollback(
    journal: Journal,
    families: Mapping[str, Family],
    *,
    to: str = "planned",
    purge: bool = False,
    announce: Announce = silent,
) -> RolledBack:
    """Undo our steps back to the state ``to``; observe each one first."""
    undone: list[str] = []
    left: list[Finding] = []
    journal.event("rollback.start", {"to": to, "purge": purge})
    for step in steps_to_undo(journal, to):
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
