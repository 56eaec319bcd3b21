"""The shape of a report, as types, as a JSON Schema (report.schema.json beside this file), as a check.

Enters: any dict. Leaves: every problem at once, as text; an empty list means that the report is whole.
Sections that a run did not come to are empty, never invented; ``verdict`` then says ``not run``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, NonNegativeInt, PositiveFloat, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # on Python 3.11 pydantic reads a TypedDict only in this spelling

from toolkit.model import Json
from toolkit.summary import PROMISES

SCHEMA = "rehost.report/1"

Status = Literal["passed", "failed", "unproven"]
Figure = int | float | str
Held = Literal["held", "broken", "not measured"]


class FamilyRow(TypedDict):
    """How much of one family came over. ``total = verified + waived + lost``, in ``unit``."""

    total: NonNegativeInt
    moved: NonNegativeInt
    verified: NonNegativeInt
    waived: NonNegativeInt
    lost: NonNegativeInt
    unit: NotRequired[str]
    bytes: NotRequired[NonNegativeInt]


class PromiseRow(TypedDict):
    """One promise. ``evidence`` says what was looked at; ``text`` defaults to the promise itself."""

    status: Held
    evidence: NotRequired[str]
    text: NotRequired[str]


class FindingRow(TypedDict):
    """One thing a check found. ``id`` is stable between runs."""

    id: str
    address: str
    feature: str
    verdict: str
    severity: Literal["error", "warning", "info"]
    text: str
    remedy: str
    evidence: dict[str, Json]


class CheckRow(TypedDict):
    """One of the seven checks of ``prove``."""

    number: NonNegativeInt
    name: str
    status: Status
    text: str
    findings: NotRequired[list[FindingRow]]
    evidence: NotRequired[dict[str, Json]]


class StepRow(TypedDict):
    """One request of a journey. ``why`` is empty when it passed."""

    method: str
    url: str
    status: int
    why: str
    sha256: NotRequired[str]


class JourneyRow(TypedDict):
    """One recorded journey, replayed on the new side."""

    name: str
    passed: bool
    steps: list[StepRow]
    seconds: NotRequired[float]


class VerdictRow(TypedDict):
    """What became of one feature of one resource on the way over."""

    id: str
    address: str
    feature: str
    verdict: Literal["kept", "converted", "degraded", "blocked"]
    reason: str
    instead: str
    assumed: bool
    accepted: str


class Replaced(TypedDict):
    """One feature that the new side expresses in another way."""

    address: str
    feature: str
    by: str


class Remaining(TypedDict):
    """One thing that still hangs on the old side."""

    address: str
    text: str


class Dependence(TypedDict):
    """What tied the site to the old side, and what still does. ``removed`` holds addresses."""

    removed: list[str]
    replaced: list[Replaced]
    remaining: list[Remaining]


class Moment(TypedDict):
    """One event of the journal: ``at`` is ISO 8601, ``what`` its kind, ``detail`` its body."""

    at: str
    what: str
    detail: NotRequired[dict[str, Json]]


class Comparison(TypedDict):
    """What changed since an earlier report, as :func:`toolkit.report.compare` finds it."""

    run: str
    verdict: str
    new: list[str]
    gone: list[str]
    same: list[str]


@with_config(ConfigDict(extra="forbid", title="rehost.report/1"))
class ReportDoc(TypedDict):
    """Everything a report says."""

    schema: Literal["rehost.report/1"]
    site: str
    run: str
    evidence: Literal["mock", "real"]
    scale: PositiveFloat
    started: str
    finished: str
    exit_code: NonNegativeInt
    journal_head: str
    verdict: Literal["independent", "dependent", "unproven", "not run"]
    families: dict[str, FamilyRow]
    promises: dict[str, PromiseRow]
    checks: list[CheckRow]
    findings: list[FindingRow]
    journeys: list[JourneyRow]
    dependence: Dependence
    timeline: list[Moment]
    figures: dict[str, Figure | dict[str, Figure]]
    verdicts: NotRequired[list[VerdictRow]]
    reason: NotRequired[str]
    notices: NotRequired[list[str]]
    comparison: NotRequired[Comparison]


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(ReportDoc)


def json_schema() -> dict[str, Json]:
    """Return the JSON Schema that stands in ``report.schema.json``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter().json_schema()}


def validate(report: Mapping[str, Json]) -> list[str]:
    """Return everything that is wrong with ``report``: shape first, then sums, names and contradictions."""
    try:
        _adapter().validate_python(dict(report), strict=True)
    except ValidationError as exc:
        return [f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in exc.errors()]
    return [*_sums(report), *_names(report), *_contradictions(report)]


def _sums(report: Mapping[str, Json]) -> list[str]:
    return [
        f"families.{name}: total {row['total']} is not verified + waived + lost = {parts}"
        for name, row in report["families"].items()
        if row["total"] != (parts := row["verified"] + row["waived"] + row["lost"])
    ]


def _names(report: Mapping[str, Json]) -> list[str]:
    problems = [f"promises.{name}: there is no such promise" for name in report["promises"] if name not in PROMISES]
    seen: set[str] = set()
    for finding in report["findings"]:
        if finding["id"] in seen:
            problems.append(f"findings: the id {finding['id']} stands twice")
        seen.add(finding["id"])
    return problems


def _contradictions(report: Mapping[str, Json]) -> list[str]:
    """Exit code 0 beside a loss, a broken promise or a failed check would be a lie."""
    if report["exit_code"] != 0:
        return []
    lost = {name: row["lost"] for name, row in report["families"].items() if row["lost"]}
    broken = [name for name, row in report["promises"].items() if row["status"] == "broken"]
    failed = [row["name"] for row in report["checks"] if row["status"] == "failed"]
    problems = [f"exit_code 0 although {count} of {name} are lost" for name, count in lost.items()]
    problems += [f"exit_code 0 although promise {name} is broken" for name in broken]
    problems += [f"exit_code 0 although check {name} failed" for name in failed]
    if report["verdict"] in ("dependent", "unproven"):
        problems.append(f"exit_code 0 although the verdict is {report['verdict']}")
    return problems
