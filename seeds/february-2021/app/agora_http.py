"""HTTP for agora in both directions: the server that answers, and the client of the object store."""

import hashlib
import hmac
import html
import http.client
import json
import os
import re
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit

LARGEST = 8 << 20  # bytes of a request body
PASSED = {
    "accept-ranges", "cache-control", "content-disposition", "content-encoding", "content-language", "content-length",
    "content-range", "content-type", "etag", "expires", "last-modified",
}  # fmt: skip


class Problem(Exception):
    """What the asker is told instead of an answer."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


@dataclass
class Request:
    method: str
    query: dict[str, list[str]]
    headers: Any
    body: bytes = b""


@dataclass
class Answer:
    status: int
    body: Any = b""  # bytes, or an open response of the object store
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[..., Answer]
Routes = list[tuple[str, str, Handler]]  # method, pattern of the whole path, what answers


def env(name: str, default: str = "") -> str:
    return os.environ.get(name) or default


# --- answers and what is asked ---


def reply(value: object, status: int = 200, **headers: str) -> Answer:
    body = json.dumps(value, ensure_ascii=False, sort_keys=True).encode()
    return Answer(status, body, {"Content-Type": "application/json; charset=utf-8", **headers})


def page(title: str, body: str) -> Answer:
    text = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>{body}</html>\n'
    return Answer(200, text.encode(), {"Content-Type": "text/html; charset=utf-8"})


def fields(request: Request, **wanted: type) -> list[Any]:
    """The named members of a JSON object, checked for type, then the whole object."""
    try:
        data = json.loads(request.body)
    except (ValueError, RecursionError) as exc:
        raise Problem(400, "the body is not JSON") from exc
    if not isinstance(data, dict):
        raise Problem(400, "the body is not a JSON object")
    for name, kind in wanted.items():
        if type(data.get(name)) is not kind:
            raise Problem(400, f"{name} is missing or of the wrong type")
        if kind is str and any("\ud800" <= char <= "\udfff" for char in data[name]):
            raise Problem(400, f"{name} is not Unicode text")
    return [data[name] for name in wanted] + [data]


def number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name, [str(default)])[-1]
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or not least <= int(text) <= most:
        raise Problem(400, f"{name} is a number from {least} to {most}")
    return int(text)


# --- the server ---


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class Connection(BaseHTTPRequestHandler):
    routes: ClassVar[Routes] = []
    protocol_version = "HTTP/1.1"
    timeout, wbufsize, disable_nagle_algorithm = 60, -1, True

    def answer(self) -> Answer:
        size = self.headers["content-length"] or "0"
        if "transfer-encoding" in self.headers or not re.fullmatch(r"[0-9]{1,15}", size) or int(size) > LARGEST:
            self.close_connection = True  # the body stays unread
            raise Problem(413 if size.isdigit() else 411, f"send Content-Length, at most {LARGEST}")
        body = self.rfile.read(int(size))
        if len(body) < int(size):
            self.close_connection = True
            raise Problem(400, "the body is shorter than announced")
        raw, _, query = self.path.partition("?")
        try:
            path = unquote_to_bytes(raw).decode()
            request = Request(self.command, parse_qs(query), self.headers, body)
        except ValueError as exc:
            raise Problem(400, "the address is not UTF-8") from exc
        allowed = []
        for method, pattern, handler in self.routes:
            if match := re.fullmatch(pattern, path, re.DOTALL):
                if method == {"HEAD": "GET"}.get(self.command, self.command):
                    return handler(request, *match.groups())
                allowed.append(method)
        raise Problem(405, "not like this", Allow=", ".join(allowed)) if allowed else Problem(404, "not found")

    def respond(self) -> None:
        try:
            answer = self.answer()
        except Problem as problem:
            extra = {name.replace("_", "-"): value for name, value in problem.headers.items()}
            answer = reply({"error": problem.text}, problem.status, **extra)
        except (TimeoutError, ConnectionError):  # whoever asked is gone
            self.close_connection = True
            return
        except Exception:
            traceback.print_exc()
            answer = reply({"error": "our fault"}, 500)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if isinstance(answer.body, bytes):
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body if self.command != "HEAD" else b"")
            return
        with answer.body as stored:
            self.end_headers()
            try:
                shutil.copyfileobj(stored, self.wfile, 1 << 16)
            except (OSError, http.client.HTTPException):
                self.close_connection = True  # a short answer must look short

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = respond  # noqa: N815

    def version_string(self) -> str:
        return "agora"

    def log_message(self, format: str, *args: object) -> None:
        if env("AGORA_LOG"):
            super().log_message(format, *args)


# --- the object store: Signature Version 4, path style ---


def s3(method: str, bucket: str, key: str, headers: dict[str, str], body: bytes = b"") -> http.client.HTTPResponse:
    end = urlsplit(env("AGORA_S3_ENDPOINT", "http://s3.agora.example:9000"))
    region, stamp = env("AGORA_S3_REGION", "us-east-1"), time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path, scope = f"/{bucket}/{quote(key, safe='/-_.~')}", f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(body).hexdigest()
    headers = {**headers, "host": end.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = sorted(headers)
    lines = [
        method,
        path,
        "",
        *(f"{name}:{' '.join(headers[name].split())}" for name in names),
        "",
        ";".join(names),
        digest,
    ]
    request = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    sign = b"AWS4" + env("AGORA_S3_SECRET").encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{request}"):
        sign = hmac.digest(sign, part.encode(), "sha256")
    who = f"Credential={env('AGORA_S3_KEY')}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 {who}, SignedHeaders={';'.join(names)}, Signature={sign.hex()}"
    kind = http.client.HTTPSConnection if end.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(end.netloc, timeout=20)
        connection.request(method, path, body or None, headers)
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as exc:
        raise Problem(502, "storage does not answer") from exc


def serve_object(request: Request, folder: str, key: str) -> Answer:
    """The stored bytes and their headers, unchanged; Range and If-* are left to the store."""
    if not key:
        raise Problem(404, "no such object")
    bucket = env(f"AGORA_{folder.upper()}_BUCKET", f"agora-{folder}")
    asked = {name: request.headers[name] for name in ("range", "if-none-match", "if-match") if request.headers[name]}
    found = s3(request.method, bucket, key, asked)
    if found.status not in (200, 206, 304, 416):
        found.close()
        raise Problem(404, "no such object") if found.status == 404 else Problem(502, "storage refuses")
    headers = {n: v for n, v in found.getheaders() if n.lower() in PASSED or n.lower().startswith("x-amz-meta-")}
    return Answer(found.status, found if found.length is not None else found.read(), headers)
