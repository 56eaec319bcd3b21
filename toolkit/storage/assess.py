"""What becomes of each feature of a bucket, before anything is written. Rules: ``verdicts.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from toolkit.model import Resource, Verdict
from toolkit.storage.config import items
from toolkit.storage.config.scene import Scene
from toolkit.verdicts import judge, load

_ALWAYS = ("objects", "metadata", "multipart", "tags")


def assess(resource: Resource, scene: Scene, names: Sequence[tuple[str, str]] = ()) -> Iterator[Verdict]:
    """Yield one verdict per feature that the bucket has, or may have unseen, and one for what its name meets."""
    rows = load("toolkit.storage")
    for feature, row, detail in (
        *_features(resource),
        *_configured(scene),
        *((row, row, detail) for row, detail in names),
    ):
        verdict = judge(rows, resource.address, row, source=scene.source, target=scene.target, detail=detail)
        yield replace(verdict, feature=feature)


def _configured(scene: Scene) -> Iterator[tuple[str, str, str]]:
    for note in items.notes(scene):
        yield note.part, note.row, note.detail


def _features(resource: Resource) -> Iterator[tuple[str, str, str]]:
    """Yield (feature, row of the table, detail) of everything beside the configuration."""
    for feature in _ALWAYS:
        yield feature, feature, ""
    versioning = str(resource.body.get("versioning", "off"))
    if versioning != "off":
        yield "versioning", "versioning", versioning
        yield "version-ids", "version-ids", ""
    elif resource.facts.get("versioning", "off") != "off":
        left = f"versioning is {resource.facts['versioning']} at the source"
        yield "versions-left-behind", "versions-left-behind", left
    config: dict[str, Any] = dict(resource.facts.get("config") or {})
    if config.get("not_seen"):
        yield "not-seen", "not-seen", ", ".join(config["not_seen"])
    for item in ("archived", "storage-class"):
        if item in config:
            named = (f"{name} ({count} of the first 1,000 objects)" for name, count in sorted(config[item].items()))
            yield item, item, ", ".join(named)
    acls = config.get("object-acl")
    if acls and acls["granted"]:
        row = "object-acl-none" if resource.facts.get("grants") == "none" else "object-acl"
        yield "object-acl", row, f"{acls['granted']} of {acls['looked_at']} objects looked at"
    elif acls and acls["looked_at"]:
        yield "object-acl-unseen", "object-acl-unseen", f"{acls['looked_at']} objects looked at"
