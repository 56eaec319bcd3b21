"""How far the copies of each bucket are, told as the engine goes on."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.families import Progress
from toolkit.model import Change
from toolkit.storage.engine.work import Pace, Tick
from toolkit.storage.rounds import OBJECTS, tail


class Told:
    """Adds up what the shards of a bucket say and passes it on."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._done: dict[str, int] = {}
        self._size: dict[str, int] = {}

    def of(self, change: Change, pace: Pace) -> Tick:
        """Return what one shard of a change reports to."""
        address = OBJECTS + tail(change.address)
        total, volume = change.figures.get("objects"), change.figures.get("bytes")

        def tick(done: int, size: int, wait: str) -> None:
            done = self._done[address] = self._done.get(address, 0) + done
            size = self._size[address] = self._size.get(address, 0) + size
            self._tell(Progress("storage", address, done, total, size, pace.retries, wait, volume))

        return tick
