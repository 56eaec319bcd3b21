"""``rehost verify``: is the copy equal?"""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from toolkit.cli.common import AsJson, Folder, Move, RunFolder, SiteFile, Tier, open_move, out, show_findings, where
from toolkit.cutover import desired_now
from toolkit.journal import Journal
from toolkit.runs import load_plan, note, save_findings
from toolkit.tiers import parse
from toolkit.verify import Verified
from toolkit.verify import verify as compare

Diff = Annotated[bool, typer.Option("--diff", help="Print every key with a symbol: = + - * !")]


def verify(
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    tier: Tier = "list",
    diff: Diff = False,
    as_json: AsJson = False,
) -> None:
    """Compare the target with what the site says: objects, records on the wire, servers, rows.

    Repairs nothing. Exit 1 when anything differs.
    """
    parse(tier)
    move = open_move(where(folder, site, run), as_json=as_json)
    result = verified(move, tier)
    lines = [
        f"  {name}: {row['verified']:,} of {row['total']:,} {row['unit']} verified, lost {row['lost']:,}"
        for name, row in result.totals().items()
    ]
    lines += show_findings(result.findings)
    lines.append("Equal. Next: `rehost cutover traffic`." if result.clean else "Not equal yet: see the findings above.")
    reports = sorted((move.run.path / "diff").glob("*.txt"))
    if diff and not as_json:
        for report in reports:
            with report.open(encoding="utf-8") as file:
                shutil.copyfileobj(file, sys.stdout)
        sys.stdout.flush()
    document = {**result.to_json(), "diff": [str(report) for report in reports]}
    out(document, as_json=as_json, text="\n".join(lines))
    raise typer.Exit(0 if result.clean else 1)


def verified(move: Move, tier: str) -> Verified:
    """Verify an opened move and keep the result for the report."""
    for old in (move.run.path / "diff").glob("*.txt"):
        old.unlink()  # of another time, perhaps of a bucket that is no longer part of this move
    with Journal(move.run.journal) as journal, move.display.board():
        result = compare(desired_now(load_plan(move.run), journal), move.families, tier=tier)
        journal.event("verify", {"clean": result.clean, "tier": tier, "findings": len(result.findings)})
    note(move.run, "verify", {**result.to_json(), "tier": tier})
    save_findings(move.run, result.findings)
    return result
