"""What becomes of an identity, before anything is written. Rules: ``verdicts.yaml`` of the family."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from toolkit.model import Abilities, Json, Resource, Verdict, canonical
from toolkit.storage.identity.translate import Loss, Setting, document_for
from toolkit.verdicts import judge, load

_OTHER = re.compile(r"[^A-Za-z0-9_+=,.@-]+")
#: What the inline policies of one IAM user may hold together, in characters.
_IAM_INLINE = 2048


def assess(resource: Resource, source: str, target: Abilities, buckets: Mapping[str, str]) -> Iterator[Verdict]:
    """Yield one verdict per feature of an identity; losses of one kind come together."""
    rows = load("toolkit.storage")
    said: dict[str, list[str]] = {}
    for feature, detail in _features(resource, target, buckets):
        said.setdefault(feature, []).append(detail)
    for feature, details in said.items():
        detail = "; ".join(dict.fromkeys(text for text in details if text))
        yield judge(rows, resource.address, feature, source=source, target=target, detail=detail)


def _features(resource: Resource, target: Abilities, buckets: Mapping[str, str]) -> Iterator[Loss]:
    body, facts = resource.body, resource.facts
    if body["kind"] == "account":
        known = bool(body.get("own")) or bool((facts.get("to") or {}).get("name"))
        yield Loss("identity-account" if known else "identity-stranger", "")
        return
    yield Loss(f"identity-{body['kind']}", "")
    if body["kind"] == "role":
        for text in facts.get("trust") or ():
            if text != "Service: ec2.amazonaws.com":
                yield Loss("identity-trust", str(text))
    yield Loss("identity-keys" if facts.get("sink") else "identity-no-keys", "")
    if facts.get("login"):
        yield Loss("identity-login", "")
    if facts.get("boundary"):
        yield Loss("identity-boundary", str(facts["boundary"]))
    if facts.get("subusers"):
        yield Loss("identity-subusers", f"{facts['subusers']} subuser(s)")
    setting = Setting(str(body["name"]), buckets, target.kind)
    size = 0
    for name, document in dict(body.get("policies") or {}).items():
        if not document:
            yield Loss("identity-policy-unseen", str(name))
            continue
        made, losses = document_for(document, setting)
        yield Loss("identity-policy", "")
        yield from losses
        size += len(canonical(made))
    if target.kind == "aws" and size > _IAM_INLINE:
        yield Loss("identity-policy-size", f"{size:,} characters")


def policy_name(name: Json) -> str:
    """Return a policy's name in the letters that every store takes."""
    return _OTHER.sub(".", str(name)).strip(".")[:128] or "policy"
