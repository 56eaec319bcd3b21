"""From evidence to the state of every item, and from the states to the gate.

Enters: items and a :class:`View`. Leaves: a :class:`Checklist`. The rules, in the order in which they are asked:

1. What a later phase asks, what the inventory has none of, and what somebody called not applicable while the
   inventory was the same, is ``n/a``, with the reason. When the inventory has changed since, it is unknown.
2. Automatic items: conditions and rule. Missing evidence is ``unknown``; evidence older than the item's ttl, or
   from the future, is ``stale``. Neither is ever a pass, whatever it says.
3. Items that ask for a person's word need one that still holds, with a file.
4. What then is not good may be waived: by somebody who does not own it, until a day, if it can be waived at all.
5. A pass on mocks is a pass on mocks. It closes an item only where a mock is the proof asked for.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from toolkit.exitplan import rules
from toolkit.exitplan.catalogue import Item
from toolkit.exitplan.conditions import check
from toolkit.exitplan.deadline import too_late
from toolkit.exitplan.record import Attestation, Kind, Owner, Record, Waived
from toolkit.exitplan.view import Outcome, View
from toolkit.model import Json, sha256_hex

State = Literal["pass", "fail", "unknown", "stale", "waived", "waiver-expired", "attested", "n/a"]
#: More waivers than this are a habit: the gate stays shut.
CEILING = 5
PHASES = ("plan", "exit", "after")
_ORDER = {"blocker": 0, "major": 1, "minor": 2}


@dataclass(frozen=True, slots=True)
class Judged:
    """One item and what became of it."""

    item: Item
    state: State
    text: str
    at: datetime.datetime | None
    kind: Kind
    evidence: tuple[str, ...]
    owner: Owner
    pre: bool  # cannot be started once the notice is there
    waiver: Waived | None = None
    hindrance: str = ""  # why a waiver that exists does not count

    @property
    def closed(self) -> bool:
        """Say whether nothing is left to do: passed with the evidence asked for, attested, waived, or n/a."""
        if self.state == "pass":
            return self.kind == "real" or self.item.mock
        return self.state in ("attested", "waived", "n/a")

    @property
    def label(self) -> str:
        """The state as it is printed: a pass on mocks never looks like another."""
        return f"{self.state} (mock)" if self.kind == "mock" and self.state == "pass" else self.state

    def to_json(self) -> dict[str, Json]:
        return {
            "id": self.item.id,
            "group": self.item.group,
            "title": self.item.title,
            "severity": self.item.severity,
            "mode": self.item.mode,
            "state": self.state,
            "kind": self.kind,
            "closed": self.closed,
            "text": self.text,
            "pre": self.pre,
            "lead_p90_h": self.item.lead_h[1],
            "observed": self.at.isoformat() if self.at else None,
            "evidence": list(self.evidence),
            "owner": self.owner.owner,
            "deputy": self.owner.deputy,
            "due": self.owner.due,
            "depends_on": list(self.item.depends_on),
            "maps_to": list(self.item.maps),
            "try": self.item.advice,
            "waiver": None
            if self.waiver is None
            else {
                "reason": self.waiver.reason,
                "approvers": list(self.waiver.approvers),
                "expires": self.waiver.expires.isoformat(),
                "compensates": self.waiver.compensates,
                "counts": self.state == "waived",
                "hindrance": self.hindrance,
            },
        }


@dataclass(frozen=True, slots=True)
class Checklist:
    """All items at one moment, in the order of the catalogue."""

    rows: tuple[Judged, ...]
    view: View
    problems: tuple[str, ...] = ()

    def open(self, severity: str = "minor") -> tuple[Judged, ...]:
        """Return what is not closed, down to a severity, worst first."""
        worst = [row for row in self.rows if not row.closed and _ORDER[row.item.severity] <= _ORDER[severity]]
        return tuple(sorted(worst, key=lambda row: (_ORDER[row.item.severity], not row.pre)))

    def counts(self) -> dict[str, int]:
        """Return how many items are in each state, passes on mocks apart."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row.label] = found.get(row.label, 0) + 1
        return found

    @property
    def open_lead_h(self) -> float:
        """The longest lead time (p90, hours) among open blockers: how long until a notice could come."""
        return max((row.item.lead_h[1] for row in self.open("blocker")), default=0.0)

    def passes(self, severity: str = "minor") -> bool:
        """Say whether the gate is open."""
        return not self.open(severity) and not self.problems


def judge(items: Iterable[Item], view: View, known: Iterable[str] = ()) -> Checklist:
    """Return the state of every item. ``known`` are the ids of a catalogue of which ``items`` is a part."""
    listed = tuple(items)
    rows = [_judge(item, view) for item in listed]
    rows = [_gate(row, rows, view) if row.item.rule == "gate" and row.state != "n/a" else row for row in rows]
    waived = [row for row in rows if row.state == "waived"]
    problems = []
    if len(waived) > CEILING:
        problems.append(f"{len(waived)} items are waived, {CEILING} is the ceiling: close some of them")
    named = {item.id for item in listed} | set(known)
    for name in sorted({one.item for one in view.record.waived} - named):
        problems.append(f"a waiver names {name}, which is no item of this list")
    return Checklist(tuple(rows), view, tuple(problems))


def _judge(item: Item, view: View) -> Judged:
    owner = view.record.owner(item.id, item.group)
    pre = too_late(item.lead_h[1], view.notice_h)
    blank = Judged(item, "unknown", "", None, "real", item.needs, owner, pre)
    if reason := _not_asked(item, view):
        return replace(blank, state="n/a", text=reason, evidence=())
    declared = view.record.not_applicable.get(item.id)
    if declared is not None and item.waivable:  # else a word would do what a waiver may not
        if declared.inventory == view.inventory.digest:
            return replace(blank, state="n/a", text=f"{declared.reason} ({declared.by})", evidence=())
        return _waiver(replace(blank, text="called not applicable for another inventory: look again"), view)
    if item.mode == "M" and not item.rule:
        row = _word(blank, view, good="attested")
    else:
        row = _automatic(blank, view)
        if item.mode != "A" and row.state == "pass":
            row = _word(row, view, good="pass" if item.mode == "H" else "attested")
    return row if row.closed else _waiver(row, view)


def _not_asked(item: Item, view: View) -> str:
    if PHASES.index(item.phase) > PHASES.index(view.record.phase):
        return f"asked from the phase “{item.phase}” on"
    for section, kind in (item.applies or {}).items():
        if section == "vendors":
            kinds = view.vendor_kinds()
            if kinds and kind not in kinds:
                return f"no vendor of the kind {kind} is listed"
        elif section == "stores":
            seen = view.record.evidence.get("stores")
            tiers = {str(row.get("tier")) for row in seen.value.values()} if seen and _is_rows(seen.value) else set()
            if tiers and "None" not in tiers and not any(kind in tier for tier in tiers):
                return f"no store lies in the tier {kind}"
        elif section == "deadline":
            if view.record.part("deadline").get(kind) is False:
                return f"the plan says {kind}: no"
        elif view.inventory.known and not view.inventory.sections.get(section):
            return f"the inventory has no {section}"
    return ""


def _is_rows(value: Json) -> bool:
    return isinstance(value, dict) and all(isinstance(row, dict) for row in value.values())


def _automatic(row: Judged, view: View) -> Judged:
    item = row.item
    found = check(item.conditions, item.needs, view)
    if item.rule and item.rule != "gate" and found.result == "pass":
        found = _both(found, rules.run(item.rule, view, item.needs))
    row = replace(row, text=found.text, at=found.at, kind=found.kind, evidence=found.evidence or item.needs)
    if found.result != "pass":
        return replace(row, state=found.result)
    age = None if found.at is None else (view.now - found.at).total_seconds() / 3600
    if age is None and item.mode == "A":
        return replace(row, state="unknown", text=f"nobody says when this was seen: {found.text}")
    if age is not None and age < 0:
        return replace(row, state="stale", text=f"observed in the future, on {found.at:%Y-%m-%d %H:%M}: {found.text}")
    if age is not None and age > item.ttl_h:
        return replace(row, state="stale", text=f"{_span(age)} old, {_span(item.ttl_h)} allowed: {found.text}")
    return replace(row, state="pass")


def _both(first: Outcome, second: Outcome) -> Outcome:
    """Conditions held; the rule decides, and the older and weaker evidence counts."""
    times = [at for at in (first.at, second.at) if at is not None]
    kind: Kind = "mock" if "mock" in (first.kind, second.kind) else "real"
    text = "; ".join(part for part in (second.text, first.text) if part)
    return Outcome(second.result, text, min(times, default=None), kind, second.evidence or first.evidence)


def _word(row: Judged, view: View, *, good: State) -> Judged:
    """Ask for a person's word beside what a machine found."""
    said = view.record.attested.get(row.item.id)
    if said is None:
        return replace(row, state="unknown", text=_joined("nobody has attested this", row.text))
    text = _joined(f"{said.by}: {said.says or 'attested'} ({said.file}, sha256 {said.sha256[:12]}…)", row.text)
    evidence = (*row.evidence, f"attested:{row.item.id}")
    row = replace(row, text=text, evidence=evidence, at=min(said.at, row.at) if row.at else said.at)
    age = (view.now - said.at).total_seconds() / 3600
    if age < 0:
        return replace(row, state="stale", text=f"attested in the future: {text}")
    if wrong := broken_file(view.record, said):
        return replace(row, state="fail", text=f"{wrong}: {text}")
    if view.now >= said.until or age > row.item.ttl_h:
        return replace(row, state="stale", text=f"the word held until {said.until:%Y-%m-%d}: {text}")
    return replace(row, state=good)


def broken_file(record: Record, said: Attestation) -> str:
    """Say what is wrong with the file that somebody attests, or nothing."""
    file = record.path.parent / said.file
    try:
        digest = sha256_hex(file.read_bytes())
    except OSError:
        return f"the file {said.file} is not there"
    return "" if digest == said.sha256 else f"the file {said.file} is not the one that was attested"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _waiver(row: Judged, view: View) -> Judged:
    mine = [one for one in view.record.waived if one.item == row.item.id]
    if not mine:
        return row
    newest = max(mine, key=lambda one: one.expires)
    hindrance = why_not(row.item, row.owner, newest, view.now)
    if hindrance == "expired":
        text = f"the waiver ended on {newest.expires:%Y-%m-%d}: {row.text}"
        return replace(row, state="waiver-expired", text=text, waiver=newest, hindrance=hindrance)
    if hindrance:
        text = f"{row.text}; its waiver does not count: {hindrance}"
        return replace(row, text=text, waiver=newest, hindrance=hindrance)
    said = f"waived by {', '.join(newest.approvers)} until {newest.expires:%Y-%m-%d}: {newest.reason}"
    return replace(row, state="waived", text=said, waiver=newest)


def why_not(item: Item, owner: Owner, waiver: Waived, now: datetime.datetime) -> str:
    """Say why a waiver does not count, or nothing."""
    if not item.waivable:
        return "nobody can waive this item"
    if not owner.owner:
        return "the item has no owner, so nobody can tell that the approver is another"
    if plain(owner.owner) in {plain(name) for name in waiver.approvers}:
        return f"{owner.owner} owns the item and cannot approve"
    return "expired" if waiver.expires <= now else ""


def plain(name: str) -> str:
    """Return a name as it is compared: ``Operations `` is ``operations``."""
    return " ".join(name.casefold().split())


def _gate(row: Judged, rows: Iterable[Judged], view: View) -> Judged:
    """X1: every other blocker is closed; a waived one by two people who do not own it."""
    others = [one for one in rows if one.item.severity == "blocker" and one.item.id != row.item.id]
    still = [one.item.id for one in others if not one.closed]
    waived = [(one.item.id, one.waiver) for one in others if one.state == "waived" and one.waiver is not None]
    thin = [name for name, waiver in waived if len({plain(person) for person in waiver.approvers}) < 2]
    if still:
        return replace(row, state="fail", text=f"{len(still)} blockers are open: {', '.join(still)}")
    if thin:
        return replace(row, state="fail", text=f"waived by one person only: {', '.join(thin)}")
    return replace(row, state="pass", text=f"all {len(others)} other blockers are closed", at=view.now)


def _span(hours: float) -> str:
    return f"{hours / 24:.0f} d" if hours >= 48 else f"{hours:.0f} h"


def by_id(found: Checklist) -> Mapping[str, Judged]:
    """Return the rows by the id of their item."""
    return {row.item.id: row for row in found.rows}
