"""The mocked S3: moto's models, with what they get wrong put right.

Enters: a WSGI environment. Leaves: status, headers, body. Raises nothing: errors become S3 answers.
:func:`install` must run before the first S3 call of a process; it swaps moto's backend class for
:class:`CorrectedBackend`. Every correction is one small method here (or a function of
``mockaws_s3_list``), is named in ``docs/reference/rehearsal-mocks.md`` and has a test that stock
moto fails. Requests bypass moto's URL routing, which loses keys with newlines and costs time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import logging
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from moto.core.utils import extract_region_from_aws_authorization
from moto.moto_server.werkzeug_app import BackendRequest
from moto.s3.exceptions import AccessDeniedByLock
from moto.s3.models import FakeDeleteMarker, FakeKey, S3Backend, s3_backends
from moto.s3.responses import ALLOWED_HEADER_OVERRIDES, S3Response
from moto.s3.utils import _VersionedKeyStore

from toolkit.rehearsal.mockaws_calls import s3_operation
from toolkit.rehearsal.mockaws_errors import Answer, s3_error
from toolkit.rehearsal.mockaws_s3_list import (
    S3Failure,
    list_objects,
    list_objects_v2,
    list_parts,
    list_uploads,
    list_versions,
)

log = logging.getLogger(__name__)

#: Request headers that moto stores as if they were the object's and sends back on every read.
_NOT_METADATA = frozenset(
    {
        "content-md5",
        "x-amz-content-sha256",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-checksum-algorithm",
        "x-amz-content-crc32",
        "x-amz-content-crc32c",
        "x-amz-content-sha1",
    }
)
_CHECKSUMS: Mapping[str, Callable[[bytes], bytes]] = {
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_SHA256 = re.compile("[0-9a-f]{64}")


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


class Headers(dict[str, str]):
    """Request headers by lower-case name; werkzeug's view builds every name anew at every look."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())


@dataclass(frozen=True, slots=True)
class Lean:
    """The part of a request that moto's S3 looks at."""

    environ: dict[str, Any]
    headers: Headers
    method: str
    url: str
    full_path: str
    form: Mapping[str, str] = field(default_factory=dict)


def lean(environ: dict[str, Any]) -> Lean:
    """Return the request behind a WSGI environment, without parsing anything twice."""
    original = environ.get("moto.preserved_header_names") or {}
    headers = Headers()
    for variable, value in environ.items():
        if variable.startswith("HTTP_"):
            headers[original.get(variable, variable[5:].replace("_", "-")).lower()] = value
    for variable in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(variable):
            headers[variable.replace("_", "-").lower()] = environ[variable]
    full = environ["RAW_URI"]
    return Lean(environ, headers, environ["REQUEST_METHOD"], f"http://{environ['HTTP_HOST']}{full}", full)


class CorrectedS3(S3Response):  # type: ignore[misc]
    """moto's S3 request handling with the corrections that show on the wire."""

    def setup_class(self, request: Any, full_url: str | None = None, headers: Any = None) -> None:
        """Prepare the handler; leaner than moto's, which parses the URL six times."""
        environ = request.environ
        if environ["REQUEST_METHOD"] == "POST" and not environ["QUERY_STRING"]:
            super().setup_class(request, full_url, headers)  # a browser's form upload
            return
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        self.request = self.normalized_request = request
        self.is_werkzeug_request = True
        self.headers = request.headers
        self.method = environ["REQUEST_METHOD"]
        self.raw_path = environ["rehost.path"]
        self.path = self.raw_path + ("?" + environ["QUERY_STRING"] if environ["QUERY_STRING"] else "")
        self.uri = request.url
        self.parsed_url = SimpleNamespace(query=environ["QUERY_STRING"], path=self.raw_path, netloc="")
        self.raw_body = self.body = environ["rehost.body"]
        self.form_data: Mapping[str, str] = {}
        self.querystring = parse_qs(environ["QUERY_STRING"].replace("+", "%2B"), keep_blank_values=True)
        self.data = self.querystring
        self.uri_match: dict[str, Any] = {}
        self.response_headers: dict[str, str] = {}
        self.region = extract_region_from_aws_authorization(authorization) or "us-east-1"
        self.partition = "aws"
        self.access_key = self.get_access_key()
        self.current_account = self.get_current_account()
        self.bucket_name = environ["rehost.bucket"]
        self.body, trailer = decode_body(self.headers, self.raw_body)
        check_digests(self.headers, self.body, trailer)

    @property
    def backend(self) -> Any:
        """The backend of this request, looked up once."""
        found = self.__dict__.get("_backend")
        if found is None:
            found = self.__dict__["_backend"] = s3_backends[self.current_account]["aws"]
        return found

    def parse_bucket_name_from_url(self, request: Any, url: str) -> str:  # noqa: ARG002
        bucket: str = request.environ["rehost.bucket"]
        return bucket

    def parse_key_name(self) -> str:
        key: str = self.request.environ["rehost.key"]
        return key

    def _get_querystring(self, request: Any, full_url: str) -> dict[str, Any]:  # noqa: ARG002
        return dict(self.querystring)

    def _get_action_from_method_and_request_uri(self, _request: Any) -> str:
        """Name the operation for an error's form; moto searches its routes for it."""
        has_key = bool(self.request.environ["rehost.key"])
        return s3_operation(self.method, bool(self.bucket_name), has_key, self.querystring, self.headers)

    @classmethod
    def _send_response(cls, response: Any) -> Any:
        if isinstance(response, (str, bytes)):
            return 200, {}, response
        return response

    # --- reading ---------------------------------------------------------------------------

    def _get_key(self, validate_storage_class: bool = True) -> Any:
        """Find the version asked for; delete markers answer as S3 lets them."""
        version_id = self.querystring.get("versionId", [None])[0]
        found = self.backend.get_object(
            self.bucket_name, self.parse_key_name(), version_id=version_id, return_delete_marker=True
        )
        if isinstance(found, FakeDeleteMarker):
            headers = {"x-amz-delete-marker": "true", "x-amz-version-id": found.version_id}
            if version_id is None:
                raise S3Failure(404, "NoSuchKey", "The specified key does not exist.", headers)
            raise S3Failure(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
                {**headers, "Allow": "DELETE"},
            )
        return super()._get_key(validate_storage_class)

    def get_object(self) -> Any:
        return self._read(with_body=True)

    def head_object(self, *_args: Any, **_kwargs: Any) -> Any:
        """HEAD is GET without the body; moto keeps a second, different implementation."""
        return self._read(with_body=False)

    def _read(self, *, with_body: bool) -> Any:
        key, not_modified = self._get_key(validate_storage_class=with_body)
        headers = {**self._get_cors_headers_other(), **key.response_dict, **key.metadata, "Accept-Ranges": "bytes"}
        if not_modified:
            return 304, {"ETag": key.etag, "Last-Modified": key.last_modified_RFC1123}, ""
        for parameter, name in ALLOWED_HEADER_OVERRIDES.items():
            if parameter in self.querystring:
                headers = {have: value for have, value in headers.items() if have.lower() != name.lower()}
                headers[name] = self.querystring[parameter][0]
        span = self._part(key, headers) or self._range(key)
        if span is None:
            headers.update(_checksum_headers(key, asked=self.headers.get("x-amz-checksum-mode") == "ENABLED"))
            start, stop = 0, key.size
        else:
            start, stop = span
            headers["content-range"] = f"bytes {start}-{stop - 1}/{key.size}"
        headers["content-length"] = str(stop - start)
        body = _slice(key, start, stop) if with_body else b""
        return 200 if span is None else 206, self._object_headers(headers), body

    def _part(self, key: Any, headers: dict[str, Any]) -> tuple[int, int] | None:
        """Answer ``?partNumber=N`` with that part, its place in the whole and the number of parts."""
        if "partNumber" not in self.querystring:
            return None
        sizes = key.part_sizes or (key.size,)
        number = self._get_int_param("partNumber")
        if not 1 <= number <= len(sizes):
            raise S3Failure(416, "InvalidPartNumber", "The requested partnumber is not satisfiable")
        if key.part_sizes:
            headers["x-amz-mp-parts-count"] = str(len(sizes))
        start = sum(sizes[: number - 1])
        return start, start + sizes[number - 1]

    def _range(self, key: Any) -> tuple[int, int] | None:
        """Return the span a Range header asks for; what is not a range is ignored, as S3 does."""
        found = _RANGE.fullmatch(self.headers.get("range") or "")
        if found is None or not (found[1] or found[2]):
            return None
        if not found[1]:
            start, stop = max(0, key.size - int(found[2])), key.size
        else:
            start, stop = int(found[1]), min(key.size, int(found[2]) + 1) if found[2] else key.size
            if found[2] and int(found[2]) < start:
                return None
        if start >= stop:
            raise S3Failure(416, "InvalidRange", "The requested range is not satisfiable")
        return start, stop

    def _object_headers(self, headers: Mapping[str, Any]) -> dict[str, str]:
        """Drop what was never the object's, and encode metadata beyond ASCII as S3 does."""
        kept: dict[str, str] = {}
        for name, value in headers.items():
            lower = name.lower()
            if lower in _NOT_METADATA or (lower == "content-type" and not value):
                continue
            kept[name] = encode_metadata(str(value)) if lower.startswith("x-amz-meta-") else str(value)
        if "x-amz-version-id" not in kept and self.backend.get_bucket(self.bucket_name).versioning_status:
            kept["x-amz-version-id"] = "null"
        return kept

    def list_objects(self) -> Any:
        return 200, {}, list_objects(self.backend.get_bucket(self.bucket_name), self._args())

    def list_objects_v2(self) -> Any:
        return 200, {}, list_objects_v2(self.backend.get_bucket(self.bucket_name), self._args())

    def list_object_versions(self) -> Any:
        return 200, {}, list_versions(self.backend.get_bucket(self.bucket_name), self._args())

    def list_multipart_uploads(self) -> Any:
        return 200, {}, list_uploads(self.backend.get_bucket(self.bucket_name), self._args())

    def list_parts(self) -> Any:
        upload = self.backend.upload(self.bucket_name, self._args()["uploadId"])
        return 200, {}, list_parts(upload, self.parse_key_name(), self._args())

    def _args(self) -> dict[str, str]:
        return {name: values[0] for name, values in self.querystring.items()}

    # --- writing ---------------------------------------------------------------------------

    def put_object(self) -> Any:
        status, headers, body = super().put_object()
        return status, self._object_headers(headers), body

    def upload_part(self) -> Any:
        status, headers, body = super().upload_part()
        kept = {name: value for name, value in headers.items() if name.lower() not in _NOT_METADATA}
        kept.pop("last-modified", None)
        return status, kept, body

    def _complete_multipart_body(self, body: bytes) -> Any:
        """Parse the list of parts; broken XML is the caller's mistake, not a 500."""
        try:
            parts = minidom.parseString(body).getElementsByTagName("Part")  # noqa: S318 - own loopback
            pairs = [(int(_text(part, "PartNumber")), _text(part, "ETag")) for part in parts]
        except (ExpatError, ValueError, IndexError, AttributeError) as exc:
            raise S3Failure(400, "MalformedXML", "The XML you provided was not well-formed") from exc
        return iter(pairs)

    def _key_response(self, request: Any, full_url: str) -> Any:
        if self.method not in ("GET", "HEAD", "OPTIONS") and _anonymous(self.headers, self.querystring):
            self._anonymous_write()
        return super()._key_response(request, full_url)

    def _anonymous_write(self) -> None:
        """Refuse an unsigned write that no bucket policy allows; moto lets it through."""
        from moto.iam.access_control import PermissionResult

        bucket = self.backend.get_bucket(self.bucket_name)
        action = "s3:DeleteObject" if self.method == "DELETE" else "s3:PutObject"
        resource = f"arn:aws:s3:::{self.bucket_name}/{self.parse_key_name()}"
        if bucket.get_permission(action, resource) != PermissionResult.PERMITTED:
            raise S3Failure(403, "AccessDenied", "Access Denied")


def _slice(key: Any, start: int, stop: int) -> bytes:
    """Read one span of an object; moto reads the whole object for every range."""
    with key.lock:
        key._value_buffer.seek(start)
        data: bytes = key._value_buffer.read(stop - start)
    return data


def _checksum_headers(key: Any, *, asked: bool) -> dict[str, str]:
    if not asked or not key.checksum_algorithm or not key.checksum_value:
        return {}
    composite = f"-{key.checksum_parts}" if key.checksum_type == "COMPOSITE" else ""
    headers = {f"x-amz-checksum-{key.checksum_algorithm.lower()}": f"{key.checksum_value}{composite}"}
    if key.checksum_type:
        headers["x-amz-checksum-type"] = key.checksum_type
    return headers


def _text(part: Any, name: str) -> str:
    text: str = part.getElementsByTagName(name)[0].firstChild.wholeText
    return text


def _anonymous(headers: Mapping[str, str], query: Mapping[str, Any]) -> bool:
    return "Authorization" not in headers and "X-Amz-Signature" not in query and "Signature" not in query


def encode_metadata(value: str) -> str:
    """Return a metadata value as S3 sends it: RFC 2047 when it is not plain ASCII.

    ``value`` is the WSGI spelling: one character per byte received.
    """
    if value.isascii():
        return value
    raw = value.encode("latin-1", "replace")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        raw = value.encode("utf-8")
    return f"=?UTF-8?B?{base64.b64encode(raw).decode()}?="


def decode_body(headers: Mapping[str, str], raw: bytes) -> tuple[bytes, dict[str, str]]:
    """Undo ``aws-chunked`` framing; return the payload and the trailing headers."""
    if not (headers.get("x-amz-content-sha256") or "").startswith("STREAMING-"):
        return raw, {}
    payload, place = bytearray(), 0
    while True:
        end = raw.find(b"\r\n", place)
        if end < 0:
            raise S3Failure(400, "IncompleteBody", "The request body ended before its last chunk")
        size = int(raw[place:end].split(b";", 1)[0], 16)
        place = end + 2
        if size == 0:
            break
        payload += raw[place : place + size]
        place += size + 2
    lines = [line.split(b":", 1) for line in raw[place:].split(b"\r\n") if b":" in line]
    trailer = {name.decode("latin-1").strip().lower(): value.decode("latin-1").strip() for name, value in lines}
    expected = headers.get("x-amz-decoded-content-length")
    if expected is not None and int(expected) != len(payload):
        raise S3Failure(400, "IncompleteBody", "The payload is not as long as x-amz-decoded-content-length says")
    return bytes(payload), trailer


def check_digests(headers: Mapping[str, str], body: bytes, trailer: Mapping[str, str]) -> None:
    """Refuse a body that is not what its headers say: Content-MD5, content-sha256, checksums."""
    given = headers.get("Content-MD5")
    if given is not None:
        try:
            wanted = base64.b64decode(given, validate=True)
        except binascii.Error:
            wanted = b""
        if len(wanted) != 16:
            raise S3Failure(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        if wanted != hashlib.md5(body, usedforsecurity=False).digest():
            raise S3Failure(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    sha = headers.get("x-amz-content-sha256") or ""
    if _SHA256.fullmatch(sha) and sha != hashlib.sha256(body).hexdigest():
        raise S3Failure(
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    for name, digest in _CHECKSUMS.items():
        claimed = headers.get(name) or trailer.get(name)
        if claimed and base64.b64encode(digest(body)).decode() != claimed:
            raise S3Failure(400, "BadDigest", f"The {name[15:].upper()} you specified did not match what we received.")


def install() -> None:
    """Make this process's moto use the corrected backend. Call before any S3 call."""
    s3_backends.backend = CorrectedBackend


def place(environ: dict[str, Any]) -> tuple[str, str]:
    """Split a request into bucket and key, byte for byte, and note them in ``environ``."""
    path = environ["RAW_URI"].split("?", 1)[0]
    bucket, _, key = path.lstrip("/").partition("/") if path.startswith("/") else ("", "", "")
    environ["rehost.path"] = path
    environ["rehost.bucket"] = unquote(bucket)
    environ["rehost.key"] = unquote(key)
    return environ["rehost.bucket"], environ["rehost.key"]


def handle(environ: dict[str, Any]) -> Answer:
    """Answer one S3 request. ``environ`` holds the whole body as ``rehost.body``."""
    bucket, key = place(environ)
    form = environ["REQUEST_METHOD"] == "POST" and not environ["QUERY_STRING"]
    request = BackendRequest(environ) if form else lean(environ)
    response = CorrectedS3()
    entry = response.key_response if key else response.bucket_response
    try:
        status, headers, body = entry(request, environ["RAW_URI"], request.headers)
    except S3Failure as exc:
        return s3_error(exc.status, exc.code, exc.message, resource=f"/{bucket}/{key}", headers=exc.headers)
    return Answer(int(status), {name: str(value) for name, value in headers.items()}, _bytes(body))


def _bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body or b"")
