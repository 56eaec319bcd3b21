"""The data of the sample site: the same every time, as much as promised, as varied as promised."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import unicodedata
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import SEED, load


@pytest.fixture(scope="module")
def everything(generate: ModuleType) -> list[Any]:
    return list(generate.objects())


def digest(items: list[Any]) -> str:
    return hashlib.sha256(repr(items).encode()).hexdigest()


def test_as_much_as_promised(generate: ModuleType, everything: list[Any]) -> None:
    assert len(everything) == 3000
    assert len({(item.bucket, item.key) for item in everything}) == 3000
    assert sum(any(version.parts for version in item.versions) for item in everything) == 20
    versioned = [item for item in everything if len(item.versions) > 1]
    assert len(versioned) == 50
    assert {item.bucket for item in versioned} == set(generate.VERSIONED)
    assert {len(item.versions) for item in versioned} == {2, 3, 4}
    assert any(item.newest is None for item in versioned)
    assert any(version.body is None for item in versioned for version in item.versions[:-1])
    sizes = [len(version.body) for item in everything for version in item.versions if version.body is not None]
    assert (min(sizes), max(sizes)) == (1, 200 * 1024)
    assert len(list(generate.accounts())) == 500
    assert Counter(item.bucket for item in everything).keys() == set(generate.BUCKETS.values())


def test_parts_are_uneven_and_make_up_the_body(everything: list[Any]) -> None:
    versions = [version for item in everything for version in item.versions if version.parts]
    for version in versions:
        assert sum(version.parts) == len(version.body)
        assert len(version.parts) >= 2
        assert all(40 * 1024 <= part <= 70 * 1024 for part in version.parts)
        assert len(set(version.parts)) == len(version.parts)


def test_keys_are_nasty_but_legal(generate: ModuleType, everything: list[Any]) -> None:
    keys = {item.key for item in everything}
    assert set(generate.NASTY) <= keys
    assert all(1 <= len(key.encode()) <= 1024 for key in keys)
    assert max(len(key.encode()) for key in keys) == 1024
    twins = [key for key in keys if unicodedata.normalize("NFC", key) != key]
    assert any(unicodedata.normalize("NFC", twin) in keys for twin in twins)


def test_headers_vary_and_fit_into_what_s3_takes(everything: list[Any]) -> None:
    versions = [version for item in everything for version in item.versions if version.body is not None]
    for name, least in {
        "Content-Type": 10,
        "Cache-Control": 4,
        "Content-Disposition": 2,
        "Content-Encoding": 1,
    }.items():
        assert len({version.headers[name] for version in versions if name in version.headers}) >= least
    for version in versions:
        assert sum(len(name) + len(value) for name, value in version.metadata.items()) < 2000
        assert all(value.isascii() and value == value.strip() for value in version.metadata.values())
        if version.headers.get("Content-Encoding") == "gzip":
            assert gzip.decompress(version.body).decode()
    assert max(len(version.metadata.get("note", "")) for version in versions) > 1024


def test_nothing_names_a_cloud(everything: list[Any], tmp_path: Path, data: Path) -> None:
    for item in everything:
        for version in item.versions:
            if version.body is not None:
                assert b"amazonaws" not in version.body
    assert b"amazonaws" not in data.read_bytes()


def test_same_bytes_every_time_and_a_larger_scale_only_adds(generate: ModuleType, everything: list[Any]) -> None:
    small = list(generate.objects(0.1))
    assert digest(small) == digest(everything[: len(small)])
    assert digest(list(generate.objects(0.1))) == digest(small)
    accounts = list(generate.accounts())
    assert list(generate.accounts(0.1)) == accounts[:50]
    assert generate.counts(7).objects >= 20_000
    assert generate.counts(0.0001) == generate.Counts(50, 100, 300)


def test_these_very_bytes(generate: ModuleType) -> None:
    """Whoever changes the generator changes these, and the journeys in site.yaml with them."""
    whole = hashlib.sha256()
    for item in generate.objects(0.1):
        for version in item.versions:
            whole.update(version.body or b"deleted")
    assert whole.hexdigest() == "aa1b18820d0b90fa3857d5e0ec6903f70159c5f9921485b672537197014662c8"
    assert generate.password("rosa.0000") == "because-5856a8f182b9"


def test_expected_media_is_what_a_plain_get_finds(generate: ModuleType, everything: list[Any]) -> None:
    expected = list(generate.expected_media())
    visible = [item for item in everything if item.newest and item.bucket != "agora-backups"]
    assert len(expected) == len(visible) > 2900
    assert expected[0].sha256 == hashlib.sha256(visible[0].newest.body).hexdigest()
    assert len({item.path for item in expected}) == len(expected)


def test_database_is_whole(generate: ModuleType, tmp_path: Path, everything: list[Any]) -> None:
    generate.database(tmp_path / "agora.db")
    stored = {(item.bucket, item.key): item for item in everything}
    with closing(sqlite3.connect(tmp_path / "agora.db")) as db:
        db.row_factory = sqlite3.Row
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("SELECT count(*) FROM users").fetchone()[0] == 500
        assert db.execute("SELECT count(*) FROM posts").fetchone()[0] == 5000
        for row in db.execute("SELECT avatar FROM users WHERE avatar IS NOT NULL"):
            assert ("agora-avatars", row["avatar"]) in stored
        for row in db.execute("SELECT * FROM media"):
            body = stored["agora-media", row["key"]].newest.body
            assert (row["size"], row["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        shown = db.execute("SELECT count(*), count(DISTINCT media) FROM posts WHERE media IS NOT NULL").fetchone()
        assert tuple(shown) == (2000, 200)
        assert db.execute("SELECT max(device) FROM users").fetchone()[0] > 2**53
        types = db.execute("SELECT typeof(bio) kind FROM users UNION SELECT typeof(reach) FROM users").fetchall()
        assert {row["kind"] for row in types} == {"null", "text", "real"}
        order = [row["created"] for row in db.execute("SELECT created FROM posts ORDER BY id")]
        assert order == sorted(order)


def test_first_posts_and_users_are_the_same_at_every_scale(generate: ModuleType, data: Path, tmp_path: Path) -> None:
    generate.database(tmp_path / "agora.db", 0.2)
    asked = (
        "SELECT * FROM posts WHERE id <= 100 ORDER BY id",
        "SELECT * FROM users WHERE id <= 50 ORDER BY id",
        "SELECT * FROM media ORDER BY created LIMIT 0",
    )
    with closing(sqlite3.connect(data)) as small, closing(sqlite3.connect(tmp_path / "agora.db")) as larger:
        for sql in asked:
            assert small.execute(sql).fetchall() == larger.execute(sql).fetchall()


def test_by_hand(tmp_path: Path) -> None:
    argv = [sys.executable, str(SEED / "generate.py"), str(tmp_path / "out"), "--scale", "0.1"]
    done = subprocess.run(argv, capture_output=True, timeout=120, check=False, env={"PATH": os.environ["PATH"]})
    assert (done.returncode, done.stderr) == (0, b"")
    accounts = (tmp_path / "out" / "accounts.jsonl").read_text().splitlines()
    assert [tuple(json.loads(line).values()) for line in accounts] == list(load("generate").accounts(0.1))
    assert stat.S_IMODE((tmp_path / "out" / "accounts.jsonl").stat().st_mode) == 0o600
    assert len((tmp_path / "out" / "objects.jsonl").read_text().splitlines()) > 250
