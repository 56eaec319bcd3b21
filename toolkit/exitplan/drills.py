"""Records of rehearsals: what for, how far, who, planned and actual times, what went otherwise, when again.

Enters: the ``drills:`` part of a record. Leaves: :class:`Drill`. A drill with one mocked step is a mock.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from toolkit.errors import DefinitionError, Problem
from toolkit.exitplan import tables
from toolkit.exitplan.record import Kind, Record
from toolkit.model import Json

_KEYS = ("name", "at", "objective", "scope", "variant", "participants", "steps", "deviations", "actions", "retest")
_MORE = ("passed", "source", "sha256")


@dataclass(frozen=True, slots=True)
class Drill:
    """One rehearsal. ``scope`` is ``full`` or a part; ``variant`` a stressed notice such as ``24h``."""

    name: str
    at: datetime.datetime
    objective: str
    scope: str
    variant: str
    participants: tuple[str, ...]
    steps: tuple[Mapping[str, Json], ...]
    deviations: str
    actions: tuple[str, ...]
    retest: datetime.datetime | None
    passed: bool

    @property
    def kind(self) -> Kind:
        """Real only if every step was."""
        return "real" if self.steps and all(step.get("kind") == "real" for step in self.steps) else "mock"

    @property
    def planned_h(self) -> float | None:
        return self._sum("planned")

    @property
    def actual_h(self) -> float | None:
        return self._sum("actual")

    def _sum(self, name: str) -> float | None:
        found = [step.get(name) for step in self.steps]
        return sum(tables.hours(value) for value in found) if found and None not in found else None

    def holes(self) -> list[str]:
        """Return what a record must say and this one does not."""
        empty = [name for name in ("objective", "participants", "steps") if not getattr(self, name)]
        empty += [name for name in ("planned_h", "actual_h") if getattr(self, name) is None]
        return empty + ([] if self.retest else ["retest"])


def of(record: Record) -> tuple[Drill, ...]:
    """Return the drills of a record; raises ``DefinitionError`` for rows that cannot be read."""
    problems: list[Problem] = []
    found = []
    for number, row in enumerate(record.rows("drills")):
        wrong = _wrong(row)
        if wrong:
            problems.append(Problem(str(record.path), 1, f"drills[{number}]: {wrong}", "see docs/reference/exit.md"))
        else:
            found.append(_drill(row))
    if problems:
        raise DefinitionError(problems)
    return tuple(found)


def latest(drills: Iterable[Drill], wanted: Callable[[Drill], bool]) -> Drill | None:
    """Return the newest drill that is wanted."""
    return max((drill for drill in drills if wanted(drill)), key=lambda drill: drill.at, default=None)


def _drill(row: Mapping[str, Json]) -> Drill:
    return Drill(
        name=str(row["name"]),
        at=tables.moment(row["at"]),
        objective=str(row.get("objective") or ""),
        scope=str(row.get("scope") or ""),
        variant=str(row.get("variant") or ""),
        participants=tuple(str(name) for name in row.get("participants") or ()),
        steps=tuple(row.get("steps") or ()),
        deviations=str(row.get("deviations") or ""),
        actions=tuple(str(action) for action in row.get("actions") or ()),
        retest=tables.moment(row["retest"]) if row.get("retest") else None,
        passed=row.get("passed") is True,
    )


def _wrong(row: Json) -> str:
    if not isinstance(row, dict):
        return "it is not a mapping"
    if unknown := tables.unknown_keys(row, (*_KEYS, *_MORE)):
        return f"unknown key {unknown[0]!r}"
    for name in ("at", "retest"):
        if row.get(name) and not tables.checked(row[name], tables.moment):
            return f"{name} is no time"
    if not row.get("name") or not row.get("at"):
        return "name or at is missing"
    for step in row.get("steps") or ():
        if not isinstance(step, dict) or step.get("kind") not in ("mock", "real"):
            return "every step says `kind: mock` or `kind: real`"
        if any(step.get(k) is not None and not tables.checked(step[k], tables.hours) for k in ("planned", "actual")):
            return "planned and actual are durations such as 2h"
    return ""
