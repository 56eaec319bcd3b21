"""``rehost cutover traffic|dns|registrar``: move the names, gated by a clean verify."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from toolkit.cli.common import (
    AsJson,
    DryRun,
    Folder,
    RunFolder,
    SiteFile,
    Yes,
    consent,
    current_plan,
    open_move,
    out,
    printable,
    show_plan,
    where,
)
from toolkit.cutover import cutover as move_names
from toolkit.errors import Refused
from toolkit.journal import Journal
from toolkit.plan import plan_phase
from toolkit.runs import locked, note, save_plan


class Step(StrEnum):
    """The steps of a cut-over, in their order."""

    traffic = "traffic"
    dns = "dns"
    registrar = "registrar"


What = Annotated[
    Step,
    typer.Argument(help="traffic: freeze, last differences, records. dns: delegation. registrar: who holds the name."),
]


def cutover(
    step: What,
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Move the names to the new side, after everything is proven equal.

    `traffic` freezes writing at the source, moves the last differences and the database, verifies, and
    points the records at the new side. `dns` delegates the zone to the new name servers. `registrar`
    checks who holds the name. Each step can be taken back with `rehost rollback --to applied`.
    """
    move = open_move(where(folder, site, run), as_json=as_json)
    first = current_plan(move)
    if first.inputs.get("part"):
        raise Refused(
            f"the plan covers only a part of the site ({first.inputs['part']}): names cannot move with a part",
            "plan and apply the whole site, then cut over",
        )
    with locked(move.run), Journal(move.run.journal) as journal:
        plan = plan_phase(step.value, first, move.families, move.run)
        save_plan(move.run, plan, step.value)
        if not as_json:
            move.display.say(show_plan(plan))
        if plan.changes or dry_run:
            consent(yes=yes, dry_run=dry_run, question=f"{len(plan.changes)} steps of the cut-over.")
        with move.display.board() as display:
            applied, verified = move_names(step.value, plan, move.families, journal, announce=display.announce)
        cut_off = [dict(step.outputs) for step in journal.steps() if step.outputs.get("open_uploads")]
    note(move.run, "verify", {**verified.to_json(), "tier": "list"})
    hint = {"traffic": "rehost cutover dns", "dns": "rehost prove", "registrar": "rehost prove"}[step.value]
    text = (
        f"Cut over ({step.value}): {len(applied.made)} steps made, {len(applied.present)} already so. Next: `{hint}`."
    )
    lines = [
        f"{one['open_uploads']:,} uploads in parts were under way at {one['bucket']} when writing stopped; who began"
        f" them has to begin again at the new side: {printable(', '.join(one['keys']))}"
        for one in cut_off
    ]
    document = {"made": list(applied.made), "present": list(applied.present), "cut_off": cut_off}
    out(document, as_json=as_json, text="\n".join([*lines, text]))
