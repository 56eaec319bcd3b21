"""Write a report into a folder: report.json, report.html and junit.xml, each whole or not there."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from toolkit.files import write_atomic
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
    # A lone surrogate (a file name that is not UTF-8) becomes its JSON escape, and reads back as it was.
    text = json.dumps(dict(report), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_atomic(folder / "report.json", text.encode("utf-8", "backslashreplace"))
    write_atomic(folder / "report.html", render_html(report).encode())
    write_atomic(folder / "junit.xml", render_junit(report).encode())
