"""Order a report for a reader: what html, markdown and junit share. Missing sections become empty ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from toolkit.families import FAMILIES, UNITS
from toolkit.model import Json
from toolkit.report.text import between, duration, figure
from toolkit.summary import PROMISES

SHOWN = 300  # findings in a rendering for people; report.json always holds all
_OUTCOMES = ("blocked", "degraded", "converted", "kept")
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
    """One row of the families table."""

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


@dataclass(frozen=True, slots=True)
class PromiseLine:
    """One promise; ``status`` is ``not measured`` when the run does not speak of it."""

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
            str(rows.get(name, {}).get("status", "not measured")),
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


def figures(report: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Return (name, value) of every figure; a group of figures takes its unit from the group's name."""
    lines = []
    for name, value in sorted((report.get("figures") or {}).items()):
        if isinstance(value, Mapping):
            lines += [(str(part), figure(name, each)) for part, each in value.items()]
        else:
            lines.append((name.replace("_", " "), figure(name, value)))
    return lines


def took(report: Mapping[str, Json]) -> str:
    """Return how long the run took, or an empty text."""
    seconds = between(str(report.get("started", "")), str(report.get("finished", "")))
    return "" if seconds is None else duration(seconds)


#: Kinds of journal events → words for the timeline.
_EVENTS: Mapping[str, str] = {
    "apply.start": "apply started",
    "apply.end": "apply ended",
    "cutover.done": "cut over",
    "rollback.start": "rollback started",
    "rollback.end": "rolled back",
    "verify": "verified",
    "prove": "proof made",
}


def moments(report: Mapping[str, Json]) -> list[dict[str, str]]:
    """Return the timeline with the time since its first line, the last 200 lines of it."""
    rows = report.get("timeline") or ()
    first = str(rows[0].get("at", "")) if rows else ""
    return [
        {
            "at": str(row.get("at", "")),
            "since": "" if (gone := between(first, str(row.get("at", "")))) is None else f"+{duration(gone)}",
            "text": _EVENTS.get(str(row.get("what", "")), str(row.get("what", "")).replace(".", " ")),
            "detail": _detail(row.get("detail") or {}),
        }
        for row in rows[-200:]
    ]


def _detail(body: Mapping[str, Json]) -> str:
    """Write the plain values of an event; digests and nested values stay in report.json."""
    parts = []
    for key, value in body.items():
        if isinstance(value, bool):
            parts.append(key if value else f"not {key}")
        elif isinstance(value, int | float):
            parts.append(f"{value:,} {key}")
        elif isinstance(value, str) and not _is_digest(value):
            parts.append(value if key in ("phase", "to", "text", "verdict") else f"{key} {value}")
    return ", ".join(parts)


def _is_digest(value: str) -> bool:
    return len(value) >= 40 and all(c in "0123456789abcdef" for c in value)


@dataclass(frozen=True, slots=True)
class Changed:
    """Verdicts of one feature with one outcome, with the addresses they fell on and their reasons."""

    outcome: str
    feature: str
    accepted: str
    addresses: tuple[str, ...]
    reasons: tuple[str, ...]


def changed(report: Mapping[str, Json]) -> list[Changed]:
    """Group the verdicts that are not ``kept``, worst first."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Json]]] = {}
    for row in report.get("verdicts") or ():
        if row["verdict"] != "kept":
            groups.setdefault((row["verdict"], row["feature"], row.get("accepted", "")), []).append(row)
    found = [
        Changed(*key, tuple(sorted({row["address"] for row in rows})), tuple(sorted({row["reason"] for row in rows})))
        for key, rows in groups.items()
    ]
    return sorted(found, key=lambda group: (_OUTCOMES.index(group.outcome), group.feature, group.accepted))


def outcomes(report: Mapping[str, Json]) -> dict[str, int]:
    """Count the verdicts by outcome, worst first; empty when there are none."""
    rows = report.get("verdicts") or ()
    return {name: sum(row["verdict"] == name for row in rows) for name in _OUTCOMES} if rows else {}


def ties(report: Mapping[str, Json]) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """Return (name, how many, lines of (what, text)) for remaining, replaced and removed.

    What remains is listed; what was removed or replaced is counted by kind, because it is everything.
    """
    rows = report.get("dependence") or {}
    remaining, replaced, removed = (list(rows.get(name) or ()) for name in ("remaining", "replaced", "removed"))
    return [
        ("remaining", len(remaining), [(str(row["address"]), str(row["text"])) for row in remaining[:SHOWN]]),
        ("replaced", len(replaced), _by_kind((_kind(row["address"]), str(row["feature"])) for row in replaced)),
        ("removed", len(removed), _by_kind((_kind(address), "") for address in removed)),
    ]


def _by_kind(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    counts = sorted(Counter(rows).items())
    return [(what, f"{text} ×{count:,}".strip()) for (what, text), count in counts[:SHOWN]]


def _kind(address: str) -> str:
    return "/".join(str(address).split("/")[:2])
