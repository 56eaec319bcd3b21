"""The exports: the page in a real browser, Markdown, JSON, JUnit, the register; and what is hostile in them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from tests.exitplan.plans import AFTER, JANUARY, SEED, Doc, document, judged
from toolkit.cli.main import app
from toolkit.exitplan import export, html, money
from toolkit.exitplan.judge import Checklist

STATES = {"january": JANUARY, "after": AFTER}
#: What is measured in the browser: which of these ids and links end above the lower edge of the window.
MEASURE = """
<script>
addEventListener("load", () => {
  const box = (e) => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const found = {
    width: innerWidth, height: innerHeight, scroll: document.documentElement.scrollWidth,
    headline: box(document.querySelector("#headline b")), chart: box(document.querySelector("#chart svg")),
    bars: [...document.querySelectorAll("#chart rect")].map(box),
    chips: [...document.querySelectorAll("#open .chip")].map((e) => [e.textContent, ...box(e)]),
  };
  parent.postMessage(JSON.stringify(found), "*");
});
</script></body>"""
#: A window of a headless browser is never exactly as large as asked for; a frame is.
FRAME = """<!doctype html><body><script>
addEventListener("message", (e) => { document.body.dataset.found = e.data; });
</script><iframe src="page.html" width="WIDTH" height="HEIGHT" style="border:0"></iframe></body>"""


def chromium() -> str:
    """The browser; where there is none, the test says loudly that it did not run."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        warnings.warn(
            "NO CHROMIUM: nobody looked at the page of the exit plan. On Debian: apt install chromium", stacklevel=2
        )
        pytest.skip("NO CHROMIUM on this machine (Debian: apt install chromium)")
    return found


def measured(page: str, size: tuple[int, int], folder: Path) -> dict[str, Any]:
    """Open a page in a headless browser, in a screen of this size, and measure it."""
    # The page itself forbids every script; the copy that is measured does not.
    copy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", MEASURE)
    (folder / "page.html").write_text(copy, "utf-8")
    argv = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]
    frame = FRAME.replace("WIDTH", str(size[0])).replace("HEIGHT", str(size[1]))
    (folder / "frame.html").write_text(frame, "utf-8")
    argv += ["--window-size=1600,1200", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000"]
    argv += ["--dump-dom", (folder / "frame.html").as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240)
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return dict(json.loads(found[1].replace("&quot;", '"')))


def exported(which: str, what: str = "checklist", form: str = "html") -> str:
    words = [
        "exit",
        "export",
        str(SEED),
        "--state",
        str(STATES[which]),
        "--notice",
        "29h",
        "--as",
        what,
        "--format",
        form,
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("size", [(390, 844), (1280, 800)], ids=["phone", "desk"])
def test_headline_chart_and_what_fails_are_on_the_first_screen(size: tuple[int, int], tmp_path: Path) -> None:
    found = measured(exported("january"), size, tmp_path)
    assert (found["width"], found["height"]) == size
    height = found["height"]
    assert found["scroll"] <= found["width"], "the page scrolls sideways"
    for name in ("headline", "chart"):
        left, top, right, bottom = found[name]
        assert 0 <= left < right <= found["width"], name
        assert 0 <= top < bottom <= height, name
    assert len(found["bars"]) == 4
    assert all(right - left >= 1 for left, _, right, _ in found["bars"])
    failing = {row.item.id for row in judged(document(JANUARY)).rows if row.state == "fail"}
    seen = {name for name, _, _, _, bottom in found["chips"] if bottom <= height}
    assert len(failing) == 16
    assert failing <= seen


class Links(HTMLParser):
    """Ids of a page, and the links inside each element with an id."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: dict[str, list[str]] = {}
        self.loads: list[str] = []
        self.at = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.at = str(given["id"])
            self.ids.append(self.at)
        if tag == "a" and given.get("href"):
            self.links.setdefault(self.at, []).append(str(given["href"]))
        self.loads += [str(given[name]) for name in ("src", "data", "poster") if given.get(name)]
        if tag in ("script", "link", "iframe", "object", "img"):
            self.loads.append(tag)


@pytest.mark.parametrize("which", STATES)
def test_every_item_links_to_evidence_that_is_on_the_page(which: str) -> None:
    page = Links()
    page.feed(exported(which))
    assert len(page.ids) == len(set(page.ids))
    assert page.loads == []  # nothing is fetched, nothing runs
    items = [name for name in page.ids if name.startswith("item-")]
    assert len(items) == 64
    for name in items:
        proofs = [link for link in page.links.get(name, ()) if link.startswith("#evidence-")]
        assert proofs, name
        assert {link[1:] for link in proofs} <= set(page.ids), name
    for links in page.links.values():
        for link in links:
            target = link[1:] in page.ids if link.startswith("#") else (STATES[which].parent / link).is_file()
            assert target, link


def test_a_page_without_figures_says_so() -> None:
    doc = document(JANUARY)
    doc["deadline"] = {}
    page = html.render(judged(doc), None, ())
    assert "unknown</b>" in page
    assert "bytes, objects, link_gbps is not known" in page


HOSTILE = "<script>alert(1)</script>\"'`|\u202e\x07"


def hostile() -> Checklist:
    doc: Doc = document()
    doc["observed"]["leaks"]["value"]["dangling"] = [HOSTILE]
    doc["observed"]["leaks"]["source"] = HOSTILE
    doc["attested"]["H1"]["says"] = HOSTILE
    doc["waived"][0]["reason"] = HOSTILE
    doc["vendors"][HOSTILE] = {"kind": HOSTILE, "side": "new", "rests_on": [HOSTILE], "name": f"=1+1{HOSTILE}"}
    return judged(doc)


def test_what_comes_from_files_is_harmless_everywhere() -> None:
    found = hostile()
    for text in (html.render(found, None, ()), export.markdown(found, None, ())):
        assert "<script" not in text
        assert "\u202e" not in text
        assert "\x07" not in text
    ElementTree.fromstring(export.junit(found))
    rows = list(csv.reader(io.StringIO(export.dora_csv(found))))
    assert all(not cell.startswith(("=", "+", "-", "@")) for line in rows for cell in line)


def test_json_holds_everything_and_every_item_its_evidence() -> None:
    found = json.loads(exported("january", form="json"))
    assert (found["schema"], found["passes"], len(found["items"])) == ("rehost.exit/1", False, 64)
    assert found["deadline"]["verdict"] == "NO-GO"
    assert found["deadline"]["seed"] == 20210111
    assert found["cost"]["egress_list"] > 5000
    assert found["order"][-1]["fits"] is False
    assert set(found["evidence"]["copies"]) == {"value", "at", "collector", "kind", "source", "sha256"}
    named = {name for row in found["items"] for name in row["evidence"]}
    assert set(found["evidence"]) <= named | {"stores"}
    assert found["fall_together"]["aws"] == ["aws", "domains-at-the-host", "route53"]


def test_markdown_and_junit_say_what_the_list_says() -> None:
    text = exported("january", form="md")
    assert "**Shortest survivable notice: 6.7 d" in text
    assert "| N4 | " in text
    assert "parent NS TTL 48 h &#62; notice 29 h" in text
    root = ElementTree.fromstring(exported("january", form="junit"))
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("65", "55", "9")
    assert len(root.findall(".//failure")) == 55
    after = ElementTree.fromstring(exported("after", form="junit"))
    assert (after.get("failures"), len(after.findall(".//failure"))) == ("0", 0)
    assert any("[pass (mock)]" in str(case.get("name")) for case in after.iter("testcase"))


def test_the_register_has_a_row_for_everybody_we_would_leave() -> None:
    rows = list(csv.DictReader(io.StringIO(exported("january", "vendors", "dora-csv"))))
    names = [row["provider"] for row in rows]
    assert "Amazon Web Services" in names
    aws = rows[names.index("Amazon Web Services")]
    assert (aws["exit_plan_exists"], aws["date_of_last_audit"], aws["substitutability"]) == (
        "yes",
        "never",
        "not assessed",
    )
    assert aws["schedule_fits"] == "unknown"
    after = list(csv.DictReader(io.StringIO(exported("after", "vendors", "dora-csv"))))
    assert {row["schedule_fits"] for row in after} == {"yes"}
    assert {row["date_of_last_audit"] for row in after} == {"2021-02-20"}


def test_a_file_is_written_and_a_form_that_does_not_exist_refused(tmp_path: Path) -> None:
    words = [
        "exit",
        "export",
        str(SEED),
        "--state",
        str(AFTER),
        "--format",
        "html",
        "--out",
        str(tmp_path / "page.html"),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")
    done = CliRunner().invoke(app, [*words, "--as", "vendors"])
    assert done.exception is not None
    assert "--as vendors --format dora-csv" in getattr(done.exception, "remedy", "")


def test_the_bill_follows_the_record() -> None:
    doc = document(JANUARY)
    found = judged(doc)
    assert found.view.deadline is not None
    day = found.view.now.date()
    bill = money.bill(found.view.record, found.view.deadline, day)
    assert bill is not None
    assert round(bill.egress) == 5383
    doc["deadline"]["waiver"] = {"approved": "2021-01-05", "days": 60}
    found = judged(doc)
    assert found.view.deadline is not None
    waived = money.bill(found.view.record, found.view.deadline, day)
    assert waived is not None
    assert (waived.egress, round(waived.egress_list)) == (0, 5383)
