"""The checklist as a document: JSON for machines, Markdown and JUnit XML; the page is in ``html``.

Enters: a :class:`Checklist`, the bill and the order of triage. Leaves: text. Every item names its evidence, and
every piece of evidence stands in the document with its time, kind, collector and digest; what was never observed
stands there too, as missing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from toolkit.exitplan import drills, text, vendors
from toolkit.exitplan.cost import Cost
from toolkit.exitplan.judge import Checklist, Judged
from toolkit.exitplan.triage import Turn
from toolkit.model import Json
from toolkit.report.text import visible

SCHEMA = "rehost.exit/1"


@dataclass(frozen=True, slots=True)
class Proof:
    """One piece of evidence as a reader looks it up. ``link`` is a file beside the record, or empty."""

    name: str
    title: str
    lines: tuple[str, ...]
    kind: str
    link: str = ""


def document(found: Checklist, bill: Cost | None, turns: Iterable[Turn]) -> dict[str, Json]:
    """Return everything as JSON."""
    view = found.view
    return {
        "schema": SCHEMA,
        "site": view.record.site,
        "as_of": view.now.isoformat(),
        "phase": view.record.phase,
        "profile": view.record.profile,
        "notice_h": view.notice_h,
        "headline": text.headline(view),
        "passes": found.passes(),
        "counts": found.counts(),
        "problems": list(found.problems),
        "deadline": view.deadline.to_json() if view.deadline else None,
        "missing": list(view.missing),
        "cost": bill.to_json() if bill else None,
        "order": [turn.to_json() for turn in turns],
        "items": [row.to_json() for row in found.rows],
        "evidence": {name: one.to_json() for name, one in view.record.evidence.items()},
        "attested": dict(view.record.part("attested")),
        "inventory": view.inventory.digest,
        "clocks": [clock.to_json() for clock in vendors.clocks(view.vendors.values())],
        "fall_together": {name: list(who) for name, who in _groups(found)},
        "drills": [dict(row) for row in view.record.rows("drills")],
    }


def _groups(found: Checklist) -> list[tuple[str, tuple[str, ...]]]:
    return [(name, who) for name, who in vendors.fall_together(found.view.vendors).items() if len(who) > 1]


def names_of(row: Judged) -> tuple[str, ...]:
    """Return the names of what an item is judged by; never none: what is n/a is judged by the inventory."""
    if row.evidence:
        return row.evidence
    if row.state == "n/a":
        return ("inventory",)
    return ("items",) if row.item.rule == "gate" else (f"attested:{row.item.id}",)


def proofs(found: Checklist) -> tuple[Proof, ...]:
    """Return every piece of evidence that an item names, what is missing included, in the order of the items."""
    wanted = dict.fromkeys(name for row in found.rows for name in names_of(row))
    return tuple(_proof(name, found) for name in wanted)


def _proof(name: str, found: Checklist) -> Proof:
    view = found.view
    if name == "inventory":
        return Proof(name, "inventory of the site", (f"sha256 {view.inventory.digest}",), "real")
    if name == "items":
        return Proof(name, "the other items of this list", (f"judged on {view.now:%Y-%m-%d %H:%M} UTC",), "real")
    if name.startswith("attested:"):
        attested = view.record.attested.get(name.partition(":")[2])
        if attested is None:
            return Proof(name, name, ("nobody has attested this",), "missing")
        lines = (
            f"{attested.by}, {attested.at:%Y-%m-%d}, holds until {attested.until:%Y-%m-%d}: {attested.says}",
            f"sha256 {attested.sha256}",
        )
        return Proof(name, attested.file, lines, "word", attested.file)
    one = view.record.evidence.get(name)
    if one is not None:
        seen = f"{one.at:%Y-%m-%d %H:%M} UTC by {one.collector}"
        said = tuple(line for line in (seen, one.source, _short(one.value), f"sha256 {one.digest}") if line)
        return Proof(name, name, said, one.kind)
    part = view.record.doc.get(name)
    if part:
        return Proof(name, f"{name} of the record", (f"{len(part)} entries in {view.record.path.name}",), "real")
    return Proof(name, name, ("never observed",), "missing")


def _short(value: Json) -> str:
    shown = ", ".join(f"{key}: {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
    return shown if len(shown) <= 240 else f"{shown[:239]}…"


# -- Markdown


def markdown(found: Checklist, bill: Cost | None, turns: Iterable[Turn]) -> str:
    """Return the checklist as Markdown."""
    view = found.view
    lines = [
        f"# Exit checklist: {_cell(view.record.site)}",
        "",
        f"As of {view.now:%Y-%m-%d %H:%M} UTC. **{_cell(text.headline(view))}.**",
        f"The gate is {'open' if found.passes() else 'shut'}: "
        + ", ".join(f"{count} {name}" for name, count in sorted(found.counts().items()))
        + ".",
        "",
    ]
    if view.deadline is not None:
        lines += ["## Deadline", "", "```", *text.deadline(view.deadline, bill, turns), "```", ""]
    if open_ := found.open():
        lines += ["## Open", "", *_table(open_), ""]
    lines += ["## Closed", "", *_table([row for row in found.rows if row.closed]), "", "## Evidence", ""]
    lines += [
        f'- <a id="{anchor(one.name)}"></a>**{_cell(one.title)}** ({one.kind}): {_cell("; ".join(one.lines))}'
        for one in proofs(found)
    ]
    if groups := _groups(found):
        lines += ["", "## Who falls with whom", ""]
        lines += [f"- one decision of {_cell(name)} removes {_cell(', '.join(who))}" for name, who in groups]
    return "\n".join(lines) + "\n"


def _table(rows: Iterable[Judged]) -> Iterator[str]:
    yield "| id | item | severity | state | why | owner | evidence |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in rows:
        pre = " PRE" if row.pre and not row.closed else ""
        seen = ", ".join(f"[{_cell(name)}](#{anchor(name)})" for name in names_of(row))
        who = _cell(row.owner.owner or "nobody")
        yield (
            f"| {row.item.id} | {_cell(row.item.title)} | {row.item.severity} | {row.label}{pre}"
            f" | {_cell(row.text)} | {who} | {seen} |"
        )


def _cell(value: str) -> str:
    """Make text from a file harmless in Markdown."""
    safe = str(visible(value))
    for mark in "\\`*_[]<>|":
        safe = safe.replace(mark, f"&#{ord(mark)};")
    return safe


def anchor(name: str) -> str:
    """Return the id under which a piece of evidence stands."""
    return "evidence-" + "".join(c if c.isalnum() else "-" for c in name)


# -- JUnit


def junit(found: Checklist) -> str:
    """Return one test case for each item: open ones fail, what is not asked is skipped."""
    rows = found.rows
    failed, skipped = sum(not row.closed for row in rows), sum(row.state == "n/a" for row in rows)
    figures = {"tests": str(len(rows) + 1), "failures": str(failed + bool(found.problems)), "skipped": str(skipped)}
    root = ElementTree.Element("testsuites", {"name": f"exit {visible(found.view.record.site)}", **figures})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "exit checklist", "errors": "0", **figures})
    for row in rows:
        name = f"{row.item.id} {row.item.title} [{row.label}]"
        case = ElementTree.SubElement(suite, "testcase", classname=f"exit.{row.item.group}", name=str(visible(name)))
        said = str(visible(row.text))
        if not row.closed:
            ElementTree.SubElement(case, "failure", message=said, type=row.state).text = said
        elif row.state == "n/a":
            ElementTree.SubElement(case, "skipped", message=said)
        else:
            ElementTree.SubElement(case, "system-out").text = said
    case = ElementTree.SubElement(suite, "testcase", classname="exit.list", name="the list itself")
    if found.problems:
        ElementTree.SubElement(case, "failure", message="; ".join(found.problems), type="problem")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


# -- the register of DORA


_COLUMNS = (
    *("provider", "type_of_service", "substitutability", "date_of_last_audit", "exit_plan_exists"),
    *("reintegration_possible", "impact_of_discontinuing", "alternatives_identified", "alternatives"),
    *("notice_hours", "transition_hours", "schedule_hours", "schedule_fits"),
)


def dora_csv(found: Checklist) -> str:
    """Return one row for each vendor with the fields of template B_07.01 and the contract clock beside them.

    What nobody said is ``not assessed``: an empty register is worth more than an invented one.
    """
    view = found.view
    target = io.StringIO()
    writer = csv.writer(target)
    writer.writerow(_COLUMNS)
    full = drills.latest(drills.of(view.record), lambda drill: drill.scope == "full")
    for one in view.current():
        clock = vendors.clocks([one])[0]
        stated: Mapping[str, Json] = {
            name: one.fact(name).value for name in ("substitutability", "reintegration", "impact")
        }
        others = [o.title for o in view.vendors.values() if o.kind == one.kind and o.name != one.name]
        writer.writerow(
            [
                _harmless(value)
                for value in (
                    one.title,
                    one.kind,
                    stated["substitutability"] or "not assessed",
                    f"{full.at:%Y-%m-%d}" if full else "never",
                    "yes" if clock.schedule_h is not None else "no",
                    stated["reintegration"] or "not assessed",
                    stated["impact"] or "not assessed",
                    "yes" if others else "no",
                    "; ".join(others),
                    *(_number(value) for value in (one.hours("notice"), one.hours("transition"), clock.schedule_h)),
                    {True: "yes", False: "no", None: "unknown"}[clock.fits_planned],
                )
            ]
        )
    return target.getvalue()


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def _harmless(value: Json) -> str:
    """A cell that begins like a formula would be one for a spreadsheet."""
    said = str(visible(str(value)))
    return f"'{said}" if said[:1] in "=+-@" else said
