"""The web role, asked over HTTP: what it answers, and that bad questions are the asker's fault."""

from __future__ import annotations

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import App


def test_front_page_shows_posts_and_escapes_them(web: App) -> None:
    page = web.call("GET", "/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.body.count(b"<li>") == 20
    assert web.call("GET", "/").body == page.body
    token = web.token()
    assert web.call("POST", "/posts", {"text": "<script>alert(1)</script>"}, token).status == 201
    assert b"<script>" not in web.call("GET", "/").body


def test_every_account_logs_in(web: App, generate: ModuleType) -> None:
    def log_in(account: tuple[str, str]) -> int:
        return web.call("POST", "/login", {"login": account[0], "password": account[1]}).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(log_in, generate.accounts(0.1))) == {200}
    assert log_in(("rosa.0000", "wrong")) == 401
    assert log_in(("nobody.0000", "wrong")) == 401


def test_session_opens_what_is_mine_and_nothing_forged_does(web: App) -> None:
    token = web.token()
    me = web.call("GET", "/me", token=token).json
    assert me["login"] == "rosa.0000"
    assert me["posts"] > 0
    assert me["follows"] == sorted(me["follows"])
    assert "password" not in json.dumps(me)
    posts = web.call("GET", "/timeline?limit=200", token=token).json["posts"]
    assert {post["author"] for post in posts} <= {"rosa.0000", *me["follows"]}
    assert [post["id"] for post in posts] == sorted((post["id"] for post in posts), reverse=True)
    text, mark = token.split(".")
    for forged in (
        "",
        "x",
        f"{text}.",
        f"{text}x.{mark}",
        f"{text}.{mark[:-1]}0" if mark[-1] != "0" else f"{text}.1",
        "é.é",
    ):
        assert web.call("GET", "/me", token=forged.encode().decode("latin-1")).status == 401
    assert web.call("GET", "/me").status == 401


def test_session_survives_a_move_to_another_process_with_the_same_secret(web: App, tmp_path: Path) -> None:
    token = web.token()
    web.stop()
    other = App(tmp_path, "web", {"AGORA_SECRET": "test"}).start()
    try:
        assert other.call("GET", "/me", token=token).status == 200
    finally:
        other.stop()


def test_posts_are_paged_to_the_end(web: App, generate: ModuleType) -> None:
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = web.call("GET", f"/posts?after={after}&limit=200").json
        seen += [post["id"] for post in page["posts"]]
        after = page["next"]
    assert seen == list(range(1, generate.counts(0.1).posts + 1))


def test_writing_a_post_and_reading_it_back(web: App) -> None:
    token = web.token()
    made = web.call("POST", "/posts", {"text": "grüße, 世界 🐘", "reply_to": 3}, token)
    assert made.status == 201
    again = web.call("GET", made.headers["location"])
    assert again.json == made.json
    assert again.json["text"] == "grüße, 世界 🐘"
    assert again.json["reply_to"] == 3


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/posts/999999", None, 404),
        ("GET", "/posts/0x1", None, 404),
        ("GET", "/posts?after=minus", None, 400),
        ("GET", "/posts?limit=0", None, 400),
        ("GET", "/posts?limit=%D9%A3", None, 400),
        ("GET", "/posts?after=99999999999999999999999", None, 400),
        ("GET", "/users/nobody", None, 404),
        ("GET", "/%ff%fe", None, 400),
        ("DELETE", "/posts", None, 405),
        ("POST", "/", None, 405),
        ("POST", "/login", b"{", 400),
        ("POST", "/login", b"[]", 400),
        ("POST", "/login", b"[" * 100_000, 400),
        ("POST", "/login", b"\xff\xfe", 400),
        ("POST", "/login", b'{"login": "\\ud800", "password": "x"}', 400),
        ("POST", "/login", {"login": 5, "password": None}, 400),
        ("POST", "/login", {"login": "rosa.0000"}, 400),
        ("POST", "/posts", {"text": ""}, 400),
        ("POST", "/posts", {"text": "x" * 2001}, 400),
        ("POST", "/posts", {"text": "x", "media": "no/such.jpg"}, 400),
        ("POST", "/posts", {"text": "x", "media": "\ud800"}, 400),
        ("POST", "/posts", {"text": "x", "media": []}, 400),
        ("POST", "/posts", {"text": "x", "reply_to": 10**30}, 400),
        ("POST", "/posts", {"text": "x", "reply_to": True}, 400),
        ("POST", "/media", b"", 400),
        ("POST", "/signup", {"login": "x", "password": "long enough", "phone": "+4912345678"}, 400),
        ("POST", "/signup", {"login": "good.name", "password": "short", "phone": "+4912345678"}, 400),
        ("POST", "/signup", {"login": "good.name", "password": "long enough", "phone": "12"}, 400),
        ("POST", "/signup", {"login": "rosa.0000", "password": "long enough", "phone": "+4912345678"}, 409),
        ("POST", "/signup/verify", {"login": "nobody", "code": "000000"}, 403),
        ("GET", "/media/a//b", None, 502),
    ],
)
def test_bad_questions_get_their_own_answer(shared: App, method: str, path: str, body: object, status: int) -> None:
    headers = {"Content_Type": "image/png"} if path == "/media" else {}
    answer = shared.call(method, path, body, shared.token(), **headers)
    assert answer.status == status
    assert answer.json["error"]


def test_bodies_must_announce_their_size(shared: App) -> None:
    assert shared.call("POST", "/login", b"{}", Content_Length=str(1 << 40)).status == 413
    assert shared.call("POST", "/login", b"{}", Content_Length="-2").status == 411
    assert shared.call("POST", "/login", b"0\r\n\r\n", Transfer_Encoding="chunked").status in (411, 413)
    assert shared.call("POST", "/media", b"x", shared.token(), Content_Type="text/html").status == 415


def test_head_answers_like_get_without_a_body(shared: App) -> None:
    got, head = shared.call("GET", "/posts/2"), shared.call("HEAD", "/posts/2")
    assert head.status == 200
    assert head.body == b""
    assert head.headers["content-length"] == str(len(got.body))


def test_sign_up_needs_the_code_that_was_sent(web: App) -> None:
    asked = {"login": "new.visitor", "password": "long enough", "phone": "+15550001111"}
    assert web.call("POST", "/signup", asked).status == 202
    sent = json.loads((web.folder / "sms.jsonl").read_text().splitlines()[-1])
    assert sent["to"] == "+15550001111"
    code = sent["text"][-6:]
    wrong = f"{(int(code) + 1) % 10**6:06}"
    assert web.call("POST", "/signup/verify", {"login": "new.visitor", "code": wrong}).status == 403
    assert web.call("POST", "/login", asked).status == 401
    done = web.call("POST", "/signup/verify", {"login": "new.visitor", "code": code})
    assert done.status == 201
    assert web.call("GET", "/me", token=done.json["token"]).json["name"] == "new.visitor"
    assert web.call("POST", "/login", asked).status == 200
    assert web.call("POST", "/signup/verify", {"login": "new.visitor", "code": code}).status == 403


def test_a_code_can_be_guessed_five_times_only(web: App) -> None:
    asked = {"login": "new.visitor", "password": "long enough", "phone": "+15550001111"}
    assert web.call("POST", "/signup", asked).status == 202
    code = json.loads((web.folder / "sms.jsonl").read_text())["text"][-6:]
    for _ in range(5):
        assert web.call("POST", "/signup/verify", {"login": "new.visitor", "code": "no"}).status == 403
    assert web.call("POST", "/signup/verify", {"login": "new.visitor", "code": code}).status == 403


class _Vendor(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        got = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200 if got["to"] != "+15559999999" else 403)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_sign_up_fails_closed_when_its_vendor_is_gone(tmp_path: Path, data: Path) -> None:
    (tmp_path / "agora.db").write_bytes(data.read_bytes())
    asked = {"login": "new.visitor", "password": "long enough", "phone": "+15559999999"}
    vendor = HTTPServer(("127.0.0.1", 0), _Vendor)
    threading.Thread(target=vendor.serve_forever, daemon=True).start()
    cases = [
        ("none", 503),
        ("", 503),
        ("http://127.0.0.1:1/", 503),
        (f"http://127.0.0.1:{vendor.server_port}/send", 503),
    ]
    for kind, status in cases:
        app = App(tmp_path, "web", {"SMS_VENDOR": kind}).start()
        before = app.call("GET", "/stats").json
        answer = app.call("POST", "/signup", asked)
        assert answer.status == status
        assert answer.json == {"error": "sign-up is closed: no text message can be sent"}
        assert app.call("GET", "/stats").json == before
        if "send" in kind:
            assert app.call("POST", "/signup", {**asked, "phone": "+15550001111"}).status == 202
        app.stop()
    vendor.shutdown()
    vendor.server_close()


def test_web_makes_its_own_empty_database_and_refuses_to_run_without_secret(tmp_path: Path) -> None:
    app = App(tmp_path, "web").start()
    try:
        assert app.call("GET", "/stats").json == dict.fromkeys(("users", "media", "posts", "follows", "signups"), 0)
        assert app.call("GET", "/").status == 200
    finally:
        app.stop()
    with closing(sqlite3.connect(tmp_path / "agora.db")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    refused = App(tmp_path, "web", {"AGORA_SECRET": ""}).tool("web")
    assert refused.returncode == 1
    assert b"AGORA_SECRET" in refused.stderr


def test_status_page_says_what_it_sees(tmp_path: Path, web: App) -> None:
    watch = f"http://127.0.0.1:{web.port}/health http://127.0.0.1:1/health"
    status = App(tmp_path, "status", {"AGORA_STATUS_WATCH": watch}).start()
    try:
        assert status.call("GET", "/status.json").json == dict(zip(watch.split(), ("up", "down"), strict=True))
        assert b"Technical difficulties." in status.call("GET", "/").body
        assert status.call("GET", "/posts").status == 404
    finally:
        status.stop()
