"""A mocked Route 53 with its wire twin and parent servers, as one child process of a test.

Run as ``python -m tests.dns.aws_process stock|corrected``; prints one JSON line, ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

HOSTS = {
    "web-1234.us-east-1.elb.amazonaws.com": ["127.9.0.16", "127.9.0.17"],
    "dualstack.web-1234.us-east-1.elb.amazonaws.com": ["127.9.0.16", "127.9.0.17"],
    "s3.us-east-1.amazonaws.com": ["127.9.0.2"],
}
KEY, SECRET = "AKIATESTTESTTESTTEST", "not-a-secret-at-all"


def stock(port: int) -> str:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    return f"http://127.0.0.1:{port}"


def corrected(port: int) -> str:
    from toolkit.rehearsal import mockaws_process
    from toolkit.rehearsal.mockaws_server import serve

    config: dict[str, Any] = {
        "listen": [["127.0.0.1", port]],
        "folder": tempfile.mkdtemp(),
        "credentials": {KEY: ["rehost", SECRET]},
        "token": "control",
        "services": None,
    }
    mock = mockaws_process.build(config)
    mock.settle = 0.05
    ready = threading.Event()

    async def run() -> None:
        await serve(mock, [("127.0.0.1", port)])
        ready.set()
        await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    ready.wait(60)
    return f"http://127.0.0.1:{port}"


def main() -> None:
    from tests.dns.pdns import free_port
    from toolkit.rehearsal import twin

    port = free_port()
    endpoint = stock(port) if sys.argv[1] == "stock" else corrected(port)

    def elsewhere(host: str) -> list[str]:
        return HOSTS.get(host, [])

    dead: set[str] = set()
    answering = twin.serve(
        [("127.0.0.1", 0)], twin.moto_zones, elsewhere=elsewhere, healthy=lambda check: check not in dead
    )
    parent = twin.Parent(
        [("127.0.0.1", 0), ("127.0.0.1", 0)],
        ("127.0.0.1", 0),
        suffixes=("example", "org"),
        fixed=twin.aws_delegations("127.0.0.1"),
        ns_ttl=6,
        ds_ttl=4,
    )
    said = {
        "endpoint": endpoint,
        "twin": [f"{ip}:{number}" for ip, number in answering.dns],
        "parents": [f"{ip}:{number}" for ip, number in parent.dns],
        "registry": parent.api,
        "folder": str(Path.cwd()),
    }
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        dead.clear()
        dead.update(json.loads(line).get("dead", []))
        sys.stdout.write("{}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
