"""Verdict tables: ``toolkit/<family>/verdicts.yaml``, read by ``assess`` and by the fidelity page.

A row says what becomes of one feature between two kinds of provider. A feature without a row is
**blocked**: what nobody thought about is not moved in silence.

    - {feature: alias, from: aws, to: "*", needs: [alias-flatten], verdict: converted,
       reason: "...", instead: "...", test: "tests/dns/test_translate.py::test_alias"}
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ruamel.yaml import YAML

from toolkit.model import Abilities, Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a verdict table; ``source`` and ``target`` are provider kinds or ``*``."""

    feature: str
    source: str
    target: str
    needs: tuple[str, ...]
    outcome: Outcome
    reason: str
    instead: str
    test: str


def load(package: str) -> tuple[Row, ...]:
    """Read ``verdicts.yaml`` of a family package such as ``toolkit.dns``."""
    text = resources.files(package).joinpath("verdicts.yaml").read_text("utf-8")
    rows: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(text)
    return tuple(
        Row(
            row["feature"],
            row["from"],
            row["to"],
            tuple(row.get("needs", ())),
            row["verdict"],
            row["reason"],
            row.get("instead", ""),
            row["test"],
        )
        for row in rows
    )


def judge(
    rows: Iterable[Row], address: str, feature: str, *, source: str, target: Abilities, detail: str = ""
) -> Verdict:
    """Return the verdict of the first row that fits and whose needs the target fulfils.

    Rows stand in the file from best to worst, so a target that lacks an ability falls through to
    the next row. ``detail`` (the value at hand) is put before the row's reason.
    """
    missing: list[str] = []
    for row in rows:
        if row.feature != feature or row.source not in ("*", source) or row.target not in ("*", target.kind):
            continue
        lacking = [need for need in row.needs if not target.can(need)]
        if lacking:
            missing += lacking
            continue
        reason = f"{detail}: {row.reason}" if detail else row.reason
        if missing:
            reason += f" (the target lacks {', '.join(missing)})"
        assumed = any(need in target.assumed for need in row.needs)
        return Verdict(address, feature, row.outcome, reason, row.instead, assumed)
    why = f"the target lacks {', '.join(missing)}" if missing else f"no rule for {source} → {target.kind}"
    return Verdict(
        address,
        feature,
        "blocked",
        f"{detail}: {why}" if detail else why,
        "ignore the resource with a reason, or choose another target",
    )
