"""The HTTP server in front of the mocks: gate, faults, log, and the way to moto.

Enters: :class:`Mock` (what one server process holds) and HTTP requests. Leaves: answers. One
asyncio thread serves everything: moto is not safe for threads, and its work is plain computing.
Connections stay open (HTTP/1.1), which moto's own server does not do.

A request passes: control interface → identify → account cut off? → credentials → fault → moto.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import web

from toolkit.model import Json
from toolkit.rehearsal import (
    faults,
    mockaws_auth,
    mockaws_domains,
    mockaws_ec2,
    mockaws_policy,
    mockaws_route53,
    mockaws_s3,
)
from toolkit.rehearsal.mockaws_calls import Call, CallLog, identify
from toolkit.rehearsal.mockaws_errors import Answer, account_closed, error, request_id

log = logging.getLogger(__name__)

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]
Control = Callable[[str, str, bytes], Awaitable[Answer]]
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_WHO = "GetCallerIdentity"
_SKIPPED = frozenset({"content-length", "transfer-encoding", "connection", "server", "date"})


@dataclass
class Mock:
    """What one mock server process holds: who may call, what was called, what is broken."""

    log: CallLog
    users: dict[str, str]  # access key id → who that is: rehost, app, seed
    secrets: dict[str, str]  # access key id → secret key
    token: str
    services: frozenset[str] | None = None  # None = all that moto has
    rules: faults.Rules = field(default_factory=faults.Rules)
    cut_off: bool = False
    dns_off: bool = False  # the twin of Route 53 serves nothing either
    unhealthy: set[str] = field(default_factory=set)  # health checks that fail
    phase: str = ""  # what is being played; every logged call carries it
    verify: bool = False  # check signatures and clocks
    settle: float = 0.2  # seconds until a Route 53 change is INSYNC
    app: Wsgi | None = None
    control: Control | None = None


def gate(mock: Mock, call: Call) -> Answer | None:
    """Return the refusal of a call, or nothing when it may go on."""
    if mock.cut_off:
        return account_closed(call.service, bucket=call.bucket)
    if mock.services is not None and call.service not in mock.services and call.operation != _WHO:
        return error(call.service, 501, "NotImplemented", f"{call.service} is not served here")
    if not call.access_key:
        if call.service == "s3" and (call.key or call.method == "OPTIONS"):
            return None  # an anonymous visitor: the bucket's policy decides
        return error(call.service, 403, "AccessDenied" if call.service == "s3" else "MissingAuthenticationToken", "")
    if call.access_key not in mock.secrets:
        code = {"s3": "InvalidAccessKeyId", "ec2": "AuthFailure"}.get(call.service, "InvalidClientTokenId")
        text = "The AWS Access Key Id you provided does not exist in our records."
        return error(call.service, 401 if call.service == "ec2" else 403, code, text)
    return None


def forged(mock: Mock, request: web.BaseRequest, call: Call, headers: dict[str, str], body: bytes) -> Answer | None:
    """Return the refusal of a call whose signature or clock is wrong."""
    signed = mockaws_auth.claim(request.raw_path, headers, body)
    if signed is None:
        return None
    code = mockaws_auth.refusal(
        request.method,
        request.raw_path,
        request.raw_headers,
        signed,
        mock.secrets[call.access_key],
        now=datetime.now(UTC),
    )
    if code is None:
        return None
    text = "The request signature we calculated does not match the signature you provided, or your clock is wrong."
    if call.service == "ec2":
        return error("ec2", 401, "AuthFailure" if code == "SignatureDoesNotMatch" else "RequestExpired", text)
    return error(call.service, 403, code, text)


def environ_of(request: web.BaseRequest, body: bytes) -> dict[str, Any]:
    """Build the WSGI environment of a request, headers byte for byte."""
    path, _, query = request.raw_path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "RAW_URI": request.raw_path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "mockaws",
        "SERVER_PORT": "9000",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": request.remote or "",
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.errors": io.StringIO(),
        "wsgi.input": io.BytesIO(body),
        "rehost.body": body,
    }
    names: dict[str, str] = {}
    for raw_name, raw_value in request.raw_headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        upper = name.upper().replace("-", "_")
        if upper in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            continue
        variable = upper if upper == "CONTENT_TYPE" else f"HTTP_{upper}"
        if "_" in name:
            names[variable] = name
        environ[variable] = f"{environ[variable]},{value}" if variable in environ and variable != "HTTP_HOST" else value
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["moto.preserved_header_names"] = names
    return environ


def run_wsgi(app: Wsgi, environ: dict[str, Any]) -> Answer:
    """Call a WSGI application and collect its answer."""
    seen: list[tuple[int, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], _info: object = None) -> None:
        seen.append((int(status.split(" ", 1)[0]), headers))

    body = b"".join(app(environ, start))
    status, headers = seen[-1]
    return Answer(status, dict(headers), body)


def perform(mock: Mock, call: Call, environ: dict[str, Any]) -> Answer:
    """Let moto answer; what it cannot do becomes an error answer, never a dead connection."""
    try:
        if call.service == "s3":
            return mockaws_s3.handle(environ)
        if call.operation == _WHO:
            return mockaws_policy.caller_identity(mock.users.get(call.access_key, ""))
        if call.service == "route53":
            return mockaws_route53.handle(environ, settle=mock.settle)
        if call.service == "route53domains":
            return mockaws_domains.handle(environ)
        if call.service == "ec2":
            return mockaws_ec2.handle(environ)
        if mock.app is None:
            return error(call.service, 501, "NotImplemented", f"{call.service} is not served here")
        return run_wsgi(mock.app, environ)
    except NotImplementedError as exc:
        return error(call.service, 501, "NotImplemented", str(exc))
    except Exception as exc:  # the mock must go on, and say what broke
        log.exception("%s %s", call.service, call.operation)
        return error(call.service, 500, "InternalError", f"{type(exc).__name__}: {exc}")


async def handle(mock: Mock, request: web.BaseRequest) -> web.StreamResponse:
    """Answer one request, whatever it holds."""
    try:
        return await _handle(mock, request)
    except (ValueError, LookupError) as exc:
        log.warning("%s %s cannot be understood: %s", request.method, request.raw_path, exc)
        return await _send(request, error("s3", 400, "InvalidRequest", f"The request cannot be understood: {exc}"))


async def _handle(mock: Mock, request: web.BaseRequest) -> web.StreamResponse:
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(_CONTINUE)
    body = await request.content.read() if request.body_exists else b""
    if request.raw_path.startswith("/_rehost/"):
        return await _control(mock, request, body)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.raw_headers}
    call = identify(request.method, request.raw_path, headers, body)
    refused = gate(mock, call)
    if refused is None and mock.verify and call.access_key:
        refused = forged(mock, request, call, headers, body)
    if refused is None:
        refused = mockaws_policy.refusal(call, mock.users.get(call.access_key, ""), body)
    if refused is not None:
        _note(mock, call, refused.status, **({"after_cutoff": True} if mock.cut_off else {}))
        return await _send(request, refused)
    fault = mock.rules.pick(call)
    if fault is None:
        answer = perform(mock, call, environ_of(request, body))
        _note(mock, call, answer.status)
        return await _send(request, answer)
    return await _broken(mock, request, call, body=body, fault=fault)


def _note(mock: Mock, call: Call, status: int, **more: Json) -> None:
    mock.log.add(call, status, user=mock.users.get(call.access_key, ""), phase=mock.phase, **more)


async def _broken(
    mock: Mock, request: web.BaseRequest, call: Call, *, body: bytes, fault: faults.Fault
) -> web.StreamResponse:
    """Answer a request that a fault strikes."""
    if fault.kind == "stall":
        await asyncio.sleep(fault.seconds)
    answer = faults.instead(fault, call)
    if fault.kind == "reset":
        _note(mock, call, 0, fault=fault.kind)
        return _reset(request)
    if answer is None:
        environ = environ_of(request, faults.flip(body) if fault.kind == "flip-put" else body)
        if fault.kind == "flip-put":
            for name in list(environ):
                if name in ("HTTP_CONTENT_MD5", "HTTP_X_AMZ_CONTENT_SHA256") or name.startswith("HTTP_X_AMZ_CHECKSUM"):
                    del environ[name]
        answer = perform(mock, call, environ)
    _note(mock, call, answer.status, fault=fault.kind)
    if fault.kind == "lost":
        return _reset(request)
    if fault.kind == "flip":
        answer = Answer(answer.status, answer.headers, faults.flip(answer.body))
    if fault.kind == "truncate" and answer.body:
        return await _truncated(request, answer, share=fault.at)
    return await _send(request, answer)


def _reset(request: web.BaseRequest) -> web.StreamResponse:
    """Break the connection so that the peer sees a reset, not an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _headers(answer: Answer) -> dict[str, str]:
    found = {name.lower(): (name, value) for name, value in answer.headers.items()}
    headers = {name: _wire(value) for lower, (name, value) in found.items() if lower not in _SKIPPED}
    lower = set(found)
    if answer.body and "content-type" not in lower:
        headers["Content-Type"] = "application/xml"
    if "x-amz-request-id" not in lower and "x-amzn-requestid" not in lower:
        headers["x-amz-request-id"] = request_id()
    return headers


def _wire(value: str) -> str:
    """Turn a WSGI header value (a character per byte) into text that is sent as the same bytes."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


async def _send(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    headers = _headers(answer)
    if request.method == "HEAD":
        length = next((v for n, v in answer.headers.items() if n.lower() == "content-length"), str(len(answer.body)))
        response = web.Response(status=answer.status, headers={**headers, "Content-Length": length})
    else:
        response = web.Response(status=answer.status, headers=headers, body=answer.body)
    response.headers["Server"] = "AmazonS3"
    return response


async def _truncated(request: web.BaseRequest, answer: Answer, *, share: float) -> web.StreamResponse:
    """Announce the whole body, send a part of it, break the connection."""
    response = web.StreamResponse(status=answer.status, headers=_headers(answer))
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: int(len(answer.body) * share)])
    if request.transport is not None:
        request.transport.close()
    return response


async def _control(mock: Mock, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    if request.headers.get("authorization") != f"Bearer {mock.token}" or mock.control is None:
        return web.Response(status=403, text='{"error": "the control token is missing or wrong"}\n')
    answer = await mock.control(request.method, request.raw_path, body)
    return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)


async def serve(mock: Mock, addresses: Iterable[tuple[str, int]]) -> web.ServerRunner:
    """Listen; the caller cleans the returned runner up."""
    server = web.Server(
        lambda request: handle(mock, request),
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=3600,
        max_line_size=32768,
        max_field_size=32768,
    )
    runner = web.ServerRunner(server, shutdown_timeout=2)
    await runner.setup()
    for address, port in addresses:
        await web.TCPSite(runner, address, port, backlog=512).start()
    return runner
