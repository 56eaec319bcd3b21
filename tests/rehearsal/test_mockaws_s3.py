"""Every correction of the mocked S3, and the proof that stock moto still needs it."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import socket
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.rehearsal.conftest import client, client_of
from toolkit.rehearsal import mockaws
from toolkit.rehearsal.mockaws_s3_body import check_digests, decode_body
from toolkit.rehearsal.mockaws_s3_list import S3Failure

Check = Callable[[Any, str], None]
CHECKS: list[Check] = []


def correction(check: Check) -> Check:
    """Register a check: it gets an S3 client and the name of a fresh bucket."""
    CHECKS.append(check)
    return check


def refused(call: Callable[[], Any], code: str, status: int) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    headers: dict[str, Any] = caught.value.response["ResponseMetadata"]["HTTPHeaders"]
    return headers


def enable(s3: Any, bucket: str, status: str = "Enabled") -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


def multipart(s3: Any, bucket: str, key: str, parts: list[bytes], **extra: Any) -> Any:
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **extra)["UploadId"]
    done = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in enumerate(parts, 1)
    ]
    return s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": done})


@correction
def keys_with_newlines(s3: Any, bucket: str) -> None:
    for key in ("a\nb", "line\n", "\x01", "a\tb", "dir\n/x"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()


@correction
def suspended_versioning_keeps_history(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0")
    enable(s3, bucket)
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2")["VersionId"]
    enable(s3, bucket, "Suspended")
    s3.put_object(Bucket=bucket, Key="k", Body=b"3")
    s3.put_object(Bucket=bucket, Key="k", Body=b"4")
    versions = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [(v["VersionId"], v["IsLatest"]) for v in versions] == [("null", True), (second, False), (first, False)]
    assert s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"4"
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"1"


@correction
def delete_under_suspended_versioning_leaves_a_null_marker(s3: Any, bucket: str) -> None:
    enable(s3, bucket)
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    enable(s3, bucket, "Suspended")
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    answer = s3.delete_object(Bucket=bucket, Key="k")
    assert (answer["DeleteMarker"], answer["VersionId"]) == (True, "null")
    listing = s3.list_object_versions(Bucket=bucket)
    assert [v["VersionId"] for v in listing["Versions"]] == [first]
    assert [(m["VersionId"], m["IsLatest"]) for m in listing["DeleteMarkers"]] == [("null", True)]


@correction
def deleting_an_absent_key_of_a_versioned_bucket_leaves_a_marker(s3: Any, bucket: str) -> None:
    enable(s3, bucket)
    assert s3.delete_object(Bucket=bucket, Key="never")["DeleteMarker"] is True
    assert [m["Key"] for m in s3.list_object_versions(Bucket=bucket)["DeleteMarkers"]] == ["never"]


@correction
def deleting_a_marker_says_so(s3: Any, bucket: str) -> None:
    enable(s3, bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    assert s3.delete_object(Bucket=bucket, Key="k", VersionId=marker)["DeleteMarker"] is True
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


@correction
def reading_a_marker(s3: Any, bucket: str) -> None:
    enable(s3, bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    headers = refused(lambda: s3.get_object(Bucket=bucket, Key="k"), "NoSuchKey", 404)
    assert headers["x-amz-delete-marker"] == "true"
    refused(lambda: s3.get_object(Bucket=bucket, Key="k", VersionId=marker), "MethodNotAllowed", 405)


@correction
def wrong_content_md5_is_refused(s3: Any, bucket: str) -> None:
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    refused(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"body", ContentMD5=wrong), "BadDigest", 400)
    refused(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"body", ContentMD5="bm9wZQ=="), "InvalidDigest", 400)
    refused(lambda: s3.get_object(Bucket=bucket, Key="k"), "NoSuchKey", 404)


@correction
def wrong_checksum_is_refused(s3: Any, bucket: str) -> None:
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    refused(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"body", ChecksumSHA256=wrong), "BadDigest", 400)


@correction
def request_headers_do_not_become_metadata(s3: Any, bucket: str) -> None:
    right = base64.b64encode(hashlib.md5(b"body").digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"body", ContentMD5=right)
    headers = s3.get_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPHeaders"]
    assert "content-md5" not in headers
    assert "x-amz-content-sha256" not in headers


@correction
def head_and_get_one_part(s3: Any, bucket: str) -> None:
    parts = [b"a" * 700, b"b" * 300, b"c" * 11]
    whole = multipart(s3, bucket, "k", parts)
    for number, body in enumerate(parts, 1):
        head = s3.head_object(Bucket=bucket, Key="k", PartNumber=number)
        assert (head["ContentLength"], head["PartsCount"], head["ETag"]) == (len(body), 3, whole["ETag"])
        assert head["ResponseMetadata"]["HTTPStatusCode"] == 206
        got = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert (got["Body"].read(), got["PartsCount"]) == (body, 3)
        start = sum(map(len, parts[: number - 1]))
        assert got["ContentRange"] == f"bytes {start}-{start + len(body) - 1}/1011"
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket=bucket, Key="k", PartNumber=4)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 416


@correction
def a_copy_of_a_multipart_object_has_one_part(s3: Any, bucket: str) -> None:
    multipart(s3, bucket, "k", [b"a" * 10, b"b" * 10])
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    head = s3.head_object(Bucket=bucket, Key="copy", PartNumber=1)
    assert head["ContentLength"] == 20
    assert "PartsCount" not in head
    assert head["ETag"] == f'"{hashlib.md5(b"a" * 10 + b"b" * 10).hexdigest()}"'


@correction
def a_multipart_object_has_an_acl(s3: Any, bucket: str) -> None:
    multipart(s3, bucket, "k", [b"a"])
    assert [grant["Permission"] for grant in s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]] == ["FULL_CONTROL"]


@correction
def an_unknown_upload_is_not_found(s3: Any, bucket: str) -> None:
    refused(
        lambda: s3.upload_part(Bucket=bucket, Key="k", UploadId="none", PartNumber=1, Body=b"x"), "NoSuchUpload", 404
    )
    parts = {"Parts": [{"PartNumber": 1, "ETag": '"x"'}]}
    refused(
        lambda: s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId="none", MultipartUpload=parts),
        "NoSuchUpload",
        404,
    )


@correction
def parts_out_of_order_are_refused(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    tags = {
        n: s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=n, Body=bytes([n]))["ETag"]
        for n in (1, 2)
    }
    parts = {"Parts": [{"PartNumber": n, "ETag": tags[n]} for n in (2, 1)]}
    refused(
        lambda: s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=parts),
        "InvalidPartOrder",
        400,
    )


@correction
def parts_with_gaps_are_listed(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    for number in (2, 5, 9):
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=b"x")
    seen = []
    for page in s3.get_paginator("list_parts").paginate(
        Bucket=bucket, Key="k", UploadId=upload, PaginationConfig={"PageSize": 1}
    ):
        seen += [part["PartNumber"] for part in page.get("Parts", [])]
    assert seen == [2, 5, 9]


@correction
def uploads_are_paged(s3: Any, bucket: str) -> None:
    wanted = {(key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in ("a", "b", "b", "c")}
    seen = []
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1})
    for page in pages:
        assert len(page["Uploads"]) == 1
        seen += [(upload["Key"], upload["UploadId"]) for upload in page["Uploads"]]
    assert (len(seen), set(seen)) == (4, wanted)


@correction
def versions_page_and_keep_their_order(s3: Any, bucket: str) -> None:
    enable(s3, bucket)
    wanted = []
    for key in ("a", "b\nb", "c"):
        ids = [s3.put_object(Bucket=bucket, Key=key, Body=bytes([n]))["VersionId"] for n in range(5)]
        ids.append(s3.delete_object(Bucket=bucket, Key=key)["VersionId"])
        wanted += [(key, ident) for ident in reversed(ids)]
    seen = []
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 4})
    for page in pages:
        rows = page.get("Versions", []) + page.get("DeleteMarkers", [])
        assert 0 < len(rows) <= 4
        seen += [(row["Key"], row["VersionId"]) for row in rows]
    assert sorted(seen) == sorted(wanted)
    assert len(seen) == len(set(seen))
    whole = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [(v["Key"], v["VersionId"]) for v in whole] == [row for n, row in enumerate(wanted) if n % 6]


@correction
def null_versions_carry_their_id(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    enable(s3, bucket)
    assert s3.get_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    enable(s3, bucket, "Suspended")
    assert s3.head_object(Bucket=bucket, Key="k", VersionId="null")["VersionId"] == "null"


@correction
def preflight_follows_the_rules_alone(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="shut", Body=b"x", ACL="private")
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://*.agora.example"], "AllowedHeaders": ["x-*"]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    url = f"{s3.meta.endpoint_url}/{bucket}/shut"

    def ask(origin: str, method: str, headers: str) -> tuple[int, str | None]:
        wanted = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
        request = urllib.request.Request(url, method="OPTIONS", headers={"Origin": origin, **wanted})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers["Access-Control-Allow-Origin"]
        except urllib.error.HTTPError as exc:
            return exc.code, None

    assert ask("https://www.agora.example", "GET", "x-a, x-b") == (200, "https://www.agora.example")
    assert ask("https://www.agora.example", "PUT", "x-a") == (403, None)
    assert ask("https://www.agora.example", "GET", "y-a") == (403, None)
    assert ask("https://agora.example", "GET", "x-a") == (403, None)


@correction
def every_grantee_of_a_header_is_kept(s3: Any, bucket: str) -> None:
    people = ", ".join(f'id="{letter * 64}"' for letter in "ab")
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", GrantRead=people)
    grants = s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]
    assert [grant["Grantee"]["ID"] for grant in grants] == ["a" * 64, "b" * 64]


@correction
def one_owner_everywhere(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    owner = s3.list_buckets()["Owner"]["ID"]
    assert owner == s3.get_object_acl(Bucket=bucket, Key="k")["Owner"]["ID"]
    assert owner == s3.get_bucket_acl(Bucket=bucket)["Owner"]["ID"]


@pytest.fixture
def s3(store: mockaws.Store) -> Any:
    return client(store, "s3")


@pytest.fixture(scope="session")
def stock_s3(stock: str) -> Any:
    return client_of("s3", stock, "AKIAIOSFODNN7EXAMPLE", "none")


def fresh(s3: Any) -> str:
    name = f"test-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_corrected(s3: Any, check: Check) -> None:
    check(s3, fresh(s3))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_stock_moto_needs_the_correction(stock_s3: Any, check: Check) -> None:
    with pytest.raises((AssertionError, ClientError, pytest.fail.Exception, KeyError)):
        check(stock_s3, fresh(stock_s3))


def test_listings_agree_with_a_plain_model(s3: Any) -> None:
    bucket = fresh(s3)
    keys = ["a", "a/", "a/b", "a//c", "b/1", "b/2", "b/2/3", "c\nd", "é", "x y", "z+%2B"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for name in ("list_objects_v2", "list_objects"):
        for prefix in ("", "a", "a/", "b/", "none"):
            for delimiter in ("", "/"):
                wanted, folders = _model(keys, prefix, delimiter)
                for size in (1, 2, 1000):
                    pages = s3.get_paginator(name).paginate(
                        Bucket=bucket, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
                    )
                    seen: list[str] = []
                    seen_folders: list[str] = []
                    for page in pages:
                        seen += [row["Key"] for row in page.get("Contents", [])]
                        seen_folders += [row["Prefix"] for row in page.get("CommonPrefixes", [])]
                    assert (seen, seen_folders) == (wanted, folders), (name, prefix, delimiter, size)


def _model(keys: list[str], prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
    plain, folders = [], set()
    for key in sorted(keys):
        if key.startswith(prefix):
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest[: rest.index(delimiter) + 1])
            else:
                plain.append(key)
    return plain, sorted(folders)


def test_a_key_marker_alone_starts_after_that_key(s3: Any) -> None:
    bucket = fresh(s3)
    for key in ("a", "b", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    listing = s3.list_object_versions(Bucket=bucket, KeyMarker="b")
    assert [v["Key"] for v in listing["Versions"]] == ["c"]


def test_a_broken_token_is_refused(s3: Any) -> None:
    refused(lambda: s3.list_objects_v2(Bucket=fresh(s3), ContinuationToken="%%"), "InvalidArgument", 400)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=5-", 5, 1000), ("bytes=-10", 990, 1000), ("bytes=990-5000", 990, 1000)],
)
def test_ranges(s3: Any, asked: str, start: int, stop: int) -> None:
    bucket, body = fresh(s3), bytes(n % 251 for n in range(1000))
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    got = s3.get_object(Bucket=bucket, Key="k", Range=asked)
    assert got["Body"].read() == body[start:stop]
    assert got["ContentRange"] == f"bytes {start}-{stop - 1}/1000"
    refused(lambda: s3.get_object(Bucket=bucket, Key="k", Range="bytes=1000-"), "InvalidRange", 416)


def test_headers_survive_byte_for_byte(s3: Any) -> None:
    bucket, body = fresh(s3), gzip.compress(b"text" * 100)
    given = {
        "ContentEncoding": "gzip",
        "CacheControl": "max-age=60",
        "ContentDisposition": "attachment; filename*=UTF-8''%c3%a9.txt",
        "ContentLanguage": "fr",
        "ContentType": "text/plain; charset=utf-8",
        "WebsiteRedirectLocation": "/elsewhere",
        "Metadata": {"mixed_Case": "v", "spaces": "a  b", "empty": ""},
        "Tagging": "a=1&b=2",
    }
    s3.put_object(Bucket=bucket, Key="k", Body=body, **given)
    got = s3.get_object(Bucket=bucket, Key="k")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == body
    for answer in (got, head):
        assert answer["Metadata"] == {"mixed_case": "v", "spaces": "a  b", "empty": ""}
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "2"
        assert answer["ContentLength"] == len(body)
        for name in set(given) - {"Metadata", "Tagging"}:
            assert answer[name] == given[name], name


def test_raw_metadata_beyond_ascii_is_sent_encoded(s3: Any, store: mockaws.Store) -> None:
    bucket = fresh(s3)
    url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k"})
    host, port = store.endpoint.removeprefix("http://").split(":")
    with contextlib.closing(socket.create_connection((host, int(port)), timeout=30)) as raw:
        raw.sendall(
            f"PUT {url.removeprefix(store.endpoint)} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 1\r\n"
            "x-amz-meta-utf: \xc3\xa9\r\nx-amz-meta-latin: \xe9\r\n\r\nx".encode("latin-1")
        )
        assert raw.recv(65536).startswith(b"HTTP/1.1 200")
    seen = s3.head_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPHeaders"]
    assert seen["x-amz-meta-utf"] == seen["x-amz-meta-latin"] == "=?UTF-8?B?w6k=?="


def test_an_anonymous_visitor_reads_only_what_is_public(s3: Any, store: mockaws.Store) -> None:
    bucket = fresh(s3)
    s3.put_object(Bucket=bucket, Key="private", Body=b"x")
    s3.put_object(Bucket=bucket, Key="public", Body=b"x", ACL="public-read")
    assert _status(f"{store.endpoint}/{bucket}/public") == 200
    assert _status(f"{store.endpoint}/{bucket}/private") == 403
    assert _status(f"{store.endpoint}/{bucket}/new", "PUT", b"x") == 403
    assert _status(f"{store.endpoint}/{bucket}/public", "DELETE") == 403
    assert _status(f"{store.endpoint}/{bucket}") == 403
    assert _status(f"{store.endpoint}/") == 403


def _status(url: str, method: str = "GET", body: bytes | None = None) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, method=method, data=body), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return int(exc.code)


def test_a_presigned_url_works(s3: Any) -> None:
    bucket = fresh(s3)
    s3.put_object(Bucket=bucket, Key="a b/é", Body=b"x")
    assert _status(s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a b/é"})) == 200
    assert _status(s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "n"}), "PUT", b"y") == 200
    assert s3.get_object(Bucket=bucket, Key="n")["Body"].read() == b"y"


def test_uneven_parts_keep_their_boundaries(s3: Any) -> None:
    bucket = fresh(s3)
    parts = [bytes([n % 256]) * (1 + n % 7) for n in range(200)]
    whole = multipart(s3, bucket, "k", parts)
    assert whole["ETag"].endswith('-200"')
    assert [s3.head_object(Bucket=bucket, Key="k", PartNumber=n)["ContentLength"] for n in (1, 100, 200)] == [
        len(parts[n - 1]) for n in (1, 100, 200)
    ]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"".join(parts)


def test_many_versions_of_one_key(s3: Any, store: mockaws.Store) -> None:
    bucket = fresh(s3)
    enable(s3, bucket)
    for number in range(60):
        s3.put_object(Bucket=bucket, Key="k", Body=str(number).encode())
    versions = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert len(versions) == 60
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=versions[-1]["VersionId"])["Body"].read() == b"0"
    assert store.digest()["buckets"][bucket]["versions"] == 60


def test_chunked_payloads_are_unwrapped_and_checked() -> None:
    crc = base64.b64encode(zlib.crc32(b"hello world").to_bytes(4, "big")).decode()
    raw = f"5;chunk-signature=0\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n".encode()
    headers = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "11"}
    body, trailer = decode_body(headers, raw)
    assert body == b"hello world"
    check_digests(headers, body, trailer)
    with pytest.raises(S3Failure, match="BadDigest"):
        check_digests(headers, b"hello worle", trailer)
    with pytest.raises(S3Failure, match="IncompleteBody"):
        decode_body({**headers, "x-amz-decoded-content-length": "12"}, raw)
    with pytest.raises(S3Failure, match="IncompleteBody"):
        decode_body(headers, raw[:4])


def test_the_default_checksums_of_boto3(store: mockaws.Store) -> None:
    plain = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key.reveal(),
        region_name="us-east-1",
    )
    bucket = fresh(plain)
    plain.upload_fileobj(io.BytesIO(b"x" * 9_000_000), bucket, "large")
    plain.put_object(Bucket=bucket, Key="small", Body=io.BytesIO(b"y"))
    assert plain.get_object(Bucket=bucket, Key="large")["Body"].read() == b"x" * 9_000_000
    assert plain.get_object(Bucket=bucket, Key="small", ChecksumMode="ENABLED")["Body"].read() == b"y"


def test_errors_have_their_code_and_status(s3: Any) -> None:
    bucket, absent = fresh(s3), f"absent-{uuid.uuid4().hex}"
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    refused(lambda: s3.get_bucket_cors(Bucket=bucket), "NoSuchCORSConfiguration", 404)
    refused(lambda: s3.get_bucket_policy(Bucket=bucket), "NoSuchBucketPolicy", 404)
    refused(lambda: s3.get_bucket_lifecycle_configuration(Bucket=bucket), "NoSuchLifecycleConfiguration", 404)
    refused(lambda: s3.get_bucket_tagging(Bucket=bucket), "NoSuchTagSet", 404)
    refused(lambda: s3.get_bucket_website(Bucket=bucket), "NoSuchWebsiteConfiguration", 404)
    refused(lambda: s3.list_objects_v2(Bucket=absent), "NoSuchBucket", 404)
    refused(lambda: s3.list_object_versions(Bucket=absent), "NoSuchBucket", 404)
    refused(lambda: s3.get_bucket_versioning(Bucket=absent), "NoSuchBucket", 404)
    refused(lambda: s3.put_object(Bucket=absent, Key="k", Body=b"x"), "NoSuchBucket", 404)
    refused(lambda: s3.create_multipart_upload(Bucket=absent, Key="k"), "NoSuchBucket", 404)
    refused(lambda: s3.get_object(Bucket=absent, Key="k"), "NoSuchBucket", 404)
    refused(lambda: s3.get_object(Bucket=bucket, Key="none"), "NoSuchKey", 404)
    refused(lambda: s3.get_object(Bucket=bucket, Key="k", VersionId="none"), "NoSuchVersion", 404)
    refused(lambda: s3.head_object(Bucket=bucket, Key="none"), "404", 404)
    refused(lambda: s3.head_bucket(Bucket=absent), "404", 404)
    refused(lambda: s3.delete_bucket(Bucket=bucket), "BucketNotEmpty", 409)
    refused(lambda: s3.get_object(Bucket=bucket, Key="k", IfMatch='"x"'), "PreconditionFailed", 412)
    refused(lambda: s3.head_object(Bucket=bucket, Key="k", IfMatch='"x"'), "412", 412)
    refused(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"y", IfNoneMatch="*"), "PreconditionFailed", 412)
    refused(lambda: s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/none"), "NoSuchKey", 404)
    broken = {"Parts": [{"PartNumber": 1, "ETag": "x"}]}
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    refused(
        lambda: s3.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload=broken),
        "InvalidPart",
        400,
    )
    etag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    refused(lambda: s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=etag), "304", 304)


def test_bucket_configuration_goes_through(s3: Any) -> None:
    bucket = fresh(s3)
    cors = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://agora.example"]}]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=cors)
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == cors["CORSRules"]
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"][0]["Expiration"] == {"Days": 1}
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    assert len(s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]) == 2
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "é", "Value": "ü"}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "é", "Value": "ü"}]
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}, {"Key": "none"}]})
    assert {row["Key"] for row in gone["Deleted"]} == {"k", "none"}
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    s3.delete_bucket(Bucket=bucket)
