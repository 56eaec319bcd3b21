"""What a request is (service, operation, read or write) and the log of all of them.

Enters: method, path, query and headers of a request. Leaves: a :class:`Call`, written as one JSON
line to ``calls.jsonl``. The proof that the source was not touched reads this log, so every call is
in it, also those that are refused.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import parse_qs, unquote

from toolkit.model import Json

_READS = ("Describe", "Get", "List", "Head", "Search", "Check", "Lookup", "View", "Test")


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the mock, as far as it can be told from outside."""

    service: str
    region: str
    operation: str
    method: str
    kind: Literal["read", "write"]
    bucket: str = ""
    key: str = ""
    access_key: str = ""
    version: str = ""


def identify(method: str, uri: str, headers: Mapping[str, str], body: bytes) -> Call:
    """Tell service, operation and kind of one request. ``headers`` have lower-case names."""
    path, _, query_text = uri.partition("?")
    query = parse_qs(query_text, keep_blank_values=True)
    service, region, access_key = _scope(path, query, headers)
    if service == "s3":
        bucket, _, key = path.lstrip("/").partition("/")
        operation = s3_operation(method, bool(bucket), bool(key), query, headers)
        kind: Literal["read", "write"] = "read" if method in ("GET", "HEAD", "OPTIONS") else "write"
        version = query.get("versionId", [""])[0]
        return Call(service, region, operation, method, kind, unquote(bucket), unquote(key), access_key, version)
    if service == "route53":
        operation, target = route53_operation(method, path, query)
        return Call(service, region, operation, method, "read" if method == "GET" else "write", target, "", access_key)
    form = parse_qs(body.decode("latin-1")) if body[:200].find(b"Action=") >= 0 else {}
    action = (
        headers.get("x-amz-target", "").rpartition(".")[2] or (form or query).get("Action", [f"{method} {path}"])[0]
    )
    kind = "read" if action.startswith(_READS) or action.startswith("GET ") else "write"
    return Call(service, region, action, method, kind, access_key=access_key)


def _scope(path: str, query: Mapping[str, list[str]], headers: Mapping[str, str]) -> tuple[str, str, str]:
    """Return service, region and access key id."""
    authorization = headers.get("authorization", "")
    credential = ""
    if "Credential=" in authorization:
        credential = authorization.split("Credential=", 1)[1].split(",", 1)[0].strip()
    elif "X-Amz-Credential" in query:
        credential = query["X-Amz-Credential"][0]
    parts = credential.split("/")
    if len(parts) >= 5:
        return parts[-2].lower(), parts[-3], parts[0]
    access_key = query.get("AWSAccessKeyId", [""])[0]
    if authorization.startswith("AWS "):
        access_key = authorization[4:].partition(":")[0]
    if "x-amzn-authorization" in headers:
        access_key = headers["x-amzn-authorization"].partition("AWSAccessKeyId=")[2].partition(",")[0]
    if path.startswith(("/2013-04-01/", "/2012-02-29/")):
        return "route53", "us-east-1", access_key
    if "Action" in query and "Version" in query:
        return ("ec2" if query["Version"][0] >= "2006-06" else "sts"), "us-east-1", access_key
    if "route53domains" in headers.get("x-amz-target", "").lower():
        return "route53domains", "us-east-1", access_key
    return "s3", "us-east-1", access_key


_SUBRESOURCES: Mapping[str, str] = {
    "acl": "Acl",
    "tagging": "Tagging",
    "versioning": "Versioning",
    "policy": "Policy",
    "policyStatus": "PolicyStatus",
    "lifecycle": "LifecycleConfiguration",
    "cors": "Cors",
    "website": "Website",
    "logging": "Logging",
    "notification": "NotificationConfiguration",
    "encryption": "Encryption",
    "replication": "Replication",
    "ownershipControls": "OwnershipControls",
    "publicAccessBlock": "PublicAccessBlock",
    "accelerate": "AccelerateConfiguration",
    "requestPayment": "RequestPayment",
    "object-lock": "ObjectLockConfiguration",
    "location": "Location",
    "inventory": "InventoryConfiguration",
    "legal-hold": "LegalHold",
    "retention": "Retention",
    "attributes": "Attributes",
}
_VERBS: Mapping[str, str] = {"GET": "Get", "PUT": "Put", "DELETE": "Delete", "HEAD": "Head", "POST": "Post"}


def s3_operation(
    method: str, has_bucket: bool, has_key: bool, query: Mapping[str, Any], headers: Mapping[str, str]
) -> str:
    """Name the S3 operation of a request."""
    verb = _VERBS.get(method, method.title())
    if not has_bucket:
        return "ListBuckets"
    if "uploadId" in query and has_key:
        if method == "PUT":
            return "UploadPartCopy" if "x-amz-copy-source" in headers else "UploadPart"
        return {"GET": "ListParts", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}.get(
            method, method
        )
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    what = "Object" if has_key else "Bucket"
    for name, suffix in _SUBRESOURCES.items():
        if name in query:
            return f"{verb}{what}{suffix}"
    if has_key:
        return "CopyObject" if method == "PUT" and "x-amz-copy-source" in headers else f"{verb}Object"
    if method == "GET":
        return "ListObjectVersions" if "versions" in query else f"ListObjects{'V2' if 'list-type' in query else ''}"
    if method == "POST":
        return "DeleteObjects" if "delete" in query else "PostObject"
    return {"PUT": "CreateBucket"}.get(method, f"{verb}Bucket")


def route53_operation(method: str, path: str, query: Mapping[str, Any]) -> tuple[str, str]:
    """Name the Route 53 operation of a request and the zone (or other thing) it is about."""
    parts = [part for part in path.split("/") if part][1:]
    kind, target, rest, *_ = [*parts, "", "", ""]
    read = method == "GET"
    if kind == "hostedzone" and not rest:
        if not target:
            return ("ListHostedZones" if read else "CreateHostedZone"), ""
        return ("GetHostedZone" if read else f"{method.title()}HostedZone"), target
    if kind == "hostedzone" and rest == "rrset":
        return ("ListResourceRecordSets" if read else "ChangeResourceRecordSets"), target
    if kind == "change":
        return "GetChange", target
    names = {"healthcheck": "HealthChecks", "hostedzonesbyname": "HostedZonesByName", "tags": "TagsForResource"}
    name = names.get(kind, kind)
    del query
    return f"{'List' if read else method.title()}{name}{'/' + rest if rest else ''}", target


class CallLog:
    """Appends every call to ``calls.jsonl`` and keeps counters. One per process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sink: IO[bytes] = path.open("ab", buffering=0)
        self.counts: Counter[str] = Counter()

    def add(self, call: Call, status: int, **more: Json) -> None:
        """Write one call. Each line reaches the file before the answer is sent."""
        self.counts[f"{call.service}:{call.kind}"] += 1
        row = {
            "time": round(time.time(), 6),
            "service": call.service,
            "region": call.region,
            "operation": call.operation,
            "method": call.method,
            "class": call.kind,
            "bucket": call.bucket,
            "key": call.key,
            **({"version": call.version} if call.version else {}),
            "access_key": call.access_key,
            "status": status,
            **more,
        }
        self._sink.write(json.dumps(row, ensure_ascii=True).encode() + b"\n")

    def rows(self, wanted: Mapping[str, str]) -> Iterator[dict[str, Json]]:
        """Yield the rows whose fields equal ``wanted``; ``since``/``until`` bound the time."""
        fields = {name: value for name, value in wanted.items() if name not in ("since", "until", "limit")}
        since, until = float(wanted.get("since", 0)), float(wanted.get("until", "inf"))
        with self.path.open("rb") as lines:
            for line in lines:
                row: dict[str, Json] = json.loads(line)
                if since <= row["time"] <= until and all(
                    _text(row.get(name)) == value for name, value in fields.items()
                ):
                    yield row

    def close(self) -> None:
        self._sink.close()


def _text(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
