"""The embedded hypervisor: runs apps, never user-data; fences them; dies without leaving anything behind."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest

from toolkit.rehearsal.hypervisor import TOKEN_VARIABLE, Handle, serve

APP = b"""
import http.server, json, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/connect/"):
            host, port = self.path.split("/")[2:]
            try:
                socket.create_connection((host, int(port)), timeout=3).close()
                text = "connected"
            except OSError as exc:
                text = f"{type(exc).__name__}: {exc}"
        elif self.path.startswith("/resolve/"):
            try:
                text = socket.getaddrinfo(self.path.split("/")[2], 80)[0][4][0]
            except OSError as exc:
                text = f"{type(exc).__name__}: {exc}"
        else:
            text = json.dumps(dict(os.environ))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *a):
        sys.stderr.write("served " + self.path + "\\n")
if "FORK" in os.environ:
    import subprocess
    child = subprocess.Popen(["sleep", "600"])
    open("child.pid", "w").write(str(child.pid))
http.server.ThreadingHTTPServer((os.environ["REHOST_BIND"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def free_port(ip: str = "127.0.0.1") -> int:
    with socket.socket() as sock:
        sock.bind((ip, 0))
        return int(sock.getsockname()[1])


def wait_for(probe: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = probe()
        except OSError:
            found = None
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def call(handle: Handle, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-Rehost-Token": handle.token if token is None else token}
    request = urllib.request.Request(handle.url + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def definition(name: str, port: int, *, app: bool = True, user_data: bytes | None = b"#!/bin/sh\ntouch pwned\n") -> Any:
    return {
        "name": name,
        "token": f"token-{name}",
        "body": {
            "name": name,
            "addresses": {"private": ["127.0.0.1"], "public": []},
            "app": {
                "argv": ["python3", "app.py"],
                "env": {"COLOUR": "env:NOT_RESOLVED_HERE"},
                "workdir": "/srv/app",
                "health": "/health",
                "port": port,
            }
            if app
            else None,
        },
        "payload": {
            "user_data": None if user_data is None else base64.b64encode(user_data).decode(),
            "files": {"app.py": base64.b64encode(APP).decode()} if app else {},
        },
        "provenance": {"by": "test"},
    }


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[Handle]:
    handle = serve(("127.0.0.1", 0), tmp_path / "hv", deny=["127.9.9.0/24"])
    yield handle
    handle.close()


def started(handle: Handle, port: int, env: dict[str, str] | None = None) -> tuple[dict[str, Any], str]:
    _, server = call(handle, "POST", "/servers", definition("web-1", port))
    status, _ = call(handle, "POST", f"/servers/{server['id']}/start", {"env": env or {}})
    assert status == 200
    url = f"http://127.0.0.1:{port}"
    assert wait_for(lambda: get(url + "/health")), call(handle, "GET", f"/servers/{server['id']}/console")
    return server, url


def test_crud_and_idempotency(handle: Handle) -> None:
    first = call(handle, "POST", "/servers", definition("web-1", 1))
    again = call(handle, "POST", "/servers", definition("web-1", 1))
    assert first[0] == 201
    assert again[1]["id"] == first[1]["id"]
    other = definition("web-1", 1) | {"token": "another"}
    assert call(handle, "POST", "/servers", other)[0] == 409
    assert [s["name"] for s in call(handle, "GET", "/servers")[1]["servers"]] == ["web-1"]
    assert call(handle, "DELETE", "/servers/web-1?disks=1")[0] == 200
    assert call(handle, "GET", "/servers/web-1")[0] == 404
    for collection in ("keypairs", "firewalls"):
        name = "../../etc/%2Fpasswd"
        assert call(handle, "PUT", f"/{collection}/{urllib.parse.quote(name, safe='')}", {"x": 1})[0] == 200
        assert call(handle, "GET", f"/{collection}")[1][collection] == [{"name": name, "x": 1}]
        assert call(handle, "DELETE", f"/{collection}/{urllib.parse.quote(name, safe='')}")[0] == 200
        assert call(handle, "DELETE", f"/{collection}/{urllib.parse.quote(name, safe='')}")[0] == 404


def test_needs_the_token(handle: Handle) -> None:
    assert call(handle, "GET", "/servers", token="wrong")[0] == 401
    assert call(handle, "GET", "/ping", token="wrong")[0] == 200


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", ""])
def test_refuses_file_names_that_leave_the_folder(handle: Handle, name: str) -> None:
    bad = definition("web-1", 1)
    bad["payload"]["files"] = {name: ""}
    status, answer = call(handle, "POST", "/servers", bad)
    assert status == 400
    assert answer["error"] == "Refused"


def test_malformed_requests_do_not_kill_it(handle: Handle) -> None:
    assert call(handle, "POST", "/servers", {"nonsense": 1})[0] == 400
    assert call(handle, "POST", "/servers", ["list"])[0] == 400
    assert call(handle, "GET", "/nowhere")[0] == 404
    assert call(handle, "GET", "/ping")[0] == 200


def test_runs_the_app_and_keeps_secrets_in_memory(handle: Handle, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "leak-me-not")
    server, url = started(handle, free_port(), {"S3_SECRET": "s3cr3t-value"})
    env = json.loads(get(url + "/env"))
    assert env["S3_SECRET"] == "s3cr3t-value"
    assert env["REHOST_BIND"] == "127.0.0.1"
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert call(handle, "GET", f"/servers/{server['id']}")[1]["state"] == "running"
    assert call(handle, "GET", f"/servers/{server['id']}/health")[1]["ok"] is True
    assert "served /env" in call(handle, "GET", f"/servers/{server['id']}/console")[1]["console"]
    for path in (tmp_path / "hv").rglob("*"):
        if path.is_file():
            assert b"s3cr3t-value" not in path.read_bytes(), path
            assert path.stat().st_mode & 0o077 == 0, path
    assert call(handle, "POST", f"/servers/{server['id']}/stop")[1]["state"] == "shut off"
    with pytest.raises(OSError):
        get(url)


def test_never_runs_user_data(handle: Handle, tmp_path: Path) -> None:
    server, _ = started(handle, free_port())
    assert not list((tmp_path / "hv").rglob("pwned"))
    data = call(handle, "GET", f"/servers/{server['id']}/user-data")[1]["user_data"]
    assert base64.b64decode(data) == b"#!/bin/sh\ntouch pwned\n"


def test_server_without_app_is_defined_not_run(handle: Handle) -> None:
    _, server = call(handle, "POST", "/servers", definition("db-1", 1, app=False))
    assert server["state"] == "defined, not run"
    assert call(handle, "POST", f"/servers/{server['id']}/start", {})[1]["state"] == "defined, not run"
    assert call(handle, "POST", f"/servers/{server['id']}/exec", {"argv": ["true"]})[0] == 409


def test_exec(handle: Handle) -> None:
    server, _ = started(handle, free_port(), {"S3_SECRET": "x"})
    path = f"/servers/{server['id']}/exec"
    stdin = base64.b64encode(b"in\0put\xff").decode()
    code = (
        "import sys,os;sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1]);sys.stderr.write(os.getcwd());sys.exit(3)"
    )
    status, answer = call(handle, "POST", path, {"argv": ["python3", "-c", code], "stdin": stdin, "timeout": 60})
    assert (status, answer["rc"]) == (200, 3)
    assert base64.b64decode(answer["out"]) == b"\xfftup\0ni"
    assert base64.b64decode(answer["err"]).endswith(b"disk/srv/app")
    assert call(handle, "POST", path, {"argv": ["/no/such/program"]})[1]["rc"] == 127
    status, answer = call(handle, "POST", path, {"argv": ["sleep", "60"], "timeout": 0.5})
    assert status == 400
    assert "killed" in answer["text"]
    weird = ["python3", "-c", "import sys,json;print(json.dumps(sys.argv[1:]))", "; $(id)", "a\nb", "'\"", "--", "-rf"]
    out = call(handle, "POST", path, {"argv": weird})[1]["out"]
    assert json.loads(base64.b64decode(out)) == weird[3:]


def test_connections_outside_are_refused_and_recorded(handle: Handle) -> None:
    _, url = started(handle, free_port())
    assert "PermissionError" in get(url + "/connect/192.0.2.1/443")
    assert "PermissionError" in get(url + "/connect/127.9.9.9/80")
    assert "ConnectionRefusedError" in get(url + "/connect/127.8.8.8/9")
    seen = call(handle, "GET", "/refusals")[1]["refusals"]
    assert [(r["host"], r["port"], r["server"]) for r in seen] == [
        ("192.0.2.1", 443, "web-1"),
        ("127.9.9.9", 80, "web-1"),
    ]
    assert call(handle, "PUT", "/deny", {"deny": ["127.8.8.0/24"]})[0] == 200
    assert "PermissionError" in get(url + "/connect/127.8.8.8/9")
    assert "ConnectionRefusedError" in get(url + "/connect/127.9.9.9/9")
    code = "import socket;socket.socket(socket.AF_INET,socket.SOCK_DGRAM).sendto(b'x',('192.0.2.7',53))"
    assert call(handle, "POST", "/servers/web-1/exec", {"argv": ["python3", "-c", code]})[1]["rc"] == 1
    assert call(handle, "GET", "/refusals")[1]["refusals"][-1]["call"] == "sendto"
    held = call(handle, "GET", "/isolation")[1]
    assert held["audit_hook"] is True
    assert isinstance(held["namespace_possible"], bool)


@pytest.fixture
def resolver() -> Iterator[str]:
    """A DNS server that knows a few names; ``far.example`` is an alias it does not chase."""
    zone = {
        "s3.agora.example.": ("CNAME", "store.agora.example."),
        "store.agora.example.": ("A", "127.0.0.9"),
        "far.example.": ("CNAME", "end.other.example."),
        "end.other.example.": ("A", "127.0.0.8"),
        "loop.example.": ("CNAME", "loop.example."),
    }
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(0.2)
    ended = threading.Event()

    def answer() -> None:
        while not ended.is_set():
            try:
                packet, peer = sock.recvfrom(4096)
            except TimeoutError:
                continue
            query = dns.message.from_wire(packet)
            reply = dns.message.make_response(query)
            name = query.question[0].name.to_text().lower()
            if name not in zone:
                reply.set_rcode(3)
            chain = name != "far.example."
            while name in zone:
                kind, value = zone[name]
                reply.answer.append(dns.rrset.from_text(name, 5, "IN", kind, value))
                if not chain or name == value:
                    break
                name = value
            sock.sendto(reply.to_wire(), peer)

    thread = threading.Thread(target=answer)
    thread.start()
    yield f"127.0.0.1:{sock.getsockname()[1]}"
    ended.set()
    thread.join()
    sock.close()


def test_names_go_to_the_given_resolver(tmp_path: Path, resolver: str) -> None:
    handle = serve(("127.0.0.1", 0), tmp_path / "hv", resolver)
    try:
        _, url = started(handle, free_port())
        assert get(url + "/resolve/s3.agora.example") == "127.0.0.9"
        assert get(url + "/resolve/far.example") == "127.0.0.8"
        assert get(url + "/resolve/127.0.0.44") == "127.0.0.44"
        assert get(url + "/resolve/localhost") == "127.0.0.1"
        assert "gaierror" in get(url + "/resolve/nowhere.example")
        assert "gaierror" in get(url + "/resolve/loop.example")
        assert "ConnectionRefusedError" in get(url + "/connect/s3.agora.example/9")
    finally:
        handle.close()


def test_without_resolver_no_name_resolves(handle: Handle) -> None:
    _, url = started(handle, free_port())
    assert "no resolver" in get(url + "/resolve/agora.example")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_stop_ends_what_the_app_started(handle: Handle, tmp_path: Path) -> None:
    server, _ = started(handle, free_port(), {"FORK": "1"})
    [pid_file] = (tmp_path / "hv").rglob("child.pid")
    pid = int(pid_file.read_text())
    assert alive(pid)
    call(handle, "POST", f"/servers/{server['id']}/stop")
    assert wait_for(lambda: not alive(pid))


def test_killed_hypervisor_takes_its_apps_along_and_keeps_definitions(tmp_path: Path) -> None:
    port, listen = free_port(), free_port()
    argv = [sys.executable, "-m", "toolkit.rehearsal.hypervisor", "--listen", f"127.0.0.1:{listen}", "--folder"]
    env = {**os.environ, TOKEN_VARIABLE: "t0ken"}
    process = subprocess.Popen([*argv, str(tmp_path / "hv")], env=env, stdout=subprocess.PIPE)

    class Remote:
        url, token = f"http://127.0.0.1:{listen}", "t0ken"

    try:
        assert process.stdout is not None
        assert b"listening" in process.stdout.readline()
        server, _ = started(Remote, port)  # type: ignore[arg-type]
        pid = call(Remote, "GET", f"/servers/{server['id']}")[1]["pid"]  # type: ignore[arg-type]
        assert alive(pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert wait_for(lambda: not alive(pid))
    handle = serve(("127.0.0.1", 0), tmp_path / "hv")
    try:
        [known] = call(handle, "GET", "/servers")[1]["servers"]
        assert (known["id"], known["state"]) == (server["id"], "shut off")
    finally:
        handle.close()


def test_does_not_run_without_a_token(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    argv = [sys.executable, "-m", "toolkit.rehearsal.hypervisor", "--listen", "127.0.0.1:0", "--folder", str(tmp_path)]
    done = subprocess.run(argv, env=env, capture_output=True, timeout=60)
    assert done.returncode == 2
    assert TOKEN_VARIABLE.encode() in done.stderr
