"""The page of the items is what the catalogue says."""

from __future__ import annotations

from pathlib import Path

from toolkit.exitplan.page import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "exit-items.md"


def test_the_page_of_the_items_is_fresh() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: make fidelity"
