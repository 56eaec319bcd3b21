"""Connections to stores, kept alive between requests, and one timer that watches them all.

Enters: an origin. Leaves: a :class:`~toolkit.storage.engine.connection.Connection` nobody else uses.
Raises ``NoConnection`` when none can be made and ``ssl.SSLError`` when TLS is refused.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from toolkit.storage.engine.connection import Broken, Connection, NoConnection, Origin

_FRESH = 15.0  # an idle connection older than this may be closed by the store as we write: take a new one
_RESOLVED = 60.0


class Pool:
    """Connections to any number of stores, kept alive between requests."""

    def __init__(self, read_timeout: float, connect_timeout: float = 10.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_timeout = read_timeout
        self._connect_timeout = connect_timeout
        self._idle: dict[Origin, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._addresses: dict[Origin, tuple[float, deque[str]]] = {}
        self._tls: ssl.SSLContext | None = None
        self._watch = self._loop.call_later(read_timeout / 4, self._look)

    async def take(self, origin: Origin) -> Connection:
        """Return a connection that nobody uses."""
        idle = self._idle.get(origin)
        oldest = self._loop.time() - _FRESH
        while idle:
            found = idle.pop()
            if found.reusable and found.touched >= oldest:
                self._busy.add(found)
                return found
            found.abort(Broken("idle"))
        made = await self._connect(origin)
        self._busy.add(made)
        return made

    def give(self, connection: Connection) -> None:
        """Take a connection back, whatever became of its request."""
        connection.finish()
        self._busy.discard(connection)
        if connection.reusable:
            self._idle.setdefault(connection.origin, []).append(connection)

    def close(self) -> None:
        """End all connections."""
        self._watch.cancel()
        for connection in [*self._busy, *(one for idle in self._idle.values() for one in idle)]:
            connection.abort(Broken("closed"))

    async def _connect(self, origin: Origin) -> Connection:
        tls = self._context() if origin.scheme == "https" else None
        trouble: Exception = NoConnection(f"{origin.host} has no address")
        for address in await self._resolve(origin):
            try:
                async with asyncio.timeout(self._connect_timeout):
                    _, connection = await self._loop.create_connection(
                        lambda: Connection(origin, self._loop),
                        address,
                        origin.port,
                        ssl=tls,
                        server_hostname=origin.host if tls else None,
                    )
            except ssl.SSLError:
                raise
            except TimeoutError:
                trouble = NoConnection(f"no connection to {origin.host}:{origin.port} within the time allowed")
            except OSError as exc:
                trouble = NoConnection(str(exc))
            else:
                return connection
        raise trouble

    async def _resolve(self, origin: Origin) -> list[str]:
        """Return the addresses of a host, beginning with another one each time: stores have several."""
        until, known = self._addresses.get(origin, (0.0, deque[str]()))
        if self._loop.time() >= until:
            try:
                found = await self._loop.getaddrinfo(origin.host, origin.port, type=1)
            except OSError as exc:
                raise NoConnection(f"{origin.host}: {exc}") from exc
            known = deque(dict.fromkeys(str(item[4][0]) for item in found))
            self._addresses[origin] = (self._loop.time() + _RESOLVED, known)
        known.rotate(-1)
        return list(known)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _look(self) -> None:
        """One timer for all requests: whoever heard nothing for too long is told so."""
        oldest = self._loop.time() - self._read_timeout
        for connection in list(self._busy):
            if connection.busy and not connection.held and connection.touched < oldest:
                connection.abort(TimeoutError())
        self._watch = self._loop.call_later(self._read_timeout / 4, self._look)
