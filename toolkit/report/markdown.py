"""Markdown for a merge request or a chat: the short form of the report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from toolkit.model import Json
from toolkit.report.text import number, plural, scale, visible
from toolkit.report.view import (
    CHECKS,
    SHOWN,
    changed,
    counted,
    families,
    figures,
    findings,
    moments,
    outcomes,
    promises,
    ties,
    took,
    verdict,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#!|~&@])")
_LINKS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)")  # a renderer would make a link of it
_MARKS = {"passed": "✓", "held": "✓", "failed": "✗", "broken": "✗", "unproven": "?", "not measured": "–"}


def text(value: Json) -> str:
    """Make untrusted text harmless inside a Markdown line or table cell."""
    return _LINKS.sub(r"\\", _SPECIAL.sub(r"\\\1", str(visible(str(value)))))


def render_markdown(report: Mapping[str, Json]) -> str:
    """Return the report as Markdown."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def _lines(report: Mapping[str, Json]) -> Iterator[str]:
    _, headline, sentence = verdict(report)
    yield f"# {text(report.get('site', ''))}: {text(headline)}\n"
    yield f"{text(sentence)}\n"
    if report.get("evidence") == "mock":
        clocks = f" The rehearsal ran at scale {scale(report['scale'])}." if report.get("scale", 1) != 1 else ""
        yield f"> **Rehearsed against mocks.** No real provider was touched.{clocks}\n"
    seen = counted(report)
    span = f", took {took(report)}" if took(report) else ""
    yield (
        f"Run `{_code(report.get('run', ''))}`, exit code {report.get('exit_code', '?')}{span}: "
        f"{plural(seen['error'], 'error')}, {plural(seen['warning'], 'warning')}.\n"
    )
    yield from _families(report)
    yield from _checks(report)
    yield from _journeys(report)
    yield from _findings(report)
    yield from _changed(report)
    yield from _ties(report)
    yield from _promises(report)
    yield from _rest(report)


def _families(report: Mapping[str, Json]) -> Iterator[str]:
    rows = [
        [r.name, r.unit, *(number(n) for n in (r.total, r.moved, r.verified, r.waived, r.lost))]
        for r in families(report)
    ]
    if rows:
        yield "## What came over\n"
        yield from _table(["family", "unit", "total", "moved", "verified", "waived", "lost"], rows)


def _checks(report: Mapping[str, Json]) -> Iterator[str]:
    rows = [
        [
            _mark(row.get("status")),
            row.get("number", ""),
            CHECKS.get(str(row.get("name")), row.get("name")),
            row["text"],
        ]
        for row in report.get("checks") or ()
    ]
    if rows:
        yield "## The seven checks\n"
        yield from _table(["", "no.", "check", "what was seen"], rows)


def _journeys(report: Mapping[str, Json]) -> Iterator[str]:
    rows = [
        [
            _mark("passed" if row.get("passed") else "failed"),
            row.get("name", ""),
            len(row.get("steps") or ()),
            next((s["why"] for s in row.get("steps") or () if s.get("why")), ""),
        ]
        for row in report.get("journeys") or ()
    ]
    if rows:
        yield "## Journeys\n"
        yield from _table(["", "journey", "steps", "why it failed"], rows)


def _findings(report: Mapping[str, Json]) -> Iterator[str]:
    rows = findings(report)
    if not rows:
        return
    new = set((report.get("comparison") or {}).get("new", ()))
    yield "## Findings\n"
    for row in rows[:SHOWN]:
        fresh = " *(new)*" if row.get("id") in new else ""
        said = text(row.get("text", "")) + (f". {text(row['remedy'])}" if row.get("remedy") else "")
        yield f"- **{text(row.get('severity', ''))}**{fresh} `{_code(row.get('address', ''))}`: {said}"
    if len(rows) > SHOWN:
        yield f"- … and {number(len(rows) - SHOWN)} more in report.json"
    yield ""


def _ties(report: Mapping[str, Json]) -> Iterator[str]:
    rows = ties(report)
    if not any(count for _, count, _ in rows):
        return
    yield "## Dependence on the old side\n"
    for name, count, lines in rows:
        yield f"- **{name}: {number(count)}**"
        yield from (f"  - `{_code(what)}` {text(said)}" for what, said in lines)
    yield ""


def _changed(report: Mapping[str, Json]) -> Iterator[str]:
    if not (counts := outcomes(report)):
        return
    yield "## What changed meaning\n"
    yield ", ".join(f"{number(count)} {name}" for name, count in counts.items()) + ".\n"
    rows = [
        [row.outcome, row.feature, len(row.addresses), "; ".join(row.reasons[:3]), row.accepted]
        for row in changed(report)
    ]
    if rows:
        yield from _table(["verdict", "feature", "resources", "reason", "accepted by"], rows[:SHOWN])


def _promises(report: Mapping[str, Json]) -> Iterator[str]:
    yield "## Promises\n"
    yield from _table(
        ["", "promise", "", "evidence"], [[_mark(r.status), r.name, r.text, r.evidence] for r in promises(report)]
    )


def _rest(report: Mapping[str, Json]) -> Iterator[str]:
    if report.get("timeline"):
        yield "## Timeline\n"
        yield from (
            f"- {text(row['since'])} {text(row['text'])} {text(row['detail'])}".rstrip() for row in moments(report)
        )
        yield ""
    if report.get("figures"):
        yield "## Figures\n"
        yield from _table(["figure", "value"], (list(row) for row in figures(report)))
    for notice in report.get("notices") or ():
        yield f"> {text(notice)}\n"
    yield f"Journal head `{_code(report.get('journal_head', ''))}`"


def _table(head: list[str], rows: Iterable[list[Json]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(text(cell) for cell in row) + " |"
    yield ""


def _mark(status: Json) -> str:
    return _MARKS.get(str(status), "?")


def _code(value: Json) -> str:
    """Text inside a code span: only the backtick could end it."""
    return str(visible(str(value))).replace("`", "'")
