"""``rehost exit``: could we leave, and in time?"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from toolkit import site as sites
from toolkit.cli.common import AsJson, Folder, SiteFile, out, printable
from toolkit.errors import UsageError
from toolkit.exitplan import catalogue, judge, money, record, rules, tables, text, view
from toolkit.exitplan.judge import Checklist
from toolkit.exitplan.record import Record
from toolkit.exitplan.view import View
from toolkit.site import Site

app = typer.Typer(help="Plan an exit: could we leave, and in time?", no_args_is_help=True)

StateFile = Annotated[
    Path | None,
    typer.Option("--state", help="The record of the plan.  [default: exit.yaml beside the site]", show_default=False),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of", help="Judge as of this time.  [default: as_of of the record, else now]", show_default=False
    ),
]
Notice = Annotated[
    str | None,
    typer.Option("--notice", help="How much notice there is.  [default: the record's]", show_default=False),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of the simulation.", show_default=False)]
FailOn = Annotated[str, typer.Option("--fail-on", help="Least severity that shuts the gate: blocker, major or minor.")]


@dataclass(frozen=True, slots=True)
class Opened:
    """One plan with its site, at one moment."""

    site: Site | None
    record: Record
    view: View


@app.callback()
def exit_() -> None:
    """Plan an exit: could we leave, and in time?"""


@app.command()
def check(
    folder: Folder = None,
    site: SiteFile = None,
    state: StateFile = None,
    as_of: AsOf = None,
    notice: Notice = None,
    fail_on: FailOn = "minor",
    as_json: AsJson = False,
) -> None:
    """Judge every item of the checklist; exit 1 while one is open. Reads files only, asks no network."""
    opened = open_plan(folder, site, state, as_of, notice)
    if fail_on not in ("blocker", "major", "minor"):
        raise UsageError(f"--fail-on {fail_on} means nothing", "say blocker, major or minor")
    found = judged(opened)
    good = found.passes(fail_on)
    lines = [text.headline(opened.view), *text.checklist(found, fail_on)]
    lines.append("The gate is open." if good else "The gate is shut. Next: `rehost exit deadline`.")
    document = {
        "schema": "rehost.exit-check/1",
        "site": opened.record.site,
        "as_of": opened.view.now.isoformat(),
        "notice_h": opened.view.notice_h,
        "passes": good,
        "counts": found.counts(),
        "problems": list(found.problems),
        "deadline": opened.view.deadline.to_json() if opened.view.deadline else None,
        "items": [row.to_json() for row in found.rows],
    }
    out(document, as_json=as_json, text=printable("\n".join(lines)))
    raise typer.Exit(0 if good else 1)


@app.command()
def deadline(
    folder: Folder = None,
    site: SiteFile = None,
    state: StateFile = None,
    as_of: AsOf = None,
    notice: Notice = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Compute whether everything can leave within the notice, what it needs and what it costs."""
    opened = open_plan(folder, site, state, as_of, notice, seed)
    found = opened.view.deadline
    if found is None:
        missing = ", ".join(opened.view.missing)
        raise UsageError(
            f"the deadline cannot be computed: {missing} is not known",
            f"write `deadline: {{{opened.view.missing[0]}: …}}` into {opened.record.path}",
        )
    bill, turns = money.bill(opened.record, found, opened.view.now.date()), money.turns(opened.record, found)
    document = {
        **found.to_json(),
        "cost": bill.to_json() if bill else None,
        "order": [turn.to_json() for turn in turns],
    }
    lines = [text.headline(opened.view), *text.deadline(found, bill, turns)]
    out(document, as_json=as_json, text=printable("\n".join(lines)))


def open_plan(
    folder: Path | None,
    site: Path | None,
    state: Path | None,
    as_of: str | None,
    notice: str | None,
    seed: int | None = None,
) -> Opened:
    """Load site and record. Without a site file the record alone is judged; without either, nothing is known."""
    place = folder or site or Path("site.yaml")
    file = place / sites.NAME if place.is_dir() else place
    definition = sites.load(file) if state is None or file.is_file() else None
    beside = file.parent / record.NAME
    if state is not None or beside.is_file():
        found = record.load(state or beside)
    else:
        found = record.empty(beside, definition.name if definition else "")
    if definition is not None and found.site and found.site != definition.name:
        raise UsageError(
            f"{found.path} is the plan of {found.site!r}, the site is {definition.name!r}",
            "give the right record with --state, or the right site",
        )
    moment = _moment(as_of) if as_of else found.as_of or datetime.datetime.now(datetime.UTC)
    return Opened(definition, found, view.look(found, definition, moment, _hours(notice), seed=seed))


def judged(opened: Opened) -> Checklist:
    """Judge the items of the profile."""
    base = opened.record.path.parent
    extra = [base / str(name) for name in opened.record.doc.get("catalogues") or ()]
    items = catalogue.load(extra, rules=tuple(rules.RULES)).values()
    small = opened.record.profile == "small"
    return judge.judge([item for item in items if item.small or not small], opened.view)


def _moment(given: str) -> datetime.datetime:
    if not tables.checked(given, tables.moment):
        raise UsageError(f"--as-of {given} is no time", "write it like 2021-01-10 or 2021-01-10T02:53Z")
    return tables.moment(given)


def _hours(given: str | None) -> float | None:
    if given is None:
        return None
    if not tables.checked(given, tables.hours) or tables.hours(given) <= 0:
        raise UsageError(f"--notice {given} is no duration", "write it like 29h")
    return tables.hours(given)
