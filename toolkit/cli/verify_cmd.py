"""``rehost verify``: is the copy equal?"""

from __future__ import annotations

import typer

from toolkit.cli.common import AsJson, Folder, Move, RunFolder, SiteFile, Tier, open_move, out, show_findings, where
from toolkit.cutover import desired_now
from toolkit.errors import UsageError
from toolkit.journal import Journal
from toolkit.runs import load_plan, note, save_findings
from toolkit.verify import TIERS, Verified
from toolkit.verify import verify as compare


def verify(
    folder: Folder = None, site: SiteFile = None, run: RunFolder = None, tier: Tier = "list", as_json: AsJson = False
) -> None:
    """Compare the target with what the site says: objects, records on the wire, servers, rows.

    Repairs nothing. Exit 1 when anything differs.
    """
    if tier not in TIERS:
        raise UsageError(f"there is no tier {tier!r}", f"choose one of: {', '.join(TIERS)}")
    move = open_move(where(folder, site, run), as_json=as_json)
    result = verified(move, tier)
    lines = [
        f"  {name}: {row['verified']:,} of {row['total']:,} {row['unit']} verified, lost {row['lost']:,}"
        for name, row in result.totals().items()
    ]
    lines += show_findings(result.findings)
    lines.append("Equal. Next: `rehost cutover traffic`." if result.clean else "Not equal yet: see the findings above.")
    out(result.to_json(), as_json=as_json, text="\n".join(lines))
    raise typer.Exit(0 if result.clean else 1)


def verified(move: Move, tier: str) -> Verified:
    """Verify an opened move and keep the result for the report."""
    with Journal(move.run.journal) as journal, move.display.board():
        result = compare(desired_now(load_plan(move.run), journal), move.families, tier=tier)
        journal.event("verify", {"clean": result.clean, "tier": tier, "findings": len(result.findings)})
    note(move.run, "verify", {**result.to_json(), "tier": tier})
    save_findings(move.run, result.findings)
    return result
