"""How the objects of one bucket are dressed at the target: decided when the plan is made, and kept in it.

Enters: a bucket of the site, its configuration at the source, who is who at the target. Leaves: ``dress`` in the
facts of ``storage/objects/<slug>``, and :class:`~toolkit.storage.engine.dress.Terms` made of it for the engine.
Only :func:`side` asks a store anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.model import Json, Resource
from toolkit.storage.engine.dress import SHARED_GROUPS, Terms
from toolkit.storage.identity.map import IdentityMap
from toolkit.storage.protocol import Driver

_CANONICAL = re.compile(r"[0-9a-f]{64}")  # how AWS writes the canonical id of an account


@dataclass(frozen=True, slots=True)
class Side:
    """What is known of one store: its kind, whose buckets they are (canonical id), what it can do."""

    kind: str
    owner: str = ""
    abilities: frozenset[str] = frozenset()


def side(driver: Driver | None) -> Side:
    """Ask a store who we are there."""
    return Side("none") if driver is None else Side(driver.kind, driver.ex_owner(), driver.ex_capabilities())


def decide(
    bucket: Resource,
    config: Mapping[str, Json],
    source: Side,
    target: Side,
    *,
    classes: Mapping[str, str],
    people: IdentityMap | None = None,
) -> dict[str, Json]:
    """Return the terms of one bucket as they stand in a plan.

    ``config``: what the source has set at the bucket (``drivers.config``). ``classes``: storage class at the
    source → at the target, as the site says.
    """
    known = people or IdentityMap()
    grantees = {**(known.users if source.kind == "ceph" else {}), **known.ids}
    if source.owner and target.owner:
        grantees[source.owner] = target.owner
    if target.kind == "aws":
        grantees = {old: new for old, new in grantees.items() if _CANONICAL.fullmatch(new)}
    return {
        "classes": dict(classes),
        "grants": "acl" in target.abilities and _has_grants(bucket, config),
        "grantees": grantees,
        "owner": target.owner,
        "locks": "object-lock" in config and "object-lock" in target.abilities,
    }


def of(objects: Resource) -> Terms:
    """Read the terms back from the plan's resource."""
    told = objects.facts.get("dress")
    if not isinstance(told, dict):
        return Terms()
    return Terms(
        dict(told.get("classes") or {}),
        bool(told.get("grants")),
        dict(told.get("grantees") or {}),
        SHARED_GROUPS,
        str(told.get("owner") or ""),
        bool(told.get("locks")),
    )


def _has_grants(bucket: Resource, config: Mapping[str, Json]) -> bool:
    match bucket.facts.get("grants", "auto"):
        case "each":
            return True
        case "none":
            return False
    sample = config.get("object-acl")
    return isinstance(sample, dict) and bool(sample.get("granted"))
