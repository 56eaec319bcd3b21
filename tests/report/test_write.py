"""Writing: three whole files, readable by their owner only; comparing two reports."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.report.sample import bad, good
from toolkit import report as rendering


def test_three_files_are_written(tmp_path: Path) -> None:
    rendering.write(tmp_path / "report", good())
    files = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert files == ["junit.xml", "report.html", "report.json"]
    for name in files:
        assert stat.S_IMODE((tmp_path / "report" / name).stat().st_mode) == 0o600


def test_report_json_is_the_dict_itself(tmp_path: Path) -> None:
    rendering.write(tmp_path, good())
    text = (tmp_path / "report.json").read_text("utf-8")
    assert json.loads(text) == good()
    assert text == json.dumps(good(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    rendering.write(tmp_path / "a", good())
    rendering.write(tmp_path / "b", good())
    for name in ("report.json", "report.html", "junit.xml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendering.write(tmp_path, good())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("toolkit.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        rendering.write(tmp_path, {**good(), "site": "other"})
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["site"] == "agora"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.html", "report.json"]


def test_a_report_that_is_not_whole_is_written_and_complained_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rendering.write(tmp_path, {"site": "agora", "run": "1", "verdict": "not run"})
    assert (tmp_path / "report.html").exists()
    assert "journal_head: Field required" in caplog.text


def test_hostile_text_can_be_written(tmp_path: Path) -> None:
    rendering.write(tmp_path, bad())
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == bad()


def test_compare_finds_new_gone_and_same() -> None:
    before, after = bad(), bad()
    before["findings"] = before["findings"][:2]
    after["findings"] = after["findings"][1:3]
    ids = [finding["id"] for finding in bad()["findings"]]
    found = rendering.compare(after, before)
    assert (found["new"], found["gone"], found["same"]) == ([ids[2]], [ids[0]], [ids[1]])
    assert rendering.validate({**after, "comparison": found}) == []


def test_compare_with_something_that_has_no_findings() -> None:
    assert rendering.compare(good(), {})["new"] == []
