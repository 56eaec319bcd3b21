"""Write a consistent copy of an SQLite file to standard output, while others use it; standard library only.

``python3 - PATH < sqlite_backup.py``. Exit code 3: there is no such file.
"""

# ruff: noqa: PTH110
import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile

ABSENT = 3


def main(path: str) -> int:
    if not os.path.exists(path):
        return ABSENT
    with tempfile.NamedTemporaryFile() as file:
        with (
            contextlib.closing(sqlite3.connect(path, timeout=60)) as db,
            contextlib.closing(sqlite3.connect(file.name)) as copy,
        ):
            db.backup(copy)
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
