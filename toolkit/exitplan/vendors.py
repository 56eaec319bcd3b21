"""Vendors: what their contracts say, what can be taken along, and who can remove whom.

Enters: the ``vendors:`` part of a record, each entry on top of a shipped fact file (``template:``). Leaves:
:class:`Vendor` by name, the authority graph, and the contract clock.

A fact is a value with its source and its date, or ``unknown``: a fact without a source is no fact. Whoever a
vendor ``rests_on`` (its own host, its upstream, the company that owns it) can remove it; so can that one's host.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from toolkit.errors import DefinitionError, Problem
from toolkit.exitplan import tables
from toolkit.exitplan.record import Record
from toolkit.model import Json

Side = Literal["old", "new", "both"]
#: What L1 asks of everybody: how long we are told before, what they may do at once, and what we get back.
REQUIRED = ("notice", "suspension", "transition", "retrieval", "exports", "contact")
#: What L9 asks of the host we go to.
NEW_HOST = ("upstream", "network", "resellers", "acceptable_use", "notice")
_SPANS = ("notice", "transition", "retrieval")
_PLAIN = (
    *("template", "kind", "name", "side", "serves", "rests_on", "schedule", "contract_until", "instead"),
    *("source", "dated", "facts"),
)
UNKNOWN = "unknown"
#: What a whole side stands on.
FOUNDATIONS = ("hosting", "dns", "registrar", "cdn", "payments")


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing known about a vendor. ``value`` None: unknown."""

    value: Json
    source: str
    dated: datetime.datetime | None

    @property
    def known(self) -> bool:
        return self.value is not None


@dataclass(frozen=True, slots=True)
class Vendor:
    """One company that can end a part of the service."""

    name: str
    title: str
    kind: str
    side: Side
    serves: tuple[str, ...]
    rests_on: tuple[str, ...]
    facts: Mapping[str, Fact]
    schedule_h: float | None = None
    contract_until: datetime.datetime | None = None

    def fact(self, name: str) -> Fact:
        return self.facts.get(name, Fact(None, "", None))

    def hours(self, name: str) -> float | None:
        """Return a span (notice, transition, retrieval) in hours, or None when it is unknown."""
        found = self.fact(name)
        return tables.hours(found.value) if found.known else None

    @property
    def planned_h(self) -> float | None:
        """Hours from the notice to the end when all goes by the contract."""
        notice, transition = self.hours("notice"), self.hours("transition")
        return None if notice is None or transition is None else notice + transition

    @property
    def hostile_h(self) -> float | None:
        """Hours of warning when the vendor wants us gone: none, where it may suspend at once."""
        if not self.fact("suspension").known:
            return None
        return 0.0 if self.fact("suspension").value == "immediate" else self.hours("notice")


def templates() -> dict[str, Mapping[str, Json]]:
    """Return the shipped fact files by name."""
    return dict(tables.shipped("vendors.yaml").doc)


def of(record: Record) -> dict[str, Vendor]:
    """Return the vendors of a record; raises ``DefinitionError`` for entries that cannot be read."""
    known = templates()
    problems: list[Problem] = []
    found = {}
    for name, row in record.part("vendors").items():
        mistakes = list(_wrong(row, known))
        if mistakes:
            problems += [Problem(str(record.path), 1, f"vendors.{name}: {text}", remedy) for text, remedy in mistakes]
            continue
        found[name] = vendor(name, row, known.get(str(row.get("template")), {}))
    if problems:
        raise DefinitionError(problems)
    return found


def vendor(name: str, row: Mapping[str, Json], template: Mapping[str, Json]) -> Vendor:
    """Read one entry on top of its template; what the entry says wins."""
    facts = {**_facts(template), **_facts(row)}
    return Vendor(
        name=name,
        title=str(row.get("name") or template.get("name") or name),
        kind=str(row.get("kind") or template.get("kind")),
        side=row.get("side", "old"),
        serves=tuple(row.get("serves") or ()),
        rests_on=tuple(row.get("rests_on") or template.get("rests_on") or ()),
        facts=facts,
        schedule_h=tables.hours(row["schedule"]) if row.get("schedule") is not None else None,
        contract_until=tables.moment(row["contract_until"]) if row.get("contract_until") else None,
    )


def _facts(row: Mapping[str, Json]) -> dict[str, Fact]:
    found = {}
    for name, value in (row.get("facts") or {}).items():
        given = value if isinstance(value, dict) and "value" in value else {"value": value}
        source, dated = given.get("source", row.get("source", "")), given.get("dated", row.get("dated"))
        known = given["value"] not in (None, UNKNOWN, "")
        found[name] = Fact(
            given["value"] if known else None, str(source or ""), tables.moment(dated) if dated and known else None
        )
    return found


def _wrong(row: Json, known: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    if not isinstance(row, dict):
        yield "is not a mapping", "write {template: twilio, side: old}"
        return
    for key in tables.unknown_keys(row, _PLAIN):
        yield f"unknown key {key!r}", f"facts go below `facts:`; beside them: {', '.join(_PLAIN)}"
    template = row.get("template")
    if template is not None and template not in known:
        yield f"there is no template {template!r}", f"use one of: {', '.join(sorted(known))}"
    if not row.get("kind") and template is None:
        yield "kind is missing", "say what it does: hosting, dns, registrar, sms, identity, …"
    if row.get("side", "old") not in ("old", "new", "both"):
        yield f"side {row['side']!r} is not known", "say old, new or both"
    for name, value in (row.get("facts") or {}).items():
        given = value if isinstance(value, dict) and "value" in value else {"value": value}
        if given["value"] in (None, UNKNOWN, ""):
            continue
        if not given.get("source", row.get("source")) or not given.get("dated", row.get("dated")):
            yield f"{name} has no source and date", "add `source:` and `dated:`, or write unknown"
        elif not tables.checked(given.get("dated", row.get("dated")), tables.moment):
            yield f"{name}: dated is no date", "write it like 2021-01-10"
        if name in _SPANS and not tables.checked(given["value"], tables.hours):
            yield f"{name} is no duration", "write it like 30d, 0h, or unknown"
    for name, convert in (("schedule", tables.hours), ("contract_until", tables.moment)):
        if row.get(name) is not None and not tables.checked(row[name], convert):
            yield f"{name} cannot be read", "write a duration like 40d, or a date like 2021-12-31"


# -- the authority graph


def above(name: str, vendors: Mapping[str, Vendor]) -> frozenset[str]:
    """Return everybody who can remove ``name``: itself, who it rests on, and who those rest on."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        at = waiting.pop()
        if at not in seen:
            seen.add(at)
            waiting += vendors[at].rests_on if at in vendors else ()
    return frozenset(seen)


def fall_together(vendors: Mapping[str, Vendor]) -> dict[str, tuple[str, ...]]:
    """Return for every authority the vendors that it can remove by one decision, the largest group first."""
    groups: dict[str, set[str]] = {}
    for name in vendors:
        for authority in above(name, vendors):
            groups.setdefault(authority, set()).add(name)
    ordered = sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return {authority: tuple(sorted(names)) for authority, names in ordered}


def shared(vendors: Mapping[str, Vendor]) -> dict[str, tuple[str, ...]]:
    """Return the authorities that can remove a foundation of the old side and one of the new.

    App stores, chat and the like are left alone on both sides: they carry nothing else.
    """
    found: dict[str, set[str]] = {}
    old, new = (_authorities(vendors, side) for side in ("old", "new"))
    for authority in old.keys() & new.keys():
        found[authority] = old[authority] | new[authority]
    return {authority: tuple(sorted(names)) for authority, names in sorted(found.items())}


def _authorities(vendors: Mapping[str, Vendor], side: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, one in vendors.items():
        if one.side in (side, "both") and one.kind in FOUNDATIONS:
            for authority in above(name, vendors):
                found.setdefault(authority, set()).add(name)
    return found


# -- the contract clock


@dataclass(frozen=True, slots=True)
class Clock:
    """How one vendor's contract compares with our schedule. Hours; None: unknown."""

    vendor: str
    schedule_h: float | None
    planned_h: float | None
    hostile_h: float | None

    @property
    def fits_planned(self) -> bool | None:
        """Say whether the schedule fits into notice and transition; None: cannot be said."""
        if self.schedule_h is None or self.planned_h is None:
            return None
        return self.schedule_h <= self.planned_h

    def to_json(self) -> dict[str, Json]:
        return {
            "vendor": self.vendor,
            "schedule_h": self.schedule_h,
            "planned_h": self.planned_h,
            "hostile_h": self.hostile_h,
            "fits_planned": self.fits_planned,
        }


def clocks(vendors: Iterable[Vendor]) -> tuple[Clock, ...]:
    """Compare schedules with contracts."""
    return tuple(Clock(one.name, one.schedule_h, one.planned_h, one.hostile_h) for one in vendors)
