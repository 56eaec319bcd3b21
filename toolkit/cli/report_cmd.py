"""``rehost report``: the run as HTML, JSON, JUnit or Markdown."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from toolkit import report as rendering
from toolkit.cli.common import Folder, RunFolder, SiteFile, console, load_site, out, where
from toolkit.errors import DefinitionError, NotFound, Problem
from toolkit.summary import summary


class Format(StrEnum):
    """What the report is rendered as."""

    html = "html"
    json = "json"
    junit = "junit"
    md = "md"


As = Annotated[Format, typer.Option("--format", help="What to print; all three files are written in any case.")]
Baseline = Annotated[Path | None, typer.Option("--baseline", help="An earlier report.json to compare with.")]


def report(
    folder: Folder = None,
    site: SiteFile = None,
    run: RunFolder = None,
    style: As = Format.html,
    baseline: Baseline = None,
) -> None:
    """Write report.json, report.html and junit.xml into the run folder.

    With `--format json|junit|md` the document is printed as well; with `--baseline` the findings that
    are new or gone since an earlier report are printed.
    """
    _, opened = load_site(where(folder, site, run))
    document = summary(opened)
    target = opened.path / "report"
    rendering.write(target, document)
    if baseline is not None:
        out(rendering.compare(document, _earlier(baseline)), as_json=True, text="")
    elif style is Format.html:
        console().print(
            f"{document['verdict']}: {target / 'report.html'}", markup=False, highlight=False, soft_wrap=True
        )
    elif style is Format.json:
        out(document, as_json=True, text="")
    else:
        render = rendering.render_junit if style is Format.junit else rendering.render_markdown
        typer.echo(render(document))


def _earlier(path: Path) -> dict[str, object]:
    if not path.exists():
        raise NotFound(f"there is no report {path}", "give the report.json of an earlier run")
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as exc:
        raise DefinitionError([Problem(str(path), 1, "this is not a report", "give a report.json")]) from exc
    return dict(found)
