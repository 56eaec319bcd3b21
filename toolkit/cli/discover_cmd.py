"""``rehost discover``: read a provider into site.yaml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from toolkit import wiring
from toolkit.blobs import Blobs
from toolkit.cli.common import AsJson, Folder, RunFolder, SiteFile, out, printable, remember, where
from toolkit.cli.display import Display
from toolkit.discover import discover as read
from toolkit.model import Resource
from toolkit.site import load
from toolkit.site_merge import merge

Provider = Annotated[
    list[str],
    typer.Option(
        "-p",
        "--provider",
        help="A kind (aws, ceph, powerdns …) before a site exists, a name from it after. Repeatable.",
    ),
]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when the site has drifted.")]


def discover(
    provider: Provider,
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    check: Check = False,
    as_json: AsJson = False,
) -> None:
    """Read everything a provider holds into site.yaml; merge into an existing one.

    Keys and comments written by people stay; each observed change is shown. What could not be read is
    listed as not seen, and the exit code is 1: the result is incomplete, never silently shorter.
    """
    at = where(folder, site, run)
    file = at.site / "site.yaml" if at.site.is_dir() or at.site.suffix not in (".yaml", ".yml") else at.site
    known = load(file) if file.exists() else None
    name = known.name if known else (file.parent.resolve().name or "site")
    run_path = at.run or Path(".rehost") / name
    blobs = Blobs(run_path / "blobs")
    providers, observed = {}, []
    for wanted in provider:
        chosen = wiring.discovery_provider(known, wanted)
        providers[chosen.name] = chosen
        tick = Display(quiet=as_json).tick
        families = wiring.discovery_families(chosen, run_path, blobs, tick, base=file.parent, remember=remember)
        # A family knows the kind of its provider, not what the site calls it.
        observed += [replace(x, provider=chosen.name) if isinstance(x, Resource) else x for x in read(families)]
    drift = merge(file, observed, providers=wiring.provider_entries(providers), blobs=blobs, check=check)
    missed = drift.not_seen  # also what was read and cannot be said in site.yaml
    count = sum(isinstance(item, Resource) for item in observed)
    lines = [f"{'would write' if check else 'wrote'} {file}: {count} resources"]
    lines += [f"  + {printable(address)}" for address in drift.added]
    lines += [
        f"  ~ {printable(address)} {key}: {before!r} → {after!r}" for address, key, before, after in drift.changed
    ]
    lines += [f"  - {printable(address)} is no longer there (kept in the file)" for address in drift.gone]
    lines += [f"  ! not seen: {item.what}: {item.why}" for item in missed]
    if not check:
        lines.append("Next: edit it, then `rehost assess`.")
    document = {
        "file": str(file),
        "added": list(drift.added),
        "changed": [list(item) for item in drift.changed],
        "gone": list(drift.gone),
        "not_seen": [[item.what, item.why] for item in missed],
    }
    out(document, as_json=as_json, text="\n".join(lines))
    drifted = bool(drift.added or drift.changed or drift.gone)
    raise typer.Exit(1 if missed or (check and drifted) else 0)
