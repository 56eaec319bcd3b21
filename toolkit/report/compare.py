"""Compare two reports by the stable ids of their findings."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.model import Json


def compare(report: Mapping[str, Json], baseline: Mapping[str, Json]) -> dict[str, Json]:
    """Return the ids that are new in ``report``, gone since ``baseline``, and in both.

    The result fits into a report as ``comparison`` and is then rendered with it.
    """
    now, then = _ids(report), _ids(baseline)
    return {
        "run": baseline.get("run", ""),
        "verdict": baseline.get("verdict", ""),
        "new": sorted(now - then),
        "gone": sorted(then - now),
        "same": sorted(now & then),
    }


def _ids(report: Mapping[str, Json]) -> set[str]:
    return {str(finding["id"]) for finding in report.get("findings") or ()}
