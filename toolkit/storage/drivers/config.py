"""What is configured at a bucket beside its objects, read item by item; defaults are told apart.

Enters: a boto3 client and a bucket. Leaves: ``{item: value}`` for every item that is there and is
not the provider's default, plus ``not_seen`` for those that may not be read. Nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from toolkit.errors import AuthError, RehostError, Unreachable, Unsupported
from toolkit.storage.drivers.border import border, code_of

_SAMPLE = 10
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


def read(client: Any, bucket: str, *, unknown: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the configuration of one bucket. Items in ``unknown`` this kind of store does not have."""
    found: dict[str, Any] = {}
    not_seen: list[str] = []
    for item, method, key in _ITEMS:
        if item in unknown:
            continue  # some stores answer an unknown question with a listing of the bucket
        try:
            value = _read(client, bucket, method, key)
        except (AuthError, Unreachable) as exc:
            if not isinstance(exc.__cause__, ClientError):
                raise  # no answer at all: the store is away, not this item
            not_seen.append(item)
            continue
        if value and not _is_default(item, value):
            found[item] = value
    try:
        _sample(client, bucket, found, acls="ownership" in unknown or not _acls_are_off(client, bucket))
    except AuthError:
        not_seen.append("object-acl")
    if not_seen:
        found["not_seen"] = not_seen
    return found


def _acls_are_off(client: Any, bucket: str) -> bool:
    value = _read(client, bucket, "get_bucket_ownership_controls", "OwnershipControls") or {}
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
    seen = [_granted(client, bucket, item["Key"]) for item in listed[:_SAMPLE]]
    looked_at = [granted for granted in seen if granted is not None]
    if seen and not looked_at:
        raise AuthError(f"no ACL of an object in {bucket} may be read", "allow s3:GetObjectAcl")
    found["object-acl"] = {"looked_at": len(looked_at), "granted": sum(looked_at)}


def _granted(client: Any, bucket: str, key: str) -> bool | None:
    """Say whether an object grants anything beyond its owner's rights; ``None`` if it cannot be asked."""
    try:
        with border(f"ACL of an object in {bucket}"):
            return not _is_default("acl", client.get_object_acl(Bucket=bucket, Key=key))
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
    return answer.get(key) if key else answer


def _absent(exc: ClientError) -> bool:
    """Say whether an error means "not set": 404 with a code of its own for each item."""
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code_of(exc) != "NoSuchBucket" and status in (400, 404, 405, 501)


def _is_default(item: str, value: Any) -> bool:
    match item:
        case "acl":
            owner = value.get("Owner", {}).get("ID")
            grants = value.get("Grants", [])
            return all(
                g.get("Grantee", {}).get("ID") == owner and g.get("Permission") == "FULL_CONTROL" for g in grants
            )
        case "encryption":
            rules = value.get("Rules", [])
            names = {rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in rules}
            return names <= {"AES256"}  # what AWS does to every object since 2023
        case "ownership":
            return {rule.get("ObjectOwnership") for rule in value.get("Rules", [])} <= {"BucketOwnerEnforced"}
        case "public-access-block":
            return bool(all(value.values()))  # nothing is public; a new bucket of the target is not either
        case "object-lock":
            return bool(value.get("ObjectLockEnabled") != "Enabled")
        case "accelerate":
            return bool(value != "Enabled")
        case _:
            return False
