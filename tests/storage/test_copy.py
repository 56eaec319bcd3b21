"""``rehost copy`` as people type it, against two mocked stores; boto3 alone looks at the result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.storage.ends import Ends, contents, fresh, histories
from toolkit.cli.display import pace
from toolkit.cli.main import run as run_command
from toolkit.copy import Request, place, refuse_overlap
from toolkit.errors import Refused, Unsupported, UsageError
from toolkit.families import Progress
from toolkit.rehearsal.mockaws import Store
from toolkit.storage.view import View, of


class Told(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


class Shell:
    """A folder to type commands in, with the keys of both stores in the environment."""

    def __init__(self, ends: Ends, folder: Path, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]) -> None:
        self.ends = ends
        self.folder = folder
        self._patch = patch
        self._output = output
        patch.chdir(folder)
        for name, value in self.env.items():
            patch.setenv(name, value)

    @property
    def env(self) -> dict[str, str]:
        found = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
        for end in (self.ends.source, self.ends.target):
            start = f"REHOST_{end.kind.upper()}_"
            found |= {f"{start}ENDPOINT": end.endpoint, f"{start}KEY": end.key, f"{start}SECRET": end.secret}
        return found

    def copy(self, *argv: str, code: int = 0) -> Told:
        """Type a command in this process: starting one costs seconds."""
        self._patch.setattr(sys, "argv", ["rehost", "copy", *argv])
        with pytest.raises(SystemExit) as left:
            run_command()
        told = Told(*self._output.readouterr())
        assert left.value.code == code, f"{argv}: {left.value.code}\n{told.stdout}\n{told.stderr}"
        return told

    def json(self, *argv: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.copy(*argv, "--json").stdout)
        return found


@pytest.fixture
def shell(
    mocked: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    before = signal.getsignal(signal.SIGTERM)
    yield Shell(mocked, tmp_path, monkeypatch, capsys)
    signal.signal(signal.SIGTERM, before)


def filled(ends: Ends, *keys: str, **headers: object) -> str:
    name = fresh()
    ends.source.client.create_bucket(Bucket=name)
    for key in keys:
        ends.source.client.put_object(Bucket=name, Key=key, Body=f"body of {key}".encode(), **headers)
    return name


def bodies(ends: Ends, bucket: str) -> Mapping[str, bytes]:
    return {key: told["body"] for key, told in contents(ends.target, bucket).items()}


def test_a_bucket_whole_and_again(shell: Shell) -> None:
    keys = ("a//b", "/lead", ".", "x/../y", "\u00e9", "e\u0301", "trail/", "\x01", "new\nline", "+ %2B & ? # ;")
    name, to = filled(shell.ends, *keys, Metadata={"a": "b"}, CacheControl="no-store", Tagging="t=1"), fresh("to")
    told = shell.json(f"aws:{name}", f"ceph:{to}", "--yes")
    assert contents(shell.ends.target, to) == contents(shell.ends.source, name)
    assert (told["objects"], told["retries"], told["findings"]) == (len(keys), 0, [])
    assert told["bytes"] == sum(len(f"body of {key}".encode()) for key in keys)
    again = shell.json(f"aws:{name}", f"ceph:{to}", "--yes")
    assert (again["objects"], again["made"], again["run"]) == (0, [], told["run"])


def test_a_prefix_becomes_another_byte_for_byte(shell: Shell) -> None:
    name, to = filled(shell.ends, "old/a", "old/old/b", "old//c", "old/é", "older", "x", "old"), fresh("to")
    shell.copy(f"aws:{name}/old", f"ceph:{to}/n%w/", "--yes")
    wanted = {"/a": "old/a", "/old/b": "old/old/b", "//c": "old//c", "/é": "old/é", "er": "older", "": "old"}
    assert bodies(shell.ends, to) == {f"n%w/{new}": f"body of {old}".encode() for new, old in wanted.items()}
    other = fresh("to")
    shell.copy(f"aws:{name}/old/", f"ceph:{other}", "--yes")
    assert set(bodies(shell.ends, other)) == {"a", "old/b", "/c", "é"}


def test_an_object_left_without_a_name_stops_the_copy(shell: Shell) -> None:
    name, to = filled(shell.ends, "old/", "old/a"), fresh("to")
    assert "would have no name" in shell.copy(f"aws:{name}/old/", f"ceph:{to}", "--yes", code=14).stderr
    shell.copy(f"aws:{name}/old/", f"ceph:{to}", "--exclude", "", "--yes")
    assert set(bodies(shell.ends, to)) == {"a"}


def test_include_and_exclude(shell: Shell) -> None:
    name, to = filled(shell.ends, "p/a.jpg", "p/b.jpg", "p/c/d.jpg", "p/e.txt", "q.jpg"), fresh("to")
    argv = (f"aws:{name}/p/", f"ceph:{to}/p/", "--include", "*.jpg", "--exclude", "c/*")
    assert shell.json(*argv, "--yes")["objects"] == 2
    assert set(bodies(shell.ends, to)) == {"p/a.jpg", "p/b.jpg"}
    # What the filter hides at the target is no difference either.
    shell.ends.target.client.put_object(Bucket=to, Key="p/other.txt", Body=b"theirs")
    assert shell.json(*argv, "--yes")["objects"] == 0
    assert bodies(shell.ends, to)["p/other.txt"] == b"theirs"


def test_nothing_happens_without_consent(shell: Shell) -> None:
    name, to = filled(shell.ends, "a"), fresh("to")
    shown = shell.copy(f"aws:{name}", f"ceph:{to}", "--dry-run").stderr
    assert "1 objects" in shown
    assert shell.json(f"aws:{name}", f"ceph:{to}", "--dry-run")["changes"][1]["figures"]["objects"] == 1
    assert "--yes" in shell.copy(f"aws:{name}", f"ceph:{to}", code=20).stderr
    assert to not in [item["Name"] for item in shell.ends.target.client.list_buckets()["Buckets"]]


def test_what_stands_at_the_target_stays(shell: Shell) -> None:
    name, to = filled(shell.ends, "a", "b"), fresh("to")
    shell.ends.target.client.create_bucket(Bucket=to)
    shell.ends.target.client.put_object(Bucket=to, Key="a", Body=b"theirs")
    shell.ends.target.client.put_object(Bucket=to, Key="c", Body=b"theirs too")
    shell.copy(f"aws:{name}", f"ceph:{to}", "--yes", code=40)
    assert bodies(shell.ends, to) == {"a": b"theirs", "b": b"body of b", "c": b"theirs too"}
    findings = [json.loads(line) for path in shell.folder.rglob("findings.jsonl") for line in path.open()]
    assert [(item["feature"], item["verdict"]) for item in findings] == [("a", "different")]
    shell.copy(f"aws:{name}", f"ceph:{to}", "--yes", code=12)


def test_versions_come_along_and_newest_is_a_choice(shell: Shell) -> None:
    name, client = filled(shell.ends, "a"), shell.ends.source.client
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=name, Key="a", Body=b"second")
    client.put_object(Bucket=name, Key="b", Body=b"gone")
    client.delete_object(Bucket=name, Key="b")
    to, newest = fresh("to"), fresh("to")
    shell.copy(f"aws:{name}", f"ceph:{to}/under/", "--yes")
    there = histories(shell.ends.target, to)
    assert there == {f"under/{key}": value for key, value in histories(shell.ends.source, name).items()}
    shell.copy(f"aws:{name}", f"ceph:{newest}", "--newest", "--yes")
    assert bodies(shell.ends, newest) == {"a": b"second"}


def test_grants_come_along(shell: Shell) -> None:
    name, to = filled(shell.ends, "open", "shut"), fresh("to")
    shell.ends.source.client.put_object_acl(Bucket=name, Key="open", ACL="public-read")
    shell.copy(f"aws:{name}", f"ceph:{to}", "--accept", "object-acl", "--yes")
    grants = {
        key: len(shell.ends.target.client.get_object_acl(Bucket=to, Key=key)["Grants"]) for key in ("open", "shut")
    }
    assert grants == {"open": 2, "shut": 1}


def test_verdicts_stand_in_the_way_as_in_apply(shell: Shell) -> None:
    name, to = filled(shell.ends, "a", "b", StorageClass="DEEP_ARCHIVE"), fresh("to")
    client = shell.ends.source.client
    client.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "team", "Value": "x"}]})
    refused = shell.copy(f"aws:{name}", f"ceph:{to}", "--yes", code=20)
    assert f"storage/bucket/{name}:archived" in refused.stderr
    assert "no part of a copy" in refused.stderr
    assert "bucket-tags" in refused.stderr
    shown = shell.copy(f"aws:{name}", f"ceph:{to}", "--accept", "archived", "--dry-run").stderr
    assert "archived" not in shown.split("Verdicts:")[0] or "accepted" in shown


def test_providers_of_a_site(shell: Shell) -> None:
    name, to = filled(shell.ends, "a"), fresh("to")
    ends = {"old": shell.ends.source, "new": shell.ends.target}
    lines = [
        f"  {word}: {{kind: {end.kind}, endpoint: '{end.endpoint}', regions: [us-east-1], credentials:"
        f" {{key: 'env:REHOST_{end.kind.upper()}_KEY', secret: 'env:REHOST_{end.kind.upper()}_SECRET'}}}}"
        for word, end in ends.items()
    ]
    (shell.folder / "site.yaml").write_text("\n".join(["rehost: 1", "name: x", "providers:", *lines, ""]))
    shell.copy(f"old:{name}", f"new:{to}", "--yes", "--transfers", "2")
    assert bodies(shell.ends, to) == {"a": b"body of a"}
    assert "choose one of: old, new" in shell.copy(f"nobody:{name}", f"new:{to}", "--yes", code=11).stderr


def test_p3_killed_and_typed_again(shell: Shell, stores: tuple[Store, Store]) -> None:
    name, to = filled(shell.ends), fresh("to")
    stores[0].bulk(bucket=name, count=800, size=50)
    argv = [sys.executable, "-m", "toolkit.cli", "copy", f"aws:{name}", f"ceph:{to}/p/", "--yes"]
    process = subprocess.Popen(argv, env=shell.env, cwd=shell.folder, stderr=subprocess.DEVNULL)
    try:
        while len(stores[1].calls(class_="write", bucket=to, operation="PutObject")) < 260:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    shell.copy(f"aws:{name}", f"ceph:{to}/p/", "--yes")
    there = contents(shell.ends.target, to)
    assert there == {f"p/{key}": value for key, value in contents(shell.ends.source, name).items()}
    assert len(stores[1].calls(class_="write", bucket=to, operation="PutObject")) <= 800 + 2 * 250


def test_p1_the_source_is_only_read(shell: Shell, stores: tuple[Store, Store]) -> None:
    name, to = filled(shell.ends, "a", "b"), fresh("to")
    before = len(stores[0].calls(class_="write", bucket=name))
    shell.copy(f"aws:{name}", f"ceph:{to}", "--yes")
    assert len(stores[0].calls(class_="write", bucket=name)) == before
    assert len(stores[1].calls(class_="write", bucket=to, operation="DeleteObject")) == 0


# -- the parts


def test_places() -> None:
    assert place("aws:media/a/b") == place("aws:media/a/b")
    assert (place("aws:media").prefix, place("aws:media/").prefix, place("aws:m//a\n").prefix) == (b"", b"", b"/a\n")
    assert place("aws:m/\udcff").prefix == b"\xff"
    for wrong in ("media", "aws:", ":media", "aws:/x", ""):
        with pytest.raises(UsageError):
            place(wrong)


@pytest.mark.parametrize(
    ("source", "target", "refused"),
    [("a:b", "a:b", True), ("a:b/x/", "a:b", True), ("a:b", "a:b/x/", True), ("a:b/x/", "a:b/y/", False)],
)
def test_overlaps_are_refused(source: str, target: str, *, refused: bool) -> None:
    request = Request(place(source), place(target))
    refuse_overlap(request, same_store=False)
    if refused:
        with pytest.raises(Refused):
            refuse_overlap(request, same_store=True)
    else:
        refuse_overlap(request, same_store=True)


def test_a_view_renames_and_selects() -> None:
    here, there = of({"scope": {"from": "a%FF/", "to": "b/", "include": ["*%FE"], "exclude": []}})
    assert here == View(b"a\xff/", b"b/", (b"*\xfe",))
    assert there == View(b"b/", b"b/", (b"*\xfe",))
    assert (here.there(b"b/x"), here.here(b"a\xff/x"), here.there(b"")) == (b"a\xff/x", b"b/x", b"a\xff/")
    assert [here.sees(key) for key in (b"a\xff/x\xfe", b"a\xff/x", b"a/x\xfe")] == [True, False, False]
    with pytest.raises(Unsupported):
        View(b"a/").here(b"a/")


def test_the_pace_tells_rate_bytes_and_time_left() -> None:
    assert pace(Progress("storage", "x", 5, 10), 1.0, 5, 0) == ""
    assert pace(Progress("storage", "x", 100, 300), 10.0, 100, 0) == "10/s  ETA 0:00:20"
    few_large = Progress("storage", "x", 100, 110, 10_000_000, total_size=1_010_000_000)
    assert pace(few_large, 10.0, 100, 10_000_000) == "10/s  1.0 MB/s  ETA 0:16:40"
