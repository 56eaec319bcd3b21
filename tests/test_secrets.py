"""Secrets are found by reference, never shown, and removed from texts and logs."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import json
import logging
import os
import pickle
import sys
import types
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import secrets
from toolkit.errors import AuthError, Refused, Unsupported
from toolkit.secrets import MASK, Credentials, Redacting, Secret, redact, resolve

VALUE = 'wJalr/XUtn+"FEMI~K7 MD€'


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_secret_shows_itself_nowhere() -> None:
    secret = Secret(VALUE)
    held = Credentials("keys", secret, secret)
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>40}", repr([secret]), repr(held)):
        assert VALUE not in shown
        assert MASK in shown
    assert secret.reveal() == VALUE
    assert Secret(VALUE) == secret != Secret("other")
    assert secret != VALUE
    assert len({secret, Secret(VALUE)}) == 1


def test_secret_cannot_leave_by_pickle_json_or_change() -> None:
    secret = Secret(VALUE)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(secret, protocol)
        with pytest.raises(TypeError):
            pickle.dumps(Credentials("keys", secret), protocol)
    with pytest.raises(TypeError):
        json.dumps({"secret": secret})
    with pytest.raises(TypeError):
        secret.other = 1  # type: ignore[attr-defined]
    assert not hasattr(secret, "__dict__")
    assert copy.deepcopy(secret) is secret
    assert copy.copy(secret) is secret
    assert dataclasses.asdict(Credentials("keys", secret))["key"] is secret


@pytest.mark.parametrize("text", ["env:A", "file:/a", "keyring:a/b", "cmd:pass show a"])
def test_references(text: str) -> None:
    assert secrets.is_reference(text)


@pytest.mark.parametrize("text", ["AKIAIOSFODNN7EXAMPLE", "", "env:", "env: ", "http://x", "literal:x", None, 7, {}])
def test_what_is_no_reference(text: object) -> None:
    assert not secrets.is_reference(text)


def test_literal_is_refused_without_repeating_it() -> None:
    with pytest.raises(Refused) as caught:
        resolve("hunter2hunter2")
    assert "hunter2" not in caught.value.text + caught.value.remedy
    assert "env:NAME" in caught.value.remedy


def test_env(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REHOST_TEST_KEY", VALUE)
    assert resolve("env:REHOST_TEST_KEY").reveal() == VALUE
    monkeypatch.delenv("REHOST_TEST_KEY")
    with pytest.raises(AuthError, match="REHOST_TEST_KEY is not set") as caught:
        resolve("env:REHOST_TEST_KEY")
    assert "export REHOST_TEST_KEY" in caught.value.remedy


def test_file_strict_mode_and_relative_base(tmp_path: Path) -> None:
    path = write(tmp_path / "key", VALUE + "\n")
    assert resolve(f"file:{path}").reveal() == VALUE
    assert resolve("file:key", base=tmp_path).reveal() == VALUE
    path.chmod(0o400)
    assert secrets.file_trouble(path) is None
    for mode in (0o644, 0o640, 0o604, 0o620, 0o601):
        path.chmod(mode)
        with pytest.raises(Refused, match=f"{mode:04o}") as caught:
            resolve(f"file:{path}")
        assert "chmod 600" in caught.value.remedy
        assert VALUE not in str(caught.value)


def test_file_absent_empty_binary_large_or_a_pipe(tmp_path: Path) -> None:
    with pytest.raises(AuthError, match="cannot read"):
        resolve(f"file:{tmp_path}/absent")
    with pytest.raises(AuthError, match="is empty"):
        resolve(f"file:{write(tmp_path / 'empty', '')}")
    with pytest.raises(AuthError, match="64 KiB"):
        resolve(f"file:{write(tmp_path / 'large', 'x' * 70_000)}")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    binary.chmod(0o600)
    with pytest.raises(AuthError, match="UTF-8"):
        resolve(f"file:{binary}")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(Refused, match="plain file"):
        resolve(f"file:{tmp_path}/pipe")


def test_command_is_an_argument_list_and_never_a_shell(tmp_path: Path) -> None:
    assert resolve("cmd:printf %s 'a b;c'").reveal() == "a b;c"
    witness = tmp_path / "witness"
    assert resolve(f"cmd:echo x ; touch {witness}").reveal().startswith("x ;")
    assert not witness.exists()


def test_command_failures_do_not_repeat_output() -> None:
    script = "import sys; print('hunter2'); print('hunter2', file=sys.stderr); sys.exit(3)"
    with pytest.raises(AuthError, match="code 3") as caught:
        resolve(f'cmd:{sys.executable} -c "{script}"')
    assert "hunter2" not in str(caught.value) + caught.value.remedy
    with pytest.raises(AuthError, match="No such file"):
        resolve("cmd:/no/such/program")
    with pytest.raises(Refused, match="split"):
        resolve("cmd:echo 'open")
    with pytest.raises(AuthError, match="empty"):
        resolve("cmd:true")


def test_keyring_absent_present_and_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(Unsupported) as caught:
        resolve("keyring:ceph/admin")
    assert "pip install keyring" in caught.value.remedy
    fake = types.SimpleNamespace(get_password=lambda service, user: VALUE if (service, user) == ("ceph", "a") else None)
    monkeypatch.setitem(sys.modules, "keyring", fake)  # type: ignore[arg-type]
    assert resolve("keyring:ceph/a").reveal() == VALUE
    with pytest.raises(AuthError, match="holds nothing"):
        resolve("keyring:ceph/b")


def test_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REHOST_TEST_KEY", "AKIA")
    write(tmp_path / "s", VALUE)
    found = secrets.credentials({"key": "env:REHOST_TEST_KEY", "secret": "file:s"}, base=tmp_path)
    assert found.kind == "keys"
    assert [item.reveal() for item in found.secrets] == ["AKIA", VALUE]
    assert secrets.credentials("aws-default") == secrets.credentials(None) == Credentials("default")
    assert secrets.credentials("aws-profile:work") == Credentials("profile", profile="work")
    for wrong in ("aws-profile:", "AKIAXXXX", {"secret": "env:REHOST_TEST_KEY"}, {"key": "AKIAXXXX"}):
        with pytest.raises(Refused) as caught:
            secrets.credentials(wrong)
        assert "AKIAXXXX" not in str(caught.value)


def spellings(value: str) -> list[str]:
    raw = value.encode()
    return [
        value,
        quote(value, safe=""),
        quote(value),
        json.dumps({"k": value}),
        repr(value),
        raw.hex(),
        base64.b64encode(raw).decode(),
        base64.b64encode(b"user:" + raw).decode(),
        base64.b64encode(b"user1:" + raw + b"\n").decode(),
        base64.urlsafe_b64encode(b"me:" + raw).decode(),
    ]


def test_redact_removes_every_spelling() -> None:
    for text in spellings(VALUE):
        clean = redact(f"before {text} after", [Secret(VALUE)])
        assert MASK in clean
        assert clean.startswith("before ")
        assert clean.endswith(" after")
        assert text not in clean
    assert redact("nothing here", [Secret(VALUE), Secret("")]) == "nothing here"


@given(st.text(min_size=8, max_size=40), st.binary(max_size=5), st.binary(max_size=5))
def test_redact_any_secret_in_any_base64(value: str, head: bytes, tail: bytes) -> None:
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        return
    text = base64.b64encode(head + raw + tail).decode()
    clean = redact(text, [Secret(value)])
    assert MASK in clean
    for part in clean.split(MASK):  # what is left is less than the head or tail plus one character's edge
        assert len(part) <= 12


def test_short_secret_inside_longer_one() -> None:
    assert redact("abcdef abc", [Secret("abc"), Secret("abcdef")]) == f"{MASK} {MASK}"


def test_log_records_lose_secrets_in_message_arguments_traceback_and_extras() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(url)s"))
    guard = Redacting()
    handler.addFilter(guard)
    log = logging.Logger("rehost-test")
    log.addHandler(handler)
    guard.remember(Secret(VALUE))
    log.info("plain %s and %s", VALUE, 7, extra={"url": "http://x/?sig=" + quote(VALUE, safe="")})
    log.info("wrong %d", VALUE, extra={"url": ""})
    try:
        int("inside " + VALUE)
    except ValueError:
        log.exception("failed", extra={"url": ""})
    seen = stream.getvalue()
    assert "plain *** and 7 http://x/?sig=***" in seen
    assert "wrong %d" in seen
    assert "Traceback" in seen
    assert "inside" in seen
    for text in spellings(VALUE):
        assert text not in seen
