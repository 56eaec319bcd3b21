"""Two machines for the database tests: folders, and commands that really run in them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from toolkit.blobs import Blobs
from toolkit.commands import Completed
from toolkit.database.family import DatabaseFamily
from toolkit.errors import Unreachable
from toolkit.model import Change, Resource

SCHEMA = """
CREATE TABLE users (id INTEGER PRIMARY KEY, login TEXT NOT NULL UNIQUE, bio TEXT, salt BLOB, reach REAL);
CREATE TABLE posts (id INTEGER PRIMARY KEY AUTOINCREMENT, author INTEGER, text TEXT);
CREATE TABLE follows (a INTEGER, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE "odd "" name" ("the ""value" ANY);
"""


@dataclass
class World:
    """Source and target machine; either may be gone."""

    root: Path
    gone: set[str] = field(default_factory=set)
    log: list[tuple[str, list[str]]] = field(default_factory=list)

    def run_at(self, side: Any, server: str, argv: list[str], stdin: bytes, timeout: float) -> Completed:
        if side in self.gone:
            raise Unreachable(f"{server} at the {side} does not answer", "start it")
        self.log.append((side, argv))
        head = sys.executable if argv[0] == "python3" else argv[0]
        folder = self.root / side
        done = subprocess.run([head, *argv[1:]], cwd=folder, input=stdin, capture_output=True, timeout=timeout)
        return Completed(done.returncode, done.stdout, done.stderr)

    def path(self, side: str) -> Path:
        return self.root / side / "agora.db"

    def execute(self, side: str, *statements: str, rows: Iterable[tuple[Any, ...]] = ()) -> None:
        with closing(sqlite3.connect(self.path(side))) as db:
            for statement in statements:
                db.execute(statement)
            for row in rows:
                db.execute("INSERT INTO posts (author, text) VALUES (?, ?)", row)
            db.commit()

    def rows(self, side: str, table: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path(side))) as db:
            return db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The source holds 50 users, 500 posts, and one value of every type."""
    made = World(tmp_path / "machines")
    for side in ("source", "target"):
        (made.root / side).mkdir(parents=True)
    with closing(sqlite3.connect(made.path("source"))) as db:
        db.executescript("PRAGMA journal_mode = WAL;" + SCHEMA)
        db.executemany(
            "INSERT INTO users VALUES (?, ?, ?, ?, ?)",
            [(n, f"user-{n}", None if n % 2 else "biö", bytes([n, 0, 255]), n / 3) for n in range(1, 51)],
        )
        posts = [(n % 50 + 1, f"post {n}") for n in range(500)]
        db.executemany("INSERT INTO posts (author, text) VALUES (?, ?)", posts)
        db.executemany("INSERT INTO follows VALUES (?, ?)", [(n, n + 1) for n in range(40)])
        db.executemany('INSERT INTO "odd "" name" VALUES (?)', [(None,), (1,), (1.0,), ("1",), (b"1",), ("é",), (b"",)])
        db.commit()
    return made


def database(**changes: Any) -> Resource:
    body = {
        "kind": "sqlite",
        "at": "compute/server/web-1",
        "path": "agora.db",
        "dump": None,
        "restore": None,
        "freeze": None,
        "thaw": None,
        "tables": [],
        **changes,
    }
    return Resource("database/sqlite/main", body)


@pytest.fixture
def family(world: World, tmp_path: Path) -> DatabaseFamily:
    workspace = tmp_path / "run"
    workspace.mkdir()
    blobs = Blobs(workspace / "blobs")
    return DatabaseFamily(source=True, workspace=workspace, tick=lambda _: None, run_at=world.run_at, blobs=blobs)


def plan(family: DatabaseFamily, want: Resource) -> list[Change]:
    desired = {want.address: want}
    existing = {item.address: item for item in family.read("target", desired) if isinstance(item, Resource)}
    return list(family.diff(desired, existing))


def cut(family: DatabaseFamily, want: Resource) -> list[Change]:
    return list(family.cutover("traffic", {want.address: want}))


def apply(family: DatabaseFamily, changes: list[Change]) -> None:
    for change in changes:
        assert family.observe(change) == "before", change.id
        family.do(change, None)
        assert family.observe(change) == "after", change.id
