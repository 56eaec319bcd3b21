"""The digest script: typed, independent of order, exact about losses. Run as it runs on other machines."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.database import digest, sqlite
from toolkit.database.digest import Contents
from toolkit.database.sqlite_digest import table_digest
from toolkit.errors import Refused

VALUES = [None, 1, 1.0, "1", b"1", 0, "", b"", -1, 2**62, 1e300, "é", "e\u0301", b"\xff", "n", "a\0b", 0.1, True]


def look(path: Path, *, limit: int = 1000, only: tuple[str, ...] = ()) -> Contents:
    argv = [sys.executable, "-", str(path), str(limit), *only]
    done = subprocess.run(argv, input=sqlite.script("sqlite_digest.py").encode(), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return digest.parse(done.stdout)


def make(path: Path, rows: list[Any], *, create: str = "CREATE TABLE t (v)") -> Path:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as db:
        db.execute(create)
        db.executemany("INSERT INTO t VALUES (?)", [(row,) for row in rows])
        db.commit()
    return path


def test_every_type_has_its_own_digest(tmp_path: Path) -> None:
    seen = {}
    for index, value in enumerate(VALUES[:-1]):
        seen[look(make(tmp_path / "x.db", [value])).tables["t"].digest] = index
    assert len(seen) == len(VALUES) - 1


def test_order_does_not_matter_and_number_does(tmp_path: Path) -> None:
    one = look(make(tmp_path / "a.db", [1, "b", None]))
    assert one.equals(look(make(tmp_path / "b.db", [None, 1, "b"])))
    assert not one.equals(look(make(tmp_path / "c.db", [None, 1, "b", "b"])))
    assert not one.equals(look(make(tmp_path / "d.db", [None, 1])))
    assert not one.equals(look(make(tmp_path / "e.db", [1, "b", None], create="CREATE TABLE t (w)")))


def test_text_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", [])
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO t VALUES (CAST(x'ff00fe' AS TEXT))")
        db.commit()
    assert look(path).tables["t"].rows == 1
    assert not look(path).equals(look(make(tmp_path / "b.db", [b"\xff\x00\xfe"])))


def test_odd_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute('CREATE TABLE "a""; DROP TABLE x; --" ("c""c" TEXT, g AS (length("c""c")))')
        db.execute("CREATE TABLE keyed (k TEXT PRIMARY KEY, v) WITHOUT ROWID")
        db.execute("CREATE VIEW shown AS SELECT 1")
        db.execute('INSERT INTO "a""; DROP TABLE x; --" VALUES (\'v\')')
        db.execute("INSERT INTO keyed VALUES ('k', 1)")
        db.commit()
    found = look(path).tables
    assert sorted(found) == ['a"; DROP TABLE x; --', "keyed"]
    assert found["keyed"].rows == 1
    assert sorted(look(path, only=("keyed", "absent")).tables) == ["keyed"]


def test_absent_and_damaged_files(tmp_path: Path) -> None:
    script = sqlite.script("sqlite_digest.py").encode()
    argv = [sys.executable, "-", str(tmp_path / "none.db"), "1"]
    assert subprocess.run(argv, input=script, capture_output=True, timeout=60).returncode == 3
    assert not (tmp_path / "none.db").exists()  # looking creates nothing
    (tmp_path / "bad.db").write_bytes(b"not a database at all, not even nearly" * 100)
    argv[2] = str(tmp_path / "bad.db")
    assert subprocess.run(argv, input=script, capture_output=True, timeout=60).returncode not in (0, 3)


def test_looking_changes_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", VALUES)
    before = path.read_bytes()
    look(path)
    assert path.read_bytes() == before


def test_one_lost_row_is_one_lost_row(tmp_path: Path) -> None:
    source = look(make(tmp_path / "a.db", list(range(300))))
    target = look(make(tmp_path / "b.db", [n for n in range(300) if n != 77]))
    [found] = digest.compare(source, target)
    assert (found.table, found.lost, found.extra, found.exact) == ("t", 1, 0, True)
    assert (found.source_rows, found.target_rows) == (300, 299)


def test_a_changed_row_is_lost_and_another_is_there(tmp_path: Path) -> None:
    source = look(make(tmp_path / "a.db", ["a", "b", "b"]))
    [found] = digest.compare(source, look(make(tmp_path / "b.db", ["a", "b", "B"])))
    assert (found.lost, found.extra) == (1, 1)


def test_beyond_the_limit_losses_are_bounded_by_buckets(tmp_path: Path) -> None:
    source = look(make(tmp_path / "a.db", list(range(2000))), limit=10)
    target = look(make(tmp_path / "b.db", list(range(1, 2000))), limit=10)
    assert source.tables["t"].hashes is None
    [found] = digest.compare(source, target)
    assert not found.exact
    assert 1 <= found.lost <= 40


def test_missing_and_additional_tables(tmp_path: Path) -> None:
    source = look(make(tmp_path / "a.db", [1, 2]))
    with closing(sqlite3.connect(tmp_path / "b.db")) as db:
        db.execute("CREATE TABLE other (v)")
        db.execute("INSERT INTO other VALUES (1)")
        db.commit()
    found = {d.table: (d.lost, d.extra) for d in digest.compare(source, look(tmp_path / "b.db"))}
    assert found == {"t": (2, 0), "other": (0, 1)}


def test_contents_survive_storage(tmp_path: Path) -> None:
    for limit in (0, 1000):
        found = look(make(tmp_path / "a.db", VALUES), limit=limit)
        assert digest.parse(digest.dump(found)) == found


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"tables": {"t": {}}}', b"\xff", b'{"tables": 1}'])
def test_unreadable_answers_are_refused(answer: bytes) -> None:
    with pytest.raises(Refused):
        digest.parse(answer)


rows = st.lists(
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(), st.binary()),
    max_size=6,
)


def digest_of(values: list[Any]) -> Any:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (v)")
        db.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
        db.text_factory = lambda data: (data,)
        return table_digest(db, "t", keep=False)


@settings(max_examples=100, deadline=None)
@given(rows, rows)
def test_equal_exactly_when_the_rows_are(one: list[Any], other: list[Any]) -> None:
    def usable(values: list[Any]) -> list[Any]:
        return [v for v in values if not isinstance(v, str) or v.isprintable()]

    def typed(values: list[Any]) -> list[str]:
        return sorted(f"{type(v).__name__}:{v!r}" for v in values)

    one, other = usable(one), usable(other)
    assert (digest_of(one) == digest_of(other)) == (typed(one) == typed(other))
