"""The fault proxy before a store: what it must leave as it is, and every fault it can show."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, ResponseStreamingError

from toolkit.errors import DefinitionError, NotFound, UsageError
from toolkit.rehearsal import net
from toolkit.rehearsal.faultproxy import FaultProxy, running
from toolkit.rehearsal.faultproxy_rules import FAULTS, Asked, Rules, load, parse
from toolkit.rehearsal.mockaws import Store
from toolkit.storage.sign import Keys

BODY = bytes(range(256)) * 40
BUCKET = "behind-faults"


@pytest.fixture(scope="module", autouse=True)
def bucket(store: Store) -> None:
    client(store.endpoint, store).create_bucket(Bucket=BUCKET)


@pytest.fixture
def proxy(store: Store) -> Iterator[FaultProxy]:
    keys = Keys(store.access_key, store.secret_key.reveal())
    stand = FaultProxy(store.endpoint, side="target", keys=keys)
    with running(stand):
        yield stand


def client(endpoint: str, store: Store, **options: Any) -> Any:
    """One try, no checksums unless asked for, patient enough for a busy machine."""
    options = {"request_checksum_calculation": "when_required", **options}
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key.reveal(),
        config=Config(
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            response_checksum_validation="when_required",
            **options,
        ),
    )


def get(proxy: FaultProxy, store: Store, key: str = "k", **more: Any) -> bytes:
    body: bytes = client(proxy.endpoint, store, **more).get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return body


def trailing(proxy: FaultProxy, store: Store, key: str, body: bytes) -> tuple[int, bytes]:
    """PUT a body as the newer SDKs do over TLS: in chunks, its checksum behind it."""
    checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    framed = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (len(body), body, checksum.encode())
    headers = {
        "Content-Encoding": "aws-chunked",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(len(body)),
        "Content-Length": str(len(framed)),
    }
    request = AWSRequest("PUT", f"{proxy.endpoint}/{BUCKET}/{key}", headers=headers, data=framed)
    request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
    request.context["payload_signing_enabled"] = False
    credentials = Credentials(store.access_key, store.secret_key.reveal())
    S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(proxy.endpoint.removeprefix("http://"), timeout=60)
    connection.request("PUT", f"/{BUCKET}/{key}", body=framed, headers=dict(request.headers))
    answer = connection.getresponse()
    told = answer.status, answer.read()
    connection.close()
    return told


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    told = caught.value.response
    return told["ResponseMetadata"]["HTTPStatusCode"], told["Error"]["Code"]


@pytest.mark.parametrize("key", ["a//b", "/lead", "..", "x/../y", "é +%2B&?#", "new\nline", "日本", "a" * 1000])
def test_signed_requests_pass_as_they_are(proxy: FaultProxy, store: Store, key: str) -> None:
    through = client(proxy.endpoint, store)
    through.put_object(Bucket=BUCKET, Key=key, Body=BODY, Metadata={"a": "b"}, CacheControl="no-store")
    direct = client(store.endpoint, store).get_object(Bucket=BUCKET, Key=key)
    assert direct["Body"].read() == BODY
    assert (direct["Metadata"], direct["CacheControl"]) == ({"a": "b"}, "no-store")
    assert get(proxy, store, key) == BODY
    assert {seen.asked.key for seen in proxy.seen} == {key}


def test_everything_else_passes_too(proxy: FaultProxy, store: Store) -> None:
    through, direct = client(proxy.endpoint, store), client(store.endpoint, store)
    upload = through.create_multipart_upload(Bucket=BUCKET, Key="m")["UploadId"]
    parts = [
        {
            "PartNumber": n,
            "ETag": through.upload_part(Bucket=BUCKET, Key="m", UploadId=upload, PartNumber=n, Body=BODY * n)["ETag"],
        }
        for n in (1, 2)
    ]
    through.complete_multipart_upload(Bucket=BUCKET, Key="m", UploadId=upload, MultipartUpload={"Parts": parts})
    assert direct.get_object(Bucket=BUCKET, Key="m")["Body"].read() == BODY * 3
    assert through.get_object(Bucket=BUCKET, Key="m", Range="bytes=10-19")["Body"].read() == BODY[10:20]
    assert through.head_object(Bucket=BUCKET, Key="m")["ContentLength"] == len(BODY) * 3
    with pytest.raises(ClientError) as caught:
        through.get_object(Bucket=BUCKET, Key="m", IfMatch='"other"')
    assert code_of(caught) == (412, "PreconditionFailed")
    through.delete_object(Bucket=BUCKET, Key="m")
    with pytest.raises(ClientError) as caught:
        direct.head_object(Bucket=BUCKET, Key="m")
    assert code_of(caught)[0] == 404
    assert [seen.asked.operation for seen in proxy.seen][:2] == ["CreateMultipartUpload", "UploadPart"]
    assert proxy.count(operation="UploadPart") == 2


def test_a_body_in_chunks_with_trailers_passes(proxy: FaultProxy, store: Store) -> None:
    assert trailing(proxy, store, "t", BODY)[0] == 200
    assert client(store.endpoint, store).get_object(Bucket=BUCKET, Key="t")["Body"].read() == BODY


def test_one_connection_carries_many_requests(proxy: FaultProxy, store: Store) -> None:
    host = proxy.endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    for _ in range(3):
        connection.request("GET", f"/{BUCKET}/none")
        answer = connection.getresponse()
        assert answer.status in (403, 404)
        answer.read()
    connection.close()
    net.wait_ready(lambda: len(proxy.seen) == 3, "the third entry")  # made after the answer has left


def test_answers_given_instead(proxy: FaultProxy, store: Store) -> None:
    through = client(proxy.endpoint, store)
    wanted = {
        "slow-down": (503, "SlowDown"),
        "error": (500, "InternalError"),
        "suspended": (403, "AccountProblem"),
        "expired-token": (400, "ExpiredToken"),
        "bad-key": (403, "InvalidAccessKeyId"),
        "skewed": (403, "RequestTimeTooSkewed"),
        "quota": (403, "QuotaExceeded"),
        "denied": (403, "AccessDenied"),
    }
    for fault, answer in wanted.items():
        proxy.inject({"fault": fault})
        with pytest.raises(ClientError) as caught:
            through.put_object(Bucket=BUCKET, Key="never", Body=BODY)
        assert code_of(caught) == answer
    proxy.inject({"fault": "error", "status": 507, "code": "InsufficientCapacity"})
    with pytest.raises(ClientError) as caught:
        through.get_object(Bucket=BUCKET, Key="never")
    assert code_of(caught) == (507, "InsufficientCapacity")
    proxy.inject()
    assert "Contents" not in through.list_objects_v2(Bucket=BUCKET, Prefix="never")


def test_connections_that_break(proxy: FaultProxy, store: Store) -> None:
    through, direct = client(proxy.endpoint, store), client(store.endpoint, store)
    proxy.inject({"fault": "reset"})
    with pytest.raises((ConnectionError, HTTPClientError)):
        through.put_object(Bucket=BUCKET, Key="reset", Body=BODY)
    proxy.inject({"fault": "lost"})
    with pytest.raises((ConnectionError, HTTPClientError)):
        through.put_object(Bucket=BUCKET, Key="lost", Body=BODY)
    kept = {item["Key"] for item in direct.list_objects_v2(Bucket=BUCKET).get("Contents", [])}
    assert "lost" in kept
    assert "reset" not in kept


@pytest.mark.parametrize("at", [0.01, 0.5, 1.0])
def test_bodies_that_lie(proxy: FaultProxy, store: Store, at: float) -> None:
    client(store.endpoint, store).put_object(Bucket=BUCKET, Key="k", Body=BODY)
    most = min(int(len(BODY) * at), len(BODY) - 1)
    proxy.inject({"fault": "cut", "at": at})
    with pytest.raises((ResponseStreamingError, ConnectionError)):
        get(proxy, store)
    proxy.inject({"fault": "short", "at": at})
    assert get(proxy, store) == BODY[:most]
    proxy.inject({"fault": "pad", "at": at})
    assert get(proxy, store) == BODY[:most] + bytes(len(BODY) - most)
    proxy.inject({"fault": "flip", "at": at})
    harmed = get(proxy, store)
    assert [n for n in range(len(BODY)) if harmed[n] != BODY[n]] == [most]
    assert bin(harmed[most] ^ BODY[most]).count("1") == 1


def test_bodies_that_wait(proxy: FaultProxy, store: Store) -> None:
    client(store.endpoint, store).put_object(Bucket=BUCKET, Key="k", Body=b"0123456789")
    proxy.inject({"fault": "stall"})
    with pytest.raises(HTTPClientError):
        get(proxy, store, read_timeout=1)
    proxy.inject({"fault": "hang", "method": "PUT"})
    with pytest.raises(HTTPClientError):
        client(proxy.endpoint, store, read_timeout=1).put_object(Bucket=BUCKET, Key="hung", Body=b"x")
    proxy.inject({"fault": "drip", "speed": 5})
    begun = time.monotonic()
    assert get(proxy, store) == b"0123456789"
    assert time.monotonic() - begun >= 0.9


def test_a_success_that_is_none(proxy: FaultProxy, store: Store) -> None:
    host = proxy.endpoint.removeprefix("http://")
    for deed in (False, True):
        key = f"ok-{deed}"
        proxy.inject({"fault": "ok-error", "deed": deed, "code": "SlowDown"})
        url = client(proxy.endpoint, store).generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": key})
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request("PUT", url.removeprefix(proxy.endpoint), body=b"x")
        answer = connection.getresponse()
        assert (answer.status, b"<Code>SlowDown</Code>" in answer.read()) == (200, True)
        connection.close()
        there = client(store.endpoint, store).list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"]
        assert there == int(deed)


def test_a_bit_flipped_on_the_way_up(proxy: FaultProxy, store: Store) -> None:
    digest = hashlib.md5(BODY, usedforsecurity=False).digest()
    through, direct = client(proxy.endpoint, store), client(store.endpoint, store)
    proxy.inject({"fault": "flip-up"})
    with pytest.raises(ClientError) as caught:
        through.put_object(Bucket=BUCKET, Key="up", Body=BODY, ContentMD5=base64.b64encode(digest).decode())
    assert code_of(caught)[0] == 400
    proxy.inject({"fault": "store-wrong"})
    done = through.put_object(Bucket=BUCKET, Key="up", Body=BODY, ContentMD5=base64.b64encode(digest).decode())
    stored = direct.get_object(Bucket=BUCKET, Key="up")["Body"].read()
    assert sum(a != b for a, b in zip(stored, BODY, strict=True)) == 1
    assert done["ETag"] != f'"{digest.hex()}"'
    proxy.inject({"fault": "store-wrong", "lie": True})
    done = through.put_object(Bucket=BUCKET, Key="up", Body=BODY)
    assert done["ETag"] == f'"{digest.hex()}"'
    assert direct.get_object(Bucket=BUCKET, Key="up")["Body"].read() != BODY


def test_trailers_refused_or_stored(proxy: FaultProxy, store: Store) -> None:
    plain, direct = client(proxy.endpoint, store), client(store.endpoint, store)
    proxy.inject({"fault": "refuse-trailers"})
    status, answer = trailing(proxy, store, "framed", BODY)
    assert (status, b"XAmzContentSHA256Mismatch" in answer) == (400, True)
    plain.put_object(Bucket=BUCKET, Key="framed", Body=BODY)
    proxy.inject({"fault": "store-framing"})
    assert trailing(proxy, store, "framed", b"hello")[0] == 200
    stored = direct.get_object(Bucket=BUCKET, Key="framed")["Body"].read()
    assert stored.startswith(b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:")


def test_headers_and_clocks(proxy: FaultProxy, store: Store) -> None:
    through = client(proxy.endpoint, store)
    through.put_object(Bucket=BUCKET, Key="c", Body=BODY, ChecksumAlgorithm="SHA256")
    told = through.head_object(Bucket=BUCKET, Key="c", ChecksumMode="ENABLED")
    assert told.get("ChecksumSHA256")
    proxy.inject({"fault": "headers", "drop": ["x-amz-checksum-*"], "set": {"x-amz-meta-extra": "1"}})
    told = through.head_object(Bucket=BUCKET, Key="c", ChecksumMode="ENABLED")
    assert (told.get("ChecksumSHA256"), told["Metadata"]) == (None, {"extra": "1"})
    proxy.inject({"fault": "clock", "seconds": 1200})
    headers = through.head_object(Bucket=BUCKET, Key="c")["ResponseMetadata"]["HTTPHeaders"]
    assert 1100 < parsedate_to_datetime(headers["date"]).timestamp() - time.time() < 1300


def test_pages_that_lie(proxy: FaultProxy, store: Store) -> None:
    direct = client(store.endpoint, store)
    direct.create_bucket(Bucket="lying-pages")
    for n in range(9):
        direct.put_object(Bucket="lying-pages", Key=f"k{n}", Body=b"x")

    def page(token: str = "") -> Any:
        on = {"ContinuationToken": token} if token else {}
        return client(proxy.endpoint, store).list_objects_v2(Bucket="lying-pages", MaxKeys=3, **on)

    def keys(found: Any) -> list[str]:
        return [item["Key"] for item in found["Contents"]]

    honest = page()
    token = honest["NextContinuationToken"]
    proxy.inject({"fault": "unsorted"})
    assert keys(page()) == ["k2", "k1", "k0"]
    proxy.inject({"fault": "no-token"})
    assert (page()["IsTruncated"], page().get("NextContinuationToken")) == (True, None)
    proxy.inject({"fault": "same-token", "nth": [2]})
    assert page()["NextContinuationToken"] == token
    assert page(token)["NextContinuationToken"] == token
    proxy.inject({"fault": "stale-page", "nth": [2]})
    assert keys(page()) == ["k0", "k1", "k2"]
    assert keys(page(token)) == ["k0", "k1", "k2"]
    assert keys(page(token)) == ["k3", "k4", "k5"]


ASKED = Asked("source", "GET", "GetObject", "media", "photos/2021/a.jpg")


def struck(rule: dict[str, Any], asked: list[Asked], clock: list[float] | None = None) -> list[bool]:
    moments = iter(clock or [0.0] * len(asked))
    rules = Rules(parse([{"fault": "reset", **rule}]), seed=5, clock=lambda: next(moments))
    return [rules.pick(one) is not None for one in asked]


def test_which_requests_are_struck() -> None:
    other = ASKED._replace(key="docs/b")
    assert struck({"key": "photos/*"}, [ASKED, other]) == [True, False]
    assert struck({"side": "target"}, [ASKED]) == [False]
    assert struck({"method": ["GET", "HEAD"], "operation": "GetObject", "bucket": "me*"}, [ASKED]) == [True]
    assert struck({"nth": [2]}, [ASKED] * 3) == [False, True, False]
    assert struck({"after": 1, "count": 1}, [ASKED] * 3) == [False, True, False]
    assert struck({"each": True, "count": 1}, [ASKED, other, ASKED, other]) == [True, True, False, False]
    assert struck({"from": 5, "until": 10}, [ASKED] * 4, [0, 4, 6, 11]) == [False, False, True, False]
    share = sum(struck({"rate": 0.3}, [ASKED] * 1000)) / 1000
    assert 0.25 < share < 0.35
    assert struck({"rate": 0.3}, [ASKED] * 50) == struck({"rate": 0.3}, [ASKED] * 50)


def test_rules_that_are_wrong_are_all_named(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(
        "faults: 1\nrules:\n  - fault: nonsense\n  - {fault: reset, rate: 3}\n  - {fault: reset, wat: 1}\n"
        "  - {fault: cut, at: half}\n  - {fault: cut, nth: [0]}\n  - {fault: cut, side: both}\n"
    )
    with pytest.raises(DefinitionError) as caught:
        load(file)
    assert [problem.line for problem in caught.value.problems] == [3, 4, 5, 6, 7, 8]
    assert all(problem.remedy for problem in caught.value.problems)
    file.write_text("[1, 2")
    with pytest.raises(DefinitionError):
        load(file)
    with pytest.raises(NotFound):
        load(tmp_path / "none.yaml")
    file.write_text(json.dumps({"faults": 1, "seed": 3, "rules": [{"fault": "reset", "from": 1}]}))
    (rule,), seed = load(file)
    assert (rule.begin, seed) == (1, 3)


def test_faults_that_need_keys_say_so(store: Store) -> None:
    with pytest.raises(UsageError, match="keys"):
        FaultProxy(store.endpoint).inject({"fault": "store-framing"})
    with pytest.raises(UsageError):
        FaultProxy("ftp://somewhere")


def test_the_page_names_every_fault_and_field() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/fault-proxy.md").read_text("utf-8")
    missing = [name for name in sorted(FAULTS) if f"`{name}`" not in page]
    assert missing == []


def test_a_file_that_never_struck_shows(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("faults: 1\nrules:\n  - {fault: slow-down, count: 1}\n  - {fault: reset, key: nowhere}\n")
    argv = [sys.executable, "-m", "toolkit.rehearsal.faultproxy", "--to", store.endpoint, "--faults", str(file)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        endpoint = json.loads(process.stdout.readline())["endpoint"]
        with pytest.raises(ClientError):
            client(endpoint, store).list_buckets()
        assert client(endpoint, store).list_buckets()["Buckets"]
        process.send_signal(signal.SIGTERM)
        assert [rule["struck"] for rule in json.loads(process.communicate(timeout=60)[0])] == [1, 0]
    finally:
        process.kill()
        process.wait()
