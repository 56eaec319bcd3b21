"""The report as one HTML page: no script, no external asset, everything untrusted escaped.

The template is ``report.html.j2`` beside this file; jinja2 escapes for HTML, and ``visible`` writes
control characters and direction overrides as escapes before that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from toolkit.model import Json
from toolkit.report import text, view

#: status → (tone, mark): what a colour-blind reader and a stylesheet need.
_TONES = {
    "passed": ("passed", "✓"),
    "held": ("passed", "✓"),
    "kept": ("passed", "✓"),
    "failed": ("failed", "✗"),
    "broken": ("failed", "✗"),
    "blocked": ("failed", "✗"),
    "unproven": ("unproven", "?"),
    "degraded": ("unproven", "↓"),
    "converted": ("not-run", "↻"),
    "not measured": ("not-run", "–"),
}
_COMMAND = re.compile(r"`([^`]+)`")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("toolkit.report", "."),
        autoescape=True,
        finalize=text.visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=text.number,
        size=text.size,
        duration=text.duration,
        moment=text.moment,
        prose=_prose,
        mark=lambda status: _TONES.get(str(status), ("", "?"))[1],
        tone=lambda status: _TONES.get(str(status), ("unproven", ""))[0],
    )
    return environment.get_template("report.html.j2")


def render_html(report: Mapping[str, Json]) -> str:
    """Return the report as a self-contained page."""
    name, headline, sentence = view.verdict(report)
    rows = view.findings(report)
    comparison = report.get("comparison") or {}
    return _template().render(
        report={"site": "", "run": "", "started": "", "finished": "", "journal_head": "", "notices": [], **report},
        verdict={"name": name, "headline": headline, "sentence": sentence},
        mock=report.get("evidence") != "real",
        clocks=text.scale(report["scale"]) if report.get("scale", 1) != 1 else "",
        took=view.took(report),
        tiles=_tiles(report),
        families=view.families(report),
        checks=[_check(row) for row in report.get("checks") or ()],
        journeys=[_journey(row) for row in report.get("journeys") or ()],
        promises=view.promises(report),
        findings=[_finding(row, comparison) for row in rows[: view.SHOWN]],
        more=max(0, len(rows) - view.SHOWN),
        counted=view.counted(report),
        comparison=comparison,
        outcomes=view.outcomes(report),
        changed=view.changed(report)[: view.SHOWN],
        ties=view.ties(report),
        moments=view.moments(report),
        figures=view.figures(report),
    )


def _tiles(report: Mapping[str, Json]) -> list[tuple[str, str, str]]:
    """The four figures a tired reader looks for first: (value, label, tone)."""
    rows = view.families(report)
    lost, seen = sum(row.lost for row in rows), view.counted(report)
    checks = report.get("checks") or ()
    passed = sum(row.get("status") == "passed" for row in checks)
    journeys = report.get("journeys") or ()
    replayed = sum(bool(row.get("passed")) for row in journeys)
    return [
        (text.number(lost), "lost", "failed" if lost else "passed") if rows else ("–", "lost", "not-run"),
        (text.number(sum(row.verified for row in rows)), "units verified", "plain"),
        (f"{passed}/{len(checks)}", "checks passed", _tone(passed, len(checks))),
        (f"{replayed}/{len(journeys)}", "journeys passed", _tone(replayed, len(journeys))),
        (
            text.number(seen["error"]),
            "error" if seen["error"] == 1 else "errors",
            "failed" if seen["error"] else "plain",
        ),
    ]


def _tone(good: int, total: int) -> str:
    if not total:
        return "not-run"
    return "passed" if good == total else "failed"


def _check(row: Mapping[str, Json]) -> dict[str, Json]:
    name = str(row.get("name", "?"))
    return {
        "number": row.get("number", ""),
        "title": view.CHECKS.get(name, name),
        "name": name,
        "status": str(row.get("status", "unproven")),
        "text": str(row.get("text", "")),
    }


def _journey(row: Mapping[str, Json]) -> dict[str, Json]:
    steps = list(row.get("steps") or ())
    return {
        "name": str(row.get("name", "?")),
        "status": "passed" if row.get("passed") else "failed",
        "seconds": row.get("seconds"),
        "why": next((str(step["why"]) for step in steps if step.get("why")), "" if steps else "it has no steps"),
        "steps": [
            {key: step.get(key, "") for key in ("method", "url", "status", "why")} | {"bad": bool(step.get("why"))}
            for step in steps
        ],
    }


def _finding(row: Mapping[str, Json], comparison: Mapping[str, Json]) -> dict[str, Json]:
    shown = {
        key: str(row.get(key, "")) for key in ("id", "address", "feature", "verdict", "severity", "text", "remedy")
    }
    return {**shown, "new": shown["id"] in comparison.get("new", ())}


def _prose(value: Json) -> Markup:
    """Escape text, with what stands between backticks shown as a command."""
    parts = _COMMAND.split(str(text.visible(str(value))))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )
