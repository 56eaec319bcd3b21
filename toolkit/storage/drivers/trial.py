"""Try one harmless action as one user: is it let through? Nothing is changed by any of them.

Enters: an endpoint, a key pair, an action and where. Leaves: yes, no, or ``None`` where the answer tells
neither. A write is tried with a checksum that cannot be right, so a store that lets it through refuses the
body. Raises ``Unreachable`` when there is no answer.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config

from toolkit.secrets import Secret
from toolkit.storage.drivers.border import border, code_of

_WRONG = base64.b64encode(hashlib.md5(b"another body", usedforsecurity=False).digest()).decode()
_KEY = "rehost-trial"
_DENIED = frozenset({"AccessDenied", "403", "Forbidden"})
_SETTING = Config(
    signature_version="s3v4",
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=10,
    read_timeout=60,
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    s3={"addressing_style": "path"},
)


class S3Trial:
    """Tries actions at one endpoint; a client for each key is kept."""

    def __init__(self, endpoint: str, region: str = "us-east-1") -> None:
        self._endpoint = endpoint or None
        self._region = region
        self._clients: dict[Secret, Any] = {}

    def __call__(self, key: Secret, secret: Secret, action: str, bucket: str, resource: str) -> bool | None:
        """Return whether the user was let through."""
        client = self._client(key, secret)
        try:
            with border(f"{action} in {bucket}"):
                try:
                    _ask(client, action, bucket, resource or _KEY)
                except botocore.exceptions.ClientError as exc:
                    code = code_of(exc)
                    if code in _DENIED:
                        return False
                    status = int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
                    if status in (401, 403) or status >= 500:
                        raise
                    return True  # let through, and then nothing there or a wrong checksum
        except UnknownActionError:
            return None
        return True

    def _client(self, key: Secret, secret: Secret) -> Any:
        if key not in self._clients:
            session = boto3.session.Session(key.reveal(), secret.reveal(), region_name=self._region)
            self._clients[key] = session.client("s3", endpoint_url=self._endpoint, config=_SETTING)
        return self._clients[key]


class UnknownActionError(Exception):
    """There is no harmless way to try this action."""


def _ask(client: Any, action: str, bucket: str, key: str) -> None:
    match action:
        case "s3:ListBucket":
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        case "s3:GetBucketLocation":
            client.get_bucket_location(Bucket=bucket)
        case "s3:GetBucketPolicy":
            client.get_bucket_policy(Bucket=bucket)
        case "s3:GetObject":
            client.get_object(Bucket=bucket, Key=key)["Body"].close()
        case "s3:GetObjectTagging":
            client.get_object_tagging(Bucket=bucket, Key=key)
        case "s3:PutObject":
            client.put_object(Bucket=bucket, Key=key, Body=b"never stored", ContentMD5=_WRONG)
        case _:
            raise UnknownActionError(action)
