"""Write a report into a folder: report.json, report.html and junit.xml, each whole or not there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from toolkit.files import write_atomic, write_json
from toolkit.model import Json
from toolkit.report.html import render_html
from toolkit.report.junit import render_junit
from toolkit.report.schema import validate

_log = logging.getLogger(__name__)


def write(folder: Path, report: Mapping[str, Json]) -> None:
    """Write the three files. report.json comes first and is written even if the others cannot be.

    A report that does not fit its schema is written all the same, because a bad report of a failed
    move is worth more than none; what is wrong with it goes to the log.
    """
    for problem in validate(report):
        _log.warning("report: %s", problem)
    write_json(folder / "report.json", dict(report))
    write_atomic(folder / "report.html", render_html(report).encode())
    write_atomic(folder / "junit.xml", render_junit(report).encode())
