"""What goes wrong gives one clear message, a remedy and its exit code; no traceback reaches a user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.acceptance.world import World, s3, world
from toolkit.cli import main

#: Every verb, and the verbs of those that have some, as the command line itself knows them.
COMMANDS: tuple[tuple[str, ...], ...] = (
    *((name,) for name, _ in main.VERBS),
    *((group.name,) for group in main.app.registered_groups if group.name),
    *(
        (group.name, command.name or command.callback.__name__)
        for group in main.app.registered_groups
        if group.name and group.typer_instance
        for command in group.typer_instance.registered_commands
        if command.callback
    ),
)
STORAGE = """
move: {storage: {from: aws, to: store}}
buckets:
  box: {provider: aws, name: world-box, versioning: "off"}
"""
ZONE = """
move: {dns: {from: aws, to: names}}
zones:
  gone.example:
    provider: aws
    name: gone.example
    private: false
    records:
      www/A: {ttl: 60, values: [192.0.2.1]}
"""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("errors")) as made:
        client: Any = s3(made.aws.store)
        client.create_bucket(Bucket="world-box")
        client.put_object(Bucket="world-box", Key="a", Body=b"a")
        yield made


def complaint(at: World, code: int, *argv: str) -> str:
    done = at.rehost(*argv, code=code)
    assert "error:" in done.stderr, done.stdout + done.stderr
    assert "try:" in done.stderr, done.stderr
    return done.stderr


def test_an_unreachable_endpoint(at: World) -> None:
    at.write(STORAGE)
    file = at.folder / "site.yaml"
    file.write_text(file.read_text().replace(at.aws.endpoint, "http://127.0.0.1:9"))
    assert "127.0.0.1:9" in complaint(at, 15, "plan", "--run", "unreachable")


def test_an_error_as_json_is_a_document(at: World) -> None:
    at.write(STORAGE)
    file = at.folder / "site.yaml"
    file.write_text(file.read_text().replace(at.aws.endpoint, "http://127.0.0.1:9"))
    done = at.rehost("plan", "--run", "unreachable", "--json", code=15)
    assert done.stderr == ""
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["problems"]) == (15, [])
    assert "127.0.0.1:9" in error["text"]
    file.write_text(file.read_text() + "nonsense: 1\n")
    error = json.loads(at.rehost("plan", "--json", code=3).stdout)["error"]
    assert [problem["line"] for problem in error["problems"]] == [len(file.read_text().splitlines())]


def test_options_of_rehost_itself_may_stand_behind_the_verb(at: World) -> None:
    at.write(STORAGE)
    assert "INFO" in at.rehost("plan", "--run", "loud", "-v", "--no-color").stderr


def test_wrong_credentials(at: World) -> None:
    at.write(STORAGE)
    worse = World(at.folder, at.aws, at.target, {**at.env, "AWS_KEY": "AKIAWRONGWRONGWRONGX"})
    assert "AKIAWRONG" not in complaint(worse, 10, "plan", "--run", "credentials")


def test_credentials_that_are_not_there(at: World) -> None:
    at.write(STORAGE)
    worse = World(at.folder, at.aws, at.target, {k: v for k, v in at.env.items() if k != "AWS_SECRET"})
    assert "AWS_SECRET" in complaint(worse, 10, "plan", "--run", "credentials")


def test_a_missing_bucket_at_the_source(at: World) -> None:
    at.write(STORAGE.replace("world-box", "no-such-box"))
    assert "no-such-box" in complaint(at, 11, "plan", "--run", "bucket")


def test_a_missing_zone_at_the_source(at: World) -> None:
    at.write(ZONE)
    assert "gone.example" in complaint(at, 11, "plan", "--run", "zone")


def test_apply_without_a_plan(at: World) -> None:
    at.write(STORAGE)
    assert "rehost plan" in complaint(at, 11, "apply", "--run", "noplan", "--yes")


def test_a_plan_from_another_run_and_an_edited_one(at: World) -> None:
    at.write(STORAGE)
    at.rehost("plan", "--run", "first")
    at.rehost("plan", "--run", "second")
    (at.folder / "second" / "plan.json").write_bytes((at.folder / "first" / "plan.json").read_bytes())
    assert "another run" in complaint(at, 20, "apply", "--run", "second", "--yes")
    file = at.folder / "first" / "plan.json"
    file.write_text(file.read_text().replace("world-box", "other-box"))
    assert "changed after" in complaint(at, 20, "apply", "--run", "first", "--yes")


def test_a_site_changed_after_the_plan(at: World) -> None:
    at.write(STORAGE)
    at.rehost("plan", "--run", "stale")
    at.write(STORAGE + "# a word more\n")
    assert "changed after the plan" in complaint(at, 20, "apply", "--run", "stale", "--yes")


def test_without_a_terminal_and_without_yes_nothing_happens(at: World) -> None:
    at.write(STORAGE)
    at.rehost("plan", "--run", "asks")
    before = at.target.s3.digest()
    assert "--yes" in complaint(at, 20, "apply", "--run", "asks")
    at.rehost("apply", "--run", "asks", "--dry-run")
    assert at.target.s3.digest() == before


def test_a_selection_that_selects_nothing(at: World) -> None:
    at.write(STORAGE)
    assert "selects nothing" in complaint(at, 2, "plan", "--only", "storage/bucket/bxo")


def test_a_definition_with_mistakes(at: World) -> None:
    (at.folder / "bad").mkdir()
    (at.folder / "bad" / "site.yaml").write_text("rehost: 1\nname: bad\nbukkets: {}\nproviders: {a: {kind: azure}}\n")
    text = at.rehost("plan", "bad", code=3).stderr
    assert "site.yaml:3" in text
    assert "site.yaml:4" in text


def test_no_site_at_all(at: World, tmp_path: Path) -> None:
    text = at.rehost("plan", str(tmp_path), code=3).stderr
    assert "rehost discover" in text


def test_json_is_one_document(at: World) -> None:
    at.write(STORAGE)
    plan = json.loads(at.rehost("plan", "--run", "json", "--json").stdout)
    assert plan["schema"] == "rehost.plan/1"
    at.rehost("apply", "--run", "json", "--yes", "--json")
    assert json.loads(at.rehost("status", "--run", "json", "--json").stdout)["stages"]["apply"] == "done"
    assert json.loads(at.rehost("audit", "verify", "--run", "json", "--json").stdout)["events"] > 0


def test_rehost_alone_and_every_help_teach(at: World) -> None:
    alone = at.rehost(code=None)
    text = alone.stdout + alone.stderr
    assert alone.returncode in (0, 2)
    assert "rehost rehearse" in text
    assert "discover" in text
    assert {("copy",), ("lab", "up"), ("exit", "check")} <= set(COMMANDS)
    for words in COMMANDS:
        told = CliRunner().invoke(main.app, [*words, "--help"])
        assert told.exit_code == 0, (words, told.exception)
        assert len(told.stdout.split()) > 30, words
    assert at.rehost("plann", code=2).stderr


def test_a_closed_account_is_told_from_a_wrong_key(at: World) -> None:
    at.write(STORAGE)
    at.aws.cutoff()
    try:
        # 7, not 10: no other key helps, a person must ask the provider (docs/reference/exit-codes.md).
        assert "may be suspended" in complaint(at, 7, "plan", "--run", "closed")
    finally:
        at.aws.restore()
