"""What becomes of each feature of a bucket, before anything is written. Rules: ``verdicts.yaml``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolkit.model import Abilities, Resource, Verdict
from toolkit.verdicts import judge, load

_ALWAYS = ("objects", "metadata", "multipart", "tags")


def assess(resource: Resource, source: str, target: Abilities) -> Iterator[Verdict]:
    """Yield one verdict per feature that the bucket has, or may have unseen."""
    rows = load("toolkit.storage")
    for feature, detail in _features(resource):
        yield judge(rows, resource.address, feature, source=source, target=target, detail=detail)


def _features(resource: Resource) -> Iterator[tuple[str, str]]:
    for feature in _ALWAYS:
        yield feature, ""
    versioning = str(resource.body.get("versioning", "off"))
    if versioning != "off":
        yield "versioning", versioning
        yield "version-ids", ""
    elif resource.facts.get("versioning", "off") != "off":
        yield "versions-left-behind", f"versioning is {resource.facts['versioning']} at the source"
    config: dict[str, Any] = dict(resource.facts.get("config") or {})
    not_seen = config.pop("not_seen", [])
    if not_seen:
        yield "not-seen", ", ".join(not_seen)
    for item, value in sorted(config.items()):
        if item == "object-acl" and not value["granted"]:
            if value["looked_at"]:
                yield "object-acl-unseen", f"{value['looked_at']} objects looked at"
        else:
            yield item, _short(item, value)


def _short(item: str, value: Any) -> str:
    match item:
        case "cors" | "lifecycle":
            return f"{len(value)} rule(s)"
        case "bucket-tags":
            return f"{len(value)} tag(s)"
        case "archived" | "storage-class":
            return ", ".join(f"{name} ({count} of the first 1,000 objects)" for name, count in sorted(value.items()))
        case "acl":
            return f"{len(value.get('Grants', []))} grant(s)"
        case "object-acl":
            return f"{value['granted']} of {value['looked_at']} objects looked at"
        case _:
            return ""
