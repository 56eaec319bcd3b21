"""The items that both kinds of store mean alike, or that belong to one provider only."""

from __future__ import annotations

import re
from typing import Any

from toolkit.storage.config.scene import Note, Scene, Translated

_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


def cors(rules: list[dict[str, Any]], scene: Scene) -> Translated:
    """Return the CORS rules as they are."""
    note = Note("cors", "cors", f"{len(rules)} rule(s)")
    return Translated("cors", rules if scene.target.can("cors") else None, (note,))


def tags(found: list[dict[str, str]], scene: Scene) -> Translated:
    """Return the bucket's tags without those that a provider writes by itself (``aws:…``)."""
    own = [tag for tag in found if not tag["Key"].startswith("aws:")]
    notes = [Note("bucket-tags", "bucket-tags", f"{len(own)} tag(s)")]
    if len(own) < len(found):
        notes.append(Note("bucket-tags/aws", "bucket-tags-of-provider", f"{len(found) - len(own)} tag(s)"))
    return Translated("bucket-tags", (own if scene.target.can("bucket-tags") else None) or None, tuple(notes))


def website(value: dict[str, Any], scene: Scene) -> Translated:
    """Return the website as it is; the host under which it is served is told by its name."""
    count = len(value.get("RoutingRules", []))
    notes = [Note("website", "website", f"{count} routing rule(s)" if count else "")]
    if _HOST.fullmatch(scene.bucket) and scene.name != scene.bucket:
        notes.append(Note("website/host", "website-host", f"{scene.bucket} becomes {scene.name}"))
    return Translated("website", value if scene.target.can("website") else None, tuple(notes))


def object_lock(value: dict[str, Any], scene: Scene) -> Translated:
    """Return the default retention, written last: what is locked too early cannot be corrected."""
    rule = value.get("Rule", {}).get("DefaultRetention")
    told = _period(rule) if rule else ""
    note = Note("object-lock", "object-lock", f"default retention {told}" if rule else "no default retention")
    if not scene.target.can("object-lock"):
        return Translated("object-lock", None, (note,))
    until = {"ObjectLockEnabled": "Enabled"}
    return Translated("object-lock", value, (note,), "last" if rule else "first", until)


def logging(value: dict[str, Any], scene: Scene) -> Translated:
    """Return access logging where the target has it: into the bucket of the same name, without the copy in it."""
    note = Note("logging", "logging", f"into {value.get('TargetBucket')}")
    kept = {key: item for key, item in value.items() if key in ("TargetBucket", "TargetPrefix")}
    return Translated("logging", kept if scene.target.can("logging") else None, (note,), "last")


def replication(value: dict[str, Any], scene: Scene) -> Translated:
    """Replication names roles and buckets of one provider: it is never carried."""
    del scene
    return Translated("replication", None, (Note("replication", "replication", f"{len(value['Rules'])} rule(s)"),))


def accelerate(value: str, scene: Scene) -> Translated:
    """Transfer acceleration is a service of one provider."""
    can = scene.target.can("accelerate")
    return Translated("accelerate", value if can else None, (Note("accelerate", "accelerate"),))


def _period(rule: dict[str, Any]) -> str:
    return f"{rule['Mode']} {rule['Days']} days" if "Days" in rule else f"{rule['Mode']} {rule['Years']} years"
