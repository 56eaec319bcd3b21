"""The checklist and the deadline as plain text, for a terminal. Markup is the caller's."""

from __future__ import annotations

import math
from collections.abc import Iterable

from toolkit.exitplan import vendors
from toolkit.exitplan.cost import Cost
from toolkit.exitplan.deadline import Answer
from toolkit.exitplan.judge import Checklist, Judged
from toolkit.exitplan.triage import Turn
from toolkit.exitplan.view import View


def hours(value: float | None) -> str:
    """Write hours for a person: 29 h, 9.0 h, 34.7 d, never."""
    if value is None:
        return "unknown"
    if not math.isfinite(value):
        return "never"
    if abs(value) >= 96:
        return f"{value / 24:.1f} d"
    return f"{value:.0f} h" if value == round(value) else f"{value:.1f} h"


def share(value: float) -> str:
    """Write a share as per cent; above 1 no share would do."""
    return f"{100 * value:.0f} %" if value <= 1 else "more than there is: no hour is left for copying"


def headline(view: View) -> str:
    """Say the one number: the shortest notice that is survived."""
    if view.deadline is None:
        return f"Shortest survivable notice: unknown, because {', '.join(view.missing)} is not known"
    found = view.deadline
    fits = "fits" if found.n_min <= view.notice_h else "does not fit"
    return (
        f"Shortest survivable notice: {hours(found.n_min)} (bound by {found.bound_by});"
        f" a notice of {hours(view.notice_h)} {fits}"
    )


def deadline(found: Answer, bill: Cost | None, turns: Iterable[Turn] = ()) -> list[str]:
    """Return the lines of ``rehost exit deadline``."""
    load, middle = found.load, found.middle
    lines = [
        f"  available for copying   {hours(found.available_h)} of {hours(load.notice_h)} notice",
        f"  bytes                   {hours(middle.bytes_h)} for {load.size.p50 / 1e12:.2f} TB (10^12 bytes)"
        f" at {middle.rate_gbps:.2f} Gbit/s, less {load.change_gbps:g} of change",
        f"  objects                 {hours(middle.objects_h)} for {load.objects.p50:,.0f}",
        f"  before the first byte   {hours(load.fixed_h)} (listing, archive tiers)",
        f"  altogether              {hours(middle.total_h)}, bound by {middle.bound_by}",
        f"  slack                   P50 {hours(found.slack_p50)}, P90 {hours(found.slack_p90)}: {found.verdict}",
        f"  shortest notice         P50 {hours(found.n_min_p50)}, P90 {hours(found.n_min_p90)},"
        f" names {hours(found.names_h)}",
        f"  link to buy             {_gbps(found.link_needed_gbps)}",
        f"  already outside         {share(found.outside_min)} must be, {share(load.outside)} is",
        f"  draws                   {found.draws}, seed {found.seed}",
    ]
    if bill is not None:
        lines.append(f"  egress                  {bill.egress:,.0f} {bill.currency} ({bill.why}; {bill.source})")
        lines.append(f"  money altogether        {bill.total:,.0f} {bill.currency}")
    order = [
        f"    {n}. {turn.lot.name} ({turn.lot.kind}): {hours(turn.lot.hours)}"
        + (f", done after {hours(turn.done_h)}" if turn.fits else ", does NOT fit")
        for n, turn in enumerate(turns, 1)
    ]
    return lines + (["  order, when not everything fits:", *order] if order else [])


def _gbps(value: float) -> str:
    return f"{value:.1f} Gbit/s" if math.isfinite(value) else "none would do: no hour is left for copying"


def checklist(found: Checklist, severity: str) -> list[str]:
    """Return the lines of ``rehost exit check``: what is open, worst first, then the counts."""
    open_ = found.open(severity)
    lines = [_row(row) for row in open_]
    if any(row.pre for row in open_):
        lines.append("PRE: takes longer than the notice, so it can only be done before one comes.")
    if open_:
        lines.append(f"The slowest open blocker takes {hours(found.open_lead_h)} (P90).")
    lines += [f"problem: {problem}" for problem in found.problems]
    groups = vendors.fall_together(found.view.vendors)
    lines += [
        f"one decision of {authority} removes: {', '.join(names)}"
        for authority, names in groups.items()
        if len(names) > 1
    ]
    waived = [row for row in found.rows if row.state == "waived"]
    lines += [f"  waived {row.item.id}: {row.text}" for row in waived]
    counts = ", ".join(f"{count} {name}" for name, count in sorted(found.counts().items(), key=lambda pair: -pair[1]))
    return [*lines, f"Items: {counts}."]


def _row(row: Judged) -> str:
    pre = " PRE" if row.pre else ""
    lines = f"  {row.item.id:<3} {row.item.severity:<8} {row.label:<12}{pre:<5}{row.item.title}\n        {row.text}"
    return lines + (f"\n        try: {row.item.advice}" if row.item.advice else "")
