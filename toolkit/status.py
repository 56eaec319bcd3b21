"""Status: where a run stands, from its folder alone; touches neither side.

Enters: a run. Leaves: one plain dict, the same that ``rehost status --json`` prints.
"""

from __future__ import annotations

from toolkit import leases
from toolkit.apply import forecasts
from toolkit.journal import Journal
from toolkit.model import Json
from toolkit.runs import Run, load_plan, noted

STAGES = ("plan", "apply", "verify", "traffic", "dns", "prove")


def status(run: Run, *, window: float | None = None) -> dict[str, Json]:
    """Return stages done, steps by state, copy progress, open exceptions and what to do next.

    ``window``: how many seconds writing may stop; the forecasts are held against it.
    """
    with Journal(run.journal) as journal:
        events = journal.events()
        steps = journal.steps()
        latest = {step.id: step for step in steps}
        copying = {
            step.change.address: leases.counts(journal, step.id) for step in latest.values() if step.change.figures
        }
        head = journal.head
        expected = forecasts(journal, window)
    states: dict[str, int] = {}
    for step in latest.values():
        states[step.state] = states.get(step.state, 0) + 1
    building = [step for step in latest.values() if step.change.phase == "build"]
    done = _stages(run, events, steps_open=sum(step.state in ("intended", "failed") for step in building))
    return {
        "site": run.site,
        "run": run.id,
        "folder": str(run.path),
        "stages": done,
        "steps": states,
        "copying": copying,
        "forecast": [one.to_json() for one in expected],
        "unfinished": [s.change.address for s in latest.values() if s.state in ("intended", "failed", "conflict")],
        "verdict": (noted(run, "prove") or {}).get("verdict", "not run"),
        "journal_head": head,
        "next": _next(done),
    }


def _stages(run: Run, events: list[tuple[str, str, Json]], *, steps_open: int) -> dict[str, str]:
    """Return the state of each stage: done, unfinished, failed or open."""
    result = dict.fromkeys(STAGES, "open")
    if run.plan_file().exists():
        load_plan(run)
        result["plan"] = "done"
    for _, kind, body in events:
        if kind == "apply.start" and body["phase"] == "build":
            result["apply"] = "unfinished"
        elif kind == "apply.end" and body["phase"] == "build":
            result["apply"] = "unfinished" if steps_open else "done"
        elif kind == "cutover.done" and body["phase"] in result:
            result[body["phase"]] = "done"
        elif kind == "rollback.end":
            for stage in ("traffic", "dns"):
                result[stage] = "open"
    for name in ("verify", "prove"):
        if (left := noted(run, name)) is not None:
            good = left.get("clean") if name == "verify" else left.get("verdict") == "independent"
            result[name] = "done" if good else "failed"
    return result


def _next(stages: dict[str, str]) -> str:
    hints = {
        "plan": "rehost plan",
        "apply": "rehost apply",
        "verify": "rehost verify",
        "traffic": "rehost cutover traffic",
        "dns": "rehost cutover dns",
        "prove": "rehost prove",
    }
    return next((hints[stage] for stage in STAGES if stages[stage] != "done"), "rehost report")
