"""Summary: one run as the document ``rehost.report/1``, from what its stages left in the run folder.

Enters: a run (its plan, journal and noted results). Leaves: one plain dict for ``toolkit.report``.
Nothing is judged anew here: what was not measured is said to be so.
"""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.families import FAMILIES, UNITS
from toolkit.journal import Journal
from toolkit.model import Json
from toolkit.runs import Run, load_plan, noted, now

PROMISES: Mapping[str, str] = {
    "P1": "the source is never written to outside the consented steps",
    "P2": "nothing is lost silently: every feature has a verdict",
    "P3": "stopped at any instant and run again: the same final state",
    "P4": "running anything twice changes nothing",
    "P5": "success only if everything is verified or waived",
    "P6": "memory does not grow with the number of objects",
    "P7": "no credential reaches a file, log, plan or report",
    "P8": "every action is in a hash-chained journal",
    "P9": "progress or a named reason within 5 minutes",
    "P10": "verified means that digests are equal",
}


def summary(run: Run, *, exit_code: int | None = None) -> dict[str, Json]:
    """Assemble the report document of a run; without an exit code, that of its last check."""
    with Journal(run.journal) as journal:
        head, broken, events = journal.head, journal.broken_link(), journal.events()
    plan = load_plan(run) if run.plan_file().exists() else None
    verified = noted(run, "verify") or {}
    proof = noted(run, "prove") or {}
    context = noted(run, "context") or {}
    if exit_code is None:
        ill = proof.get("verdict") in ("dependent", "unproven") or not verified.get("clean", True)
        exit_code = 1 if ill else 0
    moved = noted(run, "moved") or {}
    measured: dict[str, Json] = dict(context.get("promises", {}))
    measured.setdefault(
        "P8", {"status": "broken" if broken else "held", "evidence": f"{len(events)} events, head {head[:16]}"}
    )
    if plan:
        standing = sum(verdict.stands_in_the_way for verdict in plan.verdicts)
        measured.setdefault(
            "P2",
            {
                "status": "broken" if standing else "held",
                "evidence": f"{len(plan.verdicts)} verdicts, {standing} unanswered",
            },
        )
    if verified:
        measured.setdefault(
            "P5",
            {
                "status": "held" if verified["clean"] else "broken",
                "evidence": "every unit verified" if verified["clean"] else "see findings",
            },
        )
        measured.setdefault(
            "P10",
            {"status": "held" if verified["clean"] else "broken", "evidence": f"tier {verified.get('tier', 'list')}"},
        )
    return {
        "schema": "rehost.report/1",
        "site": run.site,
        "run": run.id,
        "evidence": context.get("evidence", "real"),
        "scale": context.get("scale", 1),
        "started": events[0][0] if events else now(),
        "finished": events[-1][0] if events else now(),
        "exit_code": exit_code,
        "journal_head": head,
        "verdict": proof.get("verdict", "not run"),
        "families": _families(verified.get("totals", {}), moved),
        "promises": {
            name: {"text": text, **measured.get(name, {"status": "not measured", "evidence": ""})}
            for name, text in PROMISES.items()
        },
        "checks": proof.get("checks", []),
        "verdicts": [v.to_json() for v in plan.verdicts] if plan else [],
        "findings": [*verified.get("findings", []), *_proof_findings(proof, verified)],
        "journeys": proof.get("journeys", []),
        "dependence": _dependence(plan.to_json() if plan else None, proof),
        "timeline": [
            {"at": at, "what": kind, "detail": body} for at, kind, body in events if not kind.startswith("step.")
        ],
        "figures": context.get("figures", {}),
    }


def _families(totals: Mapping[str, Json], moved: Mapping[str, Json]) -> dict[str, Json]:
    result: dict[str, Json] = {}
    for name in FAMILIES:
        row = totals.get(name)
        if row is None:
            continue
        waived = int(row.get("waived", 0))
        result[name] = {
            "unit": UNITS[name],
            "total": row["total"],
            "moved": moved.get(name, row["verified"]),
            "verified": row["verified"],
            "waived": waived,
            "lost": row["total"] - row["verified"] - waived,
            "bytes": row.get("bytes", 0),
        }
    return result


def _proof_findings(proof: Mapping[str, Json], verified: Mapping[str, Json]) -> list[Json]:
    known = {finding["id"] for finding in verified.get("findings", [])}
    return [finding for check in proof.get("checks", []) for finding in check["findings"] if finding["id"] not in known]


def _dependence(plan: Mapping[str, Json] | None, proof: Mapping[str, Json]) -> dict[str, Json]:
    """What left the old side, what replaced it, what still hangs on it."""
    removed = sorted({c["address"] for c in plan["changes"]}) if plan else []
    replaced = [
        {"address": v["address"], "feature": v["feature"], "by": v["reason"]}
        for v in (plan["verdicts"] if plan else [])
        if v["verdict"] == "converted"
    ]
    remaining = [
        {"address": finding["address"], "text": finding["text"]}
        for check in proof.get("checks", [])
        for finding in check["findings"]
        if finding["verdict"] == "dependent"
    ]
    return {"removed": removed, "replaced": replaced, "remaining": remaining}
