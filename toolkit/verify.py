"""Verify: is the copy equal? Reads both sides, repairs nothing.

Enters: the desired state and the families. Leaves: findings and tallies. A difference is data, never
an exception; only an unreachable side raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.families import UNITS, Family
from toolkit.model import Finding, Json, State, Tally
from toolkit.plan import of_family
from toolkit.tiers import parse


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of one verification."""

    findings: tuple[Finding, ...]
    tallies: tuple[Tally, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is lost: no error, and every unit verified."""
        whole = all(tally.total == tally.verified for tally in self.tallies)
        return bool(self.tallies) and whole and not any(f.severity == "error" for f in self.findings)

    def totals(self) -> dict[str, dict[str, Json]]:
        """Per family: total, verified, lost, in the units of the report."""
        result: dict[str, dict[str, Json]] = {}
        for tally in self.tallies:
            name = tally.address.split("/", 1)[0]
            row = result.setdefault(name, {"unit": UNITS.get(name, "resources"), "total": 0, "verified": 0, "bytes": 0})
            row["total"] += tally.total
            row["verified"] += tally.verified
            row["bytes"] += tally.size
        for row in result.values():
            row["lost"] = row["total"] - row["verified"]
        return result

    def to_json(self) -> dict[str, Json]:
        return {
            "clean": self.clean,
            "findings": [finding.to_json() for finding in self.findings],
            "tallies": [[t.address, t.total, t.verified, t.size] for t in self.tallies],
            "totals": self.totals(),
        }


def verify(
    desired: State, families: Mapping[str, Family], *, tier: str = "list", only: frozenset[str] | None = None
) -> Verified:
    """Compare every desired resource with the target, in the families named by ``only`` (default all).

    ``tier``: see :mod:`toolkit.tiers`.
    """
    parse(tier)
    findings: list[Finding] = []
    tallies: list[Tally] = []
    for name, family in families.items():
        if only is not None and name not in only:
            continue
        for item in family.verify(of_family(desired, name), tier):
            if isinstance(item, Tally):
                tallies.append(item)
            else:
                findings.append(item)
    return Verified(tuple(findings), tuple(tallies))
