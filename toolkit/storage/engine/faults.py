"""What can go wrong with one request, told apart by who must act: nobody (retry), us, or a person.

Enters: an HTTP status with the store's XML error body, or a transport exception. Leaves: a
:class:`Fault`, whose ``kind`` decides (see facts of the fault matrix in docs/reference/storage.md),
and :func:`as_error`, which turns it into the public error tree.
"""

from __future__ import annotations

import re
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Literal

from toolkit.errors import (
    AccountClosed,
    AuthError,
    Conflict,
    NeedsHuman,
    NotFound,
    Paused,
    Refused,
    RehostError,
    Throttled,
    Unreachable,
    Unsupported,
)
from toolkit.storage.engine.connection import Broken, NoConnection

Kind = Literal[
    "retry",  # transient: try again with jitter
    "hang",  # no byte within the read timeout: try again; writes that hang together are ``stuck``
    "throttle",  # asked to slow down: fewer requests at once, then again
    "corrupt",  # bytes are not what the digest says: read again
    "unreachable",  # no connection at all
    "credentials",  # wrong, deleted or expired keys, suspended account
    "shut",  # almost every request is denied: see ``breaker``
    "stuck",  # the target answers, but accepts no writes: see ``breaker``
    "denied",  # this request is not allowed
    "kms",  # the key that the object is encrypted with may not be used
    "skew",  # clocks differ too much
    "gone",  # the object is not there (any more)
    "changed",  # If-Match failed
    "archived",  # must be restored first
    "no-bucket",
    "full",  # quota or space
    "tls",
    "unsupported",
    "refused",  # any other answer of the 400 range
]
RETRIED: frozenset[Kind] = frozenset({"retry", "hang", "throttle", "corrupt", "unreachable"})
#: The whole side is affected: stop leasing shards instead of failing objects one by one.
FATAL: frozenset[Kind] = frozenset(
    {"credentials", "shut", "stuck", "skew", "no-bucket", "full", "tls", "unreachable", "throttle"}
)

_CODES: dict[str, Kind] = {
    "SlowDown": "throttle",
    "ServiceUnavailable": "throttle",
    "TooManyRequests": "throttle",
    "RequestLimitExceeded": "throttle",
    "Throttling": "throttle",
    "ThrottlingException": "throttle",
    "KMS.ThrottlingException": "throttle",
    "KMS.DisabledException": "kms",
    "KMS.NotFoundException": "kms",
    "KMS.KMSInvalidStateException": "kms",
    "KMS.InvalidKeyUsageException": "kms",
    "InternalError": "retry",
    "RequestTimeout": "retry",
    "OperationAborted": "retry",
    "BadDigest": "corrupt",
    "IncompleteBody": "retry",
    "InvalidAccessKeyId": "credentials",
    "SignatureDoesNotMatch": "credentials",
    "ExpiredToken": "credentials",
    "InvalidToken": "credentials",
    "TokenRefreshRequired": "credentials",
    "AccountProblem": "credentials",
    "AllAccessDisabled": "credentials",
    "UserSuspended": "credentials",
    "NotSignedUp": "credentials",
    "RequestTimeTooSkewed": "skew",
    "AccessDenied": "denied",
    "NoSuchBucket": "no-bucket",
    "PermanentRedirect": "no-bucket",  # it lives in another region; redirects are never followed
    "AuthorizationHeaderMalformed": "no-bucket",
    "NoSuchKey": "gone",
    "NoSuchVersion": "gone",
    "PreconditionFailed": "changed",
    "InvalidObjectState": "archived",
    "QuotaExceeded": "full",
    "InsufficientCapacity": "full",
    "NotImplemented": "unsupported",
    "NoSuchUpload": "retry",
}
#: The account itself is shut, not one key of it.
CLOSED = frozenset({"UserSuspended", "AccountProblem", "AllAccessDisabled", "NotSignedUp"})
_STATUS: dict[int, Kind] = {
    401: "credentials",
    403: "denied",
    404: "gone",
    405: "gone",  # a GET of a delete marker
    408: "retry",
    412: "changed",
    429: "throttle",
    500: "retry",
    501: "unsupported",
    502: "retry",
    503: "throttle",
    504: "retry",
    507: "full",
}


class Fault(RehostError):
    """One request of the data plane failed; ``kind`` says what that means."""

    def __init__(self, kind: Kind, where: str, text: str, *, status: int = 0, code: str = "", key: bytes = b"") -> None:
        super().__init__(f"{where}: {text}")
        self.key = key  # the object asked for, where that matters
        self.kind = kind
        self.where = where
        self.status = status
        self.code_name = code


def from_answer(where: str, status: int, body: bytes, *, date: str = "", key: bytes = b"") -> Fault:
    """Judge an error answer. The body is untrusted: only its code and message are looked at.

    ``date``: the answer's Date header, by which skewed clocks are measured.
    """
    code = _tag(body, "Code")
    message = _tag(body, "Message") or f"HTTP {status}"
    kind = _CODES.get(code) or _STATUS.get(status) or ("retry" if status >= 500 else "refused")
    if kind == "denied" and "kms:" in message:
        kind = "kms"
    if kind == "skew":
        message += f"; its clock is {skew_of(date):+.0f} s off ours"
    return Fault(kind, where, f"{code or 'error'} ({status}): {message[:300]}", status=status, code=code, key=key)


def skew_of(date: str) -> float:
    """Return how many seconds the store's clock is ahead of ours; 0 if it does not tell."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0


def from_exception(where: str, exc: Exception) -> Fault:
    """Judge what the transport raised."""
    if isinstance(exc, ssl.SSLError):
        return Fault("tls", where, f"TLS was refused: {exc}")
    if isinstance(exc, NoConnection):
        return Fault("unreachable", where, f"no connection: {exc}")
    if isinstance(exc, TimeoutError):
        return Fault("hang", where, "no byte within the read timeout")
    return Fault("retry", where, f"{type(exc).__name__}: {exc}")


#: Why bytes are not what they should be; codes no store sends, each the reason that a finding names.
SIZE, READ, STORED = "rehost:size_mismatch", "rehost:corrupt_source_read", "rehost:corrupt_target_write"

#: What a request may raise that is the network's doing, not ours.
TRANSPORT: tuple[type[Exception], ...] = (NoConnection, Broken, TimeoutError, ssl.SSLError)


def as_error(fault: Fault) -> RehostError:
    """Return the public error for a fault that stops the work."""
    text = fault.text
    match fault.kind:
        case "credentials" if fault.code_name in CLOSED:
            return AccountClosed(
                text, "ask the provider whether this account is still open; nothing is lost by waiting"
            )
        case "credentials" | "denied" | "shut" | "kms":
            return AuthError(text, "check the credentials of this provider and whether its account is still open")
        case "skew":
            return Refused(text, "set the clock of this machine (NTP), then run again")
        case "no-bucket" | "gone":
            return NotFound(text, "check the bucket's name and region")
        case "full":
            return NeedsHuman(text, "raise the quota or free space at this store, then run again")
        case "throttle":
            return Throttled(text, "run again later, or with fewer requests in flight")
        case "unreachable":
            return Unreachable(text, "check the endpoint, the network and whether the store runs")
        case "tls":
            return Refused(text, "fix the store's certificate; verification cannot be switched off")
        case "changed":
            return Conflict(text, "the object changes while it is copied; run again")
        case "unsupported":
            return Unsupported(text, "this store cannot do that; see `rehost assess`")
        case _:
            return Paused(text, "run the same command again; finished work is kept")


def _tag(body: bytes, name: str) -> str:
    found = re.search(rb"<%b>([^<]*)</%b>" % (name.encode(), name.encode()), body)
    return found.group(1).decode("utf-8", "replace").strip() if found else ""
