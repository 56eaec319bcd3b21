"""The runner behind ``make test``: when the lab runs, and that its last line tells the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run import Score, lab_wanted, summary

XML = '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}"/></testsuites>'


@pytest.mark.parametrize(
    ("asked", "root", "debian", "wanted", "why"),
    [
        ("", True, True, True, ""),
        ("", False, True, False, "needs root"),
        ("", True, False, False, "needs Debian"),
        ("0", True, True, False, "LAB=0"),
        ("1", False, False, True, ""),
        ("yes", True, True, False, "means nothing"),
    ],
)
def test_when_the_lab_runs(asked: str, root: bool, debian: bool, wanted: bool, why: str) -> None:
    found, reason = lab_wanted(asked, root, debian)
    assert found is wanted
    assert why in reason


@pytest.mark.parametrize(
    ("counts", "code", "passed", "failed", "skipped"),
    [
        ((10, 0, 0, 2), 0, 8, 0, 2),
        ((10, 1, 2, 0), 1, 7, 3, 0),
        ((10, 0, 0, 0), 2, 10, 1, 0),  # interrupted, or an internal error: never green
        ((0, 0, 0, 0), 5, 0, 1, 0),  # nothing was collected
    ],
)
def test_counts_come_from_pytest(
    tmp_path: Path, counts: tuple[int, ...], code: int, passed: int, failed: int, skipped: int
) -> None:
    file = tmp_path / "junit.xml"
    file.write_text(XML.format(*counts))
    score = Score()
    score.junit("tests", file, code)
    assert (score.passed, score.failed, score.skipped) == (passed, failed, skipped)
    assert bool(score.broken) == (code != 0)


def test_a_pytest_that_wrote_nothing_is_a_failure(tmp_path: Path) -> None:
    score = Score()
    score.junit("lab tests", tmp_path / "none.xml", 1)
    assert (score.passed, score.failed, score.broken) == (0, 1, ["lab tests"])


def test_the_last_line_has_the_form_of_pytest() -> None:
    score = Score()
    score.one("mypy", good=True)
    score.one("ruff", good=False)
    assert summary(score, 1.5) == "===== 1 passed, 1 failed in 1.50s ====="
    score.skipped = 3
    assert summary(score, 1.5) == "===== 1 passed, 1 failed, 3 skipped in 1.50s ====="
