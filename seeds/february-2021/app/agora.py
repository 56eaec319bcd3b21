"""Agora, a small social network; Python 3.11 and nothing else.

    python3 agora.py web | media | status           serve on $REHOST_BIND:$PORT (0.0.0.0:8080)
    python3 agora.py dump > FILE | restore < FILE   the database, consistent and atomic, while web runs
    python3 agora.py freeze | thaw                  stop and allow writes; freeze waits for those in flight

Everything else comes from the environment: AGORA_DB, AGORA_SECRET (signs sessions), AGORA_S3_ENDPOINT,
AGORA_S3_KEY, AGORA_S3_SECRET, AGORA_S3_REGION, AGORA_{MEDIA,AVATARS,STATIC}_BUCKET, AGORA_MEDIA_URL, SMS_VENDOR
(none, file, file:PATH or an http URL), AGORA_STATUS_WATCH (URLs), AGORA_STATUS_TEXT. A name is looked
up anew for each request, so a change in DNS needs no restart.
"""

import base64
import hashlib
import hmac
import html
import http.client
import json
import re
import secrets
import sqlite3
import sys
import time
import traceback
from contextlib import closing
from urllib.parse import quote, urlsplit

import agora_data
from agora_data import COST, TABLES, ask, check_thawed, frozen, hash_password, one, writing
from agora_http import (
    Answer,
    Connection,
    Problem,
    Request,
    Routes,
    Server,
    env,
    fields,
    number,
    page,
    reply,
    s3,
    serve_object,
)

SESSION, SIGNUP = 30 * 86400, 15 * 60  # seconds
KINDS = {
    "image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp",
    "video/mp4": "mp4", "audio/mpeg": "mp3", "text/plain": "txt", "application/octet-stream": "bin",
}  # fmt: skip
POSTS = (
    "SELECT p.id, u.login AS author, p.created, p.text, p.media, p.reply_to "
    "FROM posts p JOIN users u ON u.id = p.author"
)


# --- who is asking ---


def sign(text: str) -> str:
    if not env("AGORA_SECRET"):
        raise Problem(503, "AGORA_SECRET is not set")
    return hmac.new(env("AGORA_SECRET").encode(), text.encode(), hashlib.sha256).hexdigest()


def token(login: str) -> str:
    text = base64.urlsafe_b64encode(json.dumps([login, int(time.time()) + SESSION]).encode()).decode()
    return f"{text}.{sign(text)}"


def user(request: Request) -> sqlite3.Row:
    kind, _, given = (request.headers["authorization"] or "").partition(" ")
    text, _, mark = given.partition(".")
    if kind.lower() == "bearer" and text.isascii() and hmac.compare_digest(mark.encode(), sign(text).encode()):
        login, until = json.loads(base64.urlsafe_b64decode(text))
        rows = ask("SELECT * FROM users WHERE login = ?", login)
        if rows and until > time.time():
            return rows[0]
    raise Problem(401, "please log in", WWW_Authenticate="Bearer")


# --- the web role ---


def front(_: Request) -> Answer:
    media = env("AGORA_MEDIA_URL")
    items = []
    for post in ask(f"{POSTS} ORDER BY p.id DESC LIMIT 20"):
        image = f'<br><a href="{media}/media/{quote(post["media"])}">media</a>' if post["media"] else ""
        items.append(f"<li><b>{html.escape(post['author'])}</b> {html.escape(post['text'])}{image}</li>")
    style = f'<link rel="stylesheet" href="{media}/static/css/agora.css">'
    note = "<p>Agora is read-only for the moment.</p>" if frozen() else ""
    return page("Agora", f"{style}<h1>Agora</h1>{note}<ol>{''.join(items)}</ol>")


def health(_: Request) -> Answer:
    ask("SELECT 1 FROM users LIMIT 1")
    return reply({"role": "web", "ok": True, "read_only": frozen()})


def stats(_: Request) -> Answer:
    return reply({table: ask(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES})


def log_in(request: Request) -> Answer:
    login, password, _ = fields(request, login=str, password=str)
    rows = ask("SELECT salt, password, cost FROM users WHERE login = ?", login)
    salt, wanted, cost = rows[0] if rows else (b"nobody", b"", COST)
    if not hmac.compare_digest(hash_password(password, salt, cost), wanted):
        raise Problem(401, "wrong login or password")
    return reply({"login": login, "token": token(login)})


def public(row: sqlite3.Row) -> dict[str, object]:
    count = ask("SELECT count(*) FROM posts WHERE author = ?", row["id"])[0][0]
    return {**{name: row[name] for name in ("login", "name", "bio", "avatar", "joined")}, "posts": count}


def me(request: Request) -> Answer:
    row = user(request)
    follows = ask(
        "SELECT u.login FROM follows f JOIN users u ON u.id = f.followed WHERE f.follower = ? ORDER BY 1", row["id"]
    )
    return reply({**public(row), "phone": row["phone"], "follows": [follow["login"] for follow in follows]})


def profile(_: Request, login: str) -> Answer:
    return reply(public(one("SELECT * FROM users WHERE login = ?", login)))


def timeline(request: Request) -> Answer:
    row, limit = user(request), number(request, "limit", 50, 1, 200)
    before = number(request, "before", 10**15, 0, 10**15)
    mine = "p.author = ?1 OR p.author IN (SELECT followed FROM follows WHERE follower = ?1)"
    rows = ask(f"{POSTS} WHERE ({mine}) AND p.id < ?2 ORDER BY p.id DESC LIMIT ?3", row["id"], before, limit)
    return reply({"posts": [dict(post) for post in rows]})


def posts(request: Request) -> Answer:
    after, limit = number(request, "after", 0, 0, 10**15), number(request, "limit", 50, 1, 200)
    rows = ask(f"{POSTS} WHERE p.id > ? ORDER BY p.id LIMIT ?", after, limit)
    return reply({"posts": [dict(post) for post in rows], "next": rows[-1]["id"] if len(rows) == limit else None})


def post(_: Request, number: str) -> Answer:
    return reply(dict(one(f"{POSTS} WHERE p.id = ?", int(number))))


def write_post(request: Request) -> Answer:
    row = user(request)
    text, data = fields(request, text=str)
    media, reply_to = data.get("media"), data.get("reply_to")
    if not 1 <= len(text) <= 2000:
        raise Problem(400, "a post has 1 to 2000 characters")
    if not isinstance(media, str | None) or type(reply_to) not in (int, type(None)):
        raise Problem(400, "media is a key and reply_to a number")
    with writing() as db:
        try:
            values = (row["id"], int(time.time()), text, media, reply_to)
            made = db.execute("INSERT INTO posts (author,created,text,media,reply_to) VALUES (?,?,?,?,?)", values)
        except (sqlite3.IntegrityError, OverflowError, UnicodeError) as exc:
            raise Problem(400, "no such media or post") from exc
    answer = post(request, str(made.lastrowid))
    return Answer(201, answer.body, {**answer.headers, "Location": f"/posts/{made.lastrowid}"})


def upload(request: Request) -> Answer:
    row = user(request)
    kind = (request.headers["content-type"] or "").partition(";")[0].strip().lower()
    if kind not in KINDS:
        raise Problem(415, f"one of {', '.join(KINDS)}")
    if not request.body:
        raise Problem(400, "an empty file")
    digest = hashlib.sha256(request.body).hexdigest()
    key = f"u/{row['login']}/{digest[:20]}.{KINDS[kind]}"
    with writing() as db:  # the lock is held while the object is stored: a freeze sees both or neither
        put = s3("PUT", env("AGORA_MEDIA_BUCKET", "agora-media"), key, {"content-type": kind}, request.body)
        put.read()
        if put.status != 200:
            raise Problem(502, "storage refuses")
        values = (key, row["id"], kind, len(request.body), digest, int(time.time()))
        db.execute("INSERT OR IGNORE INTO media VALUES (?,?,?,?,?,?)", values)
    return reply({"key": key, "sha256": digest, "url": f"{env('AGORA_MEDIA_URL')}/media/{quote(key)}"}, 201)


def send_sms(phone: str, text: str) -> None:
    """Hand a text to the vendor. No vendor, or one that fails, means no sign-up: it fails closed."""
    vendor, message = env("SMS_VENDOR", "none"), json.dumps({"to": phone, "text": text})
    try:
        if vendor.startswith(("http://", "https://")):
            end = urlsplit(vendor)
            kind = http.client.HTTPSConnection if end.scheme == "https" else http.client.HTTPConnection
            with closing(kind(end.netloc, timeout=5)) as connection:
                connection.request("POST", end.path or "/", message, {"content-type": "application/json"})
                if connection.getresponse().status // 100 == 2:
                    return
        elif vendor.partition(":")[0] == "file":
            with open(vendor.partition(":")[2] or "sms.jsonl", "a", encoding="utf-8") as file:
                file.write(message + "\n")
            return
    except (OSError, http.client.HTTPException):
        traceback.print_exc()
    raise Problem(503, "sign-up is closed: no text message can be sent", Retry_After="3600")


def sign_up(request: Request) -> Answer:
    login, password, phone, _ = fields(request, login=str, password=str, phone=str)
    if not re.fullmatch(r"[a-z][a-z0-9_.]{2,29}", login) or not re.fullmatch(r"\+[0-9]{7,15}", phone):
        raise Problem(400, "login: 3 to 30 of a-z 0-9 _ . from a letter on; phone: + and 7 to 15 digits")
    if not 8 <= len(password) <= 200:
        raise Problem(400, "a password has 8 to 200 characters")
    check_thawed()
    if ask("SELECT 1 FROM users WHERE login = ?", login):
        raise Problem(409, "this login is taken")
    code, salt = f"{secrets.randbelow(10**6):06}", secrets.token_bytes(16)
    mark = sign(f"{login} {code}")
    send_sms(phone, f"Your Agora code is {code}")
    values = (login, phone, salt, hash_password(password, salt), COST, mark, int(time.time()))
    with writing() as db:
        db.execute("INSERT OR REPLACE INTO signups VALUES (?,?,?,?,?,?,?,0)", values)
    return reply({"login": login, "verify": "/signup/verify"}, 202)


def verify(request: Request) -> Answer:
    login, code, _ = fields(request, login=str, code=str)
    with writing() as db:
        db.execute("UPDATE signups SET tries = tries + 1 WHERE login = ?", (login,))
        row = db.execute("SELECT * FROM signups WHERE login = ?", (login,)).fetchone()
        good = row and row["tries"] <= 5 and row["created"] + SIGNUP > time.time()
        good = good and hmac.compare_digest(row["code"], sign(f"{login} {code}"))
        if good:
            db.execute("DELETE FROM signups WHERE login = ?", (login,))
            values = (login, login, row["phone"], int(time.time()), row["salt"], row["password"], row["cost"])
            into = "users (login, name, phone, joined, salt, password, cost)"
            good = db.execute(f"INSERT OR IGNORE INTO {into} VALUES (?,?,?,?,?,?,?)", values).rowcount
    if not good:  # outside the transaction, so that the try is counted
        raise Problem(403, "wrong or expired code")
    return reply({"login": login, "token": token(login)}, 201)


# --- the media and status roles ---


def media_health(_: Request) -> Answer:
    return reply({"role": "media", "ok": True})


def status_health(_: Request) -> Answer:
    return reply({"role": "status", "ok": True})


def look(url: str) -> bool:
    end = urlsplit(url)
    try:
        with closing(http.client.HTTPConnection(end.netloc, timeout=5)) as connection:
            connection.request("GET", end.path or "/")
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def status_json(_: Request) -> Answer:
    return reply({url: "up" if look(url) else "down" for url in env("AGORA_STATUS_WATCH").split()})


def status_page(request: Request) -> Answer:
    seen = json.loads(status_json(request).body)
    rows = "".join(f"<tr><td>{html.escape(url)}<td>{state}" for url, state in seen.items())
    text = env("AGORA_STATUS_TEXT") or ("All is well." if "down" not in seen.values() else "Technical difficulties.")
    return page("Agora status", f"<h1>Agora status</h1><p>{html.escape(text)}</p><table>{rows}</table>")


FILES: Routes = [("GET", r"/(media|avatars|static)/(.*)", serve_object)]
ROLES: dict[str, Routes] = {
    "web": [
        ("GET", "/", front), ("GET", "/health", health), ("GET", "/stats", stats), ("GET", "/me", me),
        ("GET", "/timeline", timeline), ("GET", "/posts", posts), ("GET", r"/posts/([0-9]{1,15})", post),
        ("GET", r"/users/([^/]+)", profile), ("POST", "/login", log_in), ("POST", "/posts", write_post),
        ("POST", "/media", upload), ("POST", "/signup", sign_up), ("POST", "/signup/verify", verify), *FILES,
    ],
    "media": [("GET", "/health", media_health), *FILES],
    "status": [("GET", "/", status_page), ("GET", "/health", status_health), ("GET", "/status.json", status_json)],
}  # fmt: skip


# --- start ---


def serve(role: str) -> None:
    if role == "web":
        if not env("AGORA_SECRET"):
            sys.exit("agora: AGORA_SECRET is not set")
        agora_data.prepare()
    where = (env("REHOST_BIND", "0.0.0.0"), int(env("PORT", "8080")))
    with Server(where, type("Role", (Connection,), {"routes": ROLES[role]})) as server:
        server.serve_forever()


def main(argv: list[str]) -> None:
    tools = {
        "dump": agora_data.dump,
        "restore": agora_data.restore,
        "freeze": agora_data.freeze,
        "thaw": agora_data.thaw,
    }
    if len(argv) == 1 and argv[0] in ROLES:
        serve(argv[0])
    elif len(argv) == 1 and argv[0] in tools:
        tools[argv[0]]()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
