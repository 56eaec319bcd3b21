"""The HTTP layer of the embedded hypervisor: requests in, JSON out; it only translates.

Every error of the tree becomes a status code and ``{"error", "text", "remedy"}``. Each request but
``/ping`` carries the token header.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import socket
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from toolkit.errors import Conflict, NotFound, Refused, RehostError
from toolkit.rehearsal.hypervisor_store import COLLECTIONS, decode

if TYPE_CHECKING:
    from toolkit.rehearsal.hypervisor import Hypervisor

TOKEN_HEADER = "X-Rehost-Token"  # noqa: S105  (the name of a header)
_MAX_BODY = 1 << 30
_STATUS = {Refused: 400, NotFound: 404, Conflict: 409}
_log = logging.getLogger(__name__)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def _dispatch(self) -> None:
        split = urlsplit(self.path)
        parts = [unquote(part) for part in split.path.split("/") if part]
        query = {name: values[-1] for name, values in parse_qs(split.query).items()}
        size = int(self.headers.get("Content-Length") or 0)
        if size > _MAX_BODY:
            self.close_connection = True
            return self._answer(413, {"error": "Refused", "text": "body too large", "remedy": ""})
        raw = self.rfile.read(size)
        token = self.headers.get(TOKEN_HEADER) or ""
        if parts != ["ping"] and not hmac.compare_digest(token.encode(), self.server.token.encode()):
            return self._answer(401, {"error": "AuthError", "text": "wrong token", "remedy": "send the token"})
        try:
            body = json.loads(raw) if raw else {}
            status, answer = route(self.server.hypervisor, self.command, parts, query, body)
        except RehostError as exc:
            status = _STATUS.get(type(exc), 500)
            answer = {"error": type(exc).__name__, "text": exc.text, "remedy": exc.remedy}
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            answer = {"error": "Refused", "text": f"malformed request: {exc!r}", "remedy": "see the API"}
            status = 400
        except OSError as exc:
            status, answer = 500, {"error": "ApplyError", "text": str(exc), "remedy": "look at the folder and disk"}
        return self._answer(status, answer)

    do_GET = do_POST = do_PUT = do_DELETE = _dispatch  # noqa: N815  (names of the base class)

    def _answer(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)


def route(
    hypervisor: Hypervisor, method: str, parts: list[str], query: Mapping[str, str], body: Any
) -> tuple[int, Any]:
    """Answer one request; unknown paths raise :class:`NotFound`."""
    match method, parts:
        case "GET", ["ping"]:
            return 200, {"ok": True}
        case "GET", ["refusals"]:
            return 200, {"refusals": hypervisor.refusals()}
        case "GET", ["isolation"]:
            return 200, hypervisor.isolation
        case "GET", ["deny"]:
            return 200, {"deny": hypervisor.deny}
        case "PUT", ["deny"]:
            hypervisor.set_deny(body["deny"])
            return 200, {"deny": hypervisor.deny}
        case _, ["servers", *rest]:
            return _servers(hypervisor, method, rest, query, body)
        case "GET", [collection] if collection in COLLECTIONS:
            return 200, {collection: hypervisor.store.entries(collection)}
        case "PUT", [collection, name] if collection in COLLECTIONS:
            hypervisor.store.put(collection, name, body)
            return 200, {"name": name}
        case "DELETE", [collection, name] if collection in COLLECTIONS:
            hypervisor.store.drop(collection, name)
            return 200, {}
    raise NotFound(f"no such path: {method} /{'/'.join(parts)}", "see the API")


def _servers(
    hypervisor: Hypervisor, method: str, rest: list[str], query: Mapping[str, str], body: Any
) -> tuple[int, Any]:
    store = hypervisor.store
    match method, rest:
        case "GET", []:
            return 200, {"servers": [hypervisor.show(definition) for definition in store.servers()]}
        case "POST", []:
            with hypervisor.lock:
                return 201, hypervisor.show(store.define(body))
        case "GET", [ident]:
            return 200, hypervisor.show(store.server(ident))
        case "PUT", [ident]:
            with hypervisor.lock:
                return 200, hypervisor.show(store.redefine(ident, body))
        case "DELETE", [ident]:
            hypervisor.remove(ident, disks=query.get("disks") == "1")
            return 200, {}
        case "POST", [ident, "start"]:
            return 200, hypervisor.start(ident, body.get("env") or {})
        case "POST", [ident, "stop"]:
            return 200, hypervisor.stop(ident)
        case "POST", [ident, "exec"]:
            stdin = decode(body.get("stdin") or "")
            rc, out, err = hypervisor.execute(ident, body["argv"], stdin, float(body.get("timeout") or 600))
            return 200, {"rc": rc, "out": base64.b64encode(out).decode(), "err": base64.b64encode(err).decode()}
        case "GET", [ident, "console"]:
            return 200, {"console": hypervisor.console(ident).decode("utf-8", "replace")}
        case "GET", [ident, "user-data"]:
            definition = store.server(ident)
            data = store.user_data(definition)
            files = {name: base64.b64encode(body).decode() for name, body in store.files(definition).items()}
            return 200, {"user_data": None if data is None else base64.b64encode(data).decode(), "files": files}
        case "GET", [ident, "health"]:
            return 200, hypervisor.health(ident)
    raise NotFound(f"no such path: {method} /servers/{'/'.join(rest)}", "see the API")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], hypervisor: Hypervisor, token: str) -> None:
        self.hypervisor = hypervisor
        self.token = token
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        # the base class looks its own name up in DNS, which a machine without network cannot answer
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
