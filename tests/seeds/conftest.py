"""The sample app as real processes on loopback ports, and its generator loaded by path."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SEED = Path(__file__).resolve().parents[2] / "seeds" / "february-2021"
PATIENCE = 60.0  # seconds; a busy machine is slow, not broken


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def load(name: str) -> ModuleType:
    """Import a file of the seed folder as a user of it would: by path, under a name of its own."""
    known = f"february_2021_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, SEED / f"{name}.py")
        assert spec
        assert spec.loader
        sys.modules[known] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[known])
    return sys.modules[known]


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class App:
    """One process of the app: its folder (with the database), its port and its environment."""

    folder: Path
    role: str
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        own = {
            "REHOST_BIND": "127.0.0.1",
            "PORT": str(self.port),
            "AGORA_SECRET": "test",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return {**kept, **own, **self.env}

    def start(self) -> App:
        self.port = free_port()
        log = (self.folder / f"{self.role}.log").open("ab")
        argv = [sys.executable, str(SEED / "app" / "agora.py"), self.role]
        self.process = subprocess.Popen(argv, cwd=self.folder, env=self.environment(), stderr=log)
        wait_for(
            lambda: (
                self.process is not None and self.process.poll() is None and self.call("GET", "/health").status == 200
            )
        )
        return self

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def call(self, method: str, path: str, body: object = None, token: str = "", **headers: str) -> Reply:
        """Send one request; anything but bytes goes as JSON. ``Content_Type`` stands for Content-Type."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def token(self, login: str = "rosa.0000") -> str:
        password = load("generate").password(login)
        return str(self.call("POST", "/login", {"login": login, "password": password}).json["token"])

    def tool(self, verb: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, str(SEED / "app" / "agora.py"), verb]
        return subprocess.run(
            argv,
            cwd=self.folder,
            env=self.environment(),
            input=given,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if condition():
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="session")
def generate() -> ModuleType:
    return load("generate")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, generate: ModuleType) -> Path:
    """A small database to copy from."""
    path = tmp_path_factory.mktemp("data") / "agora.db"
    generate.database(path, 0.1)
    return path


@pytest.fixture(scope="package")
def store(generate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3-compatible store in a process of its own, filled with the small data."""
    port = free_port()
    log = (tmp_path_factory.mktemp("store") / "log").open("wb")
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None)
        generate.upload(f"http://127.0.0.1:{port}", 0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def web(tmp_path: Path, data: Path) -> Iterator[App]:
    """The web role with the small data and no object store."""
    (tmp_path / "agora.db").write_bytes(data.read_bytes())
    app = App(tmp_path, "web", {"AGORA_S3_ENDPOINT": "http://127.0.0.1:1", "SMS_VENDOR": "file"}).start()
    yield app
    app.stop()


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[App]:
    """One web process for the tests that leave its data alone."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "agora.db").write_bytes(data.read_bytes())
    app = App(folder, "web", {"AGORA_S3_ENDPOINT": "http://127.0.0.1:1", "SMS_VENDOR": "file"}).start()
    yield app
    app.stop()
