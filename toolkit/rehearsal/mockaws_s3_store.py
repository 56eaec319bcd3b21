"""The state of the mocked S3: moto's buckets, with versions, deletions and uploads as S3 has them.

:func:`install` must run before the first S3 call of a process: it swaps moto's backend class for
:class:`CorrectedBackend`. Raises :class:`S3Failure` and moto's own S3 errors; both become answers.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from moto.s3.exceptions import AccessDeniedByLock
from moto.s3.models import FakeDeleteMarker, FakeKey, S3Backend, s3_backends
from moto.s3.utils import _VersionedKeyStore

from toolkit.rehearsal.mockaws_s3_list import S3Failure


class KeyStore(_VersionedKeyStore):  # type: ignore[misc]
    """Versions by key, with the sorted order of the keys kept between changes."""

    def __init__(self) -> None:
        super().__init__()
        self._order: list[str] | None = None

    def order(self) -> list[str]:
        """Return all keys, sorted as S3 sorts them (by code point, which is UTF-8 order)."""
        if self._order is None:
            self._order = sorted(self)
        return self._order

    def setlist(self, key: str, versions: list[Any]) -> None:
        """Put ``versions`` in place; what falls out must already have been disposed of."""
        if key not in self:
            self._order = None
        dict.__setitem__(self, key, list(versions))

    def detach(self, key: str) -> list[Any]:
        """Take a key out and return its versions, alive."""
        if key in self:
            self._order = None
        versions: list[Any] = dict.pop(self, key, [])
        return versions

    def pop(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        for version in self.detach(key):
            _dispose(version)


def _dispose(version: Any) -> None:
    if isinstance(version, FakeKey):
        version.dispose()


def _is_null(version: Any) -> bool:
    return bool(version.version_id == "null")


class CorrectedBackend(S3Backend):  # type: ignore[misc]
    """moto's S3 state machine with version, multipart and deletion semantics as S3 has them."""

    def log_incoming_request(self, request: Any, bucket_name: str) -> None:
        """Write no access-log objects: moto's are inventions and would appear as users' data."""

    def create_bucket(self, bucket_name: str, region_name: str, bucket_namespace: str | None = None) -> Any:
        bucket = super().create_bucket(bucket_name, region_name, bucket_namespace)
        bucket.keys = KeyStore()
        return bucket

    def put_object(self, bucket_name: str, key_name: str, value: bytes, *args: Any, **kwargs: Any) -> Any:
        """Store an object: under suspended versioning the null version is replaced, the rest stays."""
        bucket = self.get_bucket(bucket_name)
        before = bucket.keys.detach(key_name)
        try:
            key = super().put_object(bucket_name, key_name, value, *args, **kwargs)
        except BaseException:
            if before:
                bucket.keys.setlist(key_name, before)
            raise
        kept = before if bucket.is_versioned else [v for v in before if bucket.versioning_status and not _is_null(v)]
        for version in before:
            if not bucket.is_versioned and version not in kept:
                _dispose(version)
        key._is_versioned = bucket.versioning_status is not None
        key.part_sizes = ()
        if kwargs.get("multipart") is not None and kwargs.get("etag") is None:
            key.multipart = None  # a copy is a single part, whatever its source was
        bucket.keys.setlist(key_name, [*kept, key])
        return key

    def delete_object(
        self, bucket_name: str, key_name: str, version_id: str | None = None, bypass: bool = False
    ) -> tuple[bool, dict[str, Any]]:
        """Delete a key or one version, with the markers that S3 leaves and reports."""
        bucket = self.get_bucket(bucket_name)
        versions = list(bucket.keys.getlist(key_name) or [])
        if version_id is not None:
            return self._delete_version(bucket, key_name, version_id, bypass=bypass)
        if bucket.versioning_status is None:
            if versions:
                bucket.keys.pop(key_name)
            return bool(versions), {}
        marker = FakeDeleteMarker(versions[-1] if versions else SimpleNamespace(name=key_name))
        if not bucket.is_versioned:
            marker._version_id = "null"
            for version in filter(_is_null, versions):
                _dispose(version)
            versions = [version for version in versions if not _is_null(version)]
        bucket.keys.setlist(key_name, [*versions, marker])
        return True, {"version-id": marker.version_id, "delete-marker": "true"}

    def _delete_version(
        self, bucket: Any, key_name: str, version_id: str, *, bypass: bool
    ) -> tuple[bool, dict[str, Any]]:
        versions = list(bucket.keys.getlist(key_name) or [])
        gone = [version for version in versions if version.version_id == version_id]
        meta: dict[str, Any] = {"version-id": version_id}
        for version in gone:
            if isinstance(version, FakeDeleteMarker):
                meta["delete-marker"] = "true"
            elif version.is_locked(governance_bypass=bypass):
                raise AccessDeniedByLock
            else:
                self.tagger.delete_all_tags_for_resource(version.arn)
        for version in gone:
            _dispose(version)
        kept = [version for version in versions if version.version_id != version_id]
        if kept:
            bucket.keys.setlist(key_name, kept)
        elif versions:
            bucket.keys.detach(key_name)
        return bool(gone), meta

    def upload(self, bucket_name: str, upload_id: str) -> Any:
        """Return an open upload, or fail as S3 does (moto raises KeyError, a 500)."""
        upload = self.get_bucket(bucket_name).multiparts.get(upload_id)
        if upload is None:
            raise S3Failure(404, "NoSuchUpload", "The specified upload does not exist.")
        return upload

    def create_multipart_upload(self, *args: Any, **kwargs: Any) -> Any:
        upload = super().create_multipart_upload(*args, **kwargs)
        upload.initiated = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return upload

    def upload_part(self, bucket_name: str, multipart_id: str, part_id: int, value: bytes) -> Any:
        self.upload(bucket_name, multipart_id)
        return super().upload_part(bucket_name, multipart_id, part_id, value)

    def complete_multipart_upload(self, bucket_name: str, multipart_id: str, body: Any) -> Any:
        """Join the parts, remember their sizes, and drop the parts' own copies of the bytes."""
        upload = self.upload(bucket_name, multipart_id)
        wanted = list(body)
        numbers = [number for number, _ in wanted]
        if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
            raise S3Failure(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
        if upload.acl is None:  # moto leaves such an object without any, and fails to show it
            upload.acl = self.get_bucket(bucket_name).acl
        key = super().complete_multipart_upload(bucket_name, multipart_id, iter(wanted))
        key.part_sizes = tuple(upload.parts[number].size for number in numbers)
        upload.dispose()
        upload.parts = {}
        return key


def install() -> None:
    """Make this process's moto use the corrected backend. Call before any S3 call."""
    s3_backends.backend = CorrectedBackend
