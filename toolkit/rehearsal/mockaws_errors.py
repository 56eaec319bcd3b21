"""Error answers in the dialect of each AWS service.

Enters: service, HTTP status, code, message. Leaves: an :class:`Answer`. Five dialects: S3 XML, EC2
XML, query XML (ELB, IAM, STS), REST XML (Route 53) and JSON.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

_JSON = frozenset({"route53domains", "acm", "dynamodb", "kms", "logs", "ssm", "secretsmanager", "tagging", "ecs"})


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, before any fault is put on it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def request_id() -> str:
    """Return a fresh request id in the look of AWS."""
    return secrets.token_hex(8).upper()


def s3_error(
    status: int, code: str, message: str, *, resource: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """Return an S3 error document."""
    ident = request_id()
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message><Resource>{escape(_printable(resource))}</Resource>"
        f"<RequestId>{ident}</RequestId></Error>"
    )
    return Answer(
        status, {"Content-Type": "application/xml", "x-amz-request-id": ident, **(headers or {})}, body.encode()
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else f"%{ord(c):02X}" for c in text)


def error(service: str, status: int, code: str, message: str) -> Answer:
    """Return an error in the dialect of ``service``."""
    if service == "s3":
        return s3_error(status, code, message)
    ident = request_id()
    if service in _JSON:
        body = json.dumps({"__type": code, "message": message})
        return Answer(status, {"Content-Type": "application/x-amz-json-1.1", "x-amzn-requestid": ident}, body.encode())
    inner = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if service == "ec2":
        text = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>{ident}</RequestID></Response>"
    else:
        text = (
            f"<ErrorResponse{_NAMESPACE.get(service, '')}><Error><Type>Sender</Type>{inner}</Error>"
            f"<RequestId>{ident}</RequestId></ErrorResponse>"
        )
    head = {"Content-Type": "text/xml", "x-amzn-requestid": ident}
    return Answer(status, head, b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode())


_NAMESPACE: Mapping[str, str] = {"route53": ' xmlns="https://route53.amazonaws.com/doc/2013-04-01/"'}

#: What each service says when the account behind the request has been shut.
_CLOSED: Mapping[str, tuple[str, str]] = {
    "s3": ("AllAccessDisabled", "All access to this object has been disabled"),
    "ec2": ("Blocked", "This account is currently blocked and not recognized as a valid account."),
}


def account_closed(service: str, *, bucket: str = "") -> Answer:
    """Return the 403 that every call gets after the cut-off."""
    code, message = _CLOSED.get(service, ("AccountProblem", "There is a problem with your AWS account"))
    if service == "s3" and not bucket:
        code, message = "AccountProblem", "There is a problem with your AWS account"
    return error(service, 403, code, message)
