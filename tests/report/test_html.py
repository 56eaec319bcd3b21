"""The page: what stands first, what is escaped, what it may load."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.report.sample import HOSTILE, bad, good
from toolkit.report import render_html
from toolkit.report.view import SHOWN

VOID = {"meta", "br", "link", "img", "input"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and insists that every tag is closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.mark.parametrize(
    ("verdict", "headline"),
    [
        ("independent", "Independent"),
        ("dependent", "Dependent"),
        ("unproven", "Unproven"),
        ("not run", "Not run"),
        ("splendid", "Unknown verdict: splendid"),
    ],
)
def test_the_verdict_stands_first(verdict: str, headline: str) -> None:
    page = Page(render_html({**good(), "verdict": verdict}))
    assert ("h1", {}) in page.tags
    body = page.text.split(headline, 2)
    assert len(body) >= 2
    assert "What came over" not in body[0]


def test_an_unknown_verdict_never_looks_like_a_pass() -> None:
    tags = Page(render_html({**good(), "verdict": "splendid"})).tags
    assert ("header", {"class": "unproven"}) in tags


def test_a_rehearsal_says_that_it_was_one() -> None:
    assert "Rehearsed against mocks." in Page(render_html(good())).text
    assert "at scale 1/14,400" in Page(render_html(good())).text
    assert "mocks." not in Page(render_html({**good(), "evidence": "real", "scale": 1})).text


def test_missing_evidence_counts_as_mock() -> None:
    report = good()
    del report["evidence"]
    assert "Rehearsed against mocks." in Page(render_html(report)).text


def test_families_show_total_verified_and_lost() -> None:
    text = Page(render_html(bad())).text
    assert "3,212 3,212 3,209 0 3" in text
    assert text.index("storage") < text.index("dns · 60 rrsets")


def test_everything_hostile_is_escaped() -> None:
    source = render_html(bad())
    page = Page(source)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in source
    assert "<script>alert(1)</script>" in page.text
    for char in "\u202e\x1b\x00\ufffe\ud800":
        assert char not in source
    assert "\\u202egnp.exe\\x1b[31m\\x00\\n" in page.text
    source.encode()  # no lone surrogate is left


def test_hostile_text_makes_no_attribute_and_no_link() -> None:
    known = {"class", "style", "id", "open", "role", "title", "lang", "charset", "name", "content", "http-equiv"}
    for tag, attributes in Page(render_html(bad())).tags:
        assert tag not in {"a", "img", "iframe", "object", "base", "form"}
        unknown = {name for name in attributes if not name.startswith(("aria-", "data-"))} - known
        assert not unknown, (tag, unknown)


def test_an_attribute_cannot_be_left_by_a_quote() -> None:
    report = good()
    report["timeline"][0]["at"] = '" onload="alert(1)'
    assert not [tag for tag, attributes in Page(render_html(report)).tags if "onload" in attributes]


def test_the_page_stands_alone() -> None:
    source = render_html(bad())
    assert not re.search(r"""(?:src|href|action)\s*=|url\(|@import""", source)
    policy = next(a["content"] for tag, a in Page(source).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in Page(source).tags


def test_all_ten_promises_are_listed() -> None:
    text = Page(render_html(good())).text
    for number in range(1, 11):
        assert f"P{number} " in text
    assert text.count("not measured") == 9


def test_commands_in_remedies_look_like_commands() -> None:
    assert "<code>rehost apply</code>" in render_html(bad())


def test_findings_are_bounded_and_the_rest_is_counted() -> None:
    report = good()
    one = bad()["findings"][0]
    report["findings"] = [{**one, "id": f"x{n}"} for n in range(SHOWN + 5)]
    text = Page(render_html(report)).text
    assert "… and 5 more in report.json" in text


def test_figures_carry_their_units() -> None:
    text = Page(render_html(good())).text
    assert "copied bytes 174.9 MiB" in text
    assert "apply 41 s prove 7.5 s" in text


def test_new_findings_are_marked() -> None:
    assert [a for _, a in Page(render_html(bad())).tags].count({"class": "tag fresh"}) == 1


def test_a_run_that_only_began_has_a_page_too() -> None:
    text = Page(render_html({"site": "agora", "run": "1"})).text
    assert "Not run" in text
    assert "Nothing has been counted yet." in text


def test_the_hostile_sample_is_hostile() -> None:
    assert all(part in HOSTILE for part in ("<script>", "\u202e", "\x1b", "\x00", "\n", "`", "|"))
