"""``rehost exit``: could we leave, and in time?"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from toolkit import site as sites
from toolkit.cli.common import AsJson, Folder, RunFolder, SiteFile, out, printable
from toolkit.errors import UsageError
from toolkit.exitplan import catalogue, change, html, judge, money, observe, record, rules, tables, text, view
from toolkit.exitplan import export as exports
from toolkit.exitplan.catalogue import Item
from toolkit.exitplan.judge import Checklist
from toolkit.exitplan.record import Evidence, Record
from toolkit.exitplan.view import View
from toolkit.files import write_atomic
from toolkit.journal import Journal
from toolkit.runs import Run, open_run
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


Observe = Annotated[
    bool, typer.Option("--observe", help="First look at the live systems and write what is seen into the record.")
]


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
    observe_first: Observe = False,
    run: RunFolder = None,
    as_json: AsJson = False,
) -> None:
    """Judge every item of the checklist; exit 1 while one is open. Reads files only, unless --observe."""
    opened = open_plan(folder, site, state, as_of, notice)
    if observe_first:
        opened = observed(opened, run, as_of, notice)
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


@app.command()
def init(
    folder: Folder = None,
    site: SiteFile = None,
    state: StateFile = None,
    profile: Annotated[str, typer.Option("--profile", help="small (the short list) or regulated (all).")] = "regulated",
    as_json: AsJson = False,
) -> None:
    """Write the first exit.yaml from the site: what can be found out is filled in, everything else is open."""
    if profile not in record.PROFILES:
        raise UsageError(f"--profile {profile} means nothing", f"say {' or '.join(record.PROFILES)}")
    definition = sites.load(folder or site or Path("site.yaml"))
    place = state or definition.path.parent / record.NAME
    looker = _looker(datetime.datetime.now(datetime.UTC), as_json=as_json)
    document = change.start(place, definition, profile, observe.inventory(definition, looker))
    lines = [
        f"Wrote {place}: {len(document['vendors'])} vendors, {len(document['observed'])} observations.",
        "Fill in `owners:` and `deadline:`, then: `rehost exit check`.",
    ]
    out({"file": str(place), **document}, as_json=as_json, text="\n".join(lines))


@app.command()
def waive(
    item: Annotated[str, typer.Argument(help="Id of the item, such as N2.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it can be lived with.")],
    approver: Annotated[list[str], typer.Option("--approver", help="Who agrees; not its owner. Repeatable.")],
    expires: Annotated[str, typer.Option("--expires", help="The day on which the waiver ends.")],
    compensates: Annotated[str, typer.Option("--compensates", help="What makes up for it.")] = "",
    site: SiteFile = None,
    state: StateFile = None,
    run: RunFolder = None,
    as_json: AsJson = False,
) -> None:
    """Record that an item is accepted as it is, until a day. One that would not count is refused."""
    opened = open_plan(None, site, state, None, None)
    now = datetime.datetime.now(datetime.UTC)
    row = change.waive(
        opened.record,
        _item(opened, item),
        reason=reason,
        approvers=approver,
        expires=_moment(expires, "--expires"),
        compensates=compensates,
        now=now,
    )
    with Journal(_run(opened, run).journal) as journal:
        journal.event("exit.waive", row)
    out(row, as_json=as_json, text=f"{item} is waived until {expires}. It is in {opened.record.path}.")


@app.command()
def attest(
    item: Annotated[str, typer.Argument(help="Id of the item, such as H1.")],
    by: Annotated[str, typer.Option("--by", help="Who vouches for it.")],
    until: Annotated[str, typer.Option("--until", help="The day until which the word holds.")],
    file: Annotated[Path, typer.Option("--file", help="The file that shows it, beside the record or below.")],
    says: Annotated[str, typer.Option("--says", help="What is attested, in a sentence.")] = "",
    site: SiteFile = None,
    state: StateFile = None,
    run: RunFolder = None,
    as_json: AsJson = False,
) -> None:
    """Record a person's word for an item, with the digest of the file that shows it."""
    opened = open_plan(None, site, state, None, None)
    now = datetime.datetime.now(datetime.UTC)
    row = change.attest(
        opened.record, _item(opened, item), by=by, until=_moment(until, "--until"), file=file, says=says, now=now
    )
    with Journal(_run(opened, run).journal) as journal:
        journal.event("exit.attest", {"item": item, **row})
    out(
        {"item": item, **row},
        as_json=as_json,
        text=f"{item} is attested by {by} until {until} ({row['sha256'][:12]}…).",
    )


@app.command()
def export(
    folder: Folder = None,
    site: SiteFile = None,
    state: StateFile = None,
    as_of: AsOf = None,
    notice: Notice = None,
    what: Annotated[str, typer.Option("--as", help="checklist, or vendors (the register of DORA).")] = "checklist",
    form: Annotated[str, typer.Option("--format", help="md, html, json, junit; for vendors: dora-csv.")] = "md",
    target: Annotated[Path | None, typer.Option("--out", help="File to write.  [default: stdout]")] = None,
) -> None:
    """Write the plan for others: a page, Markdown, JSON, JUnit XML, or the register of DORA as CSV."""
    opened = open_plan(folder, site, state, as_of, notice)
    found, answered = judged(opened), opened.view.deadline
    bill = money.bill(opened.record, answered, opened.view.now.date()) if answered else None
    turns = money.turns(opened.record, answered) if answered else ()
    forms: dict[tuple[str, str], Callable[[], str]] = {
        ("checklist", "md"): lambda: exports.markdown(found, bill, turns),
        ("checklist", "html"): lambda: html.render(found, bill, turns),
        ("checklist", "json"): lambda: (
            json.dumps(exports.document(found, bill, turns), indent=2, sort_keys=True) + "\n"
        ),
        ("checklist", "junit"): lambda: exports.junit(found),
        ("vendors", "dora-csv"): lambda: exports.dora_csv(found),
    }
    if (what, form) not in forms:
        known = ", ".join(f"--as {one} --format {two}" for one, two in forms)
        raise UsageError(f"there is no --as {what} --format {form}", f"use one of: {known}")
    written = forms[what, form]()
    if target is None:
        sys.stdout.write(written)
        return
    write_atomic(target, written.encode(), mode=0o644)
    typer.echo(f"Wrote {target}.")


def observed(opened: Opened, run: Path | None, as_of: str | None, notice: str | None) -> Opened:
    """Look at the world, write what was seen into the record, and open it again."""
    if opened.site is None:
        raise UsageError("without a site there is nothing to look at", "give the site, or leave out --observe")
    if as_of is not None or opened.record.as_of is not None:
        raise UsageError("what is observed now says nothing about another day", "leave out --as-of or --observe")
    looker = _looker(opened.view.now)
    found = [*observe.inventory(opened.site, looker), *observe.live(opened.site, opened.record, looker)]
    place = run or Path(".rehost") / opened.site.name
    if place.is_dir():
        found += observe.past(open_run(place, opened.site.name), looker)
    kept = change.observe(opened.record, merged(opened.record, found))
    now = datetime.datetime.now(datetime.UTC)
    return Opened(opened.site, kept, view.look(kept, opened.site, now, _hours(notice)))


def _looker(now: datetime.datetime, *, as_json: bool = False) -> observe.Looker:
    def tell(said: str) -> None:
        if not as_json:
            typer.echo(printable(said), err=True)

    return observe.Looker(now, observe.kind_here(), tell)


def merged(found: Record, seen: list[Evidence]) -> list[Evidence]:
    """Leave alone what people measured and a definition cannot know: stores with figures stay."""
    before = found.evidence.get("stores")
    known = (
        before is not None
        and isinstance(before.value, dict)
        and any(isinstance(row, dict) and row.get("bytes") is not None for row in before.value.values())
    )
    return [one for one in seen if not (one.name == "stores" and known)]


def _item(opened: Opened, name: str) -> Item:
    items = catalogue.load(_extra(opened.record), rules=tuple(rules.RULES))
    if name not in items:
        raise UsageError(f"there is no item {name}", f"use one of: {', '.join(items)}")
    return items[name]


def _run(opened: Opened, run: Path | None) -> Run:
    name = opened.site.name if opened.site else opened.record.site
    return open_run(run or Path(".rehost") / name, name)


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
    items = catalogue.load(_extra(opened.record), rules=tuple(rules.RULES))
    small = opened.record.profile == "small"
    return judge.judge([item for item in items.values() if item.small or not small], opened.view, items)


def _extra(found: Record) -> list[Path]:
    return [found.path.parent / str(name) for name in found.doc.get("catalogues") or ()]


def _moment(given: str, option: str = "--as-of") -> datetime.datetime:
    if not tables.checked(given, tables.moment):
        raise UsageError(f"{option} {given} is no time", "write it like 2021-01-10 or 2021-01-10T02:53Z")
    return tables.moment(given)


def _hours(given: str | None) -> float | None:
    if given is None:
        return None
    if not tables.checked(given, tables.hours) or tables.hours(given) <= 0:
        raise UsageError(f"--notice {given} is no duration", "write it like 29h")
    return tables.hours(given)
