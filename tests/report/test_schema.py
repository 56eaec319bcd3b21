"""The shape: what passes, what is named as wrong, and that the published schema is the one in force."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.report.sample import bad, good
from toolkit.journal import Journal
from toolkit.report import json_schema, validate
from toolkit.runs import open_run
from toolkit.summary import summary

PUBLISHED = resources.files("toolkit.report").joinpath("report.schema.json")


def test_whole_reports_have_no_problem() -> None:
    assert validate(good()) == []
    assert validate(bad()) == []


def test_the_published_schema_is_fresh() -> None:
    assert json.loads(PUBLISHED.read_text("utf-8")) == json_schema()


def test_the_published_schema_agrees_with_the_check() -> None:
    schema = json.loads(PUBLISHED.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(good())) == []
    assert list(validator.iter_errors({**good(), "verdict": "splendid"})) != []


def test_what_the_summary_writes_fits(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", "agora")
    with Journal(run.journal) as journal:
        journal.event("apply.start", {"plan": "0" * 64, "phase": "build"})
    assert validate(summary(run)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"verdict": "splendid"}, "verdict: "),
        ({"exit_code": -1}, "exit_code: "),
        ({"scale": 0}, "scale: "),
        ({"scale": "1/14400"}, "scale: "),
        ({"evidence": "none"}, "evidence: "),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"schema": "rehost.report/2"}, "schema: "),
        ({"promises": {"P11": {"status": "held"}}}, "promises.P11: there is no such promise"),
        (
            {"families": {"dns": {"total": 3, "moved": 3, "verified": 1, "waived": 1, "lost": 0}}},
            "families.dns: total 3 is not verified + waived + lost = 2",
        ),
        (
            {"families": {"dns": {"total": 3, "moved": 3, "verified": 2, "waived": 0, "lost": 1}}},
            "exit_code 0 although 1 of dns are lost",
        ),
        ({"verdict": "unproven"}, "exit_code 0 although the verdict is unproven"),
        ({"promises": {"P1": {"status": "broken"}}}, "exit_code 0 although promise P1 is broken"),
    ],
)
def test_problems_are_named(change: dict[str, Any], problem: str) -> None:
    assert any(found.startswith(problem) for found in validate({**good(), **change}))


def test_all_problems_come_at_once() -> None:
    report = {**good(), "verdict": "splendid", "exit_code": -1}
    del report["run"]
    assert len(validate(report)) == 3


def test_a_finding_that_stands_twice_is_named() -> None:
    report = bad()
    report["findings"].append(report["findings"][0])
    assert any("stands twice" in found for found in validate(report))


def test_exit_code_0_beside_a_failed_check_is_a_contradiction() -> None:
    report = good()
    report["checks"][2]["status"] = "failed"
    assert validate(report) == ["exit_code 0 although check delegation failed"]
