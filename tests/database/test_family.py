"""The database family: every row moves, one lost row is found, and the new side is never overwritten."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from toolkit.database import record, sqlite
from toolkit.database.family import DatabaseFamily
from toolkit.errors import ApplyError, Conflict, JournalError
from toolkit.families import OldSide
from toolkit.model import Finding, NotSeen, Resource, Tally

from .conftest import World, apply, cut, database, plan

DUMP = sqlite.script("sqlite_backup.py").replace("sys.argv[1]", "'agora.db'")
RESTORE = ["python3", "-c", sqlite.script("sqlite_restore.py"), "agora.db"]
FREEZE = {"freeze": ["touch", "frozen"], "thaw": ["rm", "-f", "frozen"]}


def results(family: DatabaseFamily, want: Resource) -> tuple[list[Finding], Tally]:
    found = list(family.verify({want.address: want}, "list"))
    [tally] = [item for item in found if isinstance(item, Tally)]
    return [item for item in found if isinstance(item, Finding)], tally


def test_moves_every_row(world: World, family: DatabaseFamily) -> None:
    want = database()
    changes = plan(family, want)
    assert [(c.action, c.data, c.figures) for c in changes] == [("copy", True, {"rows": 597})]
    assert "build:create:compute/server/web-1" in changes[0].needs
    apply(family, changes)
    for table in ("users", "posts", "follows", '"odd "" name"'):
        assert world.rows("source", table) == world.rows("target", table)
    assert results(family, want) == ([], Tally(want.address, 597, 597))
    assert plan(family, want) == []


def test_one_lost_row_fails(world: World, family: DatabaseFamily) -> None:
    want = database()
    apply(family, plan(family, want))
    world.execute("target", "DELETE FROM posts WHERE id = 250")
    [finding], tally = results(family, want)
    assert (finding.severity, finding.feature, finding.evidence["lost"]) == ("error", "table/posts", 1)
    assert "500 rows at the source, 499 at the target" in finding.text
    assert (tally.total, tally.verified) == (597, 596)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE users SET bio = 'x' WHERE id = 3",
        "UPDATE users SET reach = 2 WHERE id = 3",
        "INSERT INTO posts (author, text) VALUES (1, 'one more')",
        "DROP TABLE follows",
        "UPDATE users SET salt = CAST(salt AS TEXT) WHERE id = 7",
        "ALTER TABLE posts ADD COLUMN more",
    ],
)
def test_every_kind_of_difference_is_an_error_before_the_cut_over(
    world: World, family: DatabaseFamily, statement: str
) -> None:
    want = database()
    apply(family, plan(family, want))
    world.execute("target", statement)
    findings, _ = results(family, want)
    assert [finding.severity for finding in findings] == ["error"]


def test_not_there_yet(world: World, family: DatabaseFamily) -> None:
    want = database()
    [finding], tally = results(family, want)
    assert (finding.verdict, tally.total, tally.verified) == ("missing", 597, 0)
    world.gone.add("target")
    assert len(plan(family, want)) == 1
    [finding], tally = results(family, want)
    assert (finding.verdict, tally.verified) == ("missing", 0)


def test_a_listed_table_that_nobody_has_is_found(world: World, family: DatabaseFamily) -> None:
    want = database(tables=["users", "posts", "sessions"])
    apply(family, plan(family, want))
    findings, tally = results(family, want)
    assert [finding.feature for finding in findings] == ["table/sessions"]
    assert tally.total == 550


def test_freeze_and_thaw(world: World, family: DatabaseFamily) -> None:
    want = database(**FREEZE)
    freeze, copy = cut(family, want)
    assert (freeze.address, freeze.phase) == ("database/freeze/main", "traffic")
    assert copy.needs == (freeze.id,)
    apply(family, [freeze])
    assert (world.root / "source" / "frozen").exists()
    family.do(freeze, None)
    family.undo(freeze, purge=False)
    family.undo(freeze, purge=False)
    assert not (world.root / "source" / "frozen").exists()
    assert family.observe(freeze) == "before"
    assert [side for side, argv in world.log if argv[0] in ("touch", "rm")] == ["source"] * 4


def test_the_last_copy_takes_what_came_since_the_first(world: World, family: DatabaseFamily) -> None:
    want = database(**FREEZE)
    apply(family, plan(family, want))
    world.execute("source", rows=[(1, "written after the first copy")])
    apply(family, cut(family, want))
    assert results(family, want) == ([], Tally(want.address, 598, 598))


def test_a_later_build_pass_takes_the_difference(world: World, family: DatabaseFamily) -> None:
    want = database()
    apply(family, plan(family, want))
    world.execute("source", rows=[(1, "later")])
    again = plan(family, want)
    assert len(again) == 1
    apply(family, again)
    assert results(family, want)[1] == Tally(want.address, 598, 598)


def test_the_source_may_be_written_to_during_the_first_copy_only(world: World, family: DatabaseFamily) -> None:
    busy = (
        "import sqlite3,sys,runpy;d=sqlite3.connect('agora.db');"
        "d.execute(\"insert into posts (author,text) values (1,'busy')\");d.commit();"
        "sys.stdout.buffer.write(open('agora.db','rb').read())"
    )
    want = database(dump=["python3", "-c", busy], restore=RESTORE)
    world.execute("source", "PRAGMA journal_mode = DELETE")
    changes = plan(family, want)
    family.do(changes[0], None)
    assert family.observe(changes[0]) == "after"
    [_, last] = cut(family, database(**{**dict(want.body), **FREEZE}))
    with pytest.raises(ApplyError, match="after the freeze"):
        family.do(last, None)


def test_a_restore_that_loses_a_row_is_an_error(world: World, family: DatabaseFamily) -> None:
    lossy = sqlite.script("sqlite_restore.py").replace(
        "sys.exit(remove(",
        "main(sys.argv[1]);d=sqlite3.connect(sys.argv[1]);"
        "d.execute('delete from posts where id=1');d.commit();sys.exit(0);((",
    )
    want = database(restore=["python3", "-c", lossy, "agora.db"], dump=["python3", "-c", DUMP])
    [change] = plan(family, want)
    with pytest.raises(ApplyError, match="posts: 500 rows at the source, 499 at the target"):
        family.do(change, None)
    assert family.observe(change) == "before"  # begun and not finished: the next apply copies again


def test_the_sites_own_commands(world: World, family: DatabaseFamily) -> None:
    want = database(dump=["python3", "-c", DUMP], restore=RESTORE)
    apply(family, plan(family, want))
    assert results(family, want)[1] == Tally(want.address, 597, 597)
    bad = database(dump=["sh", "-c", "echo 'disk is full' >&2; exit 9"], restore=["true"])
    with pytest.raises(ApplyError, match="disk is full"):
        family.do(cut(family, bad)[0], None)


def test_a_damaged_dump_changes_nothing_at_the_target(world: World, family: DatabaseFamily) -> None:
    world.execute("target", "CREATE TABLE keep (v)", "INSERT INTO keep VALUES (1)")
    before = world.path("target").read_bytes()
    with pytest.raises(ApplyError, match="not a sound database"):
        sqlite.put(world.run_at, database(), b"SQLite format 3\0" + b"\xff" * 9000)
    assert world.path("target").read_bytes() == before
    assert [path.name for path in (world.root / "target").iterdir()] == ["agora.db"]


def test_restore_goes_into_a_file_that_is_open(world: World, family: DatabaseFamily) -> None:
    """The app at the target runs already and has the database open: it sees the new rows."""
    with closing(sqlite3.connect(world.path("target"))) as app:
        app.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
        app.commit()
        apply(family, plan(family, database()))
        assert app.execute("SELECT count(*) FROM posts").fetchone() == (500,)


def test_somebody_elses_rows_are_never_overwritten(world: World, family: DatabaseFamily) -> None:
    world.execute("target", "CREATE TABLE users (id)", "INSERT INTO users VALUES (1)")
    [planned] = plan(family, database())
    assert family.observe(planned) == "before"  # it stood there when the plan was made, and was shown
    world.execute("target", "INSERT INTO users VALUES (2)")
    assert family.observe(planned) == "other"


def test_the_living_new_side_is_never_overwritten(world: World, family: DatabaseFamily) -> None:
    want = database(**FREEZE)
    first = plan(family, want)
    apply(family, first)
    final = cut(family, want)
    apply(family, final)
    world.execute("target", rows=[(2, "a post on the new side")])
    assert plan(family, want) == []
    assert [family.observe(change) for change in final] == ["after", "after"]
    findings, tally = results(family, want)
    assert [(f.verdict, f.severity) for f in findings] == [("extra", "info")]
    assert tally.verified == tally.total


def test_after_the_cut_off_the_record_is_the_measure(world: World, family: DatabaseFamily, tmp_path: Path) -> None:
    want = database(**FREEZE)
    apply(family, plan(family, want))
    apply(family, cut(family, want))
    world.gone.add("source")
    assert results(family, want) == ([], Tally(want.address, 597, 597))
    world.execute("target", "DELETE FROM users WHERE id = 9", rows=[(1, "new")])
    findings, tally = results(family, want)
    lost = next(finding for finding in findings if finding.feature == "table/users")
    assert (lost.severity, lost.evidence["lost"]) == ("error", 1)
    assert "what the source held at the copy of" in lost.evidence["against"]
    assert (tally.total, tally.verified) == (597, 596)
    other = DatabaseFamily(
        source=False, workspace=tmp_path / "run", tick=lambda _: None, run_at=world.run_at, blobs=family._blobs
    )
    assert results(other, want)[1] == tally


def test_nothing_known_and_the_source_gone_is_no_pass(world: World, family: DatabaseFamily) -> None:
    world.gone.add("source")
    findings, tally = results(family, database())
    assert [(f.verdict, f.severity) for f in findings] == [("unreachable", "error")]
    assert tally.total == 0
    read = list(family.read("source", {"database/sqlite/main": database()}))
    assert [type(item) for item in read] == [NotSeen]


def test_interrupted_restore_is_done_again(world: World, family: DatabaseFamily, monkeypatch: Any) -> None:
    want = database()
    [change] = plan(family, want)
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            family.do(change, None)
    assert family.observe(change) == "before"
    apply(family, [change])


def test_interrupted_before_the_record_is_done_again(world: World, family: DatabaseFamily, monkeypatch: Any) -> None:
    want = database()
    [change] = plan(family, want)
    with monkeypatch.context() as patched:
        patched.setattr(family, "_prove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            family.do(change, None)
    assert family.observe(change) == "before"
    apply(family, [change])
    assert results(family, want)[0] == []


def test_undo_keeps_data_and_purge_restores_what_was(world: World, family: DatabaseFamily) -> None:
    want = database()
    [change] = plan(family, want)
    apply(family, [change])
    family.undo(change, purge=False)
    assert results(family, want)[0] == []
    family.undo(change, purge=True)
    assert not list((world.root / "target").iterdir())
    family.undo(change, purge=True)
    world.execute("target", "CREATE TABLE before (v)", "INSERT INTO before VALUES ('prior')")
    [change] = plan(family, want)
    apply(family, [change])
    family.undo(change, purge=True)
    assert world.rows("target", "before") == [("prior",)]
    with closing(sqlite3.connect(world.path("target"))) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'posts'").fetchone() == (0,)


def test_purge_leaves_a_database_that_was_written_to(world: World, family: DatabaseFamily) -> None:
    want = database()
    [change] = plan(family, want)
    apply(family, [change])
    world.execute("target", rows=[(1, "mine")])
    with pytest.raises(Conflict, match="written to since"):
        family.undo(change, purge=True)
    assert len(world.rows("target", "posts")) == 501


def test_dependence_reads_the_data(world: World, family: DatabaseFamily) -> None:
    want = database()
    apply(family, plan(family, want))
    old = OldSide("aws", ("amazonaws.com",), ("198.51.100.0/24",))
    assert list(family.dependence({want.address: want}, old)) == [Tally(want.address, 1, 1)]
    world.execute("target", rows=[(1, "see https://agora-media.s3.amazonaws.com/a.jpg or 198.51.100.9")])
    finding, tally = family.dependence({want.address: want}, old)
    assert isinstance(finding, Finding)
    assert finding.evidence["traces"] == ["agora-media.s3.amazonaws.com", "198.51.100.9"]
    assert tally == Tally(want.address, 1, 0)
    world.gone.add("target")
    [finding] = family.dependence({want.address: want}, old)
    assert isinstance(finding, Finding)
    assert finding.verdict == "unproven"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"kind-sqlite": "kept", "no-freeze": "degraded"}),
        (FREEZE, {"kind-sqlite": "kept", "freeze": "kept"}),
        ({"kind": "postgresql"}, {"kind-postgresql": "blocked", "no-freeze": "degraded"}),
        ({"kind": "mysql"}, {"kind-mysql": "blocked", "no-freeze": "degraded"}),
        ({**FREEZE, "dump": ["x"]}, {"kind-sqlite": "kept", "freeze": "kept", "half-commands": "blocked"}),
        ({**FREEZE, "path": None}, {"kind-sqlite": "kept", "freeze": "kept", "no-path": "blocked"}),
    ],
)
def test_verdicts(family: DatabaseFamily, changes: dict[str, Any], expected: dict[str, str]) -> None:
    found = family.assess(database(**changes), family.probe("target"))
    assert {verdict.feature: verdict.outcome for verdict in found} == expected


def test_a_damaged_record_is_a_clear_error(world: World, family: DatabaseFamily, tmp_path: Path) -> None:
    apply(family, plan(family, database()))
    path = record.path(tmp_path / "run", "database/sqlite/main")
    path.write_text("{")
    with pytest.raises(JournalError):
        results(family, database())


def test_a_source_without_the_file_is_an_error(world: World, family: DatabaseFamily) -> None:
    want = database(path="nowhere.db")
    [change] = plan(family, want)
    with pytest.raises(ApplyError, match=r"nowhere\.db"):
        family.do(change, None)
