"""The runner behind ``make test``: when the lab runs, and that its last line tells the truth.

A second look forgives only what passes by itself.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.run import FEW, Score, lab_wanted, summary

ONCE = """
from pathlib import Path
def test_steady(): pass
def test_late():
    seen = Path({seen!r})
    known = seen.exists()
    seen.write_text("")
    assert known
"""
NEVER = "def test_wrong(): assert False\n"


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


@pytest.fixture
def score(tmp_path: Path) -> Score:
    (tmp_path / "results").mkdir()
    return Score()


def run(score: Score, folder: Path, text: str) -> Score:
    """Let ``Score.part`` run a pytest of its own over one file."""
    (folder / "test_it.py").write_text(text.format(seen=str(folder / "seen")))

    def runner(words: list[str], file: Path) -> int:
        argv = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(folder), "test_it.py"]
        done = subprocess.run([*argv, f"--junitxml={file}", *words], cwd=folder, capture_output=True, check=False)
        return done.returncode

    score.part("tests", runner, folder / "results")
    return score


def test_all_pass(score: Score, tmp_path: Path) -> None:
    run(score, tmp_path, "def test_one(): pass\ndef test_two(): pass\n")
    assert (score.passed, score.failed, score.unsteady, score.broken) == (2, 0, [], [])


def test_late_once_is_named_not_failed(score: Score, tmp_path: Path) -> None:
    run(score, tmp_path, ONCE)
    assert (score.passed, score.failed, score.broken) == (2, 0, [])
    assert score.unsteady == ["test_it::test_late"]


def test_wrong_twice_fails(score: Score, tmp_path: Path) -> None:
    run(score, tmp_path, ONCE + NEVER)
    assert (score.passed, score.failed, score.broken) == (2, 1, ["tests"])
    assert score.unsteady == ["test_it::test_late"]


def test_many_failures_get_no_second_look(score: Score, tmp_path: Path) -> None:
    late = "".join(
        ONCE.replace("{seen!r}", f"{{seen!r}} + '{n}'").replace("_late", f"_late{n}") for n in range(FEW + 1)
    )
    run(score, tmp_path, late)
    assert score.failed == FEW + 1
    assert score.broken == ["tests"]


def test_broken_collection_fails(score: Score, tmp_path: Path) -> None:
    run(score, tmp_path, "import nothing_of_this_name\n")
    assert score.failed == 1
    assert score.broken == ["tests"]


def test_a_pytest_that_wrote_nothing_is_a_failure(score: Score, tmp_path: Path) -> None:
    score.part("lab tests", lambda _words, _file: 4, tmp_path)
    assert (score.passed, score.failed, score.broken) == (0, 1, ["lab tests"])


def test_the_last_line_has_the_form_of_pytest() -> None:
    score = Score()
    score.one("mypy", good=True)
    score.one("ruff", good=False)
    assert summary(score, 1.5) == "===== 1 passed, 1 failed in 1.50s ====="
    score.skipped = 3
    assert summary(score, 1.5) == "===== 1 passed, 1 failed, 3 skipped in 1.50s ====="
