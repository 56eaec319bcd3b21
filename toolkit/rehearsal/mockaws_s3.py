"""The mocked S3: moto's models, with what they get wrong put right.

Enters: a WSGI environment. Leaves: status, headers, body. Raises nothing: errors become S3 answers.
Every correction is one small method here, in ``mockaws_s3_store`` (state), ``mockaws_s3_list``
(listings) or ``mockaws_s3_body`` (digests), is named in ``docs/reference/rehearsal-mocks.md`` and
has a test that stock moto fails. Requests bypass moto's URL routing, which loses keys with
newlines and costs time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from moto.core.utils import extract_region_from_aws_authorization
from moto.moto_server.werkzeug_app import BackendRequest
from moto.s3.models import OWNER, FakeDeleteMarker, FakeGrant, s3_backends
from moto.s3.responses import ALLOWED_HEADER_OVERRIDES, S3Response

from toolkit.rehearsal.mockaws_calls import s3_operation
from toolkit.rehearsal.mockaws_cors import preflight
from toolkit.rehearsal.mockaws_errors import Answer, s3_error
from toolkit.rehearsal.mockaws_s3_body import check_digests, decode_body, encode_metadata
from toolkit.rehearsal.mockaws_s3_list import (
    S3Failure,
    list_objects,
    list_objects_v2,
    list_parts,
    list_uploads,
    list_versions,
)

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
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


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
        asked = self.querystring["partNumber"][0]
        number = int(asked) if asked.isdecimal() and len(asked) < 6 else 0
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

    def all_buckets(self) -> Any:
        """ListBuckets names the owner that ACLs and listings name; moto has two."""
        status, headers, body = super().all_buckets()
        return status, headers, re.sub(r"<ID>[0-9a-f]+</ID>", f"<ID>{OWNER}</ID>", body)

    def _acl_from_headers(self, headers: Any) -> Any:
        """One grant for each grantee of a header; moto shows only the first of them."""
        acl = super()._acl_from_headers(headers)
        if acl is not None:
            acl.grants = [FakeGrant([one], grant.permissions) for grant in acl.grants for one in grant.grantees]
        return acl

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
        if self.method == "OPTIONS":
            return 200, preflight(self.backend.get_bucket(self.bucket_name).cors, self.headers), ""
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
