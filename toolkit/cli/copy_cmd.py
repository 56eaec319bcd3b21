"""``rehost copy``: one bucket, or a part of it, from one store to another."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from toolkit import wiring
from toolkit.apply import apply as make_true
from toolkit.cli.common import (
    AsJson,
    DryRun,
    RunFolder,
    SiteFile,
    Yes,
    consent,
    out,
    remember,
    show_findings,
    show_plan,
)
from toolkit.cli.display import Display
from toolkit.copy import Request, exceptions, place, plan, refuse_overlap
from toolkit.journal import Journal
from toolkit.model import Json
from toolkit.plan import in_the_way
from toolkit.runs import locked, open_run, save_findings, save_plan
from toolkit.site import load

Source = Annotated[str, typer.Argument(help="PROVIDER:BUCKET\\[/PREFIX] to read.", show_default=False)]
Target = Annotated[str, typer.Argument(help="PROVIDER:BUCKET\\[/PREFIX] to write.", show_default=False)]
Include = Annotated[list[str] | None, typer.Option("--include", help="Only keys like this (glob). Repeatable.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", help="No keys like this (glob). Repeatable.")]
Newest = Annotated[bool, typer.Option("--newest", help="Only the newest version of each object.")]
Accept = Annotated[
    list[str] | None, typer.Option("--accept", help="Accept what is degraded: the name of a feature. Repeatable.")
]
Transfers = Annotated[
    int | None, typer.Option("--transfers", min=1, help="Most objects under way at once.  [default: adaptive]")
]


def copy(
    source: Source,
    target: Target,
    include: Include = None,
    exclude: Exclude = None,
    newest: Newest = False,
    accept: Accept = None,
    transfers: Transfers = None,
    site: SiteFile = None,
    run: RunFolder = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Copy objects from one bucket to another, whole or below a prefix, with everything that belongs to them.

    The same engine, verdicts and proof as `apply`. Stop it at any moment and run it again: it goes on.
    Nothing is ever deleted, and nothing at the target that this copy did not write is overwritten.
    """
    request = Request(
        place(source), place(target), _globs(include), _globs(exclude), newest=newest, accept=tuple(accept or ())
    )
    file = site or Path("site.yaml")
    known = load(file) if site is not None or file.exists() else None
    old, new = (wiring.copy_provider(known, end.provider) for end in (request.source, request.target))
    refuse_overlap(request, same_store=(old.kind, old.endpoint) == (new.kind, new.endpoint))
    folder = open_run(run or Path(".rehost") / request.name, request.name)
    display = Display(quiet=as_json)
    family = wiring.copy_family(
        old,
        new,
        folder.path,
        display.tick,
        transfers=transfers,
        base=known.folder if known else Path(),
        remember=remember,
    )
    with locked(folder), Journal(folder.journal) as journal:
        made = plan(request, family, folder)
        save_plan(folder, made)
        if not as_json:
            display.say(show_plan(made))
        if dry_run and as_json:
            out(made.to_json(), as_json=True, text="")
        if not in_the_way(made):
            consent(yes=yes, dry_run=dry_run, question=f"{request.source.shown} → {request.target.shown}.")
        started = time.monotonic()
        try:
            with display.board():
                applied = make_true(made, {family.name: family}, journal, announce=display.announce)
        finally:
            findings = exceptions(journal, made)
            save_findings(folder, findings)
        figures = [change.figures for change in made.changes if change.action == "copy"]
        document: dict[str, Json] = {
            "source": request.source.shown,
            "target": request.target.shown,
            "run": str(folder.path),
            "objects": sum(item.get("objects", 0) for item in figures),
            "bytes": sum(item.get("bytes", 0) for item in figures),
            "seconds": round(time.monotonic() - started, 3),
            "retries": display.retries,
            "made": list(applied.made),
            "present": list(applied.present),
            "findings": [finding.to_json() for finding in findings],
            "verdicts": [verdict.to_json() for verdict in made.verdicts],
            "notices": list(made.notices),
        }
    lines = [
        f"Done: {document['objects']:,} objects, {document['bytes']:,} bytes in {document['seconds']:,} s,"
        f" {document['retries']} retries. Run folder: {folder.path}",
        *show_findings(tuple(findings)),
    ]
    out(document, as_json=as_json, text="\n".join(lines))


def _globs(given: list[str] | None) -> tuple[bytes, ...]:
    return tuple(os.fsencode(glob) for glob in given or ())
