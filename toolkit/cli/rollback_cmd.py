"""``rehost rollback``: take back what we did, newest first."""

from __future__ import annotations

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
    open_move,
    out,
    printable,
    show_findings,
    where,
)
from toolkit.errors import Conflict
from toolkit.journal import Journal
from toolkit.rollback import rollback as take_back
from toolkit.rollback import steps_to_undo, to_give_back
from toolkit.runs import forget, locked

To = Annotated[
    str, typer.Option("--to", help="planned (before apply), applied (before cut-over), traffic (before dns), dns.")
]
Purge = Annotated[
    bool, typer.Option("--purge-created", help="Also remove what we created at the target and nobody changed since.")
]

NoReverse = Annotated[
    bool,
    typer.Option("--no-reverse", help="Do not first bring back what was written at the new side since the switch."),
]


def rollback(
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    to: To = "planned",
    purge: Purge = False,
    no_reverse: NoReverse = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Restore DNS, configuration and servers to an earlier state; data is never deleted.

    Only what the journal says is ours is touched, and only if nobody changed it since. With
    `--purge-created` the target is left as it was before `rehost apply`. Objects that were written or
    deleted at the new side since the switch are first brought back to the source.
    """
    move = open_move(where(folder, site, run), as_json=as_json)
    with locked(move.run), Journal(move.run.journal) as journal:
        steps = steps_to_undo(journal, to)
        coming = to_give_back(journal, move.families, to) if not no_reverse else []
        lines = [f"  first: {printable(change.address)} ({change.note})" for change in coming]
        lines += [f"  undo {step.change.action} {printable(step.change.address)}" for step in steps]
        if not as_json:
            move.display.say("\n".join([f"Roll back to {to}: {len(steps)} steps", *lines]))
        if steps:
            consent(yes=yes, dry_run=dry_run, question=f"{len(steps)} steps will be taken back.")
        with move.display.board() as display:
            result = take_back(
                journal, move.families, to=to, purge=purge, reverse=not no_reverse, announce=display.announce
            )
    text = "\n".join([f"Taken back: {len(result.undone)} steps.", *show_findings(result.left)])
    document = {"undone": list(result.undone), "left": [finding.to_json() for finding in result.left]}
    for name in ("verify", "prove"):
        forget(move.run, name)
    out(document, as_json=as_json, text=text)
    if result.left:
        raise Conflict(
            f"{len(result.left)} steps were left alone: somebody changed them since",
            "look at each one above, put it right by hand, then roll back again",
        )
