"""The two ends of a storage test: how to reach each, and an independent eye on what lies there.

Everything in :func:`contents` goes through boto3 alone, never through the code under test.
"""

from __future__ import annotations

import email.header
import functools
import http.client
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import boto3
from botocore.config import Config

from toolkit.families import Progress, Shard
from toolkit.model import Change, Finding, Resource, Tally, state
from toolkit.secrets import Credentials, Secret
from toolkit.storage.config.scene import Maps
from toolkit.storage.drivers.s3 import S3Driver
from toolkit.storage.family import StorageFamily
from toolkit.storage.model import Knobs
from toolkit.storage.sign import Keys, Signer
from toolkit.storage.unleased import Unleased


@dataclass(frozen=True)
class End:
    """One store: where it is, what kind, and what its imitation is known to get wrong."""

    kind: str
    endpoint: str
    key: str
    secret: str
    wrong: frozenset[str] = frozenset()
    loader: tuple[str, str] | None = None  # keys of a user that may choose version ids
    others: tuple[str, str] = ("b" * 64, "c" * 64)  # canonical ids of two other users

    @functools.cached_property
    def driver(self) -> S3Driver:
        keys = Credentials("keys", Secret(self.key), Secret(self.secret))
        loader = Credentials("keys", Secret(self.loader[0]), Secret(self.loader[1])) if self.loader else None
        return S3Driver(kind=self.kind, endpoint=self.endpoint, region="us-east-1", credentials=keys, loader=loader)

    def without(self, abilities: frozenset[str]) -> S3Driver:
        """Return the driver, some of its abilities denied."""
        if not abilities:
            return self.driver
        keys = Credentials("keys", Secret(self.key), Secret(self.secret))
        less = S3Driver(kind=self.kind, endpoint=self.endpoint, region="us-east-1", credentials=keys)
        left = less.ex_capabilities() - abilities
        less.ex_capabilities = lambda: left  # type: ignore[method-assign]
        return less

    @functools.cached_property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


@dataclass(frozen=True)
class Ends:
    """A source and a target."""

    source: End
    target: End

    @property
    def wrong(self) -> frozenset[str]:
        return self.source.wrong | self.target.wrong


def fresh(prefix: str = "t") -> str:
    """Return a bucket name nobody used."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@dataclass
class Move:
    """One bucket on its way, without any stage above: plan, do, look."""

    ends: Ends
    run: Path
    bucket: str
    to: str = ""
    knobs: Knobs = field(default_factory=lambda: Knobs(in_flight=8, attempts=3))
    ticks: list[Progress] = field(default_factory=list)
    exceptions: list[Finding] = field(default_factory=list)
    maps: Maps = field(default_factory=Maps)
    without: frozenset[str] = frozenset()  # abilities that the target is said to lack

    @property
    def family(self) -> StorageFamily:
        return StorageFamily(
            source=self.ends.source.driver,
            target=self.ends.target.without(self.without),
            workspace=self.run,
            tick=self.ticks.append,
            knobs=self.knobs,
            maps=self.maps,
        )

    @property
    def target_bucket(self) -> str:
        return self.to or self.bucket

    def desired(self) -> dict[str, Resource]:
        wanted = state([Resource(f"storage/bucket/{self.bucket}", {"name": self.bucket, "versioning": "off"})])
        found = [item for item in self.family.read("source", wanted) if isinstance(item, Resource)]
        mine = [replace(item, facts={**item.facts, "to": {"name": self.target_bucket}}) for item in found]
        return state(item for resource in mine for item in self.family.translate(resource, {}))

    def plan(self) -> list[Change]:
        desired = self.desired()
        existing = state(item for item in self.family.read("target", desired) if isinstance(item, Resource))
        return list(self.family.diff(desired, existing))

    def apply(self) -> list[Change]:
        changes = self.plan()
        for change in changes:
            self.do(change)
        return changes

    def do(self, change: Change) -> None:
        family = self.family
        shards = family.bulk(change)
        if shards is None:
            family.do(change, None)
            return
        for shard in shards:
            lease = Unleased(shard)
            family.do(change, lease)
            self.exceptions += lease.exceptions

    def verify(self, tier: str = "list") -> tuple[list[Finding], Tally]:
        seen = list(self.family.verify(self.desired(), tier))
        tally = next(item for item in seen if isinstance(item, Tally) and "/objects/" in item.address)
        return [item for item in seen if isinstance(item, Finding)], tally

    def undo(self, changes: list[Change], *, purge: bool) -> None:
        for change in reversed(changes):
            self.family.undo(change, purge=purge)


@dataclass
class Recording:
    """A lease that can be killed: it raises ``stop`` at a commit of the test's choice."""

    shard: Shard
    cursor: int
    die_at: int = -1
    commits: list[int] = field(default_factory=list)
    exceptions: list[Finding] = field(default_factory=list)

    def commit(self, cursor: int, *, done: int, size: int, exceptions: list[Finding]) -> None:
        if len(self.commits) == self.die_at:
            raise Killed
        self.commits.append(done)
        self.cursor = cursor
        self.exceptions += exceptions

    def heartbeat(self) -> None:
        return None


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


_HEADERS = (
    "ContentType",
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "WebsiteRedirectLocation",
    "ExpiresString",
)


def contents(end: End, bucket: str) -> dict[str, dict[str, Any]]:
    """Return the newest objects of a bucket as boto3 alone sees them."""
    client, found = end.client, {}
    for item in listed(client, "list_objects_v2", "Contents", bucket):
        answer = client.get_object(Bucket=bucket, Key=item["Key"])
        found[item["Key"]] = {
            "body": answer["Body"].read(),
            "etag": answer["ETag"],
            "meta": answer["Metadata"],
            **{name: answer.get(name) for name in _HEADERS},
        }
    return found


def etags(end: End, bucket: str) -> dict[str, str]:
    """Return the ETags of the newest objects of a bucket as boto3 alone lists them."""
    return {item["Key"]: item["ETag"] for item in listed(end.client, "list_objects_v2", "Contents", bucket)}


def listed(client: Any, call: str, what: str, bucket: str) -> Iterator[Any]:
    for page in client.get_paginator(call).paginate(Bucket=bucket):
        yield from page.get(what, [])


def histories(end: End, bucket: str) -> dict[str, list[tuple[bool, bool, bytes]]]:
    """Return per key, oldest first: is it a delete marker, is it the null version, its bytes.

    boto3 gives versions and markers apart, so the order is read from the XML itself.
    """
    client = end.client
    url = client.generate_presigned_url(
        "list_object_versions", Params={"Bucket": bucket, "EncodingType": "url", "MaxKeys": 1000}
    )
    with urllib.request.urlopen(url) as answer:
        root = ElementTree.fromstring(answer.read())
    space = {"s": "http://s3.amazonaws.com/doc/2006-03-01/"}
    assert root.findtext("s:IsTruncated", "", space) == "false"
    items = []
    for node in root:
        kind = node.tag.rpartition("}")[2]
        if kind in ("Version", "DeleteMarker"):
            told = {child.tag.rpartition("}")[2]: child.text or "" for child in node}
            items.append((kind == "DeleteMarker", told))
    if "versions-order" in end.wrong:
        items.sort(key=lambda item: (item[1]["LastModified"], item[1]["IsLatest"]), reverse=True)
    encoded = root.findtext("s:EncodingType", "", space) == "url"
    found: dict[str, list[tuple[bool, bool, bytes]]] = {}
    for marker, told in reversed(items):
        key = urllib.parse.unquote_plus(told["Key"]) if encoded else told["Key"]
        body = b""
        if not marker:
            body = client.get_object(Bucket=bucket, Key=key, VersionId=told["VersionId"])["Body"].read()
        found.setdefault(key, []).append((marker, told["VersionId"] == "null", body))
    return found


def identities(end: End, bucket: str) -> list[tuple[str, bool, str]]:
    """Return key, is it a delete marker, version id, of everything in a bucket, sorted."""
    return sorted(
        (item["Key"], what == "DeleteMarkers", item["VersionId"])
        for what in ("Versions", "DeleteMarkers")
        for item in listed(end.client, "list_object_versions", what, bucket)
    )


def grants(end: End, bucket: str, key: str) -> set[tuple[str, str]]:
    """Return who may do what with an object, the owner left out."""
    told = end.client.get_object_acl(Bucket=bucket, Key=key)
    owner = told["Owner"]["ID"]
    found = {(g["Grantee"].get("URI") or g["Grantee"]["ID"], g["Permission"]) for g in told["Grants"]}
    return found - {(owner, "FULL_CONTROL")}


def locks(end: End, bucket: str) -> list[tuple[str, str, str, bool]]:
    """Return, oldest first, body, mode of retention, until when (to the second), legal hold of every version."""
    found = []
    for item in list(listed(end.client, "list_object_versions", "Versions", bucket))[::-1]:
        where = {"Bucket": bucket, "Key": item["Key"], "VersionId": item["VersionId"]}
        head = end.client.get_object(**where)
        until = head.get("ObjectLockRetainUntilDate")
        found.append(
            (
                head["Body"].read().decode(),
                head.get("ObjectLockMode") or "",
                until.replace(microsecond=0).isoformat() if until else "",
                head.get("ObjectLockLegalHoldStatus") == "ON",
            )
        )
    return found


def put_raw(end: End, bucket: str, key: str, metadata: dict[str, str]) -> None:
    """Put an object with metadata that boto3 would not send: as UTF-8, byte for byte."""
    parts = urllib.parse.urlsplit(end.endpoint)
    signer = Signer(lambda: Keys(end.key, end.secret), "us-east-1")
    extra = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    headers = signer.headers("PUT", parts.netloc, f"/{bucket}/{key}", "", extra)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.putrequest("PUT", f"/{bucket}/{key}", skip_host=True, skip_accept_encoding=True)
    for name, value in {**headers, "Content-Length": "1"}.items():
        connection.putheader(name, value.encode())
    connection.endheaders(b"x")
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def read_back(value: str) -> str:
    """Read a metadata value as boto3 shows it: an encoded word, or UTF-8 taken for Latin-1."""
    if value.startswith("=?"):
        return "".join(
            part.decode(charset or "utf-8") if isinstance(part, bytes) else part
            for part, charset in email.header.decode_header(value)
        )
    return value.encode("latin-1").decode()


def pause_for(end: End) -> float:
    """How long to wait between versions so that their times differ in this store's listings."""
    return 0.002 if "versions-order" in end.wrong else 0.0
