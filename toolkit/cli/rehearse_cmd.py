"""``rehost rehearse``: the whole move on this machine, against mocked AWS."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.common import AsJson, Yes, consent, out
from toolkit.cli.display import Display
from toolkit.errors import NotFound
from toolkit.rehearsal import isolation, lab
from toolkit.rehearsal.lab.info import load as load_info
from toolkit.shipped import shipped


class Target(StrEnum):
    """Where the app moves to."""

    embedded = "embedded"
    lab = "lab"


SiteDir = Annotated[
    Path | None,
    typer.Argument(
        help="Folder with site.yaml and generate.py, or the name of a shipped sample.",
        show_default="seeds/february-2021",
    ),
]
Where = Annotated[
    Target, typer.Option("--target", help="embedded needs pip alone; lab is real Ceph, PowerDNS, a booted guest.")
]
Folder = Annotated[Path, typer.Option("--folder", help="Where the rehearsal keeps everything.")]
Scale = Annotated[float, typer.Option("--scale", min=0.001, help="Size of the sample data, 1 = as shipped.")]
Faults = Annotated[
    Path | None, typer.Option("--faults", help="A file of faults that both stores show, or the name of a shipped one.")
]
LabFolder = Annotated[Path, typer.Option("--lab", help="Folder of the lab.")]


def rehearse(
    site_dir: SiteDir = None,
    target: Where = Target.embedded,
    folder: Folder = Path(".rehost/rehearsal"),
    lab_folder: LabFolder = Path(".rehost/lab"),
    scale: Scale = 1.0,
    faults: Faults = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Move a real (small) social app off mocked AWS to an independent stack, and prove it.

    Seeds mocked AWS with the app, discovers it from there, runs the app on the source side, moves it
    with the same commands you would type, cuts AWS off, and proves independence by using the app on the
    new side. Touches no cloud: every connection outside loopback is refused.

    Exit 0 only if everything is verified and the verdict is independent; 1 when it is dependent or
    unproven.
    """
    site_dir = _sample(site_dir or Path("seeds/february-2021"))
    if faults is not None:
        faults = _rules(faults)
    display = Display(quiet=as_json)
    if target is Target.lab and not isolation.inside():
        raise typer.Exit(_in_lab(lab_folder, display, yes=yes))
    if target is Target.embedded and not isolation.inside():
        code = isolation.run_isolated([sys.executable, "-m", "toolkit.cli", *sys.argv[1:]], dict(os.environ))
        if code is not None:
            raise typer.Exit(code)
    if target is Target.embedded and isolation.inside():
        isolation.raise_loopback()
    # Loaded here: the mocks take a second to import, which no other verb should pay for.
    from toolkit.rehearsal.rehearse import rehearse as play

    # Inside the lab's own process namespace its holder cannot be seen, so the file is read as it is.
    info = load_info(lab_folder) if target is Target.lab else None
    if target is Target.lab and info is None:
        raise NotFound(f"there is no lab in {lab_folder}", "start it with: rehost lab up")
    document = play(site_dir, folder, info=info, scale=scale, say=display.say, faults=faults)
    report = folder / "run" / "report" / "report.html"
    text = "\n".join(
        [
            *(
                f"  {name}: {row['total']:,} {row['unit']}, verified {row['verified']:,}, lost {row['lost']:,}"
                for name, row in document["families"].items()
            ),
            f"Verdict: {document['verdict']}. The report: {report}",
        ]
    )
    out(document, as_json=as_json, text=text)
    raise typer.Exit(int(document["exit_code"]))


def _sample(site_dir: Path) -> Path:
    """Return the folder of a sample site: as it is, or the shipped one of that name."""
    shipped_one = shipped("seeds") / site_dir.name
    return shipped_one if not site_dir.exists() and shipped_one.is_dir() else site_dir


def _rules(file: Path) -> Path:
    """Return a file of faults, as it is or the shipped one of that name; one that is wrong stops here."""
    from toolkit.rehearsal.faultproxy_rules import load

    shipped_one = shipped("seeds") / "faults" / f"{file.stem}.yaml"
    found = shipped_one if not file.exists() and shipped_one.is_file() else file
    load(found)
    return found


def _in_lab(folder: Path, display: Display, *, yes: bool) -> int:
    """Start the lab if it does not run, and run the same command again inside its namespaces."""
    started = lab.status(folder) is None
    if started:
        missing = lab.missing_packages()
        if missing:
            display.say(f"Debian packages to install: {' '.join(missing)}")
            consent(yes=yes, dry_run=False, question="Install them?")
            lab.install_packages(display.tick)
        # The sample's objects are small, so their parts are too: the store must take parts of any size.
        lab.up(folder, tick=display.tick, min_part=1)
    try:
        argv = [sys.executable, "-m", "toolkit.cli", *sys.argv[1:]]
        return lab.enter(folder, argv, {**os.environ, isolation.INSIDE: "1"})
    finally:
        if started:
            lab.down(folder)
