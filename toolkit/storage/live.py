"""What a site says about moving one bucket while it is in use: ``buckets.<slug>.live``.

Enters: the facts of a resource. Leaves: :class:`Live`. The schema has checked the words before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from toolkit.model import Resource


@dataclass(frozen=True, slots=True)
class Live:
    """How writing is stopped, and how much may be removed at the target without being asked."""

    freeze: Literal["policy", "none"] = "policy"
    max_removed: float = 0.1  # share of the objects that the target holds


def of(resource: Resource) -> Live:
    """Read what stands beside a bucket or its objects."""
    told = resource.facts.get("live")
    if not isinstance(told, dict):
        return Live()
    share = str(told.get("max_removed", "10%")).rstrip("%")
    return Live("none" if told.get("freeze") == "none" else "policy", float(share) / 100)
