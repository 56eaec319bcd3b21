"""Manifests: immutable Parquet files of rows to work on, and of everything the source held.

Enters: rows, in order. Leaves: files named ``manifest/<slug>-<pass>-NNNN.parquet`` in the run
folder, each complete or absent. Keys are binary columns; S3 Inventory and DuckDB read alike.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.errors import Paused
from toolkit.files import sync_folder
from toolkit.storage.model import Entry, Row, Written

_ENTRY: list[tuple[str, Any]] = [
    ("key", pa.binary()),
    ("version_id", pa.string()),
    ("is_latest", pa.bool_()),
    ("is_marker", pa.bool_()),
    ("size", pa.int64()),
    ("etag", pa.string()),
    ("mtime", pa.string()),
    ("storage_class", pa.string()),
]
ENTRIES = pa.schema(_ENTRY)
ROWS = pa.schema([*_ENTRY, ("work", pa.string()), ("before", pa.int64()), ("seen", pa.string())])
WRITTEN = pa.schema(
    [
        ("key", pa.binary()),
        ("source_version", pa.string()),
        ("source_etag", pa.string()),
        ("target_version", pa.string()),
        ("target_etag", pa.string()),
        ("size", pa.int64()),
        ("is_marker", pa.bool_()),
    ]
)
_GROUP = 20_000


@contextmanager
def local_disk(run: Path) -> Iterator[None]:
    """A full disk under the run folder pauses the work; what was finished is kept."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Paused(f"the disk under {run} is full", "free space there, then run the same command again") from exc


class TableFile:
    """Writes one Parquet file: aside first, then in its place, so that it is whole or not there."""

    def __init__(self, path: Path, schema: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._schema = schema
        self._writer = pq.ParquetWriter(str(self._aside), schema, compression="zstd")
        self._aside.chmod(0o600)
        self._rows: list[tuple[Any, ...]] = []
        self.count = 0

    def add(self, row: tuple[Any, ...]) -> None:
        """Append one row, its values in the order of the schema."""
        self._rows.append(row)
        self.count += 1
        if len(self._rows) >= _GROUP:
            self._flush()

    def close(self) -> None:
        """Make the file durable under its name."""
        self._flush()
        self._writer.close()
        with self._aside.open("rb") as handle:
            os.fsync(handle.fileno())
        self._aside.replace(self._path)
        sync_folder(self._path.parent)

    def drop(self) -> None:
        """Forget the file."""
        self._writer.close()
        self._aside.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
            self._rows.clear()


def write(path: Path, rows: Iterable[tuple[Any, ...]], schema: Any) -> int:
    """Write a whole file and return its number of rows."""
    table = TableFile(path, schema)
    try:
        for row in rows:
            table.add(row)
    except BaseException:
        table.drop()
        raise
    table.close()
    return table.count


def _tuples(path: Path) -> Iterator[tuple[Any, ...]]:
    # These two settings keep memory flat however large the file is.
    with pq.ParquetFile(str(path), pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=2_000, use_threads=False):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def flat(row: Row) -> tuple[Any, ...]:
    """Return a row as the columns of ``ROWS``."""
    return (*row.entry, row.work, row.before, row.seen)


def rows(path: Path) -> Iterator[Row]:
    """Read the rows of a manifest."""
    for values in _tuples(path):
        yield Row(Entry(*values[:8]), *values[8:])


def entries(path: Path) -> Iterator[Entry]:
    """Read a listing."""
    for values in _tuples(path):
        yield Entry(*values)


def written(path: Path) -> Iterator[Written]:
    """Read a sealed result."""
    for values in _tuples(path):
        yield Written(*values)


def count(path: Path) -> int:
    """Return the number of rows of a file."""
    return int(pq.read_metadata(str(path)).num_rows)


def next_pass(folder: Path, slug: str) -> int:
    """Return the number of the next pass over ``slug``: one more than any that left a trace."""
    stems = (path.name.removeprefix(f"{slug}-") for path in (folder / "manifest").glob(f"{slug}-*.parquet"))
    numbers = (stem.split("-", 1)[0] for stem in stems)
    return max((int(number) for number in numbers if number.isdigit()), default=0) + 1
