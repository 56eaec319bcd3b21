"""The database of agora: one SQLite file, a connection per request, and what is done to it on the machine."""

import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager

from agora_http import Problem, env

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
  id INTEGER PRIMARY KEY, login TEXT NOT NULL UNIQUE, name TEXT NOT NULL, bio TEXT, avatar TEXT,
  phone TEXT NOT NULL, joined INTEGER NOT NULL, reach REAL NOT NULL DEFAULT 0, device INTEGER,
  salt BLOB NOT NULL, password BLOB NOT NULL, cost INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS media (
  key TEXT PRIMARY KEY, owner INTEGER NOT NULL REFERENCES users, type TEXT NOT NULL, size INTEGER NOT NULL,
  sha256 TEXT NOT NULL, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS posts (
  id INTEGER PRIMARY KEY AUTOINCREMENT, author INTEGER NOT NULL REFERENCES users, created INTEGER NOT NULL,
  text TEXT NOT NULL, media TEXT REFERENCES media, reply_to INTEGER REFERENCES posts);
CREATE INDEX IF NOT EXISTS posts_by_author ON posts (author, id);
CREATE TABLE IF NOT EXISTS follows (
  follower INTEGER NOT NULL REFERENCES users, followed INTEGER NOT NULL REFERENCES users,
  PRIMARY KEY (follower, followed)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS signups (
  login TEXT PRIMARY KEY, phone TEXT NOT NULL, salt BLOB NOT NULL, password BLOB NOT NULL, cost INTEGER NOT NULL,
  code TEXT NOT NULL, created INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0);
"""
TABLES = ("users", "media", "posts", "follows", "signups")
COST = 1024  # scrypt N: modest, for small and emulated machines; stored with each password, so it can grow


def db_path() -> str:
    return env("AGORA_DB", "agora.db")


def connect(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    return db


def frozen() -> bool:
    return os.path.exists(db_path() + ".frozen")


def check_thawed() -> None:
    if frozen():
        raise Problem(503, "read-only: agora is moving, please try again later", Retry_After="120")


@contextmanager
def writing() -> Iterator[sqlite3.Connection]:
    """Hold the write lock from the look at the freeze flag to the commit: freeze waits for this lock."""
    with closing(connect(db_path())) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            check_thawed()
            yield db
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def ask(sql: str, *values: object) -> list[sqlite3.Row]:
    with closing(connect(db_path())) as db:
        return db.execute(sql, values).fetchall()


def hash_password(password: str, salt: bytes, cost: int = COST) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=8, p=1, dklen=32)


def one(sql: str, *values: object) -> sqlite3.Row:
    rows = ask(sql, *values)
    if not rows:
        raise Problem(404, "not found")
    return rows[0]


# --- on the machine ---


def prepare() -> None:
    with closing(connect(db_path())) as db:
        db.executescript(SCHEMA)


def existing() -> str:
    if not os.path.exists(db_path()):
        sys.exit(f"agora: there is no database {db_path()}")
    return db_path()


def dump() -> None:
    with tempfile.NamedTemporaryFile() as file:
        with closing(connect(existing())) as db, closing(sqlite3.connect(file.name)) as copy:
            db.backup(copy)
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def restore() -> None:
    """Check what came in, then replace everything in one transaction: readers see the old or the new, never both."""
    with tempfile.NamedTemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        with closing(sqlite3.connect(file.name)) as new, closing(connect(db_path())) as db:
            try:
                sound = new.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                have = {name for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            except sqlite3.DatabaseError:
                sound = False
            if not sound or not have.issuperset(TABLES):
                sys.exit("agora: this is not a sound agora database; nothing was changed")
            new.backup(db)
    if os.geteuid() == 0:  # what root restores stays the service's own
        folder = os.stat(os.path.dirname(os.path.abspath(db_path())))
        os.chown(db_path(), folder.st_uid, folder.st_gid)


def freeze() -> None:
    with open(existing() + ".frozen", "w", encoding="utf-8") as file:
        os.fsync(file.fileno())
    with closing(connect(db_path())) as db:  # whoever writes now has the lock; nobody does once we had it
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")


def thaw() -> None:
    if frozen():
        os.unlink(db_path() + ".frozen")
