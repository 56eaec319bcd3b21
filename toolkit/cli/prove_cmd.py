"""``rehost prove``: does the new side live alone?"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from toolkit import guard, reach
from toolkit.cli.common import AsJson, Folder, Move, RunFolder, SiteFile, Tier, open_move, out, show_findings, where
from toolkit.cli.verify_cmd import verified
from toolkit.cutover import desired_now
from toolkit.errors import DefinitionError, NotFound, Problem, Refused, VerifyError
from toolkit.journal import Journal
from toolkit.journeys import record, take
from toolkit.model import Json
from toolkit.prove import Proof, Subject
from toolkit.prove import prove as check
from toolkit.runs import load_plan, note, noted
from toolkit.secrets import resolve

Record = Annotated[
    bool, typer.Option("--record", help="Before the cut-over: record journeys and pages at the source as baseline.")
]
Calls = Annotated[
    Path | None, typer.Option("--calls", help="Call log of the old provider since the cut-off (JSON lines).")
]
Pages = Annotated[
    Path | None,
    typer.Option("--pages", help="With --record: a file of addresses, one a line, to compare later."),
]


def prove(
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    tier: Tier = "bytes",
    record_baseline: Record = False,
    pages: Pages = None,
    calls: Calls = None,
    as_json: AsJson = False,
) -> None:
    """Make the seven checks of independence and give the verdict.

    Calls, resolution, delegation, certificates, endpoints, journeys, contents. Exit 1 when the site is
    dependent or unproven: a site without journeys, or without a recorded baseline, is never a pass.
    """
    move = open_move(where(folder, site, run), as_json=as_json, source=False)
    if record_baseline:
        _record(move, pages, as_json=as_json)
        return
    proof = proven(move, tier, calls)
    marks = {"passed": "ok", "failed": "FAILED", "unproven": "unproven"}
    lines = [f"  {n}. {c.name:<13} {marks[c.status]:<9} {c.text}" for n, c in enumerate(proof.checks, 1)]
    lines += show_findings(tuple(finding for finding in proof.findings if finding.severity == "error"))
    lines.append(f"Verdict: {proof.verdict}. Next: `rehost report`.")
    out(proof.to_json(), as_json=as_json, text="\n".join(lines))
    raise typer.Exit(0 if proof.verdict == "independent" else 1)


def proven(move: Move, tier: str, calls: Path | None) -> Proof:
    """Make the checks on an opened move and keep the result for the report."""
    baseline = noted(move.run, "baseline") or {}
    compared = verified(move, tier)
    with Journal(move.run.journal) as journal:
        desired = desired_now(load_plan(move.run), journal)
    subject = Subject(
        desired=desired,
        families=move.families,
        old=reach.old_side(move.site, move.families, move.resources),
        fetch=reach.fetcher(move.site),
        verified=compared,
        journeys=move.site.journeys,
        baseline=baseline.get("journeys", {}),
        login=move.site.logins,
        accounts=reach.accounts(move.site, move.run),
        recorded=baseline.get("pages", []),
        calls=None if calls is None else _read_calls(calls),
        isolation=_isolation(),
        tls=reach.tls_names(move.site),
        secret=partial(resolve, base=move.site.folder),
    )
    with move.display.board():
        proof = check(subject)
    with Journal(move.run.journal) as journal:
        journal.event("prove", {"verdict": proof.verdict, "checks": {c.name: c.status for c in proof.checks}})
    note(move.run, "prove", proof.to_json())
    return proof


def _record(move: Move, pages: Path | None, *, as_json: bool) -> None:
    fetch = reach.fetcher(move.site)
    results = record(move.site.journeys, fetch, secret=partial(resolve, base=move.site.folder))
    if pages is not None and not pages.is_file():
        raise NotFound(f"there is no file {pages}", "give a file with one address a line")
    with Journal(move.run.journal) as journal:
        if any(step.ours and step.change.phase == "traffic" for step in journal.steps()):
            raise Refused(
                "the names have moved already: what answers now is not the source",
                "take the cut-over back first (`rehost rollback --to applied`), or keep the baseline there is",
            )
    urls = pages.read_text("utf-8").split("\n") if pages else []
    taken = take([url for url in urls if url], fetch)
    recorded = {result.name: [step.to_json() for step in result.steps] for result in results}
    note(move.run, "baseline", {"journeys": recorded, "pages": taken})
    failed = [f"{result.name}: {result.steps[-1].why}" for result in results if not result.passed]
    if failed:
        raise VerifyError(
            "the journeys fail at the source itself: " + "; ".join(failed),
            "correct the journeys in site.yaml, or the source, then record again",
        )
    text = f"Recorded {len(results)} journeys and {len(taken)} pages at the source."
    out({"journeys": recorded, "pages": len(taken)}, as_json=as_json, text=text)


def _read_calls(path: Path) -> list[dict[str, Json]]:
    if not path.exists():
        raise NotFound(f"there is no call log {path}", "give the old provider's log as JSON lines")
    found: list[dict[str, Json]] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            found.append(dict(json.loads(line)))
        except ValueError as exc:
            raise DefinitionError(
                [Problem(str(path), number, "this line is not JSON", "give one JSON object a line")]
            ) from exc
    return found


def _isolation() -> str:
    """Say what keeps this process away from the old side, if anything does."""
    denied = os.environ.get(guard.DENY, "") if os.environ.get(guard.ALLOW) else ""
    return f"the audit hook that refuses {denied}" if denied else ""
