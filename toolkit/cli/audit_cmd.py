"""``rehost audit verify``: is the journal whole?"""

from __future__ import annotations

import typer

from toolkit.cli.common import AsJson, Folder, RunFolder, SiteFile, load_site, out, where
from toolkit.journal import Journal

app = typer.Typer(help="Check the hash chain of a run's journal.", no_args_is_help=True)


@app.callback()
def audit() -> None:
    """Check the hash chain of a run's journal."""


@app.command()
def verify(folder: Folder = None, site: SiteFile = None, run: RunFolder = None, as_json: AsJson = False) -> None:
    """Recompute the chain of events; a broken one is refused with exit code 30."""
    _, opened = load_site(where(folder, site, run))
    with Journal(opened.journal) as journal:
        events, head = len(journal.events()), journal.head
    out({"events": events, "head": head}, as_json=as_json, text=f"whole: {events} events, head {head}")
