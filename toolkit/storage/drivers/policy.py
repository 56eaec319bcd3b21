"""The policy of a bucket and who we are to it; what a freeze needs beside.

Enters: boto3 clients. Leaves: plain values. Raises the public error tree.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from toolkit.storage.drivers.border import border, code_of

_OPEN_MOST = 1_000


class Policies:
    """The part of an S3 driver that knows policies; the driver gives the clients."""

    kind: str
    _region: str
    _endpoint: str
    _credentials: Any
    _client: Any
    ex_bucket_region: Any

    def ex_policy(self, name: str) -> str:
        """Return a bucket's policy as it was written, empty if there is none."""
        return read(self._client(self.ex_bucket_region(name)), name)

    def ex_set_policy(self, name: str, text: str) -> None:
        """Set a bucket's policy; an empty one removes it."""
        write(self._client(self.ex_bucket_region(name)), name, text)

    def ex_all_but_us(self) -> dict[str, Any]:
        """Return the condition of a policy that holds for everybody but these credentials."""
        if self.kind == "ceph":
            return all_but_user(self._client())
        with border("credentials"):
            sts = self._credentials.session.client("sts", region_name=self._region, endpoint_url=self._endpoint or None)
        return all_but_caller(sts)

    def ex_open_uploads(self, name: str) -> list[str]:
        """Return the keys of uploads in parts that nobody completed yet."""
        return open_uploads(self._client(self.ex_bucket_region(name)), name)


def read(client: Any, bucket: str) -> str:
    """Return the policy as its owner wrote it, empty if there is none."""
    with border(f"policy of {bucket}"):
        try:
            return str(client.get_bucket_policy(Bucket=bucket)["Policy"])
        except ClientError as exc:
            if code_of(exc) == "NoSuchBucketPolicy":
                return ""
            raise


def write(client: Any, bucket: str, text: str) -> None:
    """Set the policy; an empty one is removed."""
    with border(f"policy of {bucket}"):
        if text:
            client.put_bucket_policy(Bucket=bucket, Policy=text)
        else:
            client.delete_bucket_policy(Bucket=bucket)


def all_but_user(client: Any) -> dict[str, Any]:
    """Return the condition that holds for everybody but us, where keys belong to a user of the store (Ceph)."""
    with border("list buckets"):
        owner = client.list_buckets()["Owner"]["ID"]
    return {"StringNotEquals": {"aws:username": owner.rpartition("$")[2]}}


def all_but_caller(sts: Any) -> dict[str, Any]:
    """Return the condition that holds for everybody but us at AWS: a user, or every session of our role."""
    with border("who we are"):
        ident = str(sts.get_caller_identity()["UserId"])
    role, colon, _ = ident.partition(":")
    return {"StringNotLike": {"aws:userid": [f"{role}:*" if colon else ident]}}


def open_uploads(client: Any, bucket: str) -> list[str]:
    """Return the keys of uploads in parts that are not completed, the first thousand of them."""
    with border(f"open uploads of {bucket}"):
        found = client.list_multipart_uploads(Bucket=bucket, MaxUploads=_OPEN_MOST)
    return [upload["Key"] for upload in found.get("Uploads", [])]
