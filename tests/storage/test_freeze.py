"""Stopping writes by a bucket's policy: merged with what is there, enforced, and taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.storage.ends import End, fresh
from tests.storage.test_moving_target import as_user, users  # noqa: F401 - a fixture
from toolkit.rehearsal.mockaws import Store
from toolkit.storage import freeze

OTHER = {"Sid": "Read", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}


def test_merged_and_lifted() -> None:
    policy = json.dumps({"Version": "2012-10-17", "Id": "x", "Statement": OTHER})
    both = freeze.merged(policy, "b", {"StringNotLike": {"aws:userid": ["AIDA"]}})
    assert json.loads(both)["Id"] == "x"
    assert [one["Sid"] for one in json.loads(both)["Statement"]] == ["Read", freeze.SID]
    assert json.loads(freeze.lifted(both))["Statement"] == [OTHER]
    assert freeze.lifted(freeze.merged("", "b", {})) == ""


def denied(end: End, bucket: str, method: str, **what: object) -> bool:
    try:
        answer = getattr(end.client, method)(Bucket=bucket, **what)
    except ClientError as exc:
        return bool(exc.response["Error"]["Code"] == "AccessDenied")
    return any(error["Code"] == "AccessDenied" for error in answer.get("Errors", []))


def check(app: End, us: End, bucket: str, saved: Path) -> None:
    """Freeze a bucket that both may write to; look at every way of writing; thaw it."""
    app.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    upload = app.client.create_multipart_upload(Bucket=bucket, Key="open")["UploadId"]
    before = us.driver.ex_policy(bucket)
    freeze.freeze(us.driver, bucket, saved)
    freeze.freeze(us.driver, bucket, saved)  # twice is once
    assert denied(app, bucket, "put_object", Key="k", Body=b"y")
    assert denied(app, bucket, "copy_object", Key="c", CopySource={"Bucket": bucket, "Key": "k"})
    assert denied(app, bucket, "delete_object", Key="k")
    assert denied(app, bucket, "delete_objects", Delete={"Objects": [{"Key": "k"}]})
    assert denied(app, bucket, "put_object_tagging", Key="k", Tagging={"TagSet": []})
    assert denied(app, bucket, "create_multipart_upload", Key="m")
    assert denied(app, bucket, "upload_part", Key="open", UploadId=upload, PartNumber=1, Body=b"x")
    assert app.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert us.driver.ex_open_uploads(bucket) == ["open"]
    us.client.put_object(Bucket=bucket, Key="ours", Body=b"x")
    freeze.thaw(us.driver, bucket, saved)
    assert json.loads(us.driver.ex_policy(bucket) or "{}") == json.loads(before or "{}")
    app.client.put_object(Bucket=bucket, Key="k", Body=b"z")
    app.client.abort_multipart_upload(Bucket=bucket, Key="open", UploadId=upload)


def test_freeze_on_mocked_aws(stores: tuple[Store, Store], tmp_path: Path) -> None:
    app, us = as_user(stores[0], "app"), as_user(stores[0], "rehost")
    bucket = fresh("freeze")
    app.client.create_bucket(Bucket=bucket)
    check(app, us, bucket, tmp_path / "a.json")
    policy = {"Version": "2012-10-17", "Statement": [{**OTHER, "Resource": f"arn:aws:s3:::{bucket}/*"}]}
    app.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    check(app, us, bucket, tmp_path / "b.json")


def test_what_others_changed_meanwhile_stays(stores: tuple[Store, Store], tmp_path: Path) -> None:
    us, bucket = as_user(stores[0], "rehost"), fresh("freeze")
    us.client.create_bucket(Bucket=bucket)
    freeze.freeze(us.driver, bucket, tmp_path / "a.json")
    frozen = json.loads(us.driver.ex_policy(bucket))
    frozen["Statement"].append({**OTHER, "Resource": f"arn:aws:s3:::{bucket}/*"})
    us.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(frozen))
    freeze.thaw(us.driver, bucket, tmp_path / "a.json")
    assert [one["Sid"] for one in json.loads(us.driver.ex_policy(bucket))["Statement"]] == ["Read"]


@pytest.mark.lab
def test_freeze_on_ceph(users: tuple[End, End], tmp_path: Path) -> None:  # noqa: F811
    app, us = users
    bucket = fresh("freeze")
    app.client.create_bucket(Bucket=bucket)
    check(app, us, bucket, tmp_path / "a.json")
