"""What a store really does, measured in one scratch bucket that is removed afterwards.

(For a moment there is a second one, empty, with an object lock.)

Enters: a boto3 client. Leaves: two sets of abilities, those shown and those refused; what could not be
asked is in neither. Raises what keeps the scratch bucket from being made or removed.

An object lies in the bucket from the first moment to the last: an RGW that does not know a subresource
takes ``DELETE /bucket?encryption`` for ``DELETE /bucket`` (measured on 16.2), and only an object in it
keeps the bucket alive.
"""

from __future__ import annotations

import base64
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, HTTPClientError
from botocore.httpsession import URLLib3Session

from toolkit.errors import Conflict, RehostError
from toolkit.storage.drivers import config
from toolkit.storage.drivers.border import border

_KEEP = "rehost-probe"
#: Item → a value that is harmless in a private, nearly empty bucket.
_ITEMS: Mapping[str, Any] = {
    "cors": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://probe.invalid"]}],
    "lifecycle": [{"ID": "probe", "Status": "Disabled", "Filter": {"Prefix": "none/"}, "Expiration": {"Days": 3650}}],
    "website": {"IndexDocument": {"Suffix": "index.html"}},
    "bucket-tags": [{"Key": "probe", "Value": "1"}],
    "encryption": {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]},
    "ownership": {"Rules": [{"ObjectOwnership": "ObjectWriter"}]},
    "public-access-block": {
        "BlockPublicAcls": False,
        "BlockPublicPolicy": False,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    },
}
_CLASSES = ("STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")


def probe(client: Any, credentials: Any, classes: tuple[str, ...] = ()) -> tuple[frozenset[str], frozenset[str]]:
    """Return (abilities shown, abilities refused). ``classes``: further names of storage classes to try."""
    bucket = f"rehost-probe-{uuid.uuid4().hex[:16]}"
    shown: dict[str, bool] = {}
    with _scratch(client, bucket):
        questions = {
            **_questions(client, bucket, credentials),
            **_class_questions(client, bucket, classes),
            "object-lock": lambda: _lock(client, f"{bucket}-lock"),
        }
        for ability, ask in questions.items():
            answer = _asked(ask)
            if answer is not None:
                shown[ability] = answer
    return frozenset(name for name, yes in shown.items() if yes), frozenset(n for n, yes in shown.items() if not yes)


@contextmanager
def _scratch(client: Any, bucket: str) -> Iterator[None]:
    with border(f"create the scratch bucket {bucket}"):
        client.create_bucket(Bucket=bucket)
    try:
        with border(f"write into {bucket}"):
            client.put_object(Bucket=bucket, Key=_KEEP, Body=b"x")
        yield
    finally:
        with border(f"remove the scratch bucket {bucket}"):
            _remove(client, bucket)


def _lock(client: Any, bucket: str) -> bool:
    """Say whether a bucket can be made with a lock: it cannot be put on later everywhere."""
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    try:
        return config.read_one(client, bucket, "object-lock") is not None
    finally:
        client.delete_bucket(Bucket=bucket)


def _remove(client: Any, bucket: str) -> None:
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    listed = client.list_object_versions(Bucket=bucket)
    for entry in [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]:
        client.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
    client.delete_bucket(Bucket=bucket)


def _asked(ask: Callable[[], bool]) -> bool | None:
    """Return the answer; a refusal is a no, a store in trouble or a missing right is no answer."""
    try:
        return ask()
    except ClientError as exc:
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return None if status in (401, 403, 429) or (status >= 500 and status != 501) else False
    except RehostError as exc:
        if isinstance(exc, Conflict) and exc.__cause__ is None:
            return False  # taken with 200, and not held
        if isinstance(exc.__cause__, ClientError):
            cause = exc.__cause__
            return _asked(lambda: _again(cause))
        raise


def _again(exc: ClientError) -> bool:
    raise exc


def _questions(client: Any, bucket: str, credentials: Any) -> dict[str, Callable[[], bool]]:
    found: dict[str, Callable[[], bool]] = {item: _item(client, bucket, item) for item in _ITEMS}
    found["policy"] = lambda: _policy(client, bucket)
    found["acl"] = lambda: _put(client, bucket, ACL="public-read") and _granted(client, bucket)
    found["metadata"] = lambda: _kept(client, bucket, {"probe": "value"})
    found["metadata-large"] = lambda: (
        _kept(client, bucket, {"probe": "v" * 1_900})
        and _kept(client, bucket, {f"probe-{number:02d}": "v" for number in range(60)})
    )
    found["tags"] = lambda: _tagged(client, bucket)
    found["conditional-put"] = lambda: _conditional(client, bucket)
    found["checksum-trailers"] = lambda: _trailer(client, bucket, credentials)
    found["list-5000"] = lambda: client.list_objects_v2(Bucket=bucket, MaxKeys=5_000)["MaxKeys"] > 1_000
    found["multipart"] = lambda: _multipart(client, bucket)
    found["tags-on-multipart"] = lambda: (
        _multipart(client, bucket, Tagging="a=b")
        and bool(client.get_object_tagging(Bucket=bucket, Key="multipart").get("TagSet"))
    )
    found["versioning"] = lambda: _versions(client, bucket)  # last: it stays on
    return found


def _item(client: Any, bucket: str, item: str) -> Callable[[], bool]:
    def ask() -> bool:
        config.write(client, bucket, item, _ITEMS[item])
        held = bool(config.read_one(client, bucket, item) == _ITEMS[item])
        config.write(client, bucket, item, None)
        return held

    return ask


def _policy(client: Any, bucket: str) -> bool:
    statement = {
        "Sid": "probe",
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/none/*"],
    }
    value = {"Version": "2012-10-17", "Statement": [statement]}
    config.write(client, bucket, "policy", value)
    held = bool(config.read_one(client, bucket, "policy") == value)
    config.write(client, bucket, "policy", None)
    return held


def _put(client: Any, bucket: str, **more: Any) -> bool:
    client.put_object(Bucket=bucket, Key="asked", Body=b"x", **more)
    return True


def _granted(client: Any, bucket: str) -> bool:
    grants = client.get_object_acl(Bucket=bucket, Key="asked")["Grants"]
    client.delete_object(Bucket=bucket, Key="asked")
    return any(grant["Grantee"].get("URI", "").endswith("/AllUsers") for grant in grants)


def _kept(client: Any, bucket: str, metadata: dict[str, str]) -> bool:
    try:
        _put(client, bucket, Metadata=metadata)
    except ClientError as exc:  # an RGW answers 500 to attributes that it finds too large
        if exc.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 500):
            return False
        raise
    return bool(client.head_object(Bucket=bucket, Key="asked")["Metadata"] == metadata)


def _tagged(client: Any, bucket: str) -> bool:
    tags = [{"Key": "probe", "Value": "1"}]
    client.put_object_tagging(Bucket=bucket, Key=_KEEP, Tagging={"TagSet": tags})
    return bool(client.get_object_tagging(Bucket=bucket, Key=_KEEP)["TagSet"] == tags)


def _conditional(client: Any, bucket: str) -> bool:
    try:
        client.put_object(Bucket=bucket, Key=_KEEP, Body=b"y", IfNoneMatch="*")
    except ClientError as exc:
        return bool(exc.response["ResponseMetadata"]["HTTPStatusCode"] == 412)
    return False  # it was overwritten: the condition was ignored


def _trailer(client: Any, bucket: str, credentials: Any) -> bool:
    """Say whether a checksum behind the body is understood; old gateways refuse it, or store it as data."""
    body = b"trailer"
    told = base64.b64encode(zlib.crc32(body).to_bytes(4, "big"))
    framed = b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % (len(body), body, told)
    headers = {
        "Content-Encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(body)),
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    request = AWSRequest("PUT", f"{client.meta.endpoint_url}/{bucket}/trailer", headers, framed)
    request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
    S3SigV4Auth(credentials, "s3", client.meta.region_name).add_auth(request)
    try:
        answer = URLLib3Session(timeout=20).send(request.prepare())
    except HTTPClientError:
        return False  # some hang up in the middle of it
    if answer.status_code != 200:
        return False
    return bool(client.get_object(Bucket=bucket, Key="trailer")["Body"].read() == body)


def _multipart(client: Any, bucket: str, **more: Any) -> bool:
    upload = client.create_multipart_upload(Bucket=bucket, Key="multipart", **more)["UploadId"]
    part = client.upload_part(Bucket=bucket, Key="multipart", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    client.complete_multipart_upload(Bucket=bucket, Key="multipart", UploadId=upload, MultipartUpload=parts)
    return bool(client.head_object(Bucket=bucket, Key="multipart")["ETag"].endswith('-1"'))


def _versions(client: Any, bucket: str) -> bool:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = client.put_object(Bucket=bucket, Key=_KEEP, Body=b"2").get("VersionId")
    return bool(first) and client.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled"


def _class_questions(client: Any, bucket: str, more: tuple[str, ...]) -> dict[str, Callable[[], bool]]:
    def ask(name: str) -> Callable[[], bool]:
        def asked() -> bool:
            _put(client, bucket, StorageClass=name)
            return bool(client.head_object(Bucket=bucket, Key="asked").get("StorageClass") == name)

        return asked

    return {f"class:{name}": ask(name) for name in dict.fromkeys((*_CLASSES, *more))}
