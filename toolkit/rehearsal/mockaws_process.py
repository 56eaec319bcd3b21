"""One mock server process: reads its configuration from standard input and serves until told to end.

Enters: one JSON line (``listen``, ``folder``, ``credentials``, ``token``, ``services``, ``twin``) and
moto's settings in the environment. Leaves: the ready line, then answers. Ends on SIGTERM, SIGINT or
when its parent is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from toolkit.model import Json
from toolkit.rehearsal import (
    mockaws_dns,
    mockaws_domains,
    mockaws_ec2,
    mockaws_policy,
    mockaws_route53,
    mockaws_s3_store,
    net,
)
from toolkit.rehearsal.mockaws_bulk import bulk
from toolkit.rehearsal.mockaws_calls import CallLog
from toolkit.rehearsal.mockaws_control import Extra, control
from toolkit.rehearsal.mockaws_server import Mock, serve


def build(config: dict[str, Json]) -> Mock:
    """Install the corrections this process needs and put its parts together."""
    services = config["services"]
    mockaws_s3_store.install()
    mockaws_policy.install()
    mockaws_route53.install()
    mockaws_domains.install()
    mockaws_ec2.install()
    extra: Extra = {"bulk": bulk, "public-ip": _public_ip}
    mock = Mock(
        CallLog(Path(config["folder"]) / "calls.jsonl"),
        {key: user for key, (user, _) in config["credentials"].items()},
        {key: secret for key, (_, secret) in config["credentials"].items()},
        config["token"],
        None if services is None else frozenset(services),
        verify=bool(config.get("verify", False)),
    )
    if services is None:
        mock.app = DomainDispatcherApplication(create_backend_app)
    mock.control = control(mock, extra)
    return mock


def _public_ip(_mock: Mock, _query: dict[str, str], body: Json) -> Json:
    return mockaws_ec2.set_public_ip(str(body["instance"]), str(body["ip"]))


async def run(config: dict[str, Json]) -> None:
    """Serve until a signal asks for the end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    mock = build(config)
    names = mockaws_dns.start(mock, config["twin"]) if config.get("twin") else None
    runner = await serve(mock, [(address, port) for address, port in config["listen"]])
    try:
        net.announce({"ready": True, "listen": config["listen"]})
        await ended.wait()
    finally:
        await runner.cleanup()
        if names is not None:
            names.close()
        mock.log.close()


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(run(json.loads(sys.stdin.readline())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
