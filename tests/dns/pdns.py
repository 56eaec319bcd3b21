"""A real pdns_server from the packaged binary, in a folder of its own, on free loopback ports."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCHEMA = Path("/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql")
BINARY = shutil.which("pdns_server") or "/usr/sbin/pdns_server"


def available() -> bool:
    return Path(BINARY).exists() and SCHEMA.exists()


def free_port(address: str = "127.0.0.1") -> int:
    """A port free for both UDP and TCP."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind((address, 0))
            port = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind((address, port))
                return int(port)


@dataclass(frozen=True)
class Pdns:
    api: str
    key: str
    dns: str


@contextlib.contextmanager
def running(folder: Path, *extra: str) -> Iterator[Pdns]:
    """Run one server; ends it by its own process."""
    database = folder / "pdns.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.executescript(SCHEMA.read_text())
    connection.close()
    key, dns_port, api_port = secrets.token_hex(16), free_port(), free_port()
    lines = [
        "launch=gsqlite3",
        f"gsqlite3-database={database}",
        "gsqlite3-pragma-synchronous=0",
        f"local-address=127.0.0.1:{dns_port}",
        "webserver=yes",
        "webserver-address=127.0.0.1",
        f"webserver-port={api_port}",
        "webserver-allow-from=127.0.0.0/8",
        "api=yes",
        f"api-key={key}",
        f"socket-dir={folder}",
        "primary=yes",
        "cache-ttl=0",
        "negquery-cache-ttl=0",
        "query-cache-ttl=0",
        "zone-cache-refresh-interval=0",
        "default-soa-edit=",
        "guardian=no",
        "daemon=no",
        "disable-syslog=yes",
        "security-poll-suffix=",
        "allow-axfr-ips=127.0.0.0/8",
        *extra,
    ]
    config = folder / "pdns.conf"
    config.write_text("\n".join(lines) + "\n")
    config.chmod(0o600)
    log = (folder / "log").open("wb")
    process = subprocess.Popen([BINARY, f"--config-dir={folder}"], stdout=log, stderr=log)
    api = f"http://127.0.0.1:{api_port}"
    try:
        _wait(api, key, process, folder / "log")
        yield Pdns(api, key, f"127.0.0.1:{dns_port}")
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _wait(api: str, key: str, process: subprocess.Popen[bytes], log: Path) -> None:
    request = urllib.request.Request(f"{api}/api/v1/servers/localhost", headers={"X-API-Key": key})
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"pdns_server ended: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=2) as answer:
            answer.read()
            return
        time.sleep(0.05)
    raise RuntimeError(f"pdns_server does not answer: {log.read_text()[-2000:]}")
