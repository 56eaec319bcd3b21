"""The two records that ship with the sample site, and ways to change a record for one test."""

from __future__ import annotations

import copy
import dataclasses
import datetime
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from toolkit.exitplan import catalogue, judge, record, rules, tables, view
from toolkit.exitplan.catalogue import Item
from toolkit.exitplan.judge import Checklist, Judged
from toolkit.exitplan.record import Record
from toolkit.site import Site, load

SEED = Path(__file__).resolve().parents[2] / "seeds" / "february-2021"
JANUARY, AFTER = SEED / "state" / "2021-01.yaml", SEED / "state" / "after.yaml"
Doc = dict[str, Any]


@cache
def site() -> Site:
    return load(SEED)


@cache
def items() -> dict[str, Item]:
    return catalogue.load(rules=tuple(rules.RULES))


@cache
def _document(path: Path) -> Doc:
    return dict(tables.read(path, missing="").doc)


def document(path: Path = AFTER) -> Doc:
    """A copy of a shipped record, to be changed."""
    return copy.deepcopy(_document(path))


def as_record(doc: Doc) -> Record:
    """Check a document as if it were read from beside the shipped ones."""
    nothing = tables.located("{}", str(AFTER))  # lines are not the matter here, and parsing takes its time
    return record.checked(dataclasses.replace(nothing, doc=doc), AFTER)


def judged(
    doc: Doc, *, notice_h: float | None = 29.0, now: datetime.datetime | None = None, at: Site | None = None
) -> Checklist:
    found = as_record(doc)
    moment = now or found.as_of or datetime.datetime.now(datetime.UTC)
    return judge.judge(items().values(), view.look(found, at or site(), moment, notice_h))


def row(doc: Doc, item: str, **more: Any) -> Judged:
    return judge.by_id(judged(doc, **more))[item]


Change = Callable[[Doc], None]


def put(path: str, value: Any) -> Change:
    """Set one value deep in the document; ``*`` in the path stands for the first of a list."""

    def change(doc: Doc) -> None:
        at: Any = doc
        *way, last = path.split("/")
        for part in way:
            at = at[int(part)] if isinstance(at, list) else at[part]
        if isinstance(at, list):
            at[int(last)] = value
        else:
            at[last] = value

    return change
