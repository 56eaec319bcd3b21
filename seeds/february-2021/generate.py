"""The data of the sample site: the same bytes every time, on every machine, at any scale.

    python3 generate.py FOLDER [--scale 1.0]      writes agora.db, accounts.jsonl and objects.jsonl
    python3 generate.py FOLDER --upload URL       and puts the newest version of every object there

As a module: :func:`accounts`, :func:`objects`, :func:`expected_media`, :func:`database` and
:func:`counts`. Thing number *n* is the same at every scale, a larger scale only adds more. Nothing is
kept in memory: bytes come from hash streams, one object at a time. Raises OSError when a file cannot be written.
"""

import argparse
import hashlib
import importlib.util
import itertools
import json
import os
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

BUCKETS = {"media": "agora-media", "avatars": "agora-avatars", "static": "agora-static", "backups": "agora-backups"}
VERSIONED = frozenset({"agora-media"})
START, END = 1_535_760_000, 1_610_308_740  # from September 2018 to the notice's last minute but a few hours


@dataclass(frozen=True, slots=True)
class SeedVersion:
    """One version of one object. ``body`` is None for a delete marker; ``parts`` are the sizes of a multipart upload.

    ``headers`` have their HTTP names (Content-Type, Cache-Control, ...); ``metadata`` comes without the x-amz-meta-.
    """

    body: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SeedObject:
    """A key and its versions, oldest first: write them in this order."""

    bucket: str
    key: str
    versions: tuple[SeedVersion, ...]

    @property
    def newest(self) -> SeedVersion | None:
        """What a plain GET answers with; None where the newest version is a delete marker."""
        return None if self.versions[-1].body is None else self.versions[-1]


@dataclass(frozen=True, slots=True)
class Expected:
    """What ``GET http://media.<zone>:8080<path>`` must answer with, byte for byte."""

    path: str
    sha256: str
    size: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Counts:
    accounts: int
    posts: int
    objects: int


def counts(scale: float = 1.0) -> Counts:
    """How much there is at a scale: 500 accounts, 5,000 posts, 3,000 objects at 1."""
    return Counts(max(50, round(500 * scale)), max(100, round(5000 * scale)), max(300, round(3000 * scale)))


# --- where all variety comes from ---


def stream(name: str, size: int) -> bytes:
    """``size`` bytes that depend on nothing but ``name``."""
    return hashlib.shake_128(f"agora 2021 {name}".encode()).digest(size)


def draw(name: str, below: int) -> int:
    """A number from 0 to ``below`` - 1 that depends on nothing but ``name``."""
    return int.from_bytes(stream(name, 8)) % below


def stored_gzip(data: bytes) -> bytes:
    """A gzip member of one uncompressed block: unlike real compression the same with every zlib."""
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + struct.pack("<BHH", 1, len(data), len(data) ^ 0xFFFF)
    return head + data + struct.pack("<II", zlib.crc32(data), len(data))


VOCABULARY = """
the a quiet loud small early late new old market river bridge square speaker listener neighbour garden train
bread coffee music letter window morning evening winter spring asks answers finds loses writes reads opens closes
remembers forgets across under after before because although and or but not every some never always"""
WORDS = VOCABULARY.split()
ODDITIES = (
    "", "", "", " Ça va?", " “quoted”", " it's <b>fine</b> & safe", " 🐘🌍", " e\u0301", " back\\slash", "\nnew line",
    " 日本語", "  ",
)  # fmt: skip


def sentence(name: str) -> str:
    data = stream(name, 20)
    words = [WORDS[byte % len(WORDS)] for byte in data[: 4 + data[18] % 14]]
    return " ".join(words).capitalize() + "." + ODDITIES[data[19] % len(ODDITIES)]


# --- accounts ---

FIRST = "rosa emil nadia oskar lena marek ines hugo freya tomas aline bruno carla denis elif fabio greta hana ivo jonas"
NAMES = FIRST.split()


def login(number: int) -> str:
    return f"{NAMES[number % len(NAMES)]}.{number:04d}"


def password(name: str) -> str:
    """The password of a login: invented, known to whoever has this file, good for nothing else."""
    return f"{WORDS[draw(f'word {name}', len(WORDS))]}-{stream(f'password {name}', 6).hex()}"


def accounts(scale: float = 1.0) -> Iterator[tuple[str, str]]:
    """Yield every login with its password."""
    for number in range(counts(scale).accounts):
        yield login(number), password(login(number))


# --- objects: number modulo 100 picks the bucket; a user's avatar is the object of the same block ---

SIZES = (1, 200 * 1024)
NASTY = (
    "a//b", "a/b", "/leading", "trail/", "trail", "two  spaces.txt", " around ", "plus+plus.txt", "space plus +.txt",
    "100%.txt", "%2F", "%25%32%46", "all+of%26these&are?fine#here.txt", "semi;colon,comma=equals.txt",
    "it's \"quoted\".txt", "back\\slash.txt", "caf\u00e9.jpg", "cafe\u0301.jpg", "Case.txt", "case.txt", "emoji/🐘.png",
    "中文/キー.txt",
    "a<b>&amp;.xml", "{curly}[square]^|`~.txt", "dots...", "-dash",
    "@at:colon$dollar!(bang)*star", "long/" + "x" * 1019,
)  # fmt: skip
TYPES = (
    ("image/jpeg", "jpg"), ("image/jpeg", "jpg"), ("image/png", "png"), ("image/webp", "webp"), ("video/mp4", "mp4"),
    ("audio/mpeg", "mp3"), ("text/plain; charset=utf-8", "txt"), ("application/pdf", "pdf"),
    ("application/json", "json"), ("binary/octet-stream", "bin"),
)  # fmt: skip
TEXTUAL = ("text/", "application/j", "application/m")
CACHING = ("", "public, max-age=31536000, immutable", "private, no-store", "max-age=600", "no-cache")
DISPOSITIONS = ("", "", "", 'attachment; filename="picture.jpg"', "inline; filename*=UTF-8''%C3%A9t%C3%A9.jpg")
STATIC = (
    ("css/agora.css", "text/css; charset=utf-8"), ("js/agora.js", "application/javascript"),
    ("favicon.ico", "image/vnd.microsoft.icon"), ("index.html", "text/html; charset=utf-8"),
    ("manifest.webmanifest", "application/manifest+json"), ("robots.txt", "text/plain"),
)  # fmt: skip


def bucket_of(number: int) -> str:
    place = number % 100
    return BUCKETS["avatars" if place < 11 else "static" if place < 13 else "backups" if place < 14 else "media"]


def is_multipart(number: int) -> bool:
    return number % 150 == 113


def is_versioned(number: int) -> bool:
    return number % 300 in (21, 58, 95, 150, 250)


def size_of(name: str) -> int:
    """Between 1 B and 200 KiB, each order of magnitude as likely as any other; both ends do occur."""
    edge = draw(f"edge {name}", 50)
    if edge < 2:
        return SIZES[edge]
    return min(
        SIZES[1], 1 + (1 << draw(f"magnitude {name}", 17)) + draw(f"size {name}", 1 << draw(f"magnitude {name}", 17))
    )


def owner_of(number: int) -> str:
    return login(draw(f"owner {number}", 50))


def avatar_number(number: int) -> int:
    """The object that is user ``number``'s avatar; 33 users of each 50 have one."""
    order = number // 50 * 33 + number % 50
    return order // 11 * 100 + order % 11


def has_avatar(number: int, scale: float) -> bool:
    return number % 50 < 33 and avatar_number(number) < counts(scale).objects


def key_of(number: int) -> str:
    block, place = divmod(number, 100)
    if place < 11:
        order = block * 11 + place
        return f"u/{login(order // 33 * 50 + order % 33)}.{'png' if order % 2 else 'jpg'}"
    if place < 13:
        order = block * 2 + place - 11
        return STATIC[order][0] if order < len(STATIC) else f"fonts/agora-{order:03d}.woff2"
    if place < 14:
        return f"2021/01/{1 + block % 10:02d}/agora-{block:04d}.sql.gz"
    if 60 <= number < 60 + len(NASTY):
        return NASTY[number - 60]
    suffix = TYPES[draw(f"type {number}", len(TYPES))][1]
    return f"u/{owner_of(number)}/{2018 + draw(f'year {number}', 3)}/{stream(f'key {number}', 8).hex()}.{suffix}"


def describe(number: int, key: str) -> tuple[dict[str, str], dict[str, str]]:
    """The headers and the user metadata of an object."""
    if bucket_of(number) == BUCKETS["static"]:
        kind = dict(STATIC).get(key, "font/woff2")
    elif bucket_of(number) == BUCKETS["backups"]:
        kind = "application/gzip"
    elif key.endswith((".png", ".jpg")):
        kind = "image/png" if key.endswith(".png") else "image/jpeg"
    else:
        kind = TYPES[draw(f"type {number}", len(TYPES))][0]
    headers = {"Content-Type": kind}
    if caching := CACHING[draw(f"caching {number}", len(CACHING))]:
        headers["Cache-Control"] = caching
    if disposition := DISPOSITIONS[draw(f"disposition {number}", len(DISPOSITIONS))]:
        headers["Content-Disposition"] = disposition
    if draw(f"language {number}", 12) == 0:
        headers["Content-Language"] = ("fr", "en", "de-AT")[number % 3]
    if kind.startswith(TEXTUAL) and not is_multipart(number) and draw(f"encoding {number}", 2):
        headers["Content-Encoding"] = "gzip"
    metadata = {}
    if draw(f"metadata {number}", 3):
        metadata = {"owner": owner_of(number), "taken": f"{START + draw(f'taken {number}', END - START)}"}
    if draw(f"note {number}", 40) == 0:
        metadata["note"] = 'a "longer" note; with = signs, commas, ' + "and more " * draw(f"length {number}", 150)
        metadata["note"] = metadata["note"].strip()
    return headers, metadata


def make_version(number: int, turn: int, key: str) -> SeedVersion:
    headers, metadata = describe(number, key)
    if is_multipart(number):
        parts = tuple(
            40 * 1024 + draw(f"part {number} {turn} {part}", 30 * 1024) for part in range(2 + number // 150 % 2)
        )
        return SeedVersion(stream(f"body {number} {turn}", sum(parts)), headers, metadata, parts)
    size = size_of(f"{number} {turn}")
    if headers["Content-Type"].startswith(TEXTUAL):
        text = itertools.islice(
            (sentence(f"text {number} {turn} {line}") for line in itertools.count()), 1 + size // 2000
        )
        body = "\n".join(text).encode()
        return SeedVersion(stored_gzip(body) if "Content-Encoding" in headers else body, headers, metadata)
    return SeedVersion(stream(f"body {number} {turn}", size), headers, metadata)


def make_object(number: int) -> SeedObject:
    """Object ``number``. A few keep old versions; some of those were deleted in between, some for good."""
    key = key_of(number)
    if not is_versioned(number):
        return SeedObject(bucket_of(number), key, (make_version(number, 0, key),))
    versions = [make_version(number, turn, key) for turn in range(2 + draw(f"versions {number}", 3))]
    story = number // 60 % 5
    if story == 2:
        versions[-1] = SeedVersion(None)
    elif story == 4:
        versions.insert(1, SeedVersion(None))
        versions = versions[:4]
    return SeedObject(bucket_of(number), key, tuple(versions))


def objects(scale: float = 1.0) -> Iterator[SeedObject]:
    """Yield every object of every bucket, one at a time."""
    for number in range(counts(scale).objects):
        yield make_object(number)


def expected_media(scale: float = 1.0) -> Iterator[Expected]:
    """Yield what the media server must serve: each visible object of all buckets but the backups."""
    folders = {bucket: folder for folder, bucket in BUCKETS.items() if folder != "backups"}
    for item in objects(scale):
        if item.bucket in folders and item.newest and item.newest.body is not None:
            body, path = item.newest.body, f"/{folders[item.bucket]}/{quote(item.key)}"
            yield Expected(path, hashlib.sha256(body).hexdigest(), len(body), item.newest.headers)


# --- the database ---


def load_app() -> ModuleType:
    """The app's data module, from the folder beside this file: it owns the schema and the password hash."""
    folder = str(Path(__file__).resolve().parent / "app")
    modules = {}
    for name in ("agora_http", "agora_data"):
        spec = importlib.util.spec_from_file_location(name, f"{folder}/{name}.py")
        if spec is None or spec.loader is None:
            raise FileNotFoundError(f"{folder}/{name}.py")
        modules[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modules[name])
    return modules["agora_data"]


def user_rows(scale: float, app: ModuleType) -> Iterator[tuple[Any, ...]]:
    for number, (name, secret) in enumerate(accounts(scale)):
        salt = stream(f"salt {name}", 16)
        bio = None if number % 4 == 3 else sentence(f"bio {name}")
        avatar = key_of(avatar_number(number)) if has_avatar(number, scale) else None
        phone = f"+1555{draw(f'phone {name}', 10**7):07d}"
        joined = START + draw(f"joined {name}", 3600 * 24 * 300)
        reach, device = draw(f"reach {name}", 10**6) / 997, int.from_bytes(stream(f"device {name}", 8)) >> 1
        hashed = app.hash_password(secret, salt)
        yield (number + 1, name, name.split(".")[0].title() + ODDITIES[number % 12], bio, avatar, phone, joined,
               reach, None if number % 7 == 0 else device, salt, hashed, app.COST)  # fmt: skip


def media_rows(scale: float) -> Iterator[tuple[Any, ...]]:
    for number in range(counts(scale).objects):
        if bucket_of(number) == BUCKETS["media"] and (newest := make_object(number).newest) and newest.body is not None:
            owner, created = int(owner_of(number).split(".")[1]) + 1, START + draw(f"taken {number}", END - START)
            digest = hashlib.sha256(newest.body).hexdigest()
            yield key_of(number), owner, newest.headers["Content-Type"], len(newest.body), digest, created


def post_rows(scale: float, media: list[str]) -> Iterator[tuple[Any, ...]]:
    """Posts in the order of time; two of five show media, one of six answers an earlier one."""
    many = counts(scale)
    for number in range(many.posts):
        author = 1 + draw(f"author {number}", 50 if number < 100 else many.accounts)
        created = START + number * ((END - START) // many.posts) if number >= 100 else START + number * 600
        shown = media[draw(f"shown {number}", min(len(media), 200))] if number % 5 in (1, 3) else None
        reply = 1 + draw(f"reply {number}", number) if number and number % 6 == 0 else None
        yield number + 1, author, created, sentence(f"post {number}"), shown, reply


def follow_rows(scale: float) -> Iterator[tuple[int, int]]:
    many = counts(scale).accounts
    for number in range(many):
        for followed in sorted({draw(f"follow {number} {turn}", 50) for turn in range(3 + draw(f"fans {number}", 12))}):
            if followed != number:
                yield number + 1, followed + 1


def signup_rows(app: ModuleType) -> Iterator[tuple[Any, ...]]:
    for number in range(7):
        salt = stream(f"signup {number}", 16)
        code = stream(f"code {number}", 32).hex()
        yield f"guest.{number}", f"+1555777000{number}", salt, app.hash_password(code, salt), app.COST, code, END, 0


def database(path: Path | str, scale: float = 1.0) -> None:
    """Write the app's database to ``path``, replacing what stands there."""
    app, path = load_app(), Path(path)
    media = list(media_rows(scale))
    path.unlink(missing_ok=True)
    with closing(app.connect(str(path))) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.executescript(app.SCHEMA)
        db.execute("BEGIN")
        db.executemany(f"INSERT INTO users VALUES ({','.join('?' * 12)})", user_rows(scale, app))
        db.executemany("INSERT INTO media VALUES (?,?,?,?,?,?)", media)
        db.executemany("INSERT INTO posts VALUES (?,?,?,?,?,?)", post_rows(scale, [row[0] for row in media]))
        db.executemany("INSERT INTO follows VALUES (?,?)", follow_rows(scale))
        db.executemany("INSERT INTO signups VALUES (?,?,?,?,?,?,?,?)", signup_rows(app))
        db.execute("COMMIT")


# --- by hand ---


def write_accounts(path: Path, scale: float) -> None:
    """One JSON object a line, readable by its owner only: these are passwords."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        for name, secret in accounts(scale):
            file.write(json.dumps({"login": name, "password": secret}) + "\n")


def upload(endpoint: str, scale: float) -> None:
    """Create the buckets and put the newest versions, with the app's own client of the store."""
    load_app()
    http = sys.modules["agora_http"]
    os.environ["AGORA_S3_ENDPOINT"] = endpoint
    for bucket in BUCKETS.values():
        http.s3("PUT", bucket, "", {}).read()
    for item in objects(scale):
        if item.newest:
            headers = {name.lower(): value for name, value in item.newest.headers.items()}
            headers |= {f"x-amz-meta-{name}": value for name, value in item.newest.metadata.items()}
            put = http.s3("PUT", item.bucket, item.key, headers, item.newest.body)
            put.read()
            if put.status != 200:
                sys.exit(f"{endpoint} answers {put.status} for {item.bucket}/{item.key}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the data of the sample site.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--upload", metavar="URL", help="an S3-compatible store that may be written to")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    database(given.folder / "agora.db", given.scale)
    write_accounts(given.folder / "accounts.jsonl", given.scale)
    with open(given.folder / "objects.jsonl", "w", encoding="utf-8") as file:
        for item in expected_media(given.scale):
            file.write(json.dumps({"path": item.path, "sha256": item.sha256, "size": item.size}) + "\n")
    if given.upload:
        upload(given.upload, given.scale)


if __name__ == "__main__":
    main()
