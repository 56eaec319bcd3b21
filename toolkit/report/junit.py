"""JUnit XML for CI: the verdict, each family, promise, check and journey is a test case.

A run that exits other than 0 always has a failure here, so a CI that reads only this file is not fooled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from toolkit.model import Json
from toolkit.report.text import between, visible
from toolkit.report.view import VERDICTS, families, findings, promises


@dataclass(frozen=True, slots=True)
class Case:
    """One test case; ``kind`` names the failure (its type) when ``outcome`` is not ``passed``."""

    suite: str
    name: str
    outcome: Literal["passed", "failed", "skipped"] = "passed"
    text: str = ""
    detail: str = ""
    kind: str = ""
    seconds: float = 0.0


def render_junit(report: Mapping[str, Json]) -> str:
    """Return the report as JUnit XML."""
    cases = list(_cases(report))
    title = f"rehost {visible(str(report.get('site', '')))}"
    root = ElementTree.Element("testsuites", {"name": title, **_counts(cases)})
    for name in dict.fromkeys(case.suite for case in cases):
        mine = [case for case in cases if case.suite == name]
        suite = ElementTree.SubElement(root, "testsuite", {"name": name, **_counts(mine)})
        if report.get("started"):
            suite.set("timestamp", visible(str(report["started"])))
        for case in mine:
            _append(suite, case)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _append(suite: ElementTree.Element, case: Case) -> None:
    element = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"rehost.{case.suite}",
        name=visible(case.name),
        time=f"{case.seconds:.3f}",
    )
    text, detail = visible(case.text), "\n".join(visible(line) for line in case.detail.splitlines())
    if case.outcome == "failed":
        failure = ElementTree.SubElement(element, "failure", message=text, type=visible(case.kind or "failed"))
        failure.text = detail or text
    elif case.outcome == "skipped":
        ElementTree.SubElement(element, "skipped", message=text)
    elif text:
        ElementTree.SubElement(element, "system-out").text = f"{text}\n{detail}".strip()


def _counts(cases: list[Case]) -> dict[str, str]:
    return {
        "tests": str(len(cases)),
        "failures": str(sum(case.outcome == "failed" for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.outcome == "skipped" for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _cases(report: Mapping[str, Json]) -> Iterator[Case]:
    yield from _verdict(report)
    yield from _families(report)
    yield from _promises(report)
    yield from _checks(report)
    yield from _journeys(report)
    yield from _findings(report)


def _verdict(report: Mapping[str, Json]) -> Iterator[Case]:
    name = str(report.get("verdict", "not run"))
    reason = str(report.get("reason") or VERDICTS.get(name, VERDICTS["unproven"])[1])
    evidence = "rehearsed against mocks" if report.get("evidence") == "mock" else "run against real providers"
    seconds = between(str(report.get("started", "")), str(report.get("finished", ""))) or 0.0
    outcome: Literal["passed", "failed", "skipped"] = "failed"
    if name in ("independent", "not run"):
        outcome = "passed" if name == "independent" else "skipped"
    yield Case("verdict", "independence", outcome, f"{name}: {reason}", evidence, name, seconds)
    code = int(report.get("exit_code", 1))
    yield Case("verdict", "exit code", "failed" if code else "passed", f"exit code {code}", kind=f"exit {code}")


def _families(report: Mapping[str, Json]) -> Iterator[Case]:
    for row in families(report):
        text = f"{row.verified} of {row.total} {row.unit} verified, {row.waived} waived, {row.lost} lost"
        yield Case("families", row.name, "passed" if row.whole else "failed", text, kind="lost")


def _promises(report: Mapping[str, Json]) -> Iterator[Case]:
    for row in promises(report):
        yield Case("promises", f"{row.name} {row.text}", _outcome(row.status), row.evidence or row.status)


def _checks(report: Mapping[str, Json]) -> Iterator[Case]:
    for row in report.get("checks") or ():
        status = str(row.get("status", "unproven"))
        detail = "\n".join(
            f"{item.get('address', '')}: {item.get('text', '')} → {item.get('remedy', '')}"
            for item in row.get("findings") or ()
        )
        # A check that could not be made is no pass: prove ends with 1 for it.
        outcome: Literal["passed", "failed"] = "passed" if status == "passed" else "failed"
        name = f"{row.get('number', '?')} {row.get('name', '?')}"
        yield Case("checks", name, outcome, str(row.get("text", "")), detail, status)


def _journeys(report: Mapping[str, Json]) -> Iterator[Case]:
    for row in report.get("journeys") or ():
        steps = row.get("steps") or ()
        detail = "\n".join(
            f"{step.get('method', '')} {step.get('url', '')} {step.get('status', '')} {step.get('why', '')}".rstrip()
            for step in steps
        )
        why = next((str(step["why"]) for step in steps if step.get("why")), "no steps")
        seconds = float(row.get("seconds") or 0.0)
        if row.get("passed"):
            yield Case("journeys", str(row.get("name", "?")), seconds=seconds)
        else:
            yield Case("journeys", str(row.get("name", "?")), "failed", why, detail, "journey", seconds)


def _findings(report: Mapping[str, Json]) -> Iterator[Case]:
    for row in findings(report):
        bad = row.get("severity", "error") == "error"
        text, remedy = str(row.get("text", "")), str(row.get("remedy", ""))
        detail = f"{row.get('address', '')}\n{remedy}".strip()
        yield Case(
            "findings",
            str(row.get("id", "?")),
            "failed" if bad else "passed",
            text,
            detail,
            str(row.get("verdict", "")),
        )


def _outcome(status: str) -> Literal["passed", "failed", "skipped"]:
    """A promise this run did not test is skipped: its own test in the suite speaks for it."""
    if status == "held":
        return "passed"
    return "failed" if status == "broken" else "skipped"
