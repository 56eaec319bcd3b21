"""An event loop and its open connections, kept from shard to shard: no shard waits for handshakes again.

Enters: coroutines. Leaves: their results. A line belongs to one thread and is closed by who opened it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from toolkit.storage.engine.pool import Pool
from toolkit.storage.model import Knobs

T = TypeVar("T")


class Line:
    """Runs one coroutine after another in one loop (uvloop's: half the CPU of the standard one)."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._pool: Pool | None = None

    def pool(self, knobs: Knobs) -> Pool:
        """Return the connections; to be called from within the loop."""
        if self._pool is None:
            self._pool = Pool(knobs.read_timeout)
        return self._pool

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._runner.run(work)

    def close(self) -> None:
        """End all connections and the loop."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        self._runner.close()
