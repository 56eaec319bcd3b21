"""Digest every table of an SQLite file; run on the machine that holds it, standard library only.

``python3 - PATH LIMIT [TABLE…] < sqlite_digest.py`` prints one JSON object: integrity, and for each
table its columns, row count, an order-independent digest of the typed contents, the same split into 256
buckets, and (up to LIMIT rows in all) the hash of every row, so that one lost row can be counted as one.

The digest is a sum of SHA-256 values modulo 2**256: the order of rows does not matter, their number does.
NULL, integer, real, text and blob are distinguished: 1, 1.0, '1' and x'31' are four different values.
"""

# ruff: noqa: PTH110, S608
# Names are quoted as SQLite quotes them; as few imports as possible, for it starts on any machine.
import base64
import contextlib
import hashlib
import json
import os
import sqlite3
import struct
import sys
from typing import Any

ABSENT = 3


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def encoded(value: Any) -> bytes:
    """Return one value with its type and length before it. Text arrives as a 1-tuple of its bytes."""
    if value is None:
        return b"n"
    if isinstance(value, tuple):
        text: bytes = value[0]
        return b"t%d:" % len(text) + text
    if isinstance(value, bytes):
        return b"b%d:" % len(value) + value
    if isinstance(value, int):
        return b"i%d;" % value
    return b"r" + struct.pack(">d", value)


def table_digest(db: sqlite3.Connection, name: str, keep: bool) -> dict[str, Any]:
    columns = [row[1][0].decode() for row in db.execute(f"PRAGMA table_xinfo({quoted(name)})") if row[6] != 1]
    listed = ", ".join(quoted(column) for column in columns)
    counts, sums = [0] * 256, [0] * 256
    hashes: list[bytes] = []
    for row in db.execute(f"SELECT {listed} FROM {quoted(name)}"):
        digest = hashlib.sha256(b"".join(encoded(value) for value in row)).digest()
        counts[digest[0]] += 1
        sums[digest[0]] += int.from_bytes(digest, "big")
        if keep:
            hashes.append(digest[:16])
    whole = sum(sums) % 2**256
    buckets = {f"{i:02x}": [counts[i], f"{sums[i] % 2**256:064x}"] for i in range(256) if counts[i]}
    result: dict[str, Any] = {"columns": columns, "rows": sum(counts), "digest": f"{whole:064x}", "buckets": buckets}
    if keep:
        result["hashes"] = base64.b64encode(b"".join(sorted(hashes))).decode()
    return result


def main(path: str, limit: int, only: list[str]) -> int:
    if not os.path.exists(path):
        return ABSENT
    with contextlib.closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as db:
        db.text_factory = lambda data: (data,)
        db.execute("PRAGMA query_only = ON")
        db.execute("BEGIN")  # one moment for all tables
        found = db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            " AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        )
        names = [row[0][0].decode() for row in found]
        names = [name for name in names if not only or name in only]
        rows = sum(db.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()[0] for name in names)
        integrity = db.execute("PRAGMA integrity_check").fetchone()[0][0].decode()
        tables = {name: table_digest(db, name, rows <= limit) for name in names}
    json.dump({"integrity": integrity, "tables": tables}, sys.stdout, sort_keys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
