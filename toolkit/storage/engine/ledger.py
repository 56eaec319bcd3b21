"""What we have written at the target so far, looked up by key: sealed results and open logs.

Answers "is this object ours, and from which source object?" without holding all keys: a lookup
takes up to a few thousand keys and streams over the result files whose key range can hold them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from toolkit.storage.engine import manifest, shardlog
from toolkit.storage.model import Row, Written
from toolkit.storage.rewritten import Rewritten


class Ledger:
    """The results of one bucket in one run folder, as they are when it is opened.

    ``adopted``: also what users wrote at the target and a rollback brought back, so that both sides agree on it.
    """

    def __init__(self, run: Path, slug: str, *, adopted: bool = True) -> None:
        self._run = run
        self._slug = slug
        self._rewritten = Rewritten(run, slug)
        self._open = shardlog.unsealed(run, slug)
        folders = ("result", "adopted") if adopted else ("result",)
        found = (path for name in folders for path in (run / name).glob("*.parquet"))
        mine = sorted((path for path in found if shardlog.belongs(path.stem, slug)), key=lambda path: path.name)
        self._sealed = [(path, *_range(path)) for path in mine]

    @property
    def empty(self) -> bool:
        """Nothing was ever written here."""
        return not self._open and not self._sealed

    def lookup(self, keys: Collection[bytes]) -> dict[bytes, list[Written]]:
        """Return what we wrote under each of ``keys``, in the order it was written."""
        told: dict[bytes, list[Written]] = {}
        if not keys or (self.empty and self._rewritten.empty):
            return told
        low, high = min(keys), max(keys)
        wanted = pa.array(sorted(keys), pa.binary())
        for path, first, last in self._sealed:
            if last < low or first > high:
                continue
            table = pq.read_table(str(path), use_threads=False, pre_buffer=False)
            table = table.filter(pc.is_in(table["key"], value_set=wanted))
            for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
                told.setdefault(values[0], []).append(Written(*values))
        for shard in self._open:
            for _, done in sorted(shardlog.story(self._run, shard).wrote.items()):
                if done.key in keys:
                    told.setdefault(done.key, []).append(done)
        for key, done in self._rewritten.written(keys).items():
            told.setdefault(key, []).append(done)
        return told

    def rewritten(self, keys: Collection[bytes]) -> dict[bytes, Written]:
        """Return those of ``keys`` whose addresses we replaced at the target, and what they became."""
        return self._rewritten.written(keys)

    def begun(self) -> Iterator[tuple[str, Row]]:
        """Yield rows that were about to be written when a shard stopped, and are in no result.

        Whether the write reached the target only the target can tell.
        """
        for shard in self._open:
            path = self._run / "manifest" / f"{shard}.parquet"
            told = shardlog.story(self._run, shard)
            if path.exists():
                for number, row in enumerate(manifest.rows(path)):
                    if number in told.intents and number not in told.wrote:
                        yield shard, row

    def uploads(self) -> Iterator[tuple[bytes, str]]:
        """Yield the multipart uploads that shards without an end have opened."""
        for shard in self._open:
            for left in shardlog.story(self._run, shard).uploads.values():
                yield left.key, left.upload


def _range(path: Path) -> tuple[bytes, bytes]:
    """Return the least and greatest key of a result file; both are at its ends in no fixed order."""
    with pq.ParquetFile(str(path), pre_buffer=False) as file:
        bounds = [file.metadata.row_group(n).column(0).statistics for n in range(file.metadata.num_row_groups)]
    if not bounds:
        return b"\xff", b""
    if any(bound is None or not bound.has_min_max for bound in bounds):
        return b"", b"\xff" * 1100  # no statistics: it may hold anything
    return min(bound.min for bound in bounds), max(bound.max for bound in bounds)
