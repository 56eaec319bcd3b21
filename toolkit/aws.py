"""One way from resolved credentials to AWS: a boto3 session, or plain keys for who knows no profiles.

Shared by the drivers of all families. Raises ``AuthError`` when nothing is found.
"""

from __future__ import annotations

from dataclasses import dataclass

import boto3
import botocore.exceptions

from toolkit.errors import AuthError
from toolkit.secrets import Credentials, Secret

_REMEDY = "name key and secret under credentials:, an aws-profile:NAME, or log in so that aws-default works"


def session(credentials: Credentials, region: str = "") -> boto3.session.Session:
    """Return a session for keys, a profile or AWS's own default chain."""
    if credentials.kind == "keys" and (credentials.key is None or credentials.secret is None):
        raise AuthError("AWS needs a key and a secret", _REMEDY)
    try:
        return boto3.session.Session(
            aws_access_key_id=credentials.key.reveal() if credentials.key else None,
            aws_secret_access_key=credentials.secret.reveal() if credentials.secret else None,
            aws_session_token=credentials.token.reveal() if credentials.token else None,
            profile_name=credentials.profile or None,
            region_name=region or None,
        )
    except botocore.exceptions.ProfileNotFound as exc:
        raise AuthError(str(exc), _REMEDY) from exc


@dataclass(frozen=True, slots=True)
class Keys:
    """A key pair, for drivers that know no profiles; ``token`` for temporary ones."""

    key: Secret
    secret: Secret
    token: Secret | None = None


def keys(credentials: Credentials) -> Keys:
    """Return the key pair behind any kind of credentials, as it is at this moment."""
    if credentials.kind == "keys" and credentials.key is not None and credentials.secret is not None:
        return Keys(credentials.key, credentials.secret, credentials.token)
    try:
        found = session(credentials).get_credentials()
    except botocore.exceptions.BotoCoreError as exc:
        raise AuthError(f"the AWS credentials cannot be read: {exc}", _REMEDY) from exc
    frozen = found.get_frozen_credentials() if found else None
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise AuthError("no AWS credentials were found", _REMEDY)
    token = Secret(frozen.token) if frozen.token else None
    return Keys(Secret(frozen.access_key), Secret(frozen.secret_key), token)
