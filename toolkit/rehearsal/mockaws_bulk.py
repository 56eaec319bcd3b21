"""Load a seed's objects straight into the mocked S3, as if each had been PUT.

Enters: the folder of a sample site, whose ``generate.py`` has ``objects(scale)``, and a scale. Leaves: counts. A test
compares the result with real PUTs: ETags, parts, versions, metadata, listings. Raises
``UsageError`` for a module that has no objects and for a bucket that is not there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from moto.s3.exceptions import MissingBucket
from moto.s3.models import FakeKey, s3_backends
from requests.structures import CaseInsensitiveDict

from toolkit.errors import UsageError
from toolkit.model import Json
from toolkit.rehearsal.mockaws_server import Mock
from toolkit.rehearsal.seed import load_generator

ACCOUNT = "123456789012"
_SETTABLE = ("content-type", "content-language", "content-encoding", "cache-control", "expires", "content-disposition")


def small_objects(bucket: str, count: int, size: int, prefix: str) -> Iterator[Any]:
    """Yield ``count`` objects of ``size`` bytes whose content depends on their number."""
    for number in range(count):
        body = hashlib.shake_128(f"{prefix}{number}".encode()).digest(size)
        version = SimpleNamespace(body=body, headers={}, metadata={}, parts=())
        yield SimpleNamespace(bucket=bucket, key=f"{prefix}{number:08d}", versions=(version,))


def bulk(_mock: Mock, _query: dict[str, str], body: Json) -> Json:
    """Answer ``POST /_rehost/bulk``: ``{site, scale}`` or ``{bucket, count, size, prefix}``."""
    if body.get("site"):
        module = load_generator(Path(body["site"]))
        if not hasattr(module, "objects"):
            raise UsageError(f"{module.__file__} has no objects(scale)", "name the folder of a sample site")
        return put_all(module.objects(float(body.get("scale", 1.0))))
    return put_all(small_objects(body["bucket"], int(body["count"]), int(body["size"]), body.get("prefix", "o")))


def put_all(objects: Iterable[Any]) -> dict[str, Json]:
    """Put every version of every object; return how many there were."""
    backend, began = s3_backends[ACCOUNT]["aws"], time.process_time()
    keys = versions = size = 0
    for item in objects:
        keys += 1
        for version in item.versions:
            versions += 1
            size += len(version.body or b"")
            put_version(backend, item.bucket, item.key, version)
    return {
        "objects": keys,
        "versions": versions,
        "bytes": size,
        "cpu_ms": round((time.process_time() - began) * 1000),
    }


def put_version(backend: Any, bucket: str, key: str, version: Any) -> None:
    """Put one version: a delete marker, a single part, or parts."""
    try:
        backend.get_bucket(bucket)
    except MissingBucket as exc:
        raise UsageError(f"there is no bucket {bucket}", "create it first") from exc
    if version.body is None:
        backend.delete_object(bucket, key)
        return
    headers = {name.lower(): value for name, value in version.headers.items()}
    metadata = CaseInsensitiveDict({name: headers[name] for name in _SETTABLE if name in headers})
    metadata.update({f"x-amz-meta-{name.lower()}": value for name, value in version.metadata.items()})
    etag = _etag(version.body, version.parts)
    made: FakeKey = backend.put_object(bucket, key, version.body, etag=etag, disable_notification=True)
    made.set_metadata(metadata)
    made.set_acl(backend.get_bucket(bucket).acl)
    made.website_redirect_location = headers.get("x-amz-website-redirect-location")
    made.part_sizes = tuple(version.parts)


def _etag(body: bytes, parts: Iterable[int]) -> str:
    """Return the MD5 of a single part, or of the parts' MD5s with their number."""
    sizes = tuple(parts)
    if not sizes:
        return hashlib.md5(body, usedforsecurity=False).hexdigest()
    digests, start = b"", 0
    for size in sizes:
        digests += hashlib.md5(body[start : start + size], usedforsecurity=False).digest()
        start += size
    if start != len(body):
        raise UsageError(f"parts of {start} bytes for a body of {len(body)}", "make the parts add up")
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(sizes)}"
