"""Bulk seeding means the same as real PUTs, and is quick."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest

from tests.rehearsal.conftest import client
from tests.rehearsal.test_seed import SITE
from toolkit.errors import Unreachable
from toolkit.rehearsal import mockaws, seed
from toolkit.rehearsal.mockaws_bulk import _etag, small_objects

SCALE = 0.05
_PARAMETERS = {
    "Content-Type": "ContentType",
    "Cache-Control": "CacheControl",
    "Content-Disposition": "ContentDisposition",
    "Content-Language": "ContentLanguage",
    "Content-Encoding": "ContentEncoding",
}


def put(s3: Any, bucket: str, item: Any) -> None:
    """Write one object as a client does."""
    for version in item.versions:
        if version.body is None:
            s3.delete_object(Bucket=bucket, Key=item.key)
            continue
        given = {_PARAMETERS[name]: value for name, value in version.headers.items()}
        given["Metadata"] = dict(version.metadata)
        if not version.parts:
            s3.put_object(Bucket=bucket, Key=item.key, Body=version.body, **given)
            continue
        upload = s3.create_multipart_upload(Bucket=bucket, Key=item.key, **given)["UploadId"]
        done, start = [], 0
        for number, size in enumerate(version.parts, 1):
            piece = version.body[start : start + size]
            start += size
            part = s3.upload_part(Bucket=bucket, Key=item.key, UploadId=upload, PartNumber=number, Body=piece)
            done.append({"PartNumber": number, "ETag": part["ETag"]})
        s3.complete_multipart_upload(Bucket=bucket, Key=item.key, UploadId=upload, MultipartUpload={"Parts": done})


_VOLATILE = {"date", "last-modified", "x-amz-request-id", "x-amz-version-id"}


def look(s3: Any, bucket: str, listed: Any) -> list[Any]:
    """All that a reader sees of the versions of one bucket, but times and generated ids."""
    seen = []
    for page in listed:
        for row in page.get("DeleteMarkers", []):
            seen.append((row["Key"], "marker", row["IsLatest"]))
        for row in page.get("Versions", []):
            where = {"Bucket": bucket, "Key": row["Key"], "VersionId": row["VersionId"]}
            head = s3.head_object(**where)["ResponseMetadata"]["HTTPHeaders"]
            got = s3.get_object(**where)
            parts = []
            for number in range(1, int(row["ETag"].strip('"').partition("-")[2] or 1) + 1):
                part = s3.head_object(**where, PartNumber=number)
                parts.append(
                    (part["ContentLength"], part.get("PartsCount"), part["ContentRange"]) if row["Size"] else ()
                )
            seen.append(
                (
                    *(row["Key"], row["ETag"], row["Size"], row["IsLatest"], row["StorageClass"]),
                    sorted((name, value) for name, value in head.items() if name not in _VOLATILE),
                    hashlib.sha256(got["Body"].read()).hexdigest(),
                    parts,
                )
            )
    return sorted(seen, key=repr)


def test_bulk_is_equal_to_real_puts(store: mockaws.Store) -> None:
    s3, generator = client(store, "s3"), seed.load_generator(SITE)
    interesting = [
        item
        for number, item in enumerate(generator.objects(SCALE))
        if number % 12 == 0 or len(item.versions) > 1 or item.versions[0].parts
    ]
    assert any(version.body is None for item in interesting for version in item.versions)
    assert any(version.parts for item in interesting for version in item.versions)
    for bucket in generator.BUCKETS.values():
        s3.create_bucket(Bucket=bucket)
        s3.create_bucket(Bucket=f"{bucket}-real")
        if bucket in generator.VERSIONED:
            for name in (bucket, f"{bucket}-real"):
                s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    done = store.bulk(site=str(SITE), scale=SCALE)
    assert done["objects"] == generator.counts(SCALE).objects
    keys = {(item.bucket, item.key) for item in interesting}
    for item in interesting:
        put(s3, f"{item.bucket}-real", item)
    for bucket in generator.BUCKETS.values():
        pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket))
        for page in pages:
            for kind in ("Versions", "DeleteMarkers"):
                page[kind] = [row for row in page.get(kind, []) if (bucket, row["Key"]) in keys]
        real = s3.get_paginator("list_object_versions").paginate(Bucket=f"{bucket}-real")
        assert look(s3, bucket, pages) == look(s3, f"{bucket}-real", real)


def test_twenty_thousand_small_objects(store: mockaws.Store) -> None:
    s3, bucket = client(store, "s3"), f"many-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    done = store.bulk(bucket=bucket, count=20_000, size=100, prefix="k/")
    assert done.pop("cpu_ms") < 15_000
    assert done == {"objects": 20_000, "versions": 20_000, "bytes": 2_000_000}
    listed = sum(page["KeyCount"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket))
    assert listed == 20_000
    wanted = next(iter(small_objects(bucket, 1, 100, "k/"))).versions[0].body
    assert s3.get_object(Bucket=bucket, Key="k/00000000")["Body"].read() == wanted


def test_an_absent_bucket_or_site_is_named(store: mockaws.Store) -> None:
    with pytest.raises(Unreachable, match="400"):
        store.bulk(bucket="nowhere-at-all", count=1, size=1)
    with pytest.raises(Unreachable, match="sample site"):
        store.bulk(site="/nowhere")


def test_etags_of_parts() -> None:
    body = b"x" * 10
    parts = hashlib.md5(b"x" * 7).digest() + hashlib.md5(b"x" * 3).digest()
    assert _etag(body, (7, 3)) == hashlib.md5(parts).hexdigest() + "-2"
    assert _etag(body, ()) == hashlib.md5(body).hexdigest()
    with pytest.raises(Exception, match="parts of 9 bytes"):
        _etag(body, (7, 2))
