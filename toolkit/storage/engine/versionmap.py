"""Which version at the target stands for which version at the source: ``version-map/<slug>.parquet``.

Enters: the comparison of both listings as it streams by. Leaves: one row for each version and delete
marker that both sides hold, in the order of keys, oldest first; the file is whole or not there. It comes
from what both stores list, not from what we remember to have written, so a killed run cannot spoil it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path

import pyarrow as pa

from toolkit.storage.engine import manifest
from toolkit.storage.engine.compare import Todo
from toolkit.storage.engine.work import Job
from toolkit.storage.model import Entry

SCHEMA = pa.schema(
    [
        ("key", pa.binary()),
        ("is_marker", pa.bool_()),
        ("source_version", pa.string()),
        ("target_version", pa.string()),
    ]
)


def map_path(run: Path, slug: str) -> Path:
    """Return where the version map of a bucket lies."""
    return run / "version-map" / f"{slug}.parquet"


def recorded(job: Job, slug: str, todos: Iterable[Todo]) -> Generator[Todo]:
    """Yield ``todos``; once they have all gone by, the map of a versioned bucket is in its place."""
    if not job.versions:
        yield from todos
        return
    with manifest.local_disk(job.run):
        table = manifest.TableFile(map_path(job.run, slug), SCHEMA)
        try:
            for todo in todos:
                for mine, theirs in _matched(todo):
                    table.add((mine.key, mine.marker, mine.version, theirs.version))
                yield todo
        except BaseException:
            table.drop()
            raise
        table.close()


def _matched(todo: Todo) -> Iterable[tuple[Entry, Entry]]:
    pair = todo.pair
    if any(row.work == "refresh" for _, row in todo.rows):
        return ()  # its null version is about to move: the places are only known afterwards
    if todo.note == "longer":
        rest = iter(pair.target)
        same = (
            next(have for have in rest if have.etag == want.etag and have.marker == want.marker) for want in pair.source
        )
        return zip(pair.source, same, strict=True)
    return list(zip(pair.source, pair.target, strict=False))[: todo.equal]
