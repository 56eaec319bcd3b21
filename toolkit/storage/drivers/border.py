"""The border to botocore: its exceptions become ours here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as boto

from toolkit.errors import (
    AccountClosed,
    AuthError,
    Conflict,
    NotFound,
    Refused,
    RehostError,
    Throttled,
    Unreachable,
    Unsupported,
)

_AUTH = frozenset(
    {
        "AccessDenied",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "AccountProblem",
        "AllAccessDisabled",
        "UserSuspended",
        "403",
        "401",
    }
)
_CLOSED = frozenset({"AccountProblem", "AllAccessDisabled", "UserSuspended"})
_ABSENT = frozenset({"NoSuchBucket", "NoSuchKey", "NoSuchVersion", "NoSuchEntity", "404"})
_SLOW = frozenset({"SlowDown", "ServiceUnavailable", "Throttling", "TooManyRequests", "RequestLimitExceeded"})
_TAKEN = frozenset({"BucketAlreadyExists", "BucketAlreadyOwnedByYou", "BucketNotEmpty", "OperationAborted"})
_NOT_HERE = frozenset({"NotImplemented", "MethodNotAllowed", "InvalidStorageClass", "MalformedXML"})


@contextmanager
def border(what: str) -> Iterator[None]:
    """Translate what boto3 raises while doing ``what``."""
    try:
        yield
    except RehostError:
        raise
    except boto.ClientError as exc:
        raise _judged(what, exc) from exc
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound) as exc:
        raise AuthError(f"{what}: {exc}", "set the credentials this provider names in site.yaml") from exc
    except boto.SSLError as exc:
        raise Refused(f"{what}: TLS was refused: {exc}", "fix the certificate; verification stays on") from exc
    except (boto.ConnectionError, boto.HTTPClientError) as exc:
        raise Unreachable(f"{what}: {exc}", "check the endpoint, the network and whether the store runs") from exc
    except boto.ParamValidationError as exc:
        raise Unsupported(f"{what}: {exc}", "S3 cannot express this name or value") from exc
    except boto.BotoCoreError as exc:
        raise Unreachable(f"{what}: {exc}", "look at the cause, then run again") from exc


def code_of(exc: boto.ClientError) -> str:
    """Return the error code of an answer; RGW's IAM dialect puts it beside where boto3 looks."""
    code = exc.response.get("Error", {}).get("Code", "")
    return str(exc.response.get("Code", code) if code in ("", "Unknown") else code)


def _judged(what: str, exc: boto.ClientError) -> RehostError:
    code = code_of(exc)
    text = f"{what}: {code}: {exc.response.get('Error', {}).get('Message', '')}"
    if code == "RequestTimeTooSkewed":
        return Refused(text, "set the clock of this machine (NTP), then run again")
    if code in _CLOSED:
        remedy = (
            "the account may be suspended: ask the provider whether it is still open; nothing here is lost by waiting"
        )
        return AccountClosed(text, remedy)
    if code in _AUTH:
        return AuthError(text, "check the credentials of this provider and what they may do")
    if code in _ABSENT:
        return NotFound(text, "check the name and the region")
    if code in _SLOW:
        return Throttled(text, "run again later")
    if code in _TAKEN:
        return Conflict(text, "the name is taken or the bucket is not empty; choose another name or empty it")
    if code in _NOT_HERE:
        return Unsupported(text, "this store cannot do that; see `rehost assess`")
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Unreachable(text, "the store has trouble; run again") if status >= 500 else RehostError(text)
