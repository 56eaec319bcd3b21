"""``rehost rewrite``: replace addresses that moved, at the target."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.addresses import Addresses
from toolkit.apply import apply as make_true
from toolkit.blobs import Blobs
from toolkit.cli.common import (
    AsJson,
    DryRun,
    Except,
    Folder,
    Move,
    Only,
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
from toolkit.journal import Journal
from toolkit.model import Json, state
from toolkit.rewrite import Sweep, forms, plan_of, sweep, write_endpoints
from toolkit.runs import load_plan, locked, note


def rewrite(
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    only: Only = None,
    exclude: Except = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Replace old addresses of buckets in the text objects at the target; count them everywhere else.

    The source is not touched. Every object is remembered before it is written, `rehost rollback` restores
    it, and an object that somebody changed meanwhile is left alone. Stop it at any moment and run it again.
    """
    move = open_move(where(folder, site, run, only, exclude), as_json=as_json)
    found = forms(move.site.selected(), move.families)
    write_endpoints(move.run, found)
    addresses = Addresses(found)
    chosen = set(move.resources)
    desired = {
        addr: item
        for addr, item in state(load_plan(move.run).desired).items()
        if addr in chosen or addr.replace("storage/objects/", "storage/bucket/", 1) in chosen
    }
    seen = sweep(desired, move.families, addresses, lambda: payload(move))
    if not as_json:
        move.display.say(shown(seen))
    if not seen.changes:
        document: dict[str, Json] = {"rewritten": {}, "findings": [finding.to_json() for finding in seen.findings]}
        out(document, as_json=as_json, text="No text object at the target holds an old address.")
        return
    objects = sum(change.figures["objects"] for change in seen.changes)
    consent(yes=yes, dry_run=dry_run, question=f"{objects:,} objects at the target will be rewritten.")
    with locked(move.run), Journal(move.run.journal) as journal, move.display.board() as display:
        applied = make_true(plan_of(move.run, desired, seen.changes), move.families, journal, announce=display.announce)
    left = sweep(desired, move.families, addresses, lambda: payload(move))
    document = {
        "rewritten": {change.address: dict(change.figures) for change in seen.changes},
        "made": list(applied.made),
        "left": sum(change.figures["objects"] for change in left.changes),
        "findings": [finding.to_json() for finding in left.findings],
    }
    note(move.run, "rewrite", document)
    text = f"Done: {objects:,} objects rewritten, {document['left']} still hold an old address. Next: `rehost verify`."
    out(document, as_json=as_json, text=text)


def payload(move: Move) -> Iterator[tuple[str, bytes]]:
    """Yield what is counted and never altered: user-data, files and environment of apps."""
    blobs = Blobs(move.run.path / "blobs")
    for addr, resource in move.resources.items():
        body = resource.body
        if isinstance(body.get("user_data"), dict):
            yield f"{addr}/user-data", blobs.get(body["user_data"]["sha256"])
        app = body.get("app") or {}
        for name, value in (app.get("env") or {}).items():
            yield f"{addr}/env/{name}", str(value).encode()
        for name, file in (app.get("files") or {}).items():
            yield f"{addr}/files/{name}", blobs.get(file["sha256"])
    for family in move.families.values():
        if (told := getattr(family, "texts", None)) is not None:
            yield from told(move.resources)


def shown(seen: Sweep) -> str:
    """Render what would be done as a diff, and what is only reported."""
    lines = []
    for change in seen.changes:
        figures = f"{change.figures['objects']:,} objects, {change.figures['addresses']:,} addresses"
        lines.append(f"  ~ rewrite {printable(change.address)}  ({figures})")
        lines += [f"    {line}" for line in printable(change.note).splitlines()]
    return "\n".join([*lines, *show_findings(seen.findings)])
