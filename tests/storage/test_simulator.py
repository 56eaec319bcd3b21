"""The store simulator gives back what was put, computes what S3 computes, and lists like S3."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.bench import simulator, synthetic
from tests.bench.simulator import Simulator


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with simulator.running() as running:
        yield running


@pytest.fixture
def client(sim: Simulator) -> Any:
    quiet = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    config = Config(s3={"addressing_style": "path"}, **quiet)
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return boto3.client("s3", region_name="us-east-1", endpoint_url=sim.endpoint, config=config, **keys)


def body(client: Any, bucket: str, key: str, **more: Any) -> bytes:
    return bytes(client.get_object(Bucket=bucket, Key=key, **more)["Body"].read())


def test_what_was_put_comes_back(client: Any) -> None:
    client.create_bucket(Bucket="put")
    pattern = b"".join(synthetic.Body(77, 3 << 20).slices())
    left = pattern[: 1 << 20] + b"!" + pattern[(1 << 20) + 1 :]
    for name, data in (
        ("empty", b""),
        ("small", b"abc"),
        ("random", random.Random(3).randbytes(200_000)),
        ("p", pattern),
    ):
        put = client.put_object(Bucket="put", Key=name, Body=data, Metadata={"a": "b"}, ContentType="x/y")
        assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
        got = client.get_object(Bucket="put", Key=name)
        assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (data, {"a": "b"}, "x/y")
    put = client.put_object(Bucket="put", Key="left", Body=left)
    assert put["ETag"] == f'"{hashlib.md5(left).hexdigest()}"', "a body that leaves the pattern is still hashed right"
    client.delete_object(Bucket="put", Key="p")
    keys = [item["Key"] for item in client.list_objects_v2(Bucket="put")["Contents"]]
    assert keys == ["empty", "left", "random", "small"]


def test_a_fill_lists_in_order_in_both_versions_of_the_call(sim: Simulator, client: Any) -> None:
    sim.fill("fill", 2_500, 16 << 10, "a/k")
    client.put_object(Bucket="fill", Key="a/k000000007", Body=b"mine")
    client.put_object(Bucket="fill", Key="b", Body=b"")
    for call in ("list_objects_v2", "list_objects"):
        pages = list(client.get_paginator(call).paginate(Bucket="fill"))
        found = [item for page in pages for item in page["Contents"]]
        assert [item["Key"] for item in found] == [*(f"a/k{n:09d}" for n in range(2_500)), "b"]
        assert found[7]["Size"] == 4
        assert len(pages) == 3
    for item in found[:3] + found[-2:]:
        data = body(client, "fill", item["Key"])
        assert item["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    grouped = client.list_objects_v2(Bucket="fill", Delimiter="/")
    assert [item["Prefix"] for item in grouped["CommonPrefixes"]] == ["a/"]
    assert [item["Key"] for item in grouped["Contents"]] == ["b"]
    after = client.list_objects_v2(Bucket="fill", StartAfter="a/k000002490", Prefix="a/")["Contents"]
    assert len(after) == 9


def test_parts(sim: Simulator, client: Any) -> None:
    client.create_bucket(Bucket="parts")
    sizes = (5 << 20, 7 << 20, 123)
    sim.fill("parts", 1, sum(sizes), "src", sizes)
    head = client.head_object(Bucket="parts", Key="src000000000", PartNumber=2)
    assert (head["ContentLength"], head["PartsCount"]) == (7 << 20, 3)
    upload = client.create_multipart_upload(Bucket="parts", Key="to")["UploadId"]
    done = []
    for number in (1, 2, 3):
        data = body(client, "parts", "src000000000", PartNumber=number)
        put = client.upload_part(Bucket="parts", Key="to", UploadId=upload, PartNumber=number, Body=data)
        done.append({"PartNumber": number, "ETag": put["ETag"]})
    assert [p["Size"] for p in client.list_parts(Bucket="parts", Key="to", UploadId=upload)["Parts"]] == list(sizes)
    assert len(sim.tell()["uploads"]) == 1
    client.complete_multipart_upload(Bucket="parts", Key="to", UploadId=upload, MultipartUpload={"Parts": done})
    heads = [client.head_object(Bucket="parts", Key=key)["ETag"] for key in ("src000000000", "to")]
    assert heads[0] == heads[1]
    assert heads[0].endswith('-3"')
    assert body(client, "parts", "to") == body(client, "parts", "src000000000")
    assert (
        body(client, "parts", "to", Range="bytes=5242870-5242890")
        == body(client, "parts", "src000000000")[5242870:5242891]
    )
    assert sim.tell()["uploads"] == []


def test_it_refuses_what_s3_refuses(client: Any) -> None:
    client.create_bucket(Bucket="no")
    with pytest.raises(client.exceptions.ClientError, match="BadDigest"):
        client.put_object(Bucket="no", Key="k", Body=b"abc", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    with pytest.raises(client.exceptions.ClientError, match="NoSuchKey"):
        client.get_object(Bucket="no", Key="k")
    client.put_object(Bucket="no", Key="k", Body=b"abc")
    with pytest.raises(client.exceptions.ClientError, match="PreconditionFailed"):
        client.get_object(Bucket="no", Key="k", IfMatch='"other"')
