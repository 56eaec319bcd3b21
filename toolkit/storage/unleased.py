"""A lease nobody else can take: for work that is not shared and not resumed."""

from __future__ import annotations

from toolkit.families import Shard
from toolkit.model import Finding


class Unleased:
    """A lease nobody else can take: for work that is not shared and not resumed."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.cursor = shard.start
        self.exceptions: list[Finding] = []

    def commit(self, cursor: int, *, done: int, size: int, exceptions: list[Finding]) -> None:
        """Move the cursor."""
        del done, size
        self.cursor = cursor
        self.exceptions += exceptions

    def heartbeat(self) -> None:
        """Nothing to renew."""
