"""Everything that a check may look at, gathered once: the record, the inventory, the clock, the deadline.

Enters: a record, a site (or none) and a moment. Leaves: a :class:`View`. Nothing is asked over the network.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from toolkit.exitplan import inputs, tables, vendors
from toolkit.exitplan.deadline import Answer, answer
from toolkit.exitplan.record import Kind, Record
from toolkit.exitplan.vendors import Vendor
from toolkit.model import Json, canonical, sha256_hex
from toolkit.site import Site

Result = Literal["pass", "fail", "unknown"]
HOURS_FALLBACK = 29.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found. ``at`` is the time of its oldest evidence, ``evidence`` names all of it."""

    result: Result
    text: str
    at: datetime.datetime | None = None
    kind: Kind = "real"
    evidence: tuple[str, ...] = ()


def passed(text: str, at: datetime.datetime | None = None, kind: Kind = "real") -> Outcome:
    return Outcome("pass", text, at, kind)


def failed(text: str, at: datetime.datetime | None = None, kind: Kind = "real") -> Outcome:
    return Outcome("fail", text, at, kind)


def unknown(text: str) -> Outcome:
    return Outcome("unknown", text)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the site definition says there is. ``sections`` holds the names of the entries of each section."""

    sections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)  # section → kinds of its entries
    known: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of what there is: an item called not applicable is asked again when this changes."""
        kinds = {name: sorted(found) for name, found in self.kinds.items()}
        return sha256_hex(canonical({"sections": {k: list(v) for k, v in self.sections.items()}, "kinds": kinds}))


@dataclass(frozen=True, slots=True)
class View:
    """One plan at one moment. Hours throughout."""

    record: Record
    inventory: Inventory
    now: datetime.datetime
    notice_h: float
    rto_h: float | None
    rpo_h: float | None
    vendors: Mapping[str, Vendor]
    deadline: Answer | None
    missing: tuple[str, ...] = ()

    def named(self, name: str) -> float | None:
        """Return a limit by its name: rto, rpo, notice, available (hours for copying) or cutover."""
        answered = self.deadline
        limits: Mapping[str, float | None] = {
            "rto": self.rto_h,
            "rpo": self.rpo_h,
            "notice": self.notice_h,
            "available": answered.available_h if answered else None,
            "cutover": answered.load.cutover_h if answered else None,
        }
        return limits.get(name)

    def current(self) -> tuple[Vendor, ...]:
        """Return whom the next exit leaves: the old side, and once the move is done the new one."""
        sides = ("new", "both") if self.record.phase == "after" else ("old", "both")
        return tuple(one for one in self.vendors.values() if one.side in sides)

    def vendor_kinds(self) -> frozenset[str]:
        """Return the kinds of all vendors that the record or the site names."""
        return frozenset(v.kind for v in self.vendors.values()) | self.inventory.kinds.get("vendors", frozenset())


SECTIONS = ("buckets", "zones", "servers", "databases", "vendors", "identities", "certificates", "load_balancers")


def inventory(site: Site | None) -> Inventory:
    """Read the inventory out of a site definition."""
    if site is None:
        return Inventory()
    sections = {name: tuple(sorted(site.section(name))) for name in SECTIONS}
    kinds = {
        name: frozenset(
            str(row.get("kind")) for row in site.section(name).values() if isinstance(row, dict) and row.get("kind")
        )
        for name in SECTIONS
    }
    return Inventory(sections, kinds, known=any(sections.values()))


def look(
    record: Record, site: Site | None, now: datetime.datetime, notice_h: float | None = None, *, seed: int | None = None
) -> View:
    """Put together what the checks look at. The notice is the one given, the record's, the site's, or 29 h."""
    wanted = notice_h if notice_h is not None else declared_notice(record, site)
    found = inputs.figures(record, wanted)
    answered = None
    if found.load is not None:
        answered = answer(found.load) if seed is None else answer(found.load, seed=seed)
    return View(
        record=record,
        inventory=inventory(site),
        now=now,
        notice_h=wanted,
        rto_h=_objective(site, "rto"),
        rpo_h=_objective(site, "rpo"),
        vendors=vendors.of(record),
        deadline=answered,
        missing=found.missing,
    )


def declared_notice(record: Record, site: Site | None) -> float:
    """Return the notice (hours) to plan for."""
    if record.doc.get("notice") is not None:
        return tables.hours(record.doc["notice"])
    return _objective(site, "notice") or HOURS_FALLBACK


def _objective(site: Site | None, name: str) -> float | None:
    found = site.objectives.get(name) if site else None
    return found.total_seconds() / 3600 if found is not None else None


def value_at(value: Json, path: list[str]) -> Json:
    """Follow a dotted path into JSON; raises ``KeyError`` where it ends early."""
    for part in path:
        if not isinstance(value, dict) or part not in value:
            raise KeyError(part)
        value = value[part]
    return value
