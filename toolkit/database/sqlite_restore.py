"""Replace the contents of an SQLite file by the copy on standard input; standard library only.

``python3 -c SCRIPT PATH < copy``. The copy is written aside and checked before anything is touched. A file
that exists is replaced through SQLite's backup, in one transaction, so that readers see the old or the new;
one that does not is renamed into place. ``python3 -c SCRIPT PATH --absent`` removes the file instead.
"""

# ruff: noqa: PTH100, PTH105, PTH108, PTH110, PTH116, PTH120
import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile


def remove(path: str) -> int:
    for name in (path, path + "-wal", path + "-shm", path + "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    return 0


def owned_like(path: str, folder: str) -> None:
    """Give what root writes to whoever owns the folder: the service reads it."""
    if os.geteuid() == 0:
        status = os.stat(folder)
        os.chown(path, status.st_uid, status.st_gid)


def main(path: str) -> int:
    folder = os.path.dirname(os.path.abspath(path))
    handle, aside = tempfile.mkstemp(dir=folder, prefix=".restore-")
    try:
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.closing(sqlite3.connect(aside)) as new:
            try:
                sound = new.execute("PRAGMA integrity_check").fetchone()[0]
            except sqlite3.DatabaseError as exc:
                sound = str(exc)
            if sound != "ok":
                sys.exit(f"this is not a sound database ({sound}); nothing was changed")
            if os.path.exists(path):
                with contextlib.closing(sqlite3.connect(path, timeout=60)) as db:
                    new.backup(db)
                return 0
        owned_like(aside, folder)
        os.replace(aside, path)
        where = os.open(folder, os.O_RDONLY)
        os.fsync(where)
        os.close(where)
        return 0
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)


if __name__ == "__main__":
    sys.exit(remove(sys.argv[1]) if sys.argv[2:] == ["--absent"] else main(sys.argv[1]))
