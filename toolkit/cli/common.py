"""What every verb shares: options, opening a move, consent, output and exit codes."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from toolkit import wiring
from toolkit.blobs import Blobs
from toolkit.cli.display import Display
from toolkit.errors import Refused, RehostError
from toolkit.families import Family
from toolkit.model import Finding, Json, Plan, State, Verdict
from toolkit.runs import Run, file_digest, load_plan, open_run
from toolkit.secrets import Redacting, Secret
from toolkit.site import Site, import_payload, load
from toolkit.site_words import duration

log = logging.getLogger(__name__)

Folder = Annotated[Path | None, typer.Argument(help="Folder of the site (the same as --site).", show_default=False)]
SiteFile = Annotated[
    Path | None, typer.Option("--site", help="site.yaml or its folder.  [default: ./site.yaml]", show_default=False)
]
RunFolder = Annotated[
    Path | None, typer.Option("--run", help="Run folder.  [default: .rehost/<name>]", show_default=False)
]
Only = Annotated[list[str] | None, typer.Option("--only", help="Only these: address globs, wave:2, tag:team=web.")]
Except = Annotated[list[str] | None, typer.Option("--except", help="All but these.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Yes = Annotated[bool, typer.Option("--yes", help="Answer yes to the question before the world is changed.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Stop after showing what would be done.")]
Tier = Annotated[str, typer.Option("--tier", help="list, meta, bytes, bytes:N/T (a slice) or behaviour.")]


@dataclass(frozen=True, slots=True)
class Move:
    """One opened move: the site, its run folder, the selected resources and the families."""

    site: Site
    run: Run
    resources: State
    families: Mapping[str, Family]
    display: Display
    part: str = ""  # the selection, empty for the whole site


@dataclass(frozen=True, slots=True)
class Where:
    """Which site and run a verb works on, and on which part of it."""

    site: Path
    run: Path | None
    only: tuple[str, ...]
    exclude: tuple[str, ...]


def where(
    folder: Path | None,
    site: Path | None,
    run: Path | None,
    only: list[str] | None = None,
    exclude: list[str] | None = None,
) -> Where:
    """Fold the common options into one value."""
    return Where(folder or site or Path("site.yaml"), run, tuple(only or ()), tuple(exclude or ()))


def load_site(at: Where) -> tuple[Site, Run]:
    """Load the site and open its run folder, payload imported."""
    site = load(at.site)
    run = open_run(at.run or Path(".rehost") / site.name, site.name)
    import_payload(site, Blobs(run.path / "blobs"))
    return site, run


def open_move(at: Where, *, as_json: bool = False, source: bool = True) -> Move:
    """Load the site, open the run folder and bind the families to their providers.

    ``source=False`` leaves the old side alone: proving that nothing needs it must not need it either.
    """
    site, run = load_site(at)
    display = Display(quiet=as_json)
    families = wiring.open_families(site, run, display.tick, source=source, remember=remember)
    resources = site.selected(list(at.only), list(at.exclude))
    part = " ".join([*(f"--only {term}" for term in at.only), *(f"--except {term}" for term in at.exclude)])
    log.info("site %s, run folder %s, %d resources, families %s", site.path, run.path, len(resources), list(families))
    for name, provider in site.providers.items():
        log.info("provider %s: %s at %s", name, provider.kind, provider.endpoint or "its own address")
    return Move(site, run, resources, families, display, part)


def freeze_window(site: Site) -> float | None:
    """Return for how many seconds writing may stop at the cut-over, if the site says so."""
    said = site.section("objectives").get("freeze")
    return duration(str(said)).total_seconds() if said else None


def current_plan(move: Move) -> Plan:
    """Load the plan of the first phase; refuse it when site.yaml has changed since."""
    plan = load_plan(move.run)
    if plan.inputs.get("site") != file_digest(move.site.path):
        raise Refused("site.yaml was changed after the plan was made", "look at the new plan first: rehost plan")
    return plan


def remember(*secrets: Secret) -> None:
    """Have every log handler take these secrets out of what it writes."""
    for handler in logging.getLogger().handlers:
        for entry in handler.filters:
            if isinstance(entry, Redacting):
                entry.remember(*secrets)


def consent(*, yes: bool, dry_run: bool, question: str) -> None:
    """Ask before the world is changed. Leaves with 0 on a dry run, 20 where nobody can answer."""
    if dry_run:
        raise typer.Exit(0)
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(
            "nothing was changed: there is no terminal to ask on", "add --yes to go ahead, --dry-run to only look"
        )
    if input(f"{question} Type yes to go ahead: ").strip().lower() != "yes":
        raise Refused("nothing was changed: you did not say yes", "run the command again when you are ready")


def out(document: Json, *, as_json: bool, text: str) -> None:
    """Print one document, as JSON or as text."""
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    else:
        console().print(text, highlight=False, markup=False, soft_wrap=True)


def console(*, stderr: bool = False) -> Console:
    """A console that honours NO_COLOR and --no-color (which sets it)."""
    return Console(stderr=stderr)


def complain(error: RehostError, *, as_json: bool = False) -> None:
    """Print an error and its remedy to stderr, or as one JSON document on stdout where ``--json`` was asked for."""
    if as_json:
        document: dict[str, Json] = {"code": error.code, "text": error.text, "remedy": error.remedy}
        problems = getattr(error, "problems", ())
        document["problems"] = [asdict(problem) for problem in problems]
        out({"error": document}, as_json=True, text="")
        return
    screen = console(stderr=True)
    screen.print(f"error: {printable(error.text)}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    if error.remedy:
        screen.print(f"  try: {printable(error.remedy)}", markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """Show control characters escaped: names and keys come from a cloud and are untrusted."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def show_plan(plan: Plan) -> str:
    """Render a plan for a person: what stands in the way first, then every change, then the notices."""
    lines = [f"Plan {plan.digest[:12]} for {plan.site}: {len(plan.changes)} changes"]
    signs = {"create": "+", "update": "~", "delete": "-", "copy": ">"}
    for change in plan.changes:
        figures = ", ".join(f"{value:,} {key}" for key, value in change.figures.items() if value)
        note = "; ".join(part for part in (figures, change.note) if part)
        lines.append(
            f"  {signs[change.action]} {change.action:<6} {printable(change.address)}" + (f"  ({note})" if note else "")
        )
    if not plan.changes:
        lines.append("  nothing to do: the target is as the site says")
    lines += show_verdicts(plan.verdicts, only_notable=True)
    lines += [f"  note: {printable(notice)}" for notice in plan.notices]
    return "\n".join(lines)


def show_verdicts(verdicts: tuple[Verdict, ...], *, only_notable: bool = False) -> list[str]:
    """Render verdicts, worst first."""
    order = {"blocked": 0, "degraded": 1, "converted": 2, "kept": 3}
    lines = []
    counts: dict[str, int] = {}
    for verdict in sorted(verdicts, key=lambda v: order[v.outcome]):
        counts[verdict.outcome] = counts.get(verdict.outcome, 0) + 1
        if only_notable and not verdict.stands_in_the_way:
            continue
        mark = f" [accepted by {verdict.accepted}]" if verdict.accepted else ""
        assumed = " (assumed)" if verdict.assumed else ""
        lines.append(f"  {verdict.outcome:<9}{assumed} {printable(verdict.id)}: {printable(verdict.reason)}{mark}")
        if verdict.instead and verdict.stands_in_the_way:
            lines.append(f"            instead: {verdict.instead}")
    return [*lines, "Verdicts: " + ", ".join(f"{counts.get(name, 0)} {name}" for name in order)]


def show_findings(findings: tuple[Finding, ...], limit: int = 50) -> list[str]:
    """Render findings with their remedies."""
    lines = []
    for finding in findings[:limit]:
        lines.append(f"  {finding.severity}: {printable(finding.address)} {finding.feature}: {printable(finding.text)}")
        if finding.remedy:
            lines.append(f"      try: {printable(finding.remedy)}")
    if len(findings) > limit:
        lines.append(f"  … and {len(findings) - limit} more (all are in findings.jsonl)")
    return lines
