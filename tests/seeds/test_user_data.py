"""User-data: fresh, small enough, and cloud-init documents that install this very app."""

from __future__ import annotations

import base64
import email
import gzip
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from .conftest import SEED, load

ROLES = {"web-1.mime": "web", "media-1.yaml.gz": "media", "status-1.yaml": "status"}
SOURCES = {name: (SEED / "app" / name).read_bytes() for name in ("agora.py", "agora_data.py", "agora_http.py")}


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    return load("build_user_data")


def read(name: str) -> bytes:
    return (SEED / "user-data" / name).read_bytes()


def parts(data: bytes) -> dict[str, str]:
    """Unpack user-data as cloud-init does: gunzip, then MIME, else by its first line."""
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    if not text.startswith("Content-Type: multipart/"):
        assert text.startswith("#cloud-config\n")
        return {"text/cloud-config": text}
    message = email.message_from_string(text)
    assert not message.defects
    return {part.get_content_type(): str(part.get_payload()) for part in message.walk() if not part.is_multipart()}


def config(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(parts(read(name))["text/cloud-config"])  # YAML 1.1, as cloud-init reads it
    return found


def written(name: str) -> dict[str, bytes]:
    found = {}
    for file in config(name)["write_files"]:
        assert set(file) <= {"path", "content", "encoding", "permissions"}
        packed = file.get("encoding") == "gz+b64"
        found[file["path"]] = gzip.decompress(base64.b64decode(file["content"])) if packed else file["content"].encode()
    return found


def test_three_forms_each_within_the_limit() -> None:
    assert {path.name for path in (SEED / "user-data").iterdir()} == set(ROLES)
    assert read("web-1.mime").startswith(b"Content-Type: multipart/mixed;")
    assert read("media-1.yaml.gz").startswith(b"\x1f\x8b")
    assert read("status-1.yaml").startswith(b"#cloud-config\n")
    assert all(len(read(name)) <= 16_384 for name in ROLES)


@pytest.mark.parametrize("name", ROLES)
def test_user_data_installs_this_very_app(name: str) -> None:
    found = written(name)
    assert {Path(path).name: data for path, data in found.items() if path.startswith("/opt/agora/")} == SOURCES
    unit = found["/etc/systemd/system/agora.service"].decode()
    assert f"ExecStart=/usr/bin/python3 /opt/agora/agora.py {ROLES[name]}\n" in unit
    for line in ("EnvironmentFile=-/etc/agora.env", "Restart=always", "RestartSec=2", "WorkingDirectory=/opt/agora"):
        assert f"{line}\n" in unit
    assert config(name).keys() <= {"write_files", "runcmd"}


@pytest.mark.parametrize("name", ROLES)
def test_user_data_starts_the_unit(name: str) -> None:
    found = parts(read(name))
    script = found.get("text/x-shellscript", "")
    if script:
        assert script.startswith("#!/bin/sh\n")
        subprocess.run(["sh", "-n"], input=script.encode(), check=True)
        commands = [line.split() for line in script.splitlines()[1:]]
    else:
        commands = config(name)["runcmd"]
    assert all(isinstance(word, str) for command in commands for word in command)
    assert [command[0] for command in commands] == ["useradd", "install", "systemctl", "systemctl"]
    assert commands[-1] == ["systemctl", "enable", "--now", "--no-block", "agora.service"]


@pytest.mark.parametrize("name", ROLES)
def test_user_data_holds_no_secret_and_no_foreign_name(name: str) -> None:
    text = "".join(parts(read(name)).values()).encode() + b"".join(written(name).values())
    for word in (b"amazonaws", b"AKIA", b"169.254", b"198.51.100"):
        assert word not in text


def test_user_data_and_digests_are_fresh(builder: ModuleType) -> None:
    made = builder.build()
    assert {name: parts(data).keys() for name, data in made.items()} == {
        name: parts(read(name)).keys() for name in ROLES
    }
    site = (SEED / "site.yaml").read_text("utf-8")
    assert builder.with_digests(site, {name: read(name) for name in ROLES}) == site, "run build_user_data.py"


def test_the_builder_repairs_what_is_stale_and_says_so(tmp_path: Path) -> None:
    for name in (
        "app/agora.py",
        "app/agora_data.py",
        "app/agora_http.py",
        "build_user_data.py",
        "site.yaml",
        "accounts.jsonl",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((SEED / name).read_bytes())

    def build(*argv: str) -> int:
        command = [sys.executable, str(tmp_path / "build_user_data.py"), *argv]
        return subprocess.run(command, check=False, timeout=60, env={"PATH": os.environ["PATH"]}).returncode

    assert build("--check") == 1
    assert not (tmp_path / "user-data").exists()
    assert build() == 0
    assert build("--check") == 0
    with (tmp_path / "app" / "agora.py").open("a") as file:
        file.write("# changed\n")
    assert build("--check") == 1
    assert build() == 0
    assert (tmp_path / "site.yaml").read_text() != (SEED / "site.yaml").read_text()
    assert b"# changed" in gzip.decompress((tmp_path / "user-data" / "media-1.yaml.gz").read_bytes())
