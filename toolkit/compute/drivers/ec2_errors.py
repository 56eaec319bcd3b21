"""Translate what botocore raises into the error tree, once, where it enters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as boto
from botocore.parsers import ResponseParserError

from toolkit.errors import AuthError, Conflict, NotFound, Refused, RehostError, Throttled, Unreachable, Unsupported

_DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
_BAD_KEY = ("AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken", "RequestExpired", "403")
_SLOW = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "ServiceUnavailable")
_UNKNOWN = ("UnsupportedOperation", "InvalidAction", "OptInRequired", "Unsupported")


@contextmanager
def translated() -> Iterator[None]:
    """Raise errors of the tree instead of botocore's."""
    try:
        yield
    except boto.ClientError as exc:
        raise of_client(exc) from exc
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound) as exc:
        raise AuthError(str(exc), "name the credentials of this provider in site.yaml") from exc
    except (boto.EndpointConnectionError, boto.HTTPClientError, boto.ConnectionError) as exc:
        raise Unreachable(f"EC2 does not answer: {exc}", "check the endpoint, the network and the region") from exc
    except ResponseParserError as exc:
        raise Refused(
            f"the reader is blind: EC2 answered something unreadable ({str(exc)[:120]})",
            "check that the endpoint is an EC2 endpoint; nothing was read, so nothing may be concluded",
        ) from exc
    except boto.BotoCoreError as exc:
        raise RehostError(f"EC2 call failed: {exc}", "check the endpoint and the definition") from exc


def of_client(exc: boto.ClientError) -> RehostError:
    """Return the error of the tree for an answer of EC2."""
    error = exc.response.get("Error", {})
    code, message = str(error.get("Code", "")), str(error.get("Message", ""))
    text = f"EC2 {exc.operation_name}: {code}: {message}"
    if code in _DENIED:
        return AuthError(text, "allow this call in the account's policy (`rehost doctor --print-policy`)")
    if code in _BAD_KEY:
        return AuthError(text, "check the key, the secret, and this machine's clock")
    if code in _SLOW:
        return Throttled(text, "run the same command again later")
    if code in _UNKNOWN:
        return Unsupported(text, "this provider cannot do that; choose another target or ignore the resource")
    if "NotFound" in code:
        return NotFound(text, "it may have been removed since: run discover again")
    if "Duplicate" in code or "AlreadyExists" in code or code == "IdempotentParameterMismatch":
        return Conflict(text, "something with that name exists and is not ours; rename or remove it")
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if status == 403:
        return AuthError(text, "the account may be suspended, or its key may not do this")
    if isinstance(status, int) and status >= 500:
        return Unreachable(text, "run the same command again later")
    return RehostError(text, "read the provider's message")


def denied(exc: BaseException) -> bool:
    """Say whether one call was refused by policy, while the credentials as such are good."""
    cause = exc.__cause__ if isinstance(exc, RehostError) else exc
    return isinstance(cause, boto.ClientError) and cause.response.get("Error", {}).get("Code") in _DENIED
