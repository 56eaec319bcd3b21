"""The fidelity page: what becomes of every feature, written from the verdict tables that ``assess`` reads.

    python -m toolkit.report.fidelity > docs/reference/fidelity.md

Enters: the verdict table of each family. Leaves: Markdown. A test holds the page fresh.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources

from toolkit.families import FAMILIES
from toolkit.verdicts import Row, load

_HEAD = """# Fidelity: what becomes of every feature

Written from the verdict tables by `make fidelity`; `rehost assess` reads the same tables. Do not edit.

| verdict | meaning |
| --- | --- |
| kept | the same at the new side |
| converted | expressed in another way, with the same effect |
| degraded | something is lost; `apply` refuses until `accept:` in site.yaml names it |
| blocked | cannot be moved; `apply` refuses until the resource is left out with `ignore:` and a reason |

Rows of one feature stand from best to worst. The first one that fits counts: a target that lacks an
ability falls through to the next row. A feature without a row is **blocked**.
"""
_NAMES: Mapping[str, str] = {
    "storage": "Object storage",
    "compute": "Servers and networks",
    "database": "Databases",
    "dns": "DNS",
}


def tables() -> dict[str, tuple[Row, ...]]:
    """Return the verdict table of every family that has one."""
    return {
        name: load(f"toolkit.{name}")
        for name in FAMILIES
        if resources.files(f"toolkit.{name}").joinpath("verdicts.yaml").is_file()
    }


def page(rows_of: Mapping[str, Iterable[Row]]) -> str:
    """Return the page for these tables."""
    return "\n".join(_lines(rows_of)).rstrip() + "\n"


def _lines(rows_of: Mapping[str, Iterable[Row]]) -> Iterator[str]:
    yield _HEAD
    for name, rows in rows_of.items():
        yield f"## {_NAMES.get(name, name)}\n"
        yield "| feature | from → to | the target needs | verdict | what happens | instead |"
        yield "|" + " --- |" * 6
        for row in rows:
            way = f"{_any(row.source)} → {_any(row.target)}"
            needs = ", ".join(f"`{need}`" for need in row.needs) or "–"
            cells = (f"`{row.feature}`", way, needs, f"**{row.outcome}**", row.reason, row.instead or "–")
            yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"
        yield ""


def _any(kind: str) -> str:
    return "any" if kind == "*" else kind


def _cell(text: str) -> str:
    """Keep text inside its table cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(page(tables()))
