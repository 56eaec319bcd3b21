"""The bucket policy, statement by statement, never wider than it was.

An ``Allow`` that cannot be said exactly is left out. A ``Deny`` that cannot be said takes with it every
``Allow`` that it limits: what was forbidden to some is then open to nobody but the owner. Parts of a
statement that name nobody, or nothing, at the target are taken out of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from toolkit.storage.config import policy_words as words
from toolkit.storage.config import principals
from toolkit.storage.config.normal import policy as normal_policy
from toolkit.storage.config.scene import Note, Scene, Stage, Translated

Statement = dict[str, Any]
_NAME = "${aws:username}"


@dataclass(frozen=True, slots=True)
class Said:
    """One statement of the source in the target's words: none where ``lost`` says why not."""

    source: Statement
    part: str
    statements: tuple[Statement, ...] = ()
    lost: str = ""
    notes: tuple[Note, ...] = ()

    @property
    def allows(self) -> bool:
        return self.source.get("Effect") == "Allow"


class _CannotSay(Exception):
    """The statement at hand has no exact counterpart."""


def translate(document: Mapping[str, Any], scene: Scene) -> Translated:
    """Return the policy in the target's words with a note for every statement that is not as it was."""
    if not scene.target.can("policy"):
        return Translated("policy", None, (Note("policy", "policy"),))
    told = normal_policy(document)["Statement"]
    said = [_said(entry, f"policy/{entry.get('Sid') or number}", scene) for number, entry in enumerate(told, 1)]
    denied = [one for one in said if one.lost and not one.allows]
    said = [_shadowed(one, denied) for one in said]
    kept = [entry for one in said for entry in one.statements]
    notes = [note for one in said for note in _notes(one)]
    carried = sum(1 for one in said if one.statements)
    notes.insert(0, Note("policy", "policy", f"{carried} of {len(said)} statement(s)"))
    # A Deny may also forbid what the copy itself has to do, so a policy with one waits for the cut-over.
    stage: Stage = "last" if any(entry["Effect"] == "Deny" for entry in kept) else "build"
    head = {key: document[key] for key in ("Version", "Id") if key in document}
    value = normal_policy({**head, "Statement": kept}) if kept else None
    return Translated("policy", value, tuple(notes), stage)


def _notes(said: Said) -> Iterator[Note]:
    if said.lost:
        yield Note(said.part, "policy-allow" if said.allows else "policy-deny", said.lost)
    yield from said.notes


def _shadowed(said: Said, denied: list[Said]) -> Said:
    """Leave out an Allow that a lost Deny limited."""
    if not said.allows or said.lost:
        return said
    limits = [one.part for one in denied if _overlap(said.source, one.source)]
    if not limits:
        return said
    return replace(said, statements=(), lost=f"it was limited by {', '.join(limits)}, which cannot be said", notes=())


def _overlap(allow: Statement, deny: Statement) -> bool:
    for key in ("Action", "Resource"):
        if f"Not{key}" in allow or f"Not{key}" in deny:
            continue  # everything but …: may meet anything
        pairs = product(allow.get(key, ("*",)), deny.get(key, ("*",)))
        if not any(words.overlaps(one.lower(), other.lower()) for one, other in pairs):
            return False
    return True


def _said(entry: Statement, part: str, scene: Scene) -> Said:
    notes: list[Note] = []
    try:
        _public_but_restricted(entry, scene)
        variants = list(_variants(entry, part, scene, notes))
        statements = tuple(_statement(one, part, scene, notes) for one in variants)
    except _CannotSay as why:
        return Said(entry, part, lost=str(why))
    return Said(entry, part, statements, notes=tuple(dict.fromkeys(notes)))


def _public_but_restricted(entry: Statement, scene: Scene) -> None:
    """Refuse what the source's RestrictPublicBuckets made void, where the target does not honour it."""
    if scene.to_aws or entry.get("Effect") != "Allow" or not scene.blocks("RestrictPublicBuckets"):
        return
    limited = any("aws:sourceip" in map(str.lower, keys) for keys in entry.get("Condition", {}).values())
    if principals.is_everyone(entry) and not limited:
        raise _CannotSay("RestrictPublicBuckets made it void at the source, and the target does not honour that")


# -- interpolation


def _variants(entry: Statement, part: str, scene: Scene, notes: list[Note]) -> Iterator[Statement]:
    """Yield the statement without interpolation: one for each mapped user where it names the user."""
    text = json.dumps({key: entry.get(key) for key in ("Resource", "NotResource", "Condition")})
    if "${" not in text or scene.to_aws:
        yield entry
        return
    if "${" in text.replace(_NAME, ""):
        raise _CannotSay("the target does not replace ${…}")
    people = _meant(entry, scene)
    if not people:
        raise _CannotSay(f"the target does not replace {_NAME}, and no user is mapped under identities")
    notes.append(Note(f"{part}/username", "policy-username", f"{len(people)} user(s)"))
    for name, arn in sorted(people.items()):
        # The name ends inside JSON: escaped there, never able to leave its text.
        spelt = json.loads(json.dumps(entry).replace(_NAME, json.dumps(name)[1:-1]))
        sid = {"Sid": f"{entry['Sid']}{''.join(filter(str.isalnum, name))}"} if "Sid" in entry else {}
        yield {**spelt, **sid, "Principal": {"AWS": [f"={arn}"]}}


def _meant(entry: Statement, scene: Scene) -> dict[str, str]:
    """Return the mapped users that a statement with the user's name in it may speak of."""
    people = principals.users(scene)
    if principals.is_everyone(entry):
        return people
    if "Principal" not in entry:
        raise _CannotSay(f"NotPrincipal together with {_NAME}")
    found, missing = principals.renamed(entry["Principal"], scene)
    named = set((found or {}).get("AWS", []))
    if missing and entry.get("Effect") == "Deny":
        raise _CannotSay(f"no counterpart for {', '.join(missing)}")
    return {name: arn for name, arn in people.items() if arn in named}


# -- one statement


def _statement(entry: Statement, part: str, scene: Scene, notes: list[Note]) -> Statement:
    found: Statement = {key: entry[key] for key in ("Sid", "Effect") if key in entry}
    condition, on_behalf = _conditions(entry, part, scene, notes)
    found |= _who(entry, part, scene, on_behalf, notes)
    found |= _actions(entry, part, scene, notes)
    found |= _resources(entry, scene)
    return {**found, "Condition": condition} if condition else found


def _who(entry: Statement, part: str, scene: Scene, on_behalf: str, notes: list[Note]) -> Statement:
    deny = entry.get("Effect") == "Deny"
    if "NotPrincipal" in entry:
        if not deny:
            raise _CannotSay("an Allow for everybody but some cannot be checked")
        found, missing = principals.renamed(entry["NotPrincipal"], scene, on_behalf)
        if not found:
            raise _CannotSay(f"nobody whom it spares has a counterpart: {', '.join(missing)}")
        key = "NotPrincipal"
    else:
        told = entry.get("Principal", {})
        done = told.get("AWS", [""])[0] if isinstance(told, Mapping) else ""
        if done.startswith("="):  # already the target's, written by _variants
            return {"Principal": {"AWS": [done[1:]]}}
        found, missing = principals.renamed(told, scene, on_behalf)
        if not found:
            raise _CannotSay(f"no counterpart for {', '.join(missing)}")
        key = "Principal"
    if missing:
        notes.append(Note(f"{part}/principals", "policy-principals", ", ".join(missing)))
    return {key: found}


def _conditions(entry: Statement, part: str, scene: Scene, notes: list[Note]) -> tuple[Statement, str]:
    """Return the conditions in the target's words, and on whose behalf a service was to act."""
    told: Statement = entry.get("Condition", {})
    on_behalf = ""
    by_service = isinstance(entry.get("Principal"), Mapping) and set(entry["Principal"]) == {"Service"}
    if by_service:
        arns = [
            one
            for keys in told.values()
            for key, ones in keys.items()
            if key.lower() == "aws:sourcearn"
            for one in ones
        ]
        on_behalf = arns[0] if len(arns) == 1 else ""
        if on_behalf and scene.maps.people.target(on_behalf):
            notes.append(Note(f"{part}/service", "policy-service", on_behalf))
            told = {
                operator: {key: ones for key, ones in keys.items() if key.lower() not in principals.ON_BEHALF}
                for operator, keys in told.items()
            }
            told = {operator: keys for operator, keys in told.items() if keys}
    if scene.to_aws:
        return told, on_behalf
    found: Statement = {}
    for operator, keys in told.items():
        for key, ones in keys.items():
            new = _operator(operator, key, ones, entry, part, notes)
            found.setdefault(new, {})[key] = ones
    return found, on_behalf


def _operator(operator: str, key: str, ones: list[str], entry: Statement, part: str, notes: list[Note]) -> str:
    if not words.knows_key(key):
        raise _CannotSay(f"the target does not evaluate {key} ({operator})")
    if not words.knows_operator(operator):
        raise _CannotSay(f"the target does not evaluate {operator}")
    if key.lower() == "aws:securetransport" and ones == ["false"]:
        if operator == "Null" or entry.get("Effect") != "Deny":
            raise _CannotSay("the target tells nothing about unencrypted requests")
        # An RGW fills the key in on encrypted requests only: its absence is what "false" is elsewhere.
        notes.append(Note(f"{part}/SecureTransport", "policy-secure-transport"))
        return "BoolIfExists"
    return operator


def _actions(entry: Statement, part: str, scene: Scene, notes: list[Note]) -> Statement:
    key = "Action" if "Action" in entry else "NotAction"
    if scene.to_aws and entry.get(key):
        return {key: entry[key]}
    known = [name for name in entry.get(key, ()) if words.knows_action(name)]
    unknown = sorted(set(entry.get(key, ())) - set(known))
    if not known:
        raise _CannotSay(f"the target knows none of {', '.join(unknown)}")
    if unknown:
        notes.append(Note(f"{part}/actions", "policy-actions", ", ".join(unknown)))
    return {key: known}


def _resources(entry: Statement, scene: Scene) -> Statement:
    key = "Resource" if "Resource" in entry else "NotResource"
    each = [_resource(told, scene) for told in entry.get(key, ())]
    found = {new for told in each for new in told}
    if not found or (key == "NotResource" and () in each):
        raise _CannotSay(f"it names no part of {scene.bucket}")
    return {key: sorted(found)}


def _resource(told: str, scene: Scene) -> tuple[str, ...]:
    """Return a resource with the bucket's new name; nothing if it belongs to another bucket."""
    whole = (f"arn:aws:s3:::{scene.name}", f"arn:aws:s3:::{scene.name}/*")
    if told == "*":
        return whole
    bucket, slash, key = told.rpartition(":::")[2].partition("/")
    if bucket == scene.bucket:
        return (f"{whole[0]}{slash}{key}",)
    if bucket == "*":
        return (f"{whole[0]}{slash}{key}",) if slash else whole
    return ()
