"""The journal: what this run intended and what became of it. SQLite, durable before every action.

Enters: changes, outputs, shard progress. Leaves: steps in order, outputs, leases, a hash-chained
event log. Raises ``JournalError`` when the file is corrupt, newer than this program, on a network
file system, or locked.

The journal never decides what the world looks like: stages observe first. It only remembers which
changes are ours (an intention was written before the action), so that rollback touches nothing else.

Format: docs/journal-format.md.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from toolkit.errors import JournalError
from toolkit.model import Change, Json, canonical, sha256_hex

SCHEMA = 1
GENESIS = "0" * 64
StepState = Literal["intended", "done", "present", "conflict", "failed", "undone"]

_TABLES = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events(
  seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
  prev TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS steps(
  ordinal INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, phase TEXT NOT NULL, state TEXT NOT NULL,
  change TEXT NOT NULL, outputs TEXT NOT NULL DEFAULT '{}', updated TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS steps_by_id ON steps(id);
CREATE TABLE IF NOT EXISTS leases(
  change TEXT NOT NULL, shard TEXT NOT NULL, manifest TEXT NOT NULL, start INTEGER NOT NULL,
  stop INTEGER NOT NULL, figures TEXT NOT NULL, state TEXT NOT NULL, owner TEXT, epoch INTEGER NOT NULL,
  expires REAL NOT NULL, cursor INTEGER NOT NULL, done INTEGER NOT NULL, size INTEGER NOT NULL,
  PRIMARY KEY(change, shard));
CREATE TABLE IF NOT EXISTS exceptions(
  change TEXT NOT NULL, shard TEXT NOT NULL, finding TEXT NOT NULL);
"""

_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p"})


@dataclass(frozen=True, slots=True)
class Step:
    """One change as the journal knows it. ``ours``: we wrote an intention before it happened."""

    id: str
    ordinal: int
    state: StepState
    change: Change
    outputs: Mapping[str, Json]

    @property
    def ours(self) -> bool:
        return self.state in ("intended", "done", "failed")


class Journal:
    """An open journal. Use as a context manager; every write is one durable transaction."""

    def __init__(self, path: Path) -> None:
        _refuse_network_file_system(path.parent)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._prepare()
        except sqlite3.DatabaseError as exc:
            raise JournalError(
                f"the journal {path} cannot be read: {exc}",
                "keep the file and start a new run folder with --run: apply looks at the target first",
            ) from exc
        path.chmod(0o600)
        self.path = path

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def _prepare(self) -> None:
        self._db.executescript(_TABLES)
        found = self._db.execute("SELECT value FROM meta WHERE key='schema'").fetchone()
        if found is None:
            self._db.execute("INSERT OR IGNORE INTO meta VALUES('schema', ?)", (str(SCHEMA),))
        elif int(found[0]) > SCHEMA:
            raise JournalError(
                f"the journal was written by a newer rehost (format {found[0]}, this one knows {SCHEMA})",
                "use the newer rehost for this run",
            )
        broken = self.broken_link()
        wrong = f"event chain is broken at event {broken}" if broken is not None else self.broken_step()
        if wrong:
            raise JournalError(
                f"the journal's {wrong}: it was edited or damaged",
                "keep the file as evidence and start a new run folder with --run",
            )

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One ``BEGIN IMMEDIATE`` transaction: a later upgrade from read to write would fail at once in WAL."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as exc:
            raise JournalError(f"the journal is busy: {exc}", "another rehost works in this run folder") from exc
        try:
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as exc:
            self._give_up()
            raise JournalError(f"the journal cannot be written: {exc}", "free some disk space and run again") from exc
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Roll back, unless SQLite did so by itself (it does when the disk is full)."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def rows(self, sql: str, *args: Json) -> list[tuple[Json, ...]]:
        """Read: all rows of a query."""
        return self._db.execute(sql, args).fetchall()

    # -- events: a hash chain over everything that happened

    def event(self, kind: str, body: Mapping[str, Json]) -> None:
        """Append one event to the chain."""
        with self.write() as db:
            _append(db, kind, body)

    @property
    def head(self) -> str:
        """Hash of the last event, the fingerprint of the whole journal."""
        rows = self.rows("SELECT hash FROM events ORDER BY seq DESC LIMIT 1")
        return str(rows[0][0]) if rows else GENESIS

    def events(self) -> list[tuple[str, str, Json]]:
        """All events as (time, kind, body), oldest first."""
        rows = self.rows("SELECT at, kind, body FROM events ORDER BY seq")
        return [(at, kind, json.loads(body)) for at, kind, body in rows]

    def broken_link(self) -> int | None:
        """Return the number of the first event whose hash does not follow from the one before, if any."""
        prev = GENESIS
        for seq, at, kind, body, before, digest in self.rows(
            "SELECT seq, at, kind, body, prev, hash FROM events ORDER BY seq"
        ):
            if before != prev or digest != _link(prev, at, kind, body):
                return int(seq)
            prev = digest
        return None

    def broken_step(self) -> str:
        """Return what is wrong with the first step that is not as its last event says, or an empty string."""
        chained: dict[int, Json] = {}
        for _, kind, body in self.events():
            if kind.startswith("step."):
                chained[int(body["ordinal"])] = {**body, "state": kind.removeprefix("step.")}
        found = self.rows("SELECT ordinal, id, state, change, outputs FROM steps ORDER BY ordinal")
        for ordinal, name, at, change, outputs in found:
            if chained.pop(int(ordinal), None) != {**_digests(ordinal, name, change, outputs), "state": at}:
                return f"step {ordinal} ({name}) is not as its event says"
        return f"step {min(chained)} is missing" if chained else ""

    # -- steps: one row an intention, so that rollback can undo each in turn

    def intend(self, change: Change) -> None:
        """Record durably that we are about to make ``change``; resuming the same one adds no row."""
        last = self.step(change.id)
        if last and last.state in ("intended", "failed") and last.change == change:
            self._update(last, "intended", {})
        else:
            self._insert(change, "intended", {})

    def settle(self, change: Change, state: StepState, outputs: Mapping[str, Json] | None = None) -> None:
        """Record what became of ``change``."""
        last = self.step(change.id)
        if last is None or (state == "present" and last.state != "present"):
            self._insert(change, state, outputs or {})
        else:
            self._update(last, state, outputs or last.outputs)

    def undone(self, step: Step) -> None:
        """Record that one step was taken back."""
        self._update(step, "undone", step.outputs)

    def _insert(self, change: Change, new: StepState, outputs: Mapping[str, Json]) -> None:
        text, given = canonical(change.to_json()).decode(), canonical(dict(outputs)).decode()
        with self.write() as db:
            row = db.execute(
                "INSERT INTO steps(id, phase, state, change, outputs, updated) VALUES(?, ?, ?, ?, ?, ?)"
                " RETURNING ordinal",
                (change.id, change.phase, new, text, given, _now()),
            ).fetchone()
            _append(db, f"step.{new}", _digests(row[0], change.id, text, given))

    def _update(self, step: Step, new: StepState, outputs: Mapping[str, Json]) -> None:
        given = canonical(dict(outputs)).decode()
        with self.write() as db:
            row = db.execute(
                "UPDATE steps SET state=?, outputs=?, updated=? WHERE ordinal=? RETURNING change",
                (new, given, _now(), step.ordinal),
            ).fetchone()
            _append(db, f"step.{new}", _digests(step.ordinal, step.id, row[0], given))

    def step(self, change_id: str) -> Step | None:
        """The latest step of one change, or None if this run never touched it."""
        rows = self.rows(
            "SELECT id, ordinal, state, change, outputs FROM steps WHERE id=? ORDER BY ordinal DESC LIMIT 1", change_id
        )
        return _as_step(rows[0]) if rows else None

    def steps(self) -> list[Step]:
        """All steps, oldest first."""
        return [
            _as_step(row) for row in self.rows("SELECT id, ordinal, state, change, outputs FROM steps ORDER BY ordinal")
        ]

    def outputs(self) -> dict[str, Mapping[str, Json]]:
        """What finished changes gave back, by address."""
        found: dict[str, Mapping[str, Json]] = {}
        for step in self.steps():
            if step.state in ("done", "present") and step.outputs:
                found[step.change.address] = {**found.get(step.change.address, {}), **step.outputs}
        return found


def _append(db: sqlite3.Connection, kind: str, body: Mapping[str, Json]) -> None:
    row = db.execute("SELECT hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    prev = row[0] if row else GENESIS
    at, text = _now(), canonical(dict(body)).decode()
    db.execute(
        "INSERT INTO events(at, kind, body, prev, hash) VALUES(?, ?, ?, ?, ?)",
        (at, kind, text, prev, _link(prev, at, kind, text)),
    )


def _digests(ordinal: int, name: str, change: str, outputs: str) -> dict[str, Json]:
    """The body of a step's event: with it the whole row stands in the chain."""
    return {
        "ordinal": ordinal,
        "id": name,
        "change": sha256_hex(change.encode()),
        "outputs": sha256_hex(outputs.encode()),
    }


def _link(prev: str, at: str, kind: str, body: str) -> str:
    return sha256_hex(canonical([prev, at, kind, body]))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _as_step(row: tuple[Json, ...]) -> Step:
    change = Change.from_json(json.loads(row[3]))
    return Step(row[0], row[1], row[2], change, json.loads(row[4]))


def _refuse_network_file_system(folder: Path) -> None:
    """SQLite's locks are not to be trusted over NFS and SMB, so a run folder must be local."""
    best, kind = "", ""
    for line in Path("/proc/mounts").read_text().splitlines() if Path("/proc/mounts").exists() else []:
        _, point, file_system, *_ = line.split(" ")
        if str(folder.resolve()).startswith(point.rstrip("/") + "/") and len(point) > len(best):
            best, kind = point, file_system
    if kind in _NETWORK_FILE_SYSTEMS:
        raise JournalError(f"the run folder {folder} lies on {kind}", "choose a local folder with --run")
