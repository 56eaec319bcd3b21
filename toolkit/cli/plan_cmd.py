"""``rehost plan``: what would be done?"""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit.apply import forecasts
from toolkit.cli.common import (
    AsJson,
    Except,
    Folder,
    Move,
    Only,
    RunFolder,
    SiteFile,
    freeze_window,
    open_move,
    out,
    printable,
    show_plan,
    where,
)
from toolkit.journal import Journal
from toolkit.model import Plan
from toolkit.plan import plan as make
from toolkit.rewrite import forms, write_endpoints
from toolkit.runs import file_digest, save_plan

Check = Annotated[bool, typer.Option("--check", help="Exit 1 when there is anything to do.")]


def plan(
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    only: Only = None,
    exclude: Except = None,
    check: Check = False,
    as_json: AsJson = False,
) -> None:
    """Compare the site with the target and write down every change, in order, with a digest.

    Reads both sides, writes to neither. `rehost apply` makes exactly this plan and refuses any other.
    """
    move = open_move(where(folder, site, run, only, exclude), as_json=as_json)
    made = make_plan(move)
    save_plan(move.run, made)
    write_endpoints(move.run, forms(move.site.selected(), move.families))
    with Journal(move.run.journal) as journal:
        expected = [printable(one.text) for one in forecasts(journal, freeze_window(move.site))]
    text = "\n".join([show_plan(made), *expected]) + f"\nWritten to {move.run.plan_file()}. Next: `rehost apply`."
    out({"digest": made.digest, **made.to_json()}, as_json=as_json, text=text)
    raise typer.Exit(1 if check and made.changes else 0)


def make_plan(move: Move) -> Plan:
    """Make the plan of an opened move."""
    notices = [
        f"provider {name} is reached without TLS ({provider.endpoint})"
        for name, provider in move.site.providers.items()
        if str(provider.endpoint or "").startswith("http://")
    ]
    return make(
        move.resources,
        move.families,
        move.run,
        whole=move.site.selected(),
        accepts=move.site.accepts,
        notices=notices,
        inputs={"site": file_digest(move.site.path), "part": move.part},
    )
