"""``exit init``, ``waive``, ``attest``: what they write, what they refuse, and the chain they leave."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.exitplan.plans import SEED
from toolkit.cli.main import app
from toolkit.errors import RehostError
from toolkit.exitplan import record
from toolkit.journal import Journal


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sample site without any plan, and a shell standing in it."""
    for name in ("site.yaml", "accounts.jsonl", "app", "user-data"):
        (shutil.copytree if (SEED / name).is_dir() else shutil.copy)(SEED / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Any:
    done = CliRunner().invoke(app, ["exit", *words, "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return json.loads(done.output)


def test_init_fills_in_what_can_be_found_out_and_asks_nothing(here: Path) -> None:
    document = run("init", "--profile", "small")
    found = record.load(here / "exit.yaml")
    assert (found.site, found.profile, found.phase) == ("agora", "small", "plan")
    assert found.doc["notice"] == "29h"
    assert found.doc["vendors"]["aws"] == {"template": "aws", "side": "old"}
    assert found.doc["vendors"]["names"]["template"] == "route53"
    assert {"sms", "identity", "support", "chat", "mail", "app-store-1"} <= set(document["vendors"])
    assert set(found.evidence["stores"].value) == {"agora-media", "agora-avatars", "agora-static", "agora-backups"}
    assert found.evidence["zone_ttl"].value["moving_ttl"] == 86400  # office/A
    checked = run("check")
    states = {row["id"]: row["state"] for row in checked["items"]}
    assert 12 <= len(states) <= 18
    assert states["D1"] == "fail"
    assert not checked["passes"]
    with pytest.raises(RehostError, match="exists already"):
        run("init")


def test_init_for_everybody_lists_every_item(here: Path) -> None:
    run("init")
    assert len(run("check")["items"]) == 64


def prepared(here: Path) -> Path:
    """A plan with owners, and a comment that must survive."""
    run("init")
    file = here / "exit.yaml"
    old = 'owners: {default: {owner: "", deputy: ""}}'
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, "owners: {default: {owner: operations, deputy: development}} # who answers"))
    return file


def test_a_waiver_is_written_checked_and_chained(here: Path) -> None:
    file = prepared(here)
    assert record.load(file).doc["owners"]["default"]["owner"] == "operations"
    words = ["waive", "N6", "--reason", "next month", "--expires", "2099-01-01"]
    row = run(*words, "--approver", "board", "--approver", "counsel", "--compensates", "a page at a friend's")
    assert row["approver"] == ["board", "counsel"]
    assert "# who answers" in file.read_text()
    item = next(one for one in run("check")["items"] if one["id"] == "N6")
    assert (item["state"], item["waiver"]["counts"]) == ("waived", True)
    with Journal(here / ".rehost" / "agora" / "journal.db") as journal:
        assert [kind for _, kind, _ in journal.events()] == ["exit.waive"]
    before = file.read_text()
    for more, why in (
        (["--approver", "operations"], "owns the item"),
        (["--approver", " "], "needs a reason"),
    ):
        with pytest.raises(RehostError, match=why):
            run(*words, *more)
    with pytest.raises(RehostError, match="expired already"):
        run("waive", "N6", "--reason", "r", "--expires", "2020-01-01", "--approver", "board")
    with pytest.raises(RehostError, match="nobody can waive"):
        run("waive", "L3", "--reason", "r", "--expires", "2099-01-01", "--approver", "board")
    with pytest.raises(RehostError, match="no item Q9"):
        run("waive", "Q9", "--reason", "r", "--expires", "2099-01-01", "--approver", "board")
    assert file.read_text() == before


def test_a_word_is_written_with_the_digest_of_its_file(here: Path) -> None:
    prepared(here)
    (here / "people.md").write_text("everybody\n")
    words = ["attest", "H1", "--by", "operations", "--until", "2099-01-01", "--says", "all reached"]
    row = run(*words, "--file", "people.md")
    assert len(row["sha256"]) == 64
    states = {one["id"]: one["state"] for one in run("check")["items"]}
    assert states["H1"] == "attested"
    (here / "people.md").write_text("nobody\n")
    states = {one["id"]: one["state"] for one in run("check")["items"]}
    assert states["H1"] == "fail"
    with pytest.raises(RehostError, match="no file"):
        run(*words, "--file", "nowhere.md")
    with pytest.raises(RehostError, match="lies outside"):
        run(*words, "--file", "/etc/hostname")
    with pytest.raises(RehostError, match="checked by machine"):
        run("attest", "D1", "--by", "x", "--until", "2099-01-01", "--file", "people.md")
    with pytest.raises(RehostError, match="would not hold"):
        run("attest", "H1", "--by", "x", "--until", "2020-01-01", "--file", "people.md")


def test_a_plan_of_another_site_is_refused(here: Path) -> None:
    (here / "exit.yaml").write_text("exit: 1\nsite: other\n")
    with pytest.raises(RehostError, match="the plan of 'other'"):
        run("check")


@pytest.mark.parametrize(
    "words", [["--as-of", "soon"], ["--notice", "a while"], ["--notice", "0h"], ["--fail-on", "x"]]
)
def test_options_that_mean_nothing_are_refused(here: Path, words: list[str]) -> None:
    with pytest.raises(RehostError) as caught:
        run("check", *words)
    assert caught.value.code == 2
    assert caught.value.remedy


def test_a_deadline_without_figures_says_which_are_missing(here: Path) -> None:
    run("init")
    with pytest.raises(RehostError, match="bytes, objects, link_gbps"):
        run("deadline")
