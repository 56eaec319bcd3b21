"""What is configured at a bucket beside its objects, item by item: read, and written with a read-back.

Enters: a boto3 client and a bucket. Leaves: ``{item: value}`` for every item that is set, in the normal
form of :mod:`toolkit.storage.config.normal`, plus ``not_seen`` for those that may not be read.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from toolkit.errors import AuthError, Conflict, RehostError, Unreachable, Unsupported
from toolkit.model import Json, canonical
from toolkit.storage import freeze
from toolkit.storage.config.normal import effect, lifecycle_rule, normal
from toolkit.storage.drivers.border import border, code_of

_SAMPLE = 10
_AT_ONCE = 8
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
#: item → (client method, key of the answer, or "" for all of it)
_ITEMS: tuple[tuple[str, str, str], ...] = (
    ("policy", "get_bucket_policy", "Policy"),
    ("cors", "get_bucket_cors", "CORSRules"),
    ("lifecycle", "get_bucket_lifecycle_configuration", "Rules"),
    ("website", "get_bucket_website", ""),
    ("encryption", "get_bucket_encryption", "ServerSideEncryptionConfiguration"),
    ("logging", "get_bucket_logging", "LoggingEnabled"),
    ("notification", "get_bucket_notification_configuration", ""),
    ("acl", "get_bucket_acl", ""),
    ("object-lock", "get_object_lock_configuration", "ObjectLockConfiguration"),
    ("replication", "get_bucket_replication", "ReplicationConfiguration"),
    ("public-access-block", "get_public_access_block", "PublicAccessBlockConfiguration"),
    ("ownership", "get_bucket_ownership_controls", "OwnershipControls"),
    ("bucket-tags", "get_bucket_tagging", "TagSet"),
    ("accelerate", "get_bucket_accelerate_configuration", "Status"),
)


#: item → how its normal form is spelt for boto3: (method to put it, arguments; method to take it away).
_WRITERS: Mapping[str, tuple[str, Callable[[Any], dict[str, Any]], str]] = {
    "policy": ("put_bucket_policy", lambda v: {"Policy": json.dumps(v)}, "delete_bucket_policy"),
    "cors": ("put_bucket_cors", lambda v: {"CORSConfiguration": {"CORSRules": v}}, "delete_bucket_cors"),
    "lifecycle": (
        "put_bucket_lifecycle_configuration",
        lambda v: {"LifecycleConfiguration": {"Rules": [lifecycle_rule(rule) for rule in v]}},
        "delete_bucket_lifecycle",
    ),
    "website": ("put_bucket_website", lambda v: {"WebsiteConfiguration": v}, "delete_bucket_website"),
    "bucket-tags": ("put_bucket_tagging", lambda v: {"Tagging": {"TagSet": v}}, "delete_bucket_tagging"),
    "encryption": (
        "put_bucket_encryption",
        lambda v: {"ServerSideEncryptionConfiguration": v},
        "delete_bucket_encryption",
    ),
    "ownership": (
        "put_bucket_ownership_controls",
        lambda v: {"OwnershipControls": v},
        "delete_bucket_ownership_controls",
    ),
    "public-access-block": (
        "put_public_access_block",
        lambda v: {"PublicAccessBlockConfiguration": v},
        "delete_public_access_block",
    ),
    "logging": ("put_bucket_logging", lambda v: {"BucketLoggingStatus": {"LoggingEnabled": v} if v else {}}, ""),
    "notification": ("put_bucket_notification_configuration", lambda v: {"NotificationConfiguration": v or {}}, ""),
    "object-lock": ("put_object_lock_configuration", lambda v: {"ObjectLockConfiguration": v}, ""),
    "accelerate": (
        "put_bucket_accelerate_configuration",
        lambda v: {"AccelerateConfiguration": {"Status": v or "Suspended"}},
        "",
    ),
}
_TRIES = 4


def read_one(client: Any, bucket: str, item: str) -> Json:
    """Return one item in its normal form, ``None`` if it is not set."""
    method, key = next((method, key) for name, method, key in _ITEMS if name == item)
    return normal(item, _read(client, bucket, method, key))


def write(client: Any, bucket: str, item: str, value: Json) -> None:
    """Write one item (``None``: take it away) and read it back, again if the store lost it.

    RGW 16 answers 2xx to configuration that it then does not hold when several calls meet, so each call
    waits for its own effect. What is absent is never deleted: an RGW that does not know a subresource
    takes ``DELETE /bucket?encryption`` for ``DELETE /bucket`` (measured on 16.2).
    """
    for attempt in range(_TRIES):
        if _holds(client, bucket, item, value):
            return
        time.sleep(0.2 * attempt)
        with border(f"{item} of {bucket}"):
            _put(client, bucket, item, value)
    if not _holds(client, bucket, item, value):
        raise Conflict(f"{bucket} does not hold the {item} that it took", "look at it at the target, then run again")


def _holds(client: Any, bucket: str, item: str, value: Json) -> bool:
    return canonical(read_one(client, bucket, item)) == canonical(effect(value))


def _put(client: Any, bucket: str, item: str, value: Json) -> None:
    if item == "acl":
        client.put_bucket_acl(Bucket=bucket, **_acl(client.get_bucket_acl(Bucket=bucket)["Owner"], value))
        return
    put, spelt, delete = _WRITERS[item]
    if value is None and delete:
        getattr(client, delete)(Bucket=bucket)
    else:
        getattr(client, put)(Bucket=bucket, **spelt(value))


def _acl(owner: dict[str, Any], grants: list[list[str]] | None) -> dict[str, Any]:
    """Spell grants for boto3, the owner's own first."""
    told = [{"Grantee": {"Type": "CanonicalUser", "ID": owner["ID"]}, "Permission": "FULL_CONTROL"}]
    for who, permission in grants or []:
        kind, _, name = who.partition(":")
        type_, key = {
            "id": ("CanonicalUser", "ID"),
            "uri": ("Group", "URI"),
            "mail": ("AmazonCustomerByEmail", "EmailAddress"),
        }[kind]
        told.append({"Grantee": {"Type": type_, key: name}, "Permission": permission})
    return {"AccessControlPolicy": {"Owner": {"ID": owner["ID"]}, "Grants": told}}


def read(client: Any, bucket: str, *, unknown: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the configuration of one bucket. Items in ``unknown`` this kind of store does not have."""
    found: dict[str, Any] = {}
    not_seen: list[str] = []
    for item, method, key in _ITEMS:
        if item in unknown:
            continue  # some stores answer an unknown question with a listing of the bucket
        try:
            value = normal(item, _read(client, bucket, method, key))
        except (AuthError, Unreachable) as exc:
            if not isinstance(exc.__cause__, ClientError):
                raise  # no answer at all: the store is away, not this item
            not_seen.append(item)
            continue
        if value is not None:
            found[item] = value
    try:
        _sample(client, bucket, found, acls="ownership" in unknown or not _acls_are_off(client, bucket))
    except AuthError:
        not_seen.append("object-acl")
    if not_seen:
        found["not_seen"] = not_seen
    return found


def _acls_are_off(client: Any, bucket: str) -> bool:
    value = read_one(client, bucket, "ownership") or {}
    return {rule.get("ObjectOwnership") for rule in value.get("Rules", [])} == {"BucketOwnerEnforced"}


def _sample(client: Any, bucket: str, found: dict[str, Any], *, acls: bool) -> None:
    """Look at the first page of objects: their storage classes, and the grants of a few.

    Where ACLs are live each object may carry its own; asking all of them would cost a request each.
    """
    with border(f"list {bucket}"):
        listed = client.list_objects_v2(Bucket=bucket, MaxKeys=1000).get("Contents", [])
    classes = Counter(item.get("StorageClass") or "STANDARD" for item in listed)
    del classes["STANDARD"]
    archived = {name: count for name, count in classes.items() if name in _ARCHIVES}
    others = {name: count for name, count in classes.items() if name not in _ARCHIVES}
    found |= {item: value for item, value in (("archived", archived), ("storage-class", others)) if value}
    if not acls:
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = list(pool.map(lambda item: _granted(client, bucket, item["Key"]), listed[:_SAMPLE]))
    looked_at = [granted for granted in seen if granted is not None]
    if seen and not looked_at:
        raise AuthError(f"no ACL of an object in {bucket} may be read", "allow s3:GetObjectAcl")
    found["object-acl"] = {"looked_at": len(looked_at), "granted": sum(looked_at)}


def _granted(client: Any, bucket: str, key: str) -> bool | None:
    """Say whether an object grants anything beyond its owner's rights; ``None`` if it cannot be asked."""
    try:
        with border(f"ACL of an object in {bucket}"):
            return normal("acl", client.get_object_acl(Bucket=bucket, Key=key)) is not None
    except RehostError as exc:
        if isinstance(exc.__cause__, ClientError):
            return None
        raise


def _read(client: Any, bucket: str, method: str, key: str) -> Any:
    call: Callable[..., dict[str, Any]] = getattr(client, method)
    try:
        with border(f"{method} {bucket}"):
            answer = call(Bucket=bucket)
    except Unsupported:
        return None  # a store without the call has nothing set there
    except RehostError as exc:
        if isinstance(exc.__cause__, ClientError) and _absent(exc.__cause__):
            return None
        raise
    answer = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    if freeze.SID in str(answer.get("Policy", "")):
        answer["Policy"] = freeze.lifted(answer["Policy"])  # a freeze of ours is no configuration of the bucket
    return answer.get(key) if key else answer


def _absent(exc: ClientError) -> bool:
    """Say whether an error means "not set": 404 with a code of its own for each item."""
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code_of(exc) != "NoSuchBucket" and status in (400, 404, 405, 501)
