"""The mocked AWS around S3: cut-off, call log, credentials, faults, address pairs, children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ResponseStreamingError
from botocore.exceptions import ConnectionError as BotoConnectionError

from tests.rehearsal.conftest import client, client_of
from toolkit.errors import Conflict, Unreachable, UsageError
from toolkit.rehearsal import faults, mockaws, net
from toolkit.rehearsal.mockaws_calls import identify


@pytest.fixture
def s3(store: mockaws.Store) -> Iterator[Any]:
    yield client(store, "s3")
    store.inject()
    store.control("restore", {})


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"test-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


def code_of(call: Callable[[], Any]) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_after_the_cutoff_every_service_answers_403(store: mockaws.Store, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    calls: dict[str, Callable[[], Any]] = {
        "s3": lambda: s3.get_object(Bucket=bucket, Key="k"),
        "ec2": client(store, "ec2").describe_instances,
        "route53": client(store, "route53").list_hosted_zones,
        "route53domains": client(store, "route53domains").list_domains,
        "elasticloadbalancing": client(store, "elbv2").describe_load_balancers,
        "iam": client(store, "iam").list_users,
        "sts": client(store, "sts").get_caller_identity,
        "acm": client(store, "acm").list_certificates,
    }
    since = time.time() - 1
    store.control("cutoff", {})
    codes = {service: code_of(call) for service, call in calls.items()}
    assert {status for _, status in codes.values()} == {403}
    assert codes["s3"][0] == "AllAccessDisabled"
    assert codes["ec2"][0] == "Blocked"
    assert codes["route53"][0] == codes["acm"][0] == "AccountProblem"
    logged = store.calls(after_cutoff=True, since=since)
    assert {row["service"] for row in logged} == set(calls)
    store.control("restore", {})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_the_log_tells_reads_from_writes(store: mockaws.Store, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a b/é", Body=b"x")
    s3.get_object(Bucket=bucket, Key="a b/é")
    s3.get_bucket_versioning(Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="a b/é")
    rows = [(row["operation"], row["class"], row["key"], row["status"]) for row in store.calls(bucket=bucket)]
    assert rows == [
        ("CreateBucket", "write", "", 200),
        ("PutObject", "write", "a b/é", 200),
        ("GetObject", "read", "a b/é", 200),
        ("GetBucketVersioning", "read", "", 200),
        ("DeleteObject", "write", "a b/é", 204),
    ]
    assert len(store.calls(bucket=bucket, class_="write")) == 3
    ec2 = client(store, "ec2")
    since = time.time() - 1
    ec2.describe_vpcs()
    ec2.create_security_group(GroupName=bucket, Description="x")
    seen = {(row["operation"], row["class"]) for row in store.calls(service="ec2", since=since)}
    assert {("DescribeVpcs", "read"), ("CreateSecurityGroup", "write")} <= seen


@pytest.mark.parametrize(
    ("method", "uri", "service", "operation", "kind"),
    [
        ("GET", "/", "s3", "ListBuckets", "read"),
        ("GET", "/b?list-type=2", "s3", "ListObjectsV2", "read"),
        ("GET", "/b?versions", "s3", "ListObjectVersions", "read"),
        ("POST", "/b?delete", "s3", "DeleteObjects", "write"),
        ("PUT", "/b?policy", "s3", "PutBucketPolicy", "write"),
        ("PUT", "/b/k?uploadId=1&partNumber=2", "s3", "UploadPart", "write"),
        ("POST", "/b/k?uploads", "s3", "CreateMultipartUpload", "write"),
        ("GET", "/b/k?tagging", "s3", "GetObjectTagging", "read"),
        ("GET", "/2013-04-01/hostedzone", "route53", "ListHostedZones", "read"),
        ("POST", "/2013-04-01/hostedzone/Z1/rrset/", "route53", "ChangeResourceRecordSets", "write"),
        ("GET", "/2013-04-01/hostedzone/Z1/rrset?name=x", "route53", "ListResourceRecordSets", "read"),
        ("DELETE", "/2013-04-01/hostedzone/Z1", "route53", "DeleteHostedZone", "write"),
        ("GET", "/2013-04-01/change/C1", "route53", "GetChange", "read"),
        ("GET", "/?Action=DescribeInstances&Version=2016-11-15&AWSAccessKeyId=A", "ec2", "DescribeInstances", "read"),
    ],
)
def test_calls_are_named(method: str, uri: str, service: str, operation: str, kind: str) -> None:
    call = identify(method, uri, {}, b"")
    assert (call.service, call.operation, call.kind) == (service, operation, kind)


def test_a_wrong_key_is_refused_everywhere(store: mockaws.Store) -> None:
    def other(service: str) -> Any:
        return client_of(service, store.endpoint, "AKIAIOSFODNN7EXAMPLE", "wrong")

    assert code_of(other("s3").list_buckets) == ("InvalidAccessKeyId", 403)
    assert code_of(other("ec2").describe_instances) == ("AuthFailure", 401)
    assert code_of(other("route53").list_hosted_zones) == ("InvalidClientTokenId", 403)


def test_a_wrong_secret_is_refused_everywhere(store: mockaws.Store) -> None:
    def other(service: str) -> Any:
        return client_of(service, store.endpoint, store.access_key, "wrong")

    assert code_of(other("s3").list_buckets) == ("SignatureDoesNotMatch", 403)
    assert code_of(other("ec2").describe_instances) == ("AuthFailure", 401)
    assert code_of(other("route53").list_hosted_zones) == ("SignatureDoesNotMatch", 403)
    assert code_of(other("elbv2").describe_load_balancers) == ("SignatureDoesNotMatch", 403)


def test_a_wrong_clock_is_refused(store: mockaws.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.auth

    wrong = datetime.now(UTC) - timedelta(minutes=20)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: wrong)
    assert code_of(client(store, "s3").list_buckets) == ("RequestTimeTooSkewed", 403)


def test_a_presigned_url_expires_and_cannot_be_altered(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    def status(url: str) -> int:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as exc:
            return int(exc.code)

    good = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, ExpiresIn=60)
    assert status(good) == 200
    assert status(good.replace("X-Amz-Expires=60", "X-Amz-Expires=61")) == 403
    assert status(good.replace("/k?", "/other?")) == 403
    gone = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, ExpiresIn=0)
    net.wait_ready(lambda: status(gone) == 403, "the end of the address")


def test_the_control_interface_wants_its_token(store: mockaws.Store) -> None:
    with pytest.raises(Unreachable, match="403"):
        net.call_json(f"{store.endpoint}/_rehost/cutoff", method="POST", body={})
    with pytest.raises(Unreachable, match="no such control call"):
        store.control("nonsense")


def test_the_digest_sees_every_change(store: mockaws.Store, s3: Any, bucket: str) -> None:
    def digest() -> Any:
        return store.digest()["buckets"][bucket]["digest"]

    seen = [digest()]
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    seen.append(digest())
    s3.get_object(Bucket=bucket, Key="k")
    assert digest() == seen[-1]
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    seen.append(digest())
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    seen.append(digest())
    s3.delete_object(Bucket=bucket, Key="k")
    seen.append(digest())
    assert len(set(seen)) == len(seen)


def test_faults(store: mockaws.Store, s3: Any, bucket: str) -> None:
    body = bytes(range(256)) * 64
    s3.put_object(Bucket=bucket, Key="k", Body=body)

    def get() -> Any:
        return s3.get_object(Bucket=bucket, Key="k")

    store.inject({"kind": "slowdown", "bucket": bucket})
    assert code_of(get) == ("SlowDown", 503)
    store.inject({"kind": "error", "bucket": bucket, "count": 1})
    assert code_of(get) == ("InternalError", 500)
    assert get()["Body"].read() == body
    store.inject({"kind": "deny", "bucket": bucket, "prefix": "private/"})
    s3.put_object(Bucket=bucket, Key="public", Body=b"x")
    assert code_of(lambda: s3.put_object(Bucket=bucket, Key="private/x", Body=b"x")) == ("AccessDenied", 403)
    store.inject({"kind": "reset", "bucket": bucket, "method": "GET"})
    with pytest.raises((BotoConnectionError, ConnectionClosedError)):
        get()
    store.inject({"kind": "truncate", "bucket": bucket, "at": 0.5})
    with pytest.raises((ResponseStreamingError, BotoConnectionError)):
        get()["Body"].read()
    store.inject({"kind": "flip", "bucket": bucket, "method": "GET"})
    got = get()["Body"].read()
    assert len(got) == len(body)
    assert sum(a != b for a, b in zip(got, body, strict=True)) == 1
    store.inject({"kind": "flip-put", "bucket": bucket, "method": "PUT"})
    s3.put_object(Bucket=bucket, Key="bad", Body=body)
    store.inject()
    assert s3.get_object(Bucket=bucket, Key="bad")["Body"].read() != body


def test_a_lost_answer_was_still_done(store: mockaws.Store, s3: Any, bucket: str) -> None:
    store.inject({"kind": "lost", "bucket": bucket, "operation": "PutObject"})
    with pytest.raises((BotoConnectionError, ConnectionClosedError)):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_fault_rates_are_repeatable() -> None:
    call = identify("GET", "/b/k", {}, b"")

    def struck() -> list[bool]:
        rules = faults.Rules(faults.parse([{"kind": "error", "rate": 0.3, "seed": 7, "after": 2}]))
        return [rules.pick(call) is not None for _ in range(200)]

    assert struck() == struck()
    assert not any(struck()[:2])
    assert 30 < sum(struck()) < 90


@pytest.mark.parametrize("rule", [{"kind": "nonsense"}, {"kind": "error", "rate": 2}, {"kind": "error", "what": 1}])
def test_a_senseless_fault_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="fault 1"):
        faults.parse([rule])


def test_connections_stay_open(store: mockaws.Store) -> None:
    """Two requests over one connection, which stock moto closes after the first."""
    import http.client

    host, port = store.endpoint.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", "/")
    connection.getresponse().read()
    before = connection.sock
    connection.request("GET", "/")
    assert connection.getresponse().status == 403
    assert connection.sock is before is not None
    connection.close()


def test_two_rehearsals_never_share_addresses() -> None:
    with net.claim() as first, net.claim() as second:
        assert len({first.old, first.new, second.old, second.new}) == 4
        with pytest.raises(Conflict), net.claim(first.old):
            pass
    with net.claim(first.old) as again:
        assert again == first


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from toolkit.rehearsal import mockaws, net\n"
        "with net.claim() as pair:\n"
        "    store = mockaws.start_store(pair.old_ip(2), Path(sys.argv[1]))\n"
        "    print(store.child.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    net.wait_ready(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not _alive(pid), "the end of the child")
    parent.stdout.close()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="ended before it was ready"):
        net.start_module("toolkit.rehearsal.mockaws_process", folder=tmp_path, config={"broken": True})
