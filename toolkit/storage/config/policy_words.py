"""What Ceph RGW understands of a bucket policy: measured on Pacific (16.2), named in its documentation since.

An RGW stores almost any statement with 200, and then does not evaluate what it does not know: an ``Allow``
with an unknown key under ``…IfExists`` is open to everybody, a ``Deny`` with an unknown key denies nobody.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

#: Condition keys, in lower case, that an RGW fills in on the requests to which they belong.
KEYS = frozenset(
    {
        "aws:currenttime",
        "aws:epochtime",
        "aws:referer",
        "aws:securetransport",
        "aws:sourceip",
        "aws:useragent",
        "aws:username",
        "s3:prefix",
        "s3:delimiter",
        "s3:max-keys",
        "s3:x-amz-acl",
        "s3:x-amz-grant-full-control",
        "s3:x-amz-grant-read",
        "s3:x-amz-grant-read-acp",
        "s3:x-amz-grant-write",
        "s3:x-amz-grant-write-acp",
        "s3:x-amz-copy-source",
        "s3:x-amz-metadata-directive",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    }
)
_TAGS = re.compile(r"s3:existingobjecttag/.+")  # s3:RequestObjectTag is not filled in by PutObject
OPERATORS = re.compile(
    r"(String(Not)?Equals(IgnoreCase)?|String(Not)?Like|Numeric(Not)?Equals|Numeric(Less|Greater)Than(Equals)?"
    r"|Date(Not)?Equals|Date(Less|Greater)Than(Equals)?|Bool|(Not)?IpAddress)(IfExists)?|Null"
)
_NAMES = """
AbortMultipartUpload BypassGovernanceRetention CreateBucket DeleteBucket DeleteBucketPolicy
DeleteBucketWebsite DeleteObject DeleteObjectTagging DeleteObjectVersion
DeleteObjectVersionTagging DeleteReplicationConfiguration GetAccelerateConfiguration
GetBucketAcl GetBucketCORS GetBucketLocation GetBucketLogging GetBucketNotification
GetBucketObjectLockConfiguration GetBucketPolicy GetBucketPolicyStatus
GetBucketPublicAccessBlock GetBucketRequestPayment GetBucketTagging GetBucketVersioning
GetBucketWebsite GetLifecycleConfiguration GetObject GetObjectAcl GetObjectLegalHold
GetObjectRetention GetObjectTagging GetObjectTorrent GetObjectVersion GetObjectVersionAcl
GetObjectVersionTagging GetObjectVersionTorrent GetReplicationConfiguration ListAllMyBuckets
ListBucket ListBucketMultipartUploads ListBucketVersions ListMultipartUploadParts
PutAccelerateConfiguration PutBucketAcl PutBucketCORS PutBucketLogging PutBucketNotification
PutBucketObjectLockConfiguration PutBucketPolicy PutBucketPublicAccessBlock
PutBucketRequestPayment PutBucketTagging PutBucketVersioning PutBucketWebsite
PutLifecycleConfiguration PutObject PutObjectAcl PutObjectLegalHold PutObjectRetention
PutObjectTagging PutObjectVersionAcl PutObjectVersionTagging PutReplicationConfiguration
RestoreObject
"""
#: Actions of the policy language that RGW 16 knows; one unknown word makes it refuse the whole policy.
ACTIONS = tuple(f"s3:{name}" for name in _NAMES.split())


def knows_key(name: str) -> bool:
    """Say whether an RGW evaluates a condition key."""
    return name.lower() in KEYS or bool(_TAGS.fullmatch(name.lower()))


def knows_operator(name: str) -> bool:
    """Say whether an RGW evaluates a condition operator."""
    return bool(OPERATORS.fullmatch(name))


def knows_action(name: str) -> bool:
    """Say whether an RGW accepts an action; ``s3:*`` and other patterns need only one match."""
    if name == "*":
        return True
    lowered = name.lower()
    return any(fnmatchcase(known.lower(), lowered) for known in ACTIONS)


def overlaps(one: str, other: str) -> bool:
    """Say whether two patterns (``*`` and ``?``) may name the same thing; doubtful cases count as yes."""
    if fnmatchcase(one, other) or fnmatchcase(other, one):
        return True
    head, other_head = re.split(r"[*?]", one)[0], re.split(r"[*?]", other)[0]
    wild = any(c in one for c in "*?") and any(c in other for c in "*?")
    return wild and (head.startswith(other_head) or other_head.startswith(head))
