"""``rehost doctor``: can I start?"""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit.cli.common import AsJson, Folder, RunFolder, SiteFile, open_move, out, show_findings, where
from toolkit.doctor import POLICY, examine

Policy = Annotated[
    bool, typer.Option("--print-policy", help="Print the read-only IAM policy that discover and apply need, and stop.")
]


def doctor(
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    print_policy: Policy = False,
    as_json: AsJson = False,
) -> None:
    """Check the tools, the definition, the credentials of both sides and that the source is read-only.

    Each check has a remedy. Exit 1 when something is in the way.
    """
    if print_policy:
        typer.echo(POLICY)
        return
    move = open_move(where(folder, site, run), as_json=as_json)
    findings = tuple(examine(move.site, move.run, move.families))
    errors = [finding for finding in findings if finding.severity == "error"]
    lines = show_findings(findings)
    lines.append("Something is in the way: see above." if errors else "You can start. Next: `rehost assess`.")
    out({"findings": [finding.to_json() for finding in findings]}, as_json=as_json, text="\n".join(lines))
    raise typer.Exit(1 if errors else 0)
