"""``rehost apply``: make the plan true."""

from __future__ import annotations

from toolkit.apply import apply as make_true
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
    show_plan,
    where,
)
from toolkit.journal import Journal
from toolkit.plan import in_the_way
from toolkit.runs import locked, note


def apply(
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make the plan true: buckets and objects, servers, the database's first copy, the new zone.

    The source is only read. Every change is written to the journal before it happens: stop this at any
    moment, even with kill -9, and run it again; it looks at the target and goes on from there.
    """
    move = open_move(where(folder, site, run), as_json=as_json)
    plan = current_plan(move)
    if not as_json:
        move.display.say(show_plan(plan))
    if not in_the_way(plan):
        consent(yes=yes, dry_run=dry_run, question=f"{len(plan.changes)} changes on the target.")
    with locked(move.run), Journal(move.run.journal) as journal, move.display.board() as display:
        applied = make_true(plan, move.families, journal, announce=display.announce)
        moved = {step.change.address: dict(step.outputs) for step in journal.steps() if step.state == "done"}
    note(move.run, "apply", {"made": list(applied.made), "present": list(applied.present), "outputs": moved})
    text = f"Done: {len(applied.made)} changes made, {len(applied.present)} were already so. Next: `rehost verify`."
    out({"made": list(applied.made), "present": list(applied.present)}, as_json=as_json, text=text)
