"""Payload comes back byte for byte, is readable by its owner only, and is never half written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import files
from toolkit.blobs import Blobs
from toolkit.errors import Conflict, NotFound, RehostError
from toolkit.model import sha256_hex


@given(st.binary(max_size=2000))
def test_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    blobs = Blobs(tmp_path_factory.getbasetemp() / "many")
    digest = blobs.put(data)
    assert digest == sha256_hex(data)
    assert blobs.get(digest) == data
    assert blobs.has(digest)


def test_modes_and_idempotence(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "run" / "blobs")
    assert list(blobs) == []
    digest = blobs.put(b"x")
    path = blobs.path(digest)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(blobs.folder.stat().st_mode) == 0o700
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert blobs.put(b"x") == digest
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert list(blobs) == [digest]


def test_altered_bytes_are_noticed_and_put_heals(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    digest = blobs.put(b"payload")
    blobs.path(digest).write_bytes(b"pAyload")
    with pytest.raises(Conflict, match="altered"):
        blobs.get(digest)
    blobs.put(b"payload")
    assert blobs.get(digest) == b"payload"


def test_unknown_and_malformed_digests(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    with pytest.raises(NotFound, match="not in"):
        blobs.get("0" * 64)
    for name in ("../../etc/passwd", "", "A" * 64, "0" * 63):
        with pytest.raises(NotFound, match="not a SHA-256"):
            blobs.get(name)


def test_failed_write_leaves_nothing_and_has_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RehostError, match="No space left") as caught:
        Blobs(tmp_path / "b").put(b"x")
    assert caught.value.remedy
    assert list((tmp_path / "b").iterdir()) == []
