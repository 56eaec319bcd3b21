"""``rehost assess``: what would change meaning?"""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit.assess import assess as judge
from toolkit.cli.common import (
    AsJson,
    DryRun,
    Except,
    Folder,
    Only,
    RunFolder,
    SiteFile,
    Yes,
    consent,
    open_move,
    out,
    show_verdicts,
    where,
)


def assess(
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    only: Only = None,
    exclude: Except = None,
    probe: Annotated[bool, typer.Option("--probe", help="Measure the target in a scratch bucket first.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Give every feature of every resource a verdict: kept, converted, degraded or blocked.

    Exit 1 while something stands in the way: a blocked feature, or a degraded one that site.yaml does
    not accept (`accept:`). Nothing is written, except by --probe: one scratch bucket at the target, removed
    afterwards.
    """
    move = open_move(where(folder, site, run, only, exclude), as_json=as_json)
    if probe:
        consent(yes=yes, dry_run=dry_run, question="One scratch bucket at the target, removed afterwards.")
        for family in move.families.values():
            if (measure := getattr(family, "measure", None)) is not None:
                measure()
    abilities = {name: family.probe("target") for name, family in move.families.items()}
    verdicts = judge(move.resources, move.families, abilities, move.site.accepts)
    standing = [verdict for verdict in verdicts if verdict.stands_in_the_way]
    lines = show_verdicts(verdicts)
    lines.append(
        f"{len(standing)} stand in the way: accept degraded ones in site.yaml (`accept:`), or `ignore:` the resource."
        if standing
        else "Nothing stands in the way. Next: `rehost plan`."
    )
    out({"verdicts": [v.to_json() for v in verdicts]}, as_json=as_json, text="\n".join(lines))
    raise typer.Exit(1 if standing else 0)
