"""JUnit XML: parsed by an ordinary parser, and never green when the run was not."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from tests.report.sample import bad, good
from toolkit.report import render_junit


def cases(report: dict[str, Any]) -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(render_junit(report).encode())
    return {f"{case.get('classname')}/{case.get('name')}": case for case in root.iter("testcase")}


def test_every_part_is_a_case() -> None:
    names = list(cases(good()))
    assert "rehost.verdict/independence" in names
    assert "rehost.families/storage" in names
    assert "rehost.checks/7 contents" in names
    assert "rehost.journeys/log in" in names
    assert sum(name.startswith("rehost.promises/") for name in names) == 10


def test_a_clean_run_has_no_failure() -> None:
    root = ElementTree.fromstring(render_junit(good()))
    assert root.get("failures") == "0"
    assert not list(root.iter("failure"))


def test_failures_are_counted_in_root_and_suites() -> None:
    root = ElementTree.fromstring(render_junit(bad()).encode())
    suites = root.findall("testsuite")
    for key in ("tests", "failures", "skipped"):
        assert int(root.get(key, "-1")) == sum(int(suite.get(key, "-1")) for suite in suites)
    assert int(root.get("failures", "0")) == len(list(root.iter("failure")))
    for suite in suites:
        assert int(suite.get("tests", "-1")) == len(suite.findall("testcase"))


def test_what_is_bad_fails() -> None:
    found = cases(bad())
    failed = {name for name, case in found.items() if case.find("failure") is not None}
    assert "rehost.verdict/independence" in failed
    assert "rehost.verdict/exit code" in failed
    assert "rehost.families/storage" in failed
    assert "rehost.families/dns" not in failed
    assert "rehost.checks/1 calls" in failed
    assert "rehost.checks/6 journeys" in failed  # unproven is no pass
    assert "rehost.journeys/log in" in failed
    assert sum(name.startswith("rehost.findings/") for name in failed) == 3  # the fourth is a warning


@pytest.mark.parametrize("code", [1, 5, 20, 50, 137])
def test_a_code_other_than_0_always_shows(code: int) -> None:
    assert cases({**good(), "exit_code": code})["rehost.verdict/exit code"].find("failure") is not None


def test_a_sum_that_is_wrong_fails() -> None:
    report = good()
    report["families"]["dns"]["total"] = 61
    assert cases(report)["rehost.families/dns"].find("failure") is not None


def test_unmeasured_promises_are_skipped() -> None:
    found = {name.split("/P")[1].split()[0]: case for name, case in cases(good()).items() if "promises" in name}
    assert found["1"].find("skipped") is None
    assert found["3"].find("skipped") is not None


def test_control_characters_are_escaped_not_dropped() -> None:
    text = render_junit(bad())
    assert "\x1b" not in text
    assert "\\x1b[31m\\x00" in text


def test_an_almost_empty_report_is_a_failure() -> None:
    assert cases({"site": "x"})["rehost.verdict/exit code"].find("failure") is not None
