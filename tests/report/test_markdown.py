"""Markdown: the order of things, and that names cannot become markup."""

from __future__ import annotations

import re

from tests.report.sample import bad, good
from toolkit.report import render_markdown
from toolkit.report.markdown import text


def test_the_verdict_is_the_title() -> None:
    lines = render_markdown(good()).splitlines()
    assert lines[0] == "# agora: Independent"
    assert "Rehearsed against mocks" in render_markdown(good())


def test_tables_hold_the_figures() -> None:
    assert "| storage | object versions | 3,212 | 3,212 | 3,209 | 0 | 3 |" in render_markdown(bad())


def test_every_row_of_a_table_has_its_columns() -> None:
    width = 0
    for line in render_markdown(bad()).splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.replace("\\|", "").count("|")
        assert width in (0, cells), line
        width = cells


def test_names_cannot_become_markup() -> None:
    assert text("<b>`*x*`</b> [a](b) | # | www.e.example") == (r"\<b\>\`\*x\*\`\</b\> \[a\](b) \| \# \| www\.e.example")
    assert text("http://e.example") == r"http:\//e.example"
    rendered = render_markdown(bad())
    assert "<script>" not in re.sub("`[^`\n]*`", "", rendered)  # inside a code span it is only text
    assert "\x1b" not in rendered
    assert "\u202e" not in rendered


def test_a_backtick_cannot_end_a_code_span() -> None:
    assert "# h | 'x' &" in render_markdown(bad())
