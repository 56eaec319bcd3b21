"""How many requests one store gets at once: halved when it asks to slow down, slowly raised again.

A :class:`Gate` belongs to one event loop; ``limit`` is carried over to the next by the caller.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable


class Gate:
    """Adaptive concurrency of one endpoint (additive increase, multiplicative decrease)."""

    def __init__(self, limit: float, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = max(1.0, min(float(limit), float(most)))
        self.most = most
        self.active = 0
        self.throttled = 0
        self.retries = 0
        self.trouble = ""  # what the store answered last, if that was no success
        self._clock = clock
        self._halved = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for a place."""
        while self.active >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake()  # our turn came while we were cancelled: pass it on
                raise
        self.active += 1

    def leave(self) -> None:
        """Give the place back."""
        self.active -= 1
        if self._waiting:
            self._wake()

    def slow_down(self) -> None:
        """Halve the limit, at most once a second: a burst of refusals is one message."""
        self.throttled += 1
        now = self._clock()
        if now - self._halved >= 1.0 or self._halved == 0.0:
            self._halved = now
            self.limit = max(1.0, self.limit / 2)

    def quiet(self) -> None:
        """A request went well: after ``limit`` of them one more is allowed at once."""
        self.trouble = ""
        if self.limit < self.most:
            self.limit = min(float(self.most), self.limit + 1.0 / self.limit)

    def _wake(self) -> None:
        free = int(self.limit) - self.active
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1


class Hold:
    """Bounds the bytes of bodies kept in memory at once."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._most = most
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> int:
        """Wait until ``size`` bytes may be held; return how many to give back."""
        size = min(size, self._most)
        if self._waiting or self._free < size:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn  # who wakes us has taken the bytes for us
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.give(size)
                raise
        else:
            self._free -= size
        return size

    def give(self, size: int) -> None:
        """Give bytes back, to whoever has waited longest."""
        self._free += size
        while self._waiting and self._free >= self._waiting[0][0]:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)
