"""A proxy that stands before an S3 endpoint and breaks what its rules say.

Enters: the address of a store and rules (``faultproxy_rules``). Leaves: a running :class:`FaultProxy`.
Requests pass as they came, byte for byte and with their Host header, so their signatures hold; bodies
stream. What it did is in ``tally()`` and, one entry a request, in ``seen``. By hand::

    python -m toolkit.rehearsal.faultproxy --to http://127.0.0.1:9000 --listen 127.0.0.1:9001 --faults FILE
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from toolkit.errors import Unreachable, UsageError
from toolkit.rehearsal import faultproxy_harm as harm
from toolkit.rehearsal import faultproxy_wire as wire
from toolkit.rehearsal.faultproxy_exchange import Exchange, Link, Seen, Stand
from toolkit.rehearsal.faultproxy_rules import RESIGNED, Rules, load, parse
from toolkit.rehearsal.net import announce
from toolkit.storage.sign import Keys, Signer

log = logging.getLogger(__name__)


class FaultProxy:
    """A proxy before one store. ``rules`` may be replaced at any time, from any thread."""

    def __init__(self, upstream: str, rules: Rules | None = None, *, side: str = "", keys: Keys | None = None) -> None:
        parts = urlsplit(upstream)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{upstream} is no endpoint", "name it as http://host:port")
        self.endpoint = ""
        self._to = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._stand = Stand(side, Signer(lambda: keys, "us-east-1") if keys else None)
        self._tasks: set[asyncio.Task[None]] = set()
        self.put(rules or Rules())

    def put(self, rules: Rules) -> None:
        """Put rules in force in place of those before."""
        unsigned = next((rule for rule in rules.rules if rule.fault in RESIGNED), None)
        if unsigned is not None and self._stand.signer is None:
            raise UsageError(
                f"the fault {unsigned.fault} changes what was signed, so the proxy needs the store's keys",
                "give the proxy keys of its own, or leave this fault out",
            )
        self._stand.rules = rules

    def inject(self, *rules: Mapping[str, Any], seed: int = 0) -> None:
        """Put rules in force as a file would write them; none = no faults."""
        self.put(Rules(parse(rules), seed=seed))

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self._stand.rules

    @property
    def seen(self) -> tuple[Seen, ...]:
        """The requests that passed, the oldest first (the last hundred thousand of them)."""
        return tuple(self._stand.seen)

    def forget(self) -> None:
        """Forget the requests that passed."""
        self._stand.seen.clear()

    def count(self, *, fault: str = "", operation: str = "", method: str = "") -> int:
        """Return how many requests passed that look like this."""
        return sum(
            (not fault or seen.fault == fault)
            and (not operation or seen.asked.operation == operation)
            and (not method or seen.asked.method == method)
            for seen in self.seen
        )

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Listen; the caller closes the returned server."""
        server = await asyncio.start_server(self._client, host, port, limit=wire.MOST_HEAD, backlog=512)
        address = server.sockets[0].getsockname()
        self.endpoint = f"http://{address[0]}:{address[1]}"
        return server

    async def close(self) -> None:
        """End every connection."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this in a task
        self._tasks.add(task)
        link: Link | None = None
        try:
            while (head := await wire.read_head(reader)) is not None:
                if link is None or not link.usable:
                    await _end(link)
                    link = Link(*await asyncio.open_connection(*self._to, ssl=self._tls, limit=wire.MOST_HEAD))
                if not await Exchange(self._stand, head, reader, writer, link).run():
                    break
        except (harm.Broken, asyncio.CancelledError):
            writer.transport.abort()  # asyncio's own callback cannot stand a cancelled connection
        except (OSError, wire.BadMessage, asyncio.IncompleteReadError) as exc:
            log.info("connection to %s ended: %s", self._to, exc)
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()
            await _end(link)


async def _end(link: Link | None) -> None:
    if link is not None:
        link.writer.close()


@contextlib.contextmanager
def running(*proxies: FaultProxy, host: str = "127.0.0.1", port: int = 0) -> Iterator[None]:
    """Serve the proxies from a thread of their own until the end of the block."""
    loop = asyncio.new_event_loop()
    ready: list[BaseException | None] = []
    up = threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        servers = []
        try:
            for proxy in proxies:
                servers.append(await proxy.serve(host, port))
            ready.append(None)
        except OSError as exc:
            ready.append(exc)
        up.set()
        if ready[0] is None:
            await stop.wait()
        for server in servers:
            server.close()
        for proxy in proxies:
            await proxy.close()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=work, name="fault-proxy", daemon=True)
    thread.start()
    up.wait()
    try:
        if ready[0] is not None:
            raise Unreachable(f"the fault proxy cannot listen: {ready[0]}", "choose another address") from ready[0]
        yield
    finally:
        if ready[0] is None:
            loop.call_soon_threadsafe(stop.set)
        thread.join(30)


def main(argv: Sequence[str] | None = None) -> int:
    """Stand before a store until SIGTERM or SIGINT, for use by hand; then print what was struck."""
    parser = argparse.ArgumentParser(
        prog="python -m toolkit.rehearsal.faultproxy", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--to", required=True, metavar="URL", help="the store")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--side", default="", choices=("", "source", "target"))
    parser.add_argument("--faults", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(argv)
    rules, seed = load(options.faults)
    proxy = FaultProxy(options.to, Rules(rules, seed=seed), side=options.side)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    host, _, port = options.listen.rpartition(":")
    with running(proxy, host=host, port=int(port)):
        announce({"endpoint": proxy.endpoint, "rules": len(rules)})
        ended.wait()
    sys.stdout.write(json.dumps(proxy.rules.tally()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
