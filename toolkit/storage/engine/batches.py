"""The rows of a shard in batches, and what became of each.

Enters: a manifest file. Leaves: numbered rows, cut into portions that are committed together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from toolkit.model import Finding
from toolkit.storage.engine import manifest
from toolkit.storage.model import Row, Written

_FEW = 50  # one row in so many may be slow without holding up the others


class Numbered(NamedTuple):
    """A row of a shard, and the place in the target's history of its key where it belongs."""

    number: int
    row: Row
    place: int


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one row."""

    number: int
    size: int
    written: Written | None
    finding: Finding | None


@dataclass(slots=True)
class Batch:
    """Rows ``[start, stop)`` under way together."""

    start: int
    stop: int
    results: list[Result] = field(default_factory=list)
    logged: int = 0  # how many of the results are on disk

    @property
    def parked(self) -> bool:
        """All but a few rows are done: those are slow, and the shard need not wait for them."""
        return self.stop - self.start - len(self.results) <= max(1, (self.stop - self.start) // _FEW)

    @property
    def complete(self) -> bool:
        return len(self.results) == self.stop - self.start

    @property
    def failed(self) -> bool:
        return any(result.written is None for result in self.results)


def key_of(item: Numbered) -> bytes:
    """Return the key of a row."""
    return item.row.entry.key


def slice_of(path: Path, start: int, stop: int) -> Iterator[Numbered]:
    """Yield the rows ``[start, stop)`` of a manifest."""
    key, place = b"", 0
    for number, row in enumerate(manifest.rows(path)):
        if number >= stop:
            return
        place = place + 1 if row.entry.key == key else row.before
        key = row.entry.key
        if number >= start:
            yield Numbered(number, row, place)


def batches(rows: Iterable[Numbered], most: int) -> Iterator[list[Numbered]]:
    """Cut rows into batches of at most ``most``."""
    batch: list[Numbered] = []
    for row in rows:
        batch.append(row)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch
