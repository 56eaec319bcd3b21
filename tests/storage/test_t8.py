"""T8: a target whose checksums cannot be relied on, five ways, behind the fault proxy.

(a) refuses bodies with trailers, (b) takes them and stores their framing, (c) drops x-amz-checksum-*,
(d) flips a bit in some PUTs and answers 200, (e) shows a stale page of a listing. Each fixture is first shown
to bite; what must come out is exact.
"""

from __future__ import annotations

import base64
import http.client
import zlib

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.storage.ends import End
from tests.storage.matrix import World, altered
from toolkit.errors import NeedsHuman
from toolkit.storage.engine import listing

PUTS = {"side": "target", "operation": ["PutObject", "UploadPart"]}


def trailing(end: End, bucket: str, key: str, body: bytes) -> int:
    """PUT a body as newer SDKs do over TLS: in chunks, its checksum behind it. Return the status."""
    checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big"))
    framed = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (len(body), body, checksum)
    headers = {
        "Content-Encoding": "aws-chunked",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(len(body)),
        "Content-Length": str(len(framed)),
    }
    request = AWSRequest("PUT", f"{end.endpoint}/{bucket}/{key}", headers=headers, data=framed)
    request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
    S3SigV4Auth(Credentials(end.key, end.secret), "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(end.endpoint.removeprefix("http://"), timeout=60)
    try:
        connection.request("PUT", f"/{bucket}/{key}", body=framed, headers=dict(request.headers))
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def planned(world: World) -> World:
    world.fill()
    world.changes = world.move.plan()
    return world


def test_t8a_trailers_refused(planned: World) -> None:
    world = planned
    world.direct.target.client.create_bucket(Bucket=world.to)
    world.inject({"fault": "refuse-trailers"})
    assert trailing(world.behind.target, world.to, "probe", b"x") == 400
    struck = world.struck()
    assert world.apply() is None
    assert world.struck() == struck  # nothing of ours carries a trailer: there is nothing to fall back from
    world.judge(None)
    world.resumed()


def test_t8b_framing_stored(planned: World) -> None:
    world = planned
    world.direct.target.client.create_bucket(Bucket=world.to)
    world.inject({"fault": "store-framing"})
    assert trailing(world.behind.target, world.to, "large", b"x" * 10) == 200
    stored = world.direct.target.client.get_object(Bucket=world.to, Key="large")["Body"].read()
    assert stored.startswith(b"a\r\nxxxxxxxxxx\r\n0\r\n")
    world.direct.target.client.delete_object(Bucket=world.to, Key="large")
    assert world.apply() is None
    world.judge(None)
    world.resumed()


def test_t8c_checksums_dropped(planned: World) -> None:
    world = planned
    drop = {"fault": "headers", "drop": ["x-amz-checksum-*"]}
    world.inject(drop)
    assert world.apply() is None  # the ETag proves what was stored; no checksum is relied on
    world.judge(None)
    world.resumed()


def test_t8c_without_an_etag_to_rely_on_it_stops(planned: World) -> None:
    world = planned
    unlike = {"ETag": '"0123456789abcdef0123456789abcdef"'}
    world.inject({"fault": "headers", "drop": ["x-amz-checksum-*", "etag"], "set": unlike, **PUTS})
    ended = world.apply()
    assert ended is not None
    assert ended.code == 40  # a clear end, and every object that could not be proven is named
    assert len({item.feature for item in world.findings()}) == len(world.here())
    assert "other bytes" in ended.text
    assert ended.remedy


def test_t8d_a_bit_flipped_in_some_puts(planned: World) -> None:
    world = altered(planned, attempts=12)
    world.inject({"fault": "store-wrong", "rate": 0.2, **PUTS})
    assert world.apply() is None
    assert world.struck() >= 5
    world.judge(None)
    world.resumed()


@pytest.mark.parametrize("versions", [False, True], ids=["objects", "versions"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_t8e_a_stale_page_stops(world: World, side: str, monkeypatch: pytest.MonkeyPatch, *, versions: bool) -> None:
    monkeypatch.setattr(listing, "_PAGE", 20)
    end = world.direct.source if side == "source" else world.direct.target
    behind = world.behind.source if side == "source" else world.behind.target
    bucket = world.bucket if side == "source" else world.to
    if side == "target":
        end.client.create_bucket(Bucket=bucket)
    for n in range(70):
        end.client.put_object(Bucket=bucket, Key=f"k{n:02d}", Body=b"x")
    operation = "ListObjectVersions" if versions else "ListObjectsV2"
    plane = behind.driver.ex_data_plane()
    assert len(list(listing.entries(plane, bucket, world.knobs, versions=versions))) == 70
    world.inject({"fault": "stale-page", "operation": operation, "nth": [3]})
    before = world.source.count(operation=operation) + world.target.count(operation=operation)
    with pytest.raises(NeedsHuman, match="order") as caught:
        list(listing.entries(plane, bucket, world.knobs, versions=versions))
    assert caught.value.remedy
    asked = world.source.count(operation=operation) + world.target.count(operation=operation) - before
    assert asked <= 5  # never an endless loop
