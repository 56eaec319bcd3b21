"""``rehost apply``: make the plan true."""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit.apply import apply as make_true
from toolkit.apply import forecasts
from toolkit.cli.common import (
    AsJson,
    DryRun,
    Folder,
    RunFolder,
    SiteFile,
    Yes,
    consent,
    current_plan,
    freeze_window,
    open_move,
    out,
    show_plan,
    where,
)
from toolkit.errors import NeedsHuman, UsageError
from toolkit.journal import Journal
from toolkit.plan import in_the_way
from toolkit.runs import locked, note

UntilFits = Annotated[
    bool, typer.Option("--until-fits", help="Repeat passes until a last one fits `objectives.freeze`.")
]


def apply(
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    until_fits: UntilFits = False,
    as_json: AsJson = False,
) -> None:
    """Make the plan true: buckets and objects, servers, the database's first copy, the new zone.

    The source is only read. Every change is written to the journal before it happens: stop this at any
    moment, even with kill -9, and run it again; it looks at the target and goes on from there.

    While the source is in use, running it again is a delta pass; `--until-fits` repeats passes.
    """
    move = open_move(where(folder, site, run), as_json=as_json)
    plan = current_plan(move)
    window = freeze_window(move.site)
    if until_fits and window is None:
        raise UsageError("--until-fits needs to know what to fit", "write `objectives: {freeze: 10m}` in site.yaml")
    if not as_json:
        move.display.say(show_plan(plan))
    if not in_the_way(plan):
        consent(yes=yes, dry_run=dry_run, question=f"{len(plan.changes)} changes on the target.")
    with locked(move.run), Journal(move.run.journal) as journal, move.display.board() as display:
        fit = window if until_fits else None
        applied = make_true(plan, move.families, journal, announce=display.announce, fit=fit)
        expected = forecasts(journal, window)
        moved = {step.change.address: dict(step.outputs) for step in journal.steps() if step.state == "done"}
    note(move.run, "apply", {"made": list(applied.made), "present": list(applied.present), "outputs": moved})
    text = f"Done: {len(applied.made)} changes made, {len(applied.present)} were already so. Next: `rehost verify`."
    document = {
        "made": list(applied.made),
        "present": list(applied.present),
        "forecast": [one.to_json() for one in expected],
    }
    out(document, as_json=as_json, text="\n".join([*(one.text for one in expected), text]))
    late = [one for one in expected if not one.fits]
    if until_fits and late:
        raise NeedsHuman(
            f"the last pass does not fit the freeze window: {'; '.join(one.text for one in late[:3])}",
            "passes do not get shorter any more: allow a longer freeze (`objectives.freeze`), or a quieter hour",
        )
