"""Who may open a bucket beside its policy: object ownership, the public access block, the bucket's ACL."""

from __future__ import annotations

from typing import Any

from toolkit.model import Json
from toolkit.storage.config import principals
from toolkit.storage.config.normal import OPEN
from toolkit.storage.config.scene import Note, Scene, Translated

_ALL = "uri:http://acs.amazonaws.com/groups/global/AllUsers"
_ANY_USER = "uri:http://acs.amazonaws.com/groups/global/AuthenticatedUsers"


def acls_are_off(scene: Scene) -> bool:
    """Say whether the source ignores every ACL of the bucket (BucketOwnerEnforced)."""
    rules = (scene.config.get("ownership") or {}).get("Rules", [])
    return {rule.get("ObjectOwnership") for rule in rules} == {"BucketOwnerEnforced"}


def ownership(value: dict[str, Any] | None, scene: Scene) -> Translated | None:
    """Return the ownership rule; towards AWS a store with live ACLs needs one that keeps them alive."""
    if value is None:
        granted = scene.config.get("acl") or (scene.config.get("object-acl") or {}).get("granted")
        if not (scene.to_aws and granted):
            return None
        value = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
        note = Note("ownership", "ownership-writer", "ObjectWriter")
        return Translated("ownership", value, (note,), "first")
    told = ", ".join(sorted({str(rule.get("ObjectOwnership")) for rule in value.get("Rules", [])}))
    can = scene.target.can("ownership")
    return Translated("ownership", value if can else None, (Note("ownership", "ownership", told),), "first")


def public_access(value: dict[str, bool] | None, scene: Scene) -> Translated | None:
    """Return the public access block: what ignores grants first, what refuses requests last.

    Blocking public ACLs refuses writes that carry one (RGW 16 even those that carry ``private``), so a
    copy that brings ACLs along would fail; until the cut-over they are ignored instead, which nobody
    outside can tell from refused.
    """
    item = "public-access-block"
    if value is None or not any(value.values()):
        if scene.to_aws and _is_public(scene):
            # A new bucket of AWS blocks everything public; what was open must be opened by name.
            return Translated(item, dict(OPEN), (Note(item, "public-access-open", "open at the source"),), "first")
        return None
    told = Note(item, item, ", ".join(sorted(key for key, on in value.items() if on)))
    if not scene.target.can(item):
        return Translated(item, None, (told,))
    softer = {**value, "BlockPublicAcls": False, "BlockPublicPolicy": False}
    notes = [told]
    if value["RestrictPublicBuckets"] and not scene.to_aws:
        notes.append(Note(f"{item}/RestrictPublicBuckets", "public-access-restrict"))
    if softer == value:
        return Translated(item, value, tuple(notes), "first")
    return Translated(item, value, tuple(notes), "last", softer)


def _is_public(scene: Scene) -> bool:
    public = any(who in (_ALL, _ANY_USER) for who, _ in scene.config.get("acl") or [])
    told = (scene.config.get("policy") or {}).get("Statement", [])
    open_policy = any(entry.get("Effect") == "Allow" and principals.is_everyone(entry) for entry in told)
    return public or open_policy or bool((scene.config.get("object-acl") or {}).get("granted"))


def acl(grants: list[list[str]], scene: Scene) -> Translated:
    """Return the grants whose grantees exist at the target; what had no effect at the source is left out."""
    if acls_are_off(scene):
        return Translated("acl", None, (Note("acl", "acl-off", f"{len(grants)} grant(s)"),))
    if not scene.target.can("acl"):
        return Translated("acl", None, (Note("acl", "acl", f"{len(grants)} grant(s)"),))
    kept: list[Json] = []
    notes: list[Note] = []
    for who, permission in grants:
        new, part = _grantee(who, scene), f"acl/{who.rpartition('/')[2].rpartition(':')[2]}/{permission}"
        if who in (_ALL, _ANY_USER) and scene.blocks("IgnorePublicAcls"):
            notes.append(Note(part, "acl-ignored", permission))
        elif new:
            kept.append([new, permission])
        else:
            notes.append(Note(part, "acl-grantee", f"{permission} for {who}"))
    notes.insert(0, Note("acl", "acl", f"{len(kept)} of {len(grants)} grant(s)"))
    return Translated("acl", sorted(kept) or None, tuple(notes))


def _grantee(who: str, scene: Scene) -> str:
    if who in (_ALL, _ANY_USER):
        return who
    if who.startswith("uri:"):
        return who if scene.to_aws else ""  # RGW has no group of log writers
    kind, _, name = who.partition(":")
    new = scene.new_owner if name == scene.owner else scene.maps.people.target(name)
    return f"{kind}:{principals.user_id(new)}" if new else ""
