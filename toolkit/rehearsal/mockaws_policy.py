"""Bucket policies that deny, enforced: moto stores a policy and lets every signed request pass.

Enters: a call and who made it. Leaves: the refusal, or nothing. Only what an explicit Deny decides is looked
at: every key here belongs to the one account that owns the buckets, so nothing needs an Allow. A Deny with
conditions on anything but who calls (the network, TLS) is not enforced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any
from xml.sax.saxutils import escape

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket, s3_backends

from toolkit.model import Json, sha256_hex
from toolkit.rehearsal.mockaws_calls import Call
from toolkit.rehearsal.mockaws_errors import Answer, request_id, s3_error

ACCOUNT = "123456789012"
_ACTIONS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("PutObject", "CopyObject", "CreateMultipartUpload", "UploadPart", "UploadPartCopy"),
            *("CompleteMultipartUpload", "PostObject"),
        ),
        "s3:PutObject",
    ),
    "DeleteObjects": "s3:DeleteObject",
}


def install() -> None:
    """Leave a Deny with conditions to :func:`refusal`: moto takes it as one without. Call before any S3 call."""
    FakeBucket.get_permission = _permission


def _permission(bucket: Any, action: str, resource: str) -> Any:
    if not bucket.policy:
        return PermissionResult.NEUTRAL
    document = json.loads(bucket.policy)
    told = document.get("Statement") or []
    statements = [told] if isinstance(told, dict) else told
    plain = [one for one in statements if one["Effect"] != "Deny" or not one.get("Condition")]
    return IAMPolicy(json.dumps({**document, "Statement": plain})).is_action_permitted(action, resource)


def user_id(name: str) -> str:
    """Return the unique id of a user of the mock."""
    return "AIDA" + sha256_hex(name.encode())[:17].upper()


def caller_identity(name: str) -> Answer:
    """Answer sts:GetCallerIdentity; moto gives every key the same user."""
    body = (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:iam::{ACCOUNT}:user/{escape(name)}</Arn><UserId>{user_id(name)}</UserId>"
        f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id()}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
    return Answer(200, {"Content-Type": "text/xml"}, body.encode())


def refusal(call: Call, user: str, body: bytes) -> Answer | None:
    """Return the 403 of a call that the bucket's policy denies."""
    if call.service != "s3" or not call.bucket:
        return None
    statements = _statements(call.bucket)
    if not statements:
        return None
    action = _ACTIONS.get(call.operation, f"s3:{call.operation}")
    if call.version and action == "s3:DeleteObject":
        action = "s3:DeleteObjectVersion"
    if call.operation == "DeleteObjects":
        keys = [key.decode() for key in re.findall(rb"<Key>(.*?)</Key>", body, re.DOTALL)]
        denied = [key for key in keys if _denies(statements, action, f"{call.bucket}/{key}", user)]
        return _none_deleted(denied) if denied else None
    if not _denies(statements, action, f"{call.bucket}/{call.key}" if call.key else call.bucket, user):
        return None
    return s3_error(403, "AccessDenied", "Access Denied: an explicit deny in a resource-based policy")


def _statements(bucket: str) -> list[Json]:
    found = s3_backends[ACCOUNT]["aws"].buckets.get(bucket)
    if found is None or not found.policy:
        return []
    told = json.loads(found.policy).get("Statement") or []
    return [one for one in ([told] if isinstance(told, dict) else told) if one.get("Effect") == "Deny"]


def _denies(statements: list[Json], action: str, resource: str, user: str) -> bool:
    return any(
        _any(one.get("Action"), action.lower(), lower=True)
        and _any(one.get("Resource"), f"arn:aws:s3:::{resource}")
        and _concerns(one.get("Principal"), user)
        and _holds(one.get("Condition") or {}, user)
        for one in statements
    )


def _any(patterns: Json, text: str, *, lower: bool = False) -> bool:
    words = [patterns] if isinstance(patterns, str) else patterns or []
    return any(fnmatchcase(text, word.lower() if lower else word) for word in words)


def _concerns(principal: Json, user: str) -> bool:
    words = principal.get("AWS") if isinstance(principal, dict) else principal
    names = ("*", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{ACCOUNT}:user/{user}")
    return any(word in names for word in ([words] if isinstance(words, str) else words or []))


def _holds(condition: Mapping[str, Json], user: str) -> bool:
    known = {
        "aws:userid": user_id(user),
        "aws:username": user,
        "aws:principalarn": f"arn:aws:iam::{ACCOUNT}:user/{user}",
    }
    for operator, tests in condition.items():
        for key, wanted in tests.items():
            value = known.get(key.lower())
            if value is None or operator not in ("StringLike", "StringNotLike", "StringEquals", "StringNotEquals"):
                return False
            if _any(wanted, value) == operator.startswith("StringNot"):
                return False
    return True


def _none_deleted(keys: list[str]) -> Answer:
    items = "".join(
        f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>" for key in keys
    )
    text = f'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{items}</DeleteResult>'
    return Answer(200, {"Content-Type": "application/xml"}, text.encode())
