"""Principals of a policy: who is named at the source, and who that is at the target.

Nobody is guessed: a principal without an entry in the identity map has no counterpart. An account
(``…:root``) is never carried as it stands, because at an RGW the same words mean every user of a tenant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from toolkit.storage.config.normal import as_list
from toolkit.storage.config.scene import Scene

_RGW_USER = re.compile(r"arn:aws:iam::([^:]*):user/(.+)")
_ACCOUNT = re.compile(r"\d{12}")
#: Conditions that say on whose behalf a service acts: a user of the target's own takes their place.
ON_BEHALF = ("aws:sourcearn", "aws:sourceaccount")


def is_everyone(entry: Mapping[str, Any]) -> bool:
    """Say whether a statement speaks of everybody, signed in or not."""
    who = entry.get("Principal")
    return who == "*" or (isinstance(who, Mapping) and "*" in as_list(who.get("AWS")))


def user_id(principal: str) -> str:
    """Return the user id of an RGW for a principal (``tenant$user`` inside a tenant), or what was given."""
    found = _RGW_USER.fullmatch(principal)
    if found is None:
        return principal
    return f"{found[1]}${found[2]}" if found[1] else found[2]


def arn(principal: str) -> str:
    """Return the ARN of a principal: that of an RGW user where only its id was given."""
    if principal.startswith("arn:") or principal == "*" or _ACCOUNT.fullmatch(principal):
        return principal
    tenant, _, user = principal.rpartition("$")
    return f"arn:aws:iam::{tenant}:user/{user}"


def renamed(told: Any, scene: Scene, on_behalf: str = "") -> tuple[Any, list[str]]:
    """Return the principals in the target's words, and those that have no counterpart there.

    ``told`` is the value of ``Principal`` or ``NotPrincipal``; ``on_behalf`` what ``aws:SourceArn`` says.
    """
    if told == "*":
        return "*", []
    if not isinstance(told, Mapping):
        return None, [str(told)]
    found: list[str] = []
    missing: list[str] = []
    for kind, names in told.items():
        for name in as_list(names):
            new = _one(kind, str(name), scene, on_behalf)
            if new:
                found.append(new)
            else:
                missing.append(str(name))
    return {"AWS": sorted(set(found))} if found else None, missing


def _one(kind: str, name: str, scene: Scene, on_behalf: str) -> str:
    if name == "*" and kind == "AWS":
        return "*"
    keys = [on_behalf] if kind == "Service" else [name, user_id(name)]
    if _ACCOUNT.fullmatch(name):
        keys.append(f"arn:aws:iam::{name}:root")
    if kind == "CanonicalUser" and name == scene.owner and scene.new_owner:
        return arn(scene.new_owner)
    new = next((found for key in keys if key and (found := scene.maps.people.target(key))), "")
    if not new and scene.source == scene.target.kind == "aws" and kind == "AWS":
        return name  # the account of the other side still means the same
    if scene.to_aws and not arn_of_aws(new):
        return ""
    return arn(new) if new else ""


def arn_of_aws(principal: str) -> bool:
    """Say whether AWS understands a principal: an account, or an ARN with one in it."""
    return bool(_ACCOUNT.fullmatch(principal) or re.fullmatch(r"arn:aws[^:]*:(iam|sts)::\d{12}:.+", principal))


def users(scene: Scene) -> dict[str, str]:
    """Return the mapped users: name at the source → ARN at the target."""
    return {name: arn(new) for name, new in scene.maps.people.users.items() if new}
