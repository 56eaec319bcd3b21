"""The checklist as one self-contained page: the headline, the chart and what is open on the first screen.

No script, nothing fetched; everything from files is escaped. The template is ``exit.html.j2`` beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from toolkit.exitplan import export, text, vendors
from toolkit.exitplan.cost import Cost
from toolkit.exitplan.deadline import Answer
from toolkit.exitplan.judge import Checklist, Judged
from toolkit.exitplan.triage import Turn
from toolkit.model import Json
from toolkit.report.text import visible

_TONES = {"pass": "good", "attested": "good", "n/a": "idle", "waived": "doubt", "fail": "bad", "waiver-expired": "bad"}
#: The chart's area, in the units of its viewBox: labels to the left, bars from here to there.
_LEFT, _RIGHT = 88.0, 338.0


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("toolkit.exitplan", "."),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(anchor=export.anchor, hours=text.hours)
    return environment.get_template("exit.html.j2")


def render(found: Checklist, bill: Cost | None, turns: Iterable[Turn]) -> str:
    """Return the page."""
    view, answered = found.view, found.view.deadline
    open_ = found.open()
    return _template().render(
        site=view.record.site,
        at=f"{view.now:%Y-%m-%d %H:%M} UTC",
        tone="good" if found.passes() else "bad",
        gate="The gate is open" if found.passes() else "The gate is shut",
        n_min=text.hours(answered.n_min) if answered else "unknown",
        why=_why(found),
        chart=_chart(answered) if answered else None,
        open=[(state, [_row(row) for row in rows]) for state, rows in _by_state(open_)],
        worst=[_row(row) for row in open_ if row.state == "fail"][:3],
        total=len(found.rows),
        closed=sum(row.closed for row in found.rows),
        problems=found.problems,
        groups=[(name, [_row(r) for r in found.rows if r.item.group == name]) for name in _group_names(found)],
        proofs=export.proofs(found),
        lines=text.deadline(answered, bill, turns) if answered else [],
        falls=[(name, ", ".join(who)) for name, who in vendors.fall_together(view.vendors).items() if len(who) > 1],
        clocks=[
            (clock.vendor, text.hours(clock.schedule_h), text.hours(clock.planned_h), text.hours(clock.hostile_h))
            for clock in vendors.clocks(view.current())
        ],
    )


def _why(found: Checklist) -> str:
    view, answered = found.view, found.view.deadline
    if answered is None:
        return f"It cannot be computed: {', '.join(view.missing)} is not known."
    fits = "fits" if answered.n_min <= view.notice_h else "does not fit"
    return f"A notice of {text.hours(view.notice_h)} {fits}; bound by {answered.bound_by}, with 90 % certainty."


def _by_state(rows: Iterable[Judged]) -> list[tuple[str, list[Judged]]]:
    found: dict[str, list[Judged]] = {}
    for row in rows:
        found.setdefault(row.label, []).append(row)
    return sorted(found.items(), key=lambda pair: (pair[0] != "fail", pair[0]))


def _group_names(found: Checklist) -> list[str]:
    return list(dict.fromkeys(row.item.group for row in found.rows))


def _row(row: Judged) -> dict[str, Json]:
    return {
        "id": row.item.id,
        "title": row.item.title,
        "severity": row.item.severity,
        "label": row.label,
        "tone": _TONES.get(row.state, "doubt") if row.kind == "real" or row.state != "pass" else "mock",
        "text": row.text,
        "pre": row.pre and not row.closed,
        "owner": row.owner.owner or "nobody",
        "lead": text.hours(row.item.lead_h[1]),
        "advice": "" if row.closed else row.item.advice,
        "evidence": export.names_of(row),
        "maps": ", ".join(row.item.maps),
    }


def _chart(found: Answer) -> dict[str, Json]:
    """Bars of hours on one scale: what the notice gives, what leaving takes, and where the notice ends."""
    load = found.load
    spans = [
        ("notice", load.notice_h, "notice"),
        ("P50 needs", found.n_min_p50, "need"),
        ("P90 needs", found.n_min_p90, "need"),
        ("names need", found.names_h, "need"),
    ]
    finite = [value for _, value, _ in spans if math.isfinite(value)]
    top = max(finite, default=1.0) * 1.12 or 1.0

    def x(value: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * min(value, top) / top, 1)

    bars = [
        {
            "label": label,
            "y": 6 + 25 * n,
            "width": max(1.0, x(value) - _LEFT),
            "tone": "notice" if kind == "notice" else "good" if value <= load.notice_h else "bad",
            "said": text.hours(value),
            # Inside the bar where it is long, behind it where it is short.
            "end": x(value) > _RIGHT - 60,
            "at": x(value) - 5 if x(value) > _RIGHT - 60 else x(value) + 5,
        }
        for n, (label, value, kind) in enumerate(spans)
    ]
    said = "; ".join(f"{label} {text.hours(value)}" for label, value, _ in spans)
    return {"bars": bars, "left": _LEFT, "line": x(load.notice_h), "said": said}
