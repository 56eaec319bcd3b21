"""Order a report for a reader: what html, markdown and junit share. Missing sections become empty ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.families import FAMILIES, UNITS
from toolkit.model import Json
from toolkit.report.schema import PROMISES
from toolkit.report.text import between, duration

SHOWN = 300  # findings in a rendering for people; report.json always holds all
_RANK = {"error": 0, "warning": 1, "info": 2}

#: verdict → (headline, sentence)
VERDICTS: Mapping[str, tuple[str, str]] = {
    "independent": ("Independent", "The app lives on the new side alone. Nothing was found that depends on the old."),
    "dependent": ("Dependent", "Something still hangs on the old side. See the failed checks below."),
    "unproven": ("Unproven", "Nobody has shown yet that the new side lives alone. This is not a pass."),
    "not run": ("Not run", "The proof has not run. This report says what was done so far, no more."),
}
CHECKS: Mapping[str, str] = {
    "calls": "No calls to the old provider",
    "resolution": "Names resolve without it",
    "delegation": "NS, DS and registrar",
    "certificates": "Certificates",
    "endpoints": "No old endpoint left behind",
    "journeys": "The app works",
    "contents": "Everything is there",
}


@dataclass(frozen=True, slots=True)
class FamilyLine:
    """One row of the families table, with shares of 100 for the bar."""

    name: str
    unit: str
    total: int
    moved: int
    verified: int
    waived: int
    lost: int
    size: int | None

    @property
    def whole(self) -> bool:
        """Whether nothing is lost and the sum is right."""
        return self.lost == 0 and self.total == self.verified + self.waived

    def share(self, count: int) -> float:
        return round(100 * count / self.total, 2) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class PromiseLine:
    """One promise; ``status`` is ``not run`` when the run does not speak of it."""

    name: str
    text: str
    status: str
    evidence: str


def families(report: Mapping[str, Json]) -> list[FamilyLine]:
    """Return the families in the order they are built, others after them."""
    rows = report.get("families") or {}
    names = [name for name in FAMILIES if name in rows] + sorted(set(rows) - set(FAMILIES))
    return [
        FamilyLine(
            name,
            str(row.get("unit") or UNITS.get(name, "resources")),
            total=int(row.get("total", 0)),
            moved=int(row.get("moved", 0)),
            verified=int(row.get("verified", 0)),
            waived=int(row.get("waived", 0)),
            lost=int(row.get("lost", 0)),
            size=row.get("bytes"),
        )
        for name in names
        if (row := rows[name]) is not None
    ]


def promises(report: Mapping[str, Json]) -> list[PromiseLine]:
    """Return all ten promises, those the run does not speak of included."""
    rows = report.get("promises") or {}
    return [
        PromiseLine(
            name,
            str(rows.get(name, {}).get("text") or text),
            str(rows.get(name, {}).get("status", "not run")),
            str(rows.get(name, {}).get("evidence", "")),
        )
        for name, text in PROMISES.items()
    ]


def findings(report: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    """Return all findings, errors first, otherwise by address."""
    return sorted(
        report.get("findings") or (),
        key=lambda row: (_RANK.get(row.get("severity", "error"), 0), row.get("address", ""), row.get("id", "")),
    )


def counted(report: Mapping[str, Json]) -> dict[str, int]:
    """Count the findings by severity."""
    result = dict.fromkeys(_RANK, 0)
    for row in report.get("findings") or ():
        severity = row.get("severity", "error")
        result[severity] = result.get(severity, 0) + 1
    return result


def verdict(report: Mapping[str, Json]) -> tuple[str, str, str]:
    """Return (css name, headline, sentence). A verdict that nobody knows is shown as unproven."""
    name = str(report.get("verdict", "not run"))
    if name not in VERDICTS:
        return "unproven", f"Unknown verdict: {name}", VERDICTS["unproven"][1]
    headline, sentence = VERDICTS[name]
    return name.replace(" ", "-"), headline, str(report.get("reason") or sentence)


def took(report: Mapping[str, Json]) -> str:
    """Return how long the run took, or an empty text."""
    seconds = between(str(report.get("started", "")), str(report.get("finished", "")))
    return "" if seconds is None else duration(seconds)


def moments(report: Mapping[str, Json]) -> list[dict[str, str]]:
    """Return the timeline with the time since its first line."""
    rows = report.get("timeline") or ()
    first = str(rows[0].get("at", "")) if rows else ""
    return [
        {
            "at": str(row.get("at", "")),
            "since": "" if (gone := between(first, str(row.get("at", "")))) is None else f"+{duration(gone)}",
            "text": str(row.get("text", "")),
            "phase": str(row.get("phase", "")),
        }
        for row in rows
    ]
