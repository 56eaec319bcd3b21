"""Lifecycle rules: applied last, and never broader than they were.

Ceph RGW 16 stores a rule without what it does not know: a rule "expire what is larger than 1 GB" is read
back as "expire everything" (measured). Such a rule is left out, not sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolkit.model import Json
from toolkit.storage.config.scene import Note, Scene, Translated

_SIZES = ("ObjectSizeGreaterThan", "ObjectSizeLessThan")
_ACTIONS = (
    "Expiration",
    "Transitions",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionTransitions",
    "AbortIncompleteMultipartUpload",
)


def translate(rules: list[dict[str, Any]], scene: Scene) -> Translated:
    """Return the rules that mean the same at the target, and a note for every rule or action that is left out."""
    if not scene.target.can("lifecycle"):
        return Translated("lifecycle", None, (Note("lifecycle", "lifecycle", f"{len(rules)} rule(s)"),))
    kept: list[Json] = []
    notes: list[Note] = []
    for number, rule in enumerate(rules, 1):
        part = f"lifecycle/{rule.get('ID') or number}"
        size = [key for key in _SIZES if key in rule.get("Filter", {})]
        if size and not scene.to_aws:
            notes.append(Note(part, "lifecycle-rule", f"the filter {', '.join(size)} has no counterpart"))
            continue
        rule = {"ID": f"rule-{number}", **rule}
        lost = [Note(f"{part}/{action}", row, detail) for action, row, detail in _without_the_unknown(rule, scene)]
        notes += lost
        if any(action in rule for action in _ACTIONS):
            kept.append(rule)
        elif not lost:
            notes.append(Note(part, "lifecycle-rule", "it has no action that is known"))
    notes.insert(0, Note("lifecycle", "lifecycle", f"{len(kept)} of {len(rules)} rule(s)"))
    return Translated("lifecycle", kept or None, tuple(notes), "last")


def _without_the_unknown(rule: dict[str, Any], scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Take out of ``rule`` what the target cannot do; yield the action, a row and a detail for each."""
    for kind in ("Transitions", "NoncurrentVersionTransitions"):
        stay, gone = [], []
        for step in rule.get(kind, []):
            name = scene.maps.classes.get(step["StorageClass"], step["StorageClass"])
            if scene.target.can(f"class:{name}"):
                stay.append({**step, "StorageClass": name})
            else:
                gone.append(f"{step['StorageClass']} after {step.get('Days', step.get('NoncurrentDays', 'a date'))}")
        rule.pop(kind, None)
        if stay:
            rule[kind] = stay
        if gone:
            yield kind, "lifecycle-transition", ", ".join(gone)
    older = "NoncurrentVersionExpiration"
    if "NewerNoncurrentVersions" in rule.get(older, {}) and not scene.to_aws:
        number = rule.pop(older)["NewerNoncurrentVersions"]
        yield older, "lifecycle-newer", f"the newest {number} older versions are to be kept"
