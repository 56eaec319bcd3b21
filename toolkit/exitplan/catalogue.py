"""The items of a plan: those that ship, and a person's own on top.

Enters: ``catalogue.yaml`` and files of the same form. Leaves: :class:`Item` by id, in the order of the files; an
own item with the id of a shipped one replaces it. Raises ``DefinitionError`` with every mistake at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolkit.errors import DefinitionError, Problem
from toolkit.exitplan import tables
from toolkit.exitplan.tables import Located
from toolkit.model import Json

Severity = Literal["blocker", "major", "minor"]
Mode = Literal["A", "H", "M"]
_REQUIRED = ("id", "group", "title", "severity", "mode", "lead", "ttl")
_KEYS = (
    *(*_REQUIRED, "phase", "needs", "all", "rule", "applies", "mock", "waivable", "small", "maps", "try"),
    *("depends_on", "clause"),
)
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "severity": ("blocker", "major", "minor"),
    "mode": ("A", "H", "M"),
    "phase": ("plan", "exit", "after"),
}
OPERATORS = ("is", "not", "at_least", "at_most", "empty", "each", "count", "among")


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the checklist. ``lead_h`` is (p50, p90), ``ttl_h`` how old its evidence may be, in hours."""

    id: str
    group: str
    title: str
    severity: Severity
    mode: Mode
    lead_h: tuple[float, float]
    ttl_h: float
    phase: str = "plan"
    needs: tuple[str, ...] = ()
    conditions: tuple[Mapping[str, Json], ...] = ()
    rule: str = ""
    applies: Mapping[str, str] | None = None
    mock: bool = False
    waivable: bool = True
    small: bool = False
    maps: tuple[str, ...] = ()
    advice: str = ""
    depends_on: tuple[str, ...] = ()


def load(extra: Sequence[Path] = (), *, rules: Sequence[str] = ()) -> dict[str, Item]:
    """Return the shipped items and those of ``extra`` on top; ``rules`` are the names that ``rule:`` may have."""
    items = read(tables.shipped("catalogue.yaml"), rules)
    for path in extra:
        items |= read(tables.read(path, missing="correct `catalogues:` in exit.yaml"), rules)
    return items


def read(found: Located, rules: Sequence[str]) -> dict[str, Item]:
    """Return the items of one file."""
    problems = list(_problems(found, rules))
    if problems:
        raise DefinitionError(problems)
    return {row["id"]: _item(row) for row in found.doc["items"]}


def _item(row: Mapping[str, Json]) -> Item:
    middle, worse = (tables.hours(value) for value in row["lead"])
    return Item(
        id=row["id"],
        group=row["group"],
        title=row["title"],
        severity=row["severity"],
        mode=row["mode"],
        lead_h=(middle, worse),
        ttl_h=tables.hours(row["ttl"]),
        phase=row.get("phase", "plan"),
        needs=tuple(row.get("needs", ())),
        conditions=tuple(row.get("all", ())),
        rule=row.get("rule", ""),
        applies=row.get("applies"),
        mock=row.get("mock", False),
        waivable=row.get("waivable", True),
        small=row.get("small", False),
        maps=tuple(row.get("maps", ())),
        advice=row.get("try", ""),
        depends_on=tuple(row.get("depends_on", ())),
    )


def _problems(found: Located, rules: Sequence[str]) -> Iterator[Problem]:
    rows = found.doc.get("items")
    if not isinstance(rows, list):
        yield found.problem((), "a catalogue has a list of items", "write `items:` with `- id: …` below it")
        return
    seen: set[str] = set()
    for number, row in enumerate(rows):
        where = ("items", number)
        if not isinstance(row, dict):
            yield found.problem(where, "this item is not a mapping", "write `- id: …`")
            continue
        name = str(row.get("id", "?"))
        for text, remedy in _wrong(row, rules):
            yield found.problem(where, f"item {name}: {text}", remedy)
        if name in seen:
            yield found.problem(where, f"item {name} stands here twice", "give one of them another id")
        seen.add(name)


def _wrong(row: Mapping[str, Json], rules: Sequence[str]) -> Iterator[tuple[str, str]]:
    for key in _REQUIRED:
        if key not in row:
            yield f"{key} is missing", f"add `{key}:`"
    for key in tables.unknown_keys(row, _KEYS):
        yield f"unknown key {key!r}", f"use one of: {', '.join(_KEYS)}"
    for key, allowed in _CHOICES.items():
        if key in row and row[key] not in allowed:
            yield f"{key} {row[key]!r} is not known", f"use one of: {', '.join(allowed)}"
    lead = row.get("lead")
    if lead is not None and not (
        isinstance(lead, list) and len(lead) == 2 and all(tables.checked(value, tables.hours) for value in lead)
    ):
        yield "lead is not [p50, p90]", "write it like [2d, 7d]"
    if "ttl" in row and not tables.checked(row["ttl"], tables.hours):
        yield "ttl is no duration", "write it like 30d"
    if row.get("rule") and row["rule"] not in rules:
        yield f"there is no rule {row['rule']!r}", f"use one of: {', '.join(sorted(rules))}"
    if row.get("mode") in ("A", "H") and not row.get("all") and not row.get("rule"):
        yield "nothing is checked", "add `all:` with conditions, or make it `mode: M`"
    for condition in row.get("all") or ():
        known = [key for key in condition if key in OPERATORS] if isinstance(condition, dict) else []
        if not known or "of" not in condition:
            yield "a condition says nothing", f"write {{of: name.field, is: true}}; words: {', '.join(OPERATORS)}"
