"""T9: a bucket with everything configured, and what must become of it. Looks with boto3 alone."""

from __future__ import annotations

import json
from typing import Any

ACCOUNT = "111122223333"
CDN = f"arn:aws:cloudfront::{ACCOUNT}:distribution/E2QWRUHAPOMQZL"
MARIA = f"arn:aws:iam::{ACCOUNT}:user/maria"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:uploads"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CORS = [
    {
        "AllowedHeaders": ["*"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedOrigins": ["https://www.agora.example"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3600,
    },
    {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]},
]
WEBSITE = {
    "IndexDocument": {"Suffix": "index.html"},
    "ErrorDocument": {"Key": "404.html"},
    "RoutingRules": [
        {"Condition": {"KeyPrefixEquals": "old/"}, "Redirect": {"ReplaceKeyPrefixWith": "new/"}},
        {
            "Condition": {"HttpErrorCodeReturnedEquals": "404"},
            "Redirect": {"HostName": "www.agora.example", "Protocol": "https", "HttpRedirectCode": "302"},
        },
    ],
}
PAB = {
    "BlockPublicAcls": True,
    "BlockPublicPolicy": True,
    "IgnorePublicAcls": True,
    "RestrictPublicBuckets": True,
}
LIFECYCLE = [
    {"ID": "expire", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}},
    {
        "ID": "archive",
        "Status": "Enabled",
        "Filter": {"Prefix": "media/"},
        "Transitions": [{"Days": 30, "StorageClass": "GLACIER_IR"}],
    },
    {
        "ID": "uploads",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    },
]


def policy(bucket: str) -> dict[str, Any]:
    """The policy of T9: every kind of words that mean something at AWS only."""
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyThroughTheEndpoint",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": f"{arn}/private/*",
                "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1a2b3c4d"}},
            },
            {
                "Sid": "Cdn",
                "Effect": "Allow",
                "Principal": {"Service": "cloudfront.amazonaws.com"},
                "Action": "s3:GetObject",
                "Resource": f"{arn}/*",
                "Condition": {"StringEquals": {"AWS:SourceArn": CDN}},
            },
            {
                "Sid": "Inbox",
                "Effect": "Allow",
                "Principal": {"AWS": MARIA},
                "Action": ["s3:PutObject", "s3:PutObjectAcl"],
                "Resource": f"{arn}/inbox/*",
                "Condition": {"StringEqualsIfExists": {"s3:x-amz-acl": "private"}},
            },
            {
                "Sid": "Home",
                "Effect": "Allow",
                "Principal": {"AWS": MARIA},
                "Action": "s3:*",
                "Resource": f"{arn}/home/${{aws:username}}/*",
            },
            {
                "Sid": "Secrets",
                "Effect": "Allow",
                "Principal": {"AWS": MARIA},
                "Action": "s3:GetObject",
                "Resource": f"{arn}/private/*",
            },
        ],
    }


def configure(client: Any, bucket: str) -> None:
    """Configure the source's bucket as T9 says, and put some objects into it."""
    for key in ("index.html", "media/a.jpg", "inbox/x", "home/maria/y"):
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy(bucket)))
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": LIFECYCLE})
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": CORS})
    client.put_bucket_website(Bucket=bucket, WebsiteConfiguration=WEBSITE)
    client.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    kms = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [kms]})
    topics = [{"Id": "uploads", "TopicArn": TOPIC, "Events": ["s3:ObjectCreated:*"]}]
    client.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"TopicConfigurations": topics}
    )
    client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=PAB)


#: The whole translation report towards Ceph: feature → (verdict, what its reason must say).
REPORT = {
    "objects": ("kept", ""),
    "metadata": ("kept", ""),
    "multipart": ("kept", ""),
    "tags": ("kept", ""),
    "ownership": ("converted", "BucketOwnerEnforced"),
    "encryption": ("degraded", KEY),
    "public-access-block": (
        "converted",
        "BlockPublicAcls, BlockPublicPolicy, IgnorePublicAcls, RestrictPublicBuckets",
    ),
    "public-access-block/RestrictPublicBuckets": ("converted", "without effect"),
    "cors": ("kept", "2 rule(s)"),
    "website": ("kept", "2 routing rule(s)"),
    "policy": ("converted", "2 of 5 statement(s)"),
    "policy/OnlyThroughTheEndpoint": ("degraded", "aws:SourceVpce"),
    "policy/Cdn": ("degraded", "AWS:SourceArn"),
    "policy/Home/username": ("converted", "1 user(s)"),
    "policy/Secrets": ("degraded", "limited by policy/OnlyThroughTheEndpoint"),
    "notification/uploads": ("degraded", TOPIC),
    "lifecycle": ("converted", "2 of 3 rule(s)"),
    "space": ("converted", "raw space"),
    "lifecycle/archive/Transitions": ("degraded", "GLACIER_IR"),
}


def told(client: Any, call: str, key: str, bucket: str) -> Any:
    """Ask for one item with boto3; None where the store says that it is not set."""
    try:
        return getattr(client, call)(Bucket=bucket).get(key)
    except client.exceptions.ClientError as exc:
        if exc.response["ResponseMetadata"]["HTTPStatusCode"] not in (404, 405, 501):
            raise
        return None


def seen(client: Any, bucket: str) -> dict[str, Any]:
    """Return what boto3 alone sees of a bucket's configuration, spelt so that it can be compared."""
    text = told(client, "get_bucket_policy", "Policy", bucket)
    rules = told(client, "get_bucket_lifecycle_configuration", "Rules", bucket)
    website = {
        key: value
        for key in ("IndexDocument", "ErrorDocument", "RoutingRules")
        if (value := told(client, "get_bucket_website", key, bucket))
    }
    cors = told(client, "get_bucket_cors", "CORSRules", bucket)
    return {
        "policy": json.loads(text) if text else None,
        "lifecycle": {
            rule["ID"]: {k: v for k, v in rule.items() if k not in ("ID", "Filter", "Prefix", "Status")}
            for rule in rules
        }
        if rules
        else None,
        "cors": [{key: value for key, value in rule.items() if value} for rule in cors] if cors else None,
        "website": website or None,
        "public-access-block": told(client, "get_public_access_block", "PublicAccessBlockConfiguration", bucket),
        "notification": told(client, "get_bucket_notification_configuration", "TopicConfigurations", bucket),
        "keys": sorted(item["Key"] for item in client.list_objects_v2(Bucket=bucket).get("Contents", [])),
    }


def target_policy(bucket: str) -> dict[str, Any]:
    """What of the policy stands at Ceph, word for word."""
    arn = f"arn:aws:s3:::{bucket}"
    maria = {"AWS": ["arn:aws:iam:::user/maria-at-ceph"]}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Inbox",
                "Effect": "Allow",
                "Principal": maria,
                "Action": ["s3:PutObject", "s3:PutObjectAcl"],
                "Resource": [f"{arn}/inbox/*"],
                "Condition": {"StringEqualsIfExists": {"s3:x-amz-acl": ["private"]}},
            },
            {
                "Sid": "Homemaria",
                "Effect": "Allow",
                "Principal": maria,
                "Action": ["s3:*"],
                "Resource": [f"{arn}/home/maria/*"],
            },
        ],
    }
