"""``rehost lab up|down|status``: real Ceph, PowerDNS, libvirt and sshd on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.common import AsJson, Yes, consent, out
from toolkit.cli.display import Display
from toolkit.rehearsal import lab

app = typer.Typer(help="Start and stop a lab of real daemons (root on Debian).", no_args_is_help=True)
LabFolder = Annotated[Path, typer.Option("--folder", help="Folder of this lab.")]
MinPart = Annotated[
    int, typer.Option("--min-part", min=1, help="Smallest part of a multipart upload that the store takes, in bytes.")
]
DEFAULT = Path(".rehost/lab")


@app.command()
def up(folder: LabFolder = DEFAULT, min_part: MinPart = 1, yes: Yes = False, as_json: AsJson = False) -> None:
    """Start Ceph, PowerDNS, libvirt and sshd in a namespace tree of their own.

    Needs root on Debian; missing Debian packages are installed after asking. `lab down` (or killing the
    lab) leaves nothing behind.
    """
    display = Display(quiet=as_json)
    missing = lab.missing_packages()
    if missing:
        display.say(f"Debian packages to install: {' '.join(missing)}")
        consent(yes=yes, dry_run=False, question="Install them?")
        lab.install_packages(display.tick)
    info = lab.up(folder, tick=display.tick, min_part=min_part)
    out(info.to_json(), as_json=as_json, text=f"The lab is up in {folder}. Next: `rehost rehearse --target lab`.")


@app.command()
def down(folder: LabFolder = DEFAULT) -> None:
    """Stop the lab and everything in it."""
    lab.down(folder)


@app.command()
def status(folder: LabFolder = DEFAULT, as_json: AsJson = False) -> None:
    """Say whether the lab runs, and where its parts answer. Exit 1 when it does not."""
    info = lab.status(folder)
    text = "the lab is not running" if info is None else f"the lab runs in {folder}"
    out(info.to_json() if info else {}, as_json=as_json, text=text)
    raise typer.Exit(0 if info else 1)
