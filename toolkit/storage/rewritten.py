"""What was rewritten at the target: durable before each write, looked up by key, never held in memory.

One SQLite file a bucket, ``result/rewrite-<slug>.db``: what stood there before (its ETag, version, and where the
bytes lie if the bucket keeps none), and what we put there. The comparison of listings asks it too: an object that we
rewrote is still the copy of its source. Raises ``JournalError`` when the file cannot be used.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import JournalError
from toolkit.storage.model import Written

_TABLE = """CREATE TABLE IF NOT EXISTS rewritten(
  key BLOB PRIMARY KEY, source_etag TEXT NOT NULL, before_etag TEXT NOT NULL, before_version TEXT NOT NULL,
  blob TEXT NOT NULL, headers TEXT NOT NULL, after_etag TEXT NOT NULL, size INTEGER NOT NULL)"""
_PORTION = 500
#: Stands where the ledger has the version of the source.
REWRITTEN = "rehost:rewritten"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One object: the source's ETag it is a copy of, what stood there, and what stands there once it is written.

    ``blob`` names the old bytes where the bucket keeps no versions; ``headers`` are those of the old object.
    """

    key: bytes
    source_etag: str
    before_etag: str
    before_version: str
    blob: str
    headers: Mapping[str, str]
    after_etag: str
    size: int


class Rewritten:
    """The record of one bucket. Opening it for looking makes no file."""

    def __init__(self, run: Path, slug: str) -> None:
        self._path = run / "result" / f"rewrite-{slug}.db"

    @property
    def empty(self) -> bool:
        """Say whether nothing was ever rewritten here."""
        return not self._path.exists()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=30)) as db:
                db.execute("PRAGMA synchronous=FULL")
                db.execute(_TABLE)
                yield db
        except sqlite3.Error as exc:
            text = f"the record of rewritten objects {self._path} cannot be used: {exc}"
            raise JournalError(text, "free some disk space and run again; keep the file") from exc

    def intend(self, items: Iterable[Rewrite]) -> None:
        """Remember durably what is about to be written. What first stood there stays remembered."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            for item in items:
                had = db.execute("SELECT after_etag FROM rewritten WHERE key=?", (item.key,)).fetchone()
                text = json.dumps(dict(item.headers))
                if had and had[0] == item.before_etag:  # rewritten once more: the first state is what undo restores
                    db.execute(
                        "UPDATE rewritten SET after_etag=?, size=? WHERE key=?", (item.after_etag, item.size, item.key)
                    )
                else:
                    row = (item.key, item.source_etag, item.before_etag, item.before_version, item.blob, text)
                    db.execute(
                        "INSERT OR REPLACE INTO rewritten VALUES(?,?,?,?,?,?,?,?)", (*row, item.after_etag, item.size)
                    )
            db.execute("COMMIT")
        self._path.chmod(0o600)

    def all(self) -> Iterator[Rewrite]:
        """Yield everything in key order, a portion at a time."""
        last = b""
        while not self.empty:
            with self._open() as db:
                rows = db.execute(
                    "SELECT * FROM rewritten WHERE key > ? ORDER BY key LIMIT ?", (last, _PORTION)
                ).fetchall()
            for row in rows:
                yield _rewrite(row)
            if len(rows) < _PORTION:
                return
            last = rows[-1][0]

    def forget(self, keys: Iterable[bytes]) -> None:
        """Drop what was taken back."""
        with self._open() as db:
            db.executemany("DELETE FROM rewritten WHERE key=?", [(key,) for key in keys])

    def written(self, keys: Collection[bytes]) -> dict[bytes, Written]:
        """Return what we rewrote among ``keys``, in the words of the ledger."""
        if self.empty:
            return {}
        with self._open() as db:
            found = (db.execute("SELECT * FROM rewritten WHERE key=?", (key,)).fetchone() for key in keys)
            items = [_rewrite(row) for row in found if row]
        return {i.key: Written(i.key, REWRITTEN, i.source_etag, "", i.after_etag, i.size, False) for i in items}


def _rewrite(row: tuple[object, ...]) -> Rewrite:
    key, source, before, version, blob, headers, after, size = row
    return Rewrite(
        bytes(key),  # type: ignore[call-overload]
        str(source),
        str(before),
        str(version),
        str(blob),
        json.loads(str(headers)),
        str(after),
        int(str(size)),
    )
