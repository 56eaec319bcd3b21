"""A policy of the source, said so that it means the same at the target, or less, and never more.

Enters: policy documents and which bucket becomes which. Leaves: documents for the target and every
:class:`Loss` on the way. Measured on Ceph RGW 16: one unknown action or a variable in a resource refuses
the whole document, and ``*`` means the buckets of every user of the cluster, so each resource is narrowed
to the buckets that are moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from toolkit.model import Json
from toolkit.storage.identity.policy import ARN, Statement, covers, rests, statements

#: What RGW 16 has names for; held against a real one by tests/storage/identity/test_rgw.py.
_NAMES = """
AbortMultipartUpload BypassGovernanceRetention CreateBucket DeleteBucket DeleteBucketPolicy
DeleteBucketWebsite DeleteObject DeleteObjectTagging DeleteObjectVersion DeleteObjectVersionTagging
DeleteReplicationConfiguration GetAccelerateConfiguration GetBucketAcl GetBucketCORS GetBucketLocation
GetBucketLogging GetBucketNotification GetBucketObjectLockConfiguration GetBucketPolicy GetBucketPolicyStatus
GetBucketPublicAccessBlock GetBucketRequestPayment GetBucketTagging GetBucketVersioning GetBucketWebsite
GetLifecycleConfiguration GetObject GetObjectAcl GetObjectLegalHold GetObjectRetention GetObjectTagging
GetObjectTorrent GetObjectVersion GetObjectVersionAcl GetObjectVersionTagging GetObjectVersionTorrent
GetReplicationConfiguration ListAllMyBuckets ListBucket ListBucketMultipartUploads ListBucketVersions
ListMultipartUploadParts PutAccelerateConfiguration PutBucketAcl PutBucketCORS PutBucketLogging
PutBucketNotification PutBucketObjectLockConfiguration PutBucketPolicy PutBucketPublicAccessBlock
PutBucketRequestPayment PutBucketTagging PutBucketVersioning PutBucketWebsite PutLifecycleConfiguration
PutObject PutObjectAcl PutObjectLegalHold PutObjectRetention PutObjectTagging PutObjectVersionAcl
PutObjectVersionTagging PutReplicationConfiguration RestoreObject
"""
RGW_ACTIONS: tuple[str, ...] = tuple(f"s3:{name}" for name in _NAMES.split())
#: operator → keys that RGW 16 fills in and compares as AWS does (tests/storage/identity/test_rgw.py).
RGW_CONDITIONS: Mapping[str, frozenset[str]] = {
    "StringEquals": frozenset({"s3:prefix", "s3:delimiter"}),
    "StringLike": frozenset({"s3:prefix", "s3:delimiter"}),
    "IpAddress": frozenset({"aws:sourceip"}),
    "NotIpAddress": frozenset({"aws:sourceip"}),
}
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class Loss(NamedTuple):
    """Something that the target cannot say: the feature of its verdict, and what it was."""

    feature: str
    detail: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What a translation needs to know: whose policy, which buckets become which, and for what kind of store."""

    user: str
    buckets: Mapping[str, str]
    kind: str = "ceph"


def document_for(document: Mapping[str, Json], setting: Setting) -> tuple[dict[str, Json] | None, list[Loss]]:
    """Return a document for the target, ``None`` if nothing of it speaks of the moved buckets; and the losses."""
    made: list[Json] = []
    losses: list[Loss] = []
    for item in statements(document):
        if (said := _statement(item, setting, losses)) is not None:
            made.append(said)
    return ({"Version": "2012-10-17", "Statement": made} if made else None), losses


def _statement(item: Statement, setting: Setting, losses: list[Loss]) -> dict[str, Json] | None:
    plain = _without_variables(item, setting, losses)
    if plain is None:
        return None
    actions = _actions(plain, setting, losses)
    if not actions:
        return None
    if setting.kind == "ceph" and _is_for_http(plain):
        losses.append(Loss("identity-secure-transport", plain.sid or " ".join(actions[:3])))
        return None
    conditions = _conditions(plain, setting, losses)
    if conditions is None:
        return None
    where = _resources(plain, setting, losses)
    if where is None:
        return None
    said: dict[str, Json] = {"Effect": plain.effect, "Action": actions, **where}
    if conditions:
        said["Condition"] = conditions
    if plain.sid:
        said["Sid"] = plain.sid
    return said


def _actions(item: Statement, setting: Setting, losses: list[Loss]) -> list[str]:
    """Return the actions of storage, spelled as the target knows them."""
    if item.but_actions:
        return [name for name in RGW_ACTIONS if not any(covers(text, name, fold=True) for text in item.actions)]
    found: list[str] = []
    for text in item.actions:
        if text == "*":
            found.append("s3:*")
        elif not text.lower().startswith("s3:"):
            continue
        elif "*" in text or "?" in text:
            if setting.kind != "ceph" or any(covers(text, name, fold=True) for name in RGW_ACTIONS):
                found.append(text)
        elif setting.kind != "ceph":
            found.append(text)
        elif known := next((name for name in RGW_ACTIONS if name.lower() == text.lower()), ""):
            found.append(known)
        elif item.effect == "Allow":
            losses.append(Loss("identity-action", text))
    if (
        item.effect == "Allow"
        and setting.kind == "ceph"
        and any(covers(text, "s3:ListAllMyBuckets", fold=True) for text in found)
    ):
        losses.append(Loss("identity-list-buckets", " ".join(found[:3])))
    return list(dict.fromkeys(found))


def _conditions(item: Statement, setting: Setting, losses: list[Loss]) -> dict[str, dict[str, list[str]]] | None:
    """Return the conditions; ``None`` for an Allow whose condition cannot be said: it is left out.

    A Deny loses such a condition and denies always: nobody may do more than before.
    """
    said = {operator: {key: list(values) for key, values in keys.items()} for operator, keys in item.conditions.items()}
    if setting.kind != "ceph":
        return said
    strange = [
        f"{operator} {key}"
        for operator, keys in item.conditions.items()
        for key in keys
        if key.lower() not in RGW_CONDITIONS.get(operator, frozenset())
    ]
    if not strange:
        return said
    becomes = "the permission is left out" if item.effect == "Allow" else "it is denied always"
    losses.append(Loss("identity-condition", f"{', '.join(strange)}: {becomes}"))
    return None if item.effect == "Allow" else {}


def _resources(item: Statement, setting: Setting, losses: list[Loss]) -> dict[str, Json] | None:
    named = list(dict.fromkeys(arn for text in item.resources for arn in narrowed(text, setting.buckets)))
    if not item.but_resources:
        return {"Resource": named} if named else None
    everything = [arn for text in setting.buckets.values() for arn in (f"{ARN}{text}", f"{ARN}{text}/*")]
    if item.effect == "Deny":
        # Denying more than the moved buckets takes nothing from anybody: these users have no rights elsewhere.
        return {"NotResource": named} if named else {"Resource": everything}
    left = [arn for arn in everything if arn not in named]
    if any(arn not in everything for arn in named):
        losses.append(Loss("identity-not-resource", " ".join(item.resources[:3])))
        return None
    return {"Resource": left} if left else None


def narrowed(pattern: str, buckets: Mapping[str, str]) -> Iterator[str]:
    """Yield the ARNs of moved buckets and of keys in them that a resource pattern covers, under their new names."""
    for old, new in buckets.items():
        if covers(pattern, f"{ARN}{old}"):
            yield f"{ARN}{new}"
        for rest in sorted(rests(pattern, f"{ARN}{old}/")):
            if rest:
                yield f"{ARN}{new}/{rest}"


def _without_variables(item: Statement, setting: Setting, losses: list[Loss]) -> Statement | None:
    """Fill in the name of the user; what is known only when a request comes cannot be said."""
    texts = [*item.resources, *(v for keys in item.conditions.values() for values in keys.values() for v in values)]
    strange = sorted({name for text in texts for name in _VARIABLE.findall(text) if name != "aws:username"})
    if strange and setting.kind == "ceph":
        becomes = "the permission is left out" if item.effect == "Allow" else "it is denied for every value"
        losses.append(Loss("identity-variable", f"{', '.join(strange)}: {becomes}"))
        if item.effect == "Allow":
            return None

    def filled(text: str) -> str:
        text = text.replace("${aws:username}", setting.user)
        return _VARIABLE.sub("*", text) if setting.kind == "ceph" else text

    conditions = {
        operator: {key: tuple(filled(value) for value in values) for key, values in keys.items()}
        for operator, keys in item.conditions.items()
    }
    if strange and setting.kind == "ceph" and any(_VARIABLE.search(v) for v in texts[len(item.resources) :]):
        conditions = {}  # a Deny (an Allow has gone above): without its condition it denies always
    return replace(item, resources=tuple(filled(text) for text in item.resources), conditions=conditions)


def _is_for_http(item: Statement) -> bool:
    """Say whether a statement denies what comes without TLS, and nothing else."""
    keys = {key.lower(): values for key, values in item.conditions.get("Bool", {}).items()}
    return item.effect == "Deny" and set(item.conditions) == {"Bool"} and keys == {"aws:securetransport": ("false",)}


def touches_storage(document: Mapping[str, Json]) -> bool:
    """Say whether a document grants anything in S3."""
    for item in statements(document):
        if item.effect == "Allow" and (
            item.but_actions or any(text == "*" or text.lower().startswith("s3:") for text in item.actions)
        ):
            return True
    return False
