"""What is done on the machine while the web role runs: dump, restore, freeze, thaw."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import PATIENCE, SEED, App, wait_for

TABLES = ("users", "media", "posts", "follows", "signups")
PIXEL = b"\x89PNG\r\n\x1a\n not a real one"


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as db:
        return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}


def test_dump_carries_every_row(web: App, tmp_path: Path) -> None:
    dump = web.tool("dump")
    assert dump.returncode == 0
    (tmp_path / "copy.db").write_bytes(dump.stdout)
    assert rows(tmp_path / "copy.db") == rows(tmp_path / "agora.db")
    assert len(rows(tmp_path / "copy.db")["posts"]) == 500


def test_restore_replaces_everything_under_a_running_app(web: App, tmp_path: Path) -> None:
    whole = web.tool("dump").stdout
    (tmp_path / "new").mkdir()
    fresh = App(tmp_path / "new", "web").start()
    try:
        assert fresh.call("GET", "/posts/7").status == 404
        for _ in range(2):  # and a second time changes nothing
            assert fresh.tool("restore", whole).returncode == 0
            assert rows(tmp_path / "new" / "agora.db") == rows(tmp_path / "agora.db")
            assert fresh.call("GET", "/posts/7").json == web.call("GET", "/posts/7").json
        made = fresh.call("POST", "/posts", {"text": "first on the new side"}, fresh.token())
        assert made.json["id"] == 501
    finally:
        fresh.stop()


@pytest.mark.parametrize("given", [b"", b"no database at all", b"SQLite format 3\0" + b"\xff" * 5000, b"other"])
def test_restore_refuses_what_is_no_agora_database(web: App, tmp_path: Path, given: bytes) -> None:
    if given == b"other":
        with closing(sqlite3.connect(tmp_path / "other.db")) as db:
            db.executescript("CREATE TABLE users (id)")
        given = (tmp_path / "other.db").read_bytes()
    before = rows(tmp_path / "agora.db")
    refused = web.tool("restore", given)
    assert refused.returncode == 1
    assert b"nothing was changed" in refused.stderr
    assert b"Traceback" not in refused.stderr
    assert rows(tmp_path / "agora.db") == before


def test_restore_refuses_half_a_dump(web: App, tmp_path: Path) -> None:
    dump = web.tool("dump").stdout
    before = rows(tmp_path / "agora.db")
    assert web.tool("restore", dump[: len(dump) // 2]).returncode == 1
    assert rows(tmp_path / "agora.db") == before


def test_a_restore_killed_at_any_moment_leaves_the_old_or_the_new(
    web: App, tmp_path: Path, generate: ModuleType
) -> None:
    generate.database(tmp_path / "larger.db", 0.4)
    old, new, larger = web.tool("dump").stdout, rows(tmp_path / "larger.db"), (tmp_path / "larger.db").read_bytes()
    before = rows(tmp_path / "agora.db")
    argv = [sys.executable, str(SEED / "app" / "agora.py"), "restore"]
    started = time.monotonic()
    assert web.tool("restore", larger).returncode == 0
    whole = time.monotonic() - started
    for part in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        assert web.tool("restore", old).returncode == 0
        with subprocess.Popen(argv, cwd=web.folder, env=web.environment(), stdin=subprocess.PIPE) as restoring:
            assert restoring.stdin
            restoring.stdin.write(larger)
            restoring.stdin.close()
            time.sleep(whole * part)
            restoring.kill()
        assert web.call("GET", "/health").status == 200
        assert rows(tmp_path / "agora.db") in (before, new)


def test_dumps_taken_while_people_write_are_consistent(web: App, tmp_path: Path) -> None:
    token, stop = web.token(), threading.Event()

    def write() -> int:
        done = 0
        while not stop.is_set():
            done += web.call("POST", "/posts", {"text": f"post {done}"}, token).status == 201
        return done

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        counts = []
        for turn in range(3):
            (tmp_path / f"{turn}.db").write_bytes(web.tool("dump").stdout)
            with closing(sqlite3.connect(tmp_path / f"{turn}.db")) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                counts.append(db.execute("SELECT count(*), max(id) FROM posts").fetchone())
        stop.set()
        written = writer.result(PATIENCE)
    assert all(many == last for many, last in counts)
    assert web.call("GET", "/stats").json["posts"] == 500 + written


def test_freeze_stops_every_write_and_no_read_and_thaw_allows_them_again(web: App) -> None:
    token = web.token()
    assert web.tool("freeze").returncode == 0
    assert web.tool("freeze").returncode == 0
    before = web.tool("dump").stdout
    writes = [
        ("/posts", {"text": "too late"}),
        ("/signup", {"login": "new.visitor", "password": "long enough", "phone": "+15550001111"}),
        ("/signup/verify", {"login": "guest.0", "code": "000000"}),
    ]
    for path, body in writes:
        answer = web.call("POST", path, body, token)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
    assert web.call("POST", "/media", PIXEL, token, Content_Type="image/png").status == 503
    assert not (web.folder / "sms.jsonl").exists()
    assert web.call("GET", "/health").json == {"role": "web", "ok": True, "read_only": True}
    assert web.call("GET", "/timeline", token=web.token()).status == 200
    assert b"read-only" in web.call("GET", "/").body
    assert web.tool("dump").stdout == before
    web.stop()
    web.start()  # the freeze outlives the process
    assert web.call("POST", "/posts", {"text": "still too late"}, token).status == 503
    assert web.tool("thaw").returncode == 0
    assert web.tool("thaw").returncode == 0
    assert web.call("POST", "/posts", {"text": "at last"}, token).status == 201


def test_freeze_is_not_part_of_a_dump(web: App, tmp_path: Path) -> None:
    web.tool("freeze")
    (tmp_path / "new").mkdir()
    fresh = App(tmp_path / "new", "web").start()
    try:
        assert fresh.tool("restore", web.tool("dump").stdout).returncode == 0
        assert fresh.call("GET", "/health").json["read_only"] is False
    finally:
        fresh.stop()


def test_freeze_returns_only_after_the_writes_in_flight(web: App) -> None:
    with closing(sqlite3.connect(web.folder / "agora.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE users SET bio = 'in flight' WHERE id = 1")
        argv = [sys.executable, str(SEED / "app" / "agora.py"), "freeze"]
        freezing = subprocess.Popen(argv, cwd=web.folder, env=web.environment())
        wait_for((web.folder / "agora.db.frozen").exists)
        with pytest.raises(subprocess.TimeoutExpired):
            freezing.wait(0.5)
        writer.execute("COMMIT")
    assert freezing.wait(PATIENCE) == 0


def test_freeze_waits_for_an_upload_and_sees_it_whole(tmp_path: Path, data: Path) -> None:
    (tmp_path / "agora.db").write_bytes(data.read_bytes())
    asked, answer = threading.Event(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            asked.set()
            answer.wait(PATIENCE)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    store = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=store.serve_forever, daemon=True).start()
    web = App(tmp_path, "web", {"AGORA_S3_ENDPOINT": f"http://127.0.0.1:{store.server_port}"}).start()
    try:
        token = web.token()
        before = web.call("GET", "/stats").json["media"]
        with ThreadPoolExecutor(2) as pool:
            upload = pool.submit(web.call, "POST", "/media", PIXEL, token, Content_Type="image/png")
            assert asked.wait(PATIENCE)
            freezing = pool.submit(web.tool, "freeze")
            wait_for((tmp_path / "agora.db.frozen").exists)
            assert not freezing.done()
            answer.set()
            assert freezing.result(PATIENCE).returncode == 0
            assert upload.result(PATIENCE).status == 201
        assert web.call("GET", "/stats").json["media"] == before + 1
    finally:
        answer.set()
        web.stop()
        store.shutdown()
        store.server_close()


def test_tools_without_a_database_or_a_known_verb_say_so(tmp_path: Path) -> None:
    app = App(tmp_path, "web")
    for verb in ("dump", "freeze"):
        gone = app.tool(verb)
        assert gone.returncode == 1
        assert b"no database" in gone.stderr
    assert app.tool("thaw").returncode == 0
    helped = app.tool("help")
    assert helped.returncode == 1
    assert b"agora.py web" in helped.stderr
    assert list(tmp_path.iterdir()) == []
