"""YAML is read with positions, completely or with every reason why not."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from toolkit import site_yaml
from toolkit.model import Json
from toolkit.site_yaml import MAX_DEPTH, line_of, parse, plain, resolve


@pytest.fixture(params=["c", "python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C parser was not built the other must say the same."""
    if request.param == "python":
        monkeypatch.setattr(site_yaml, "_PARSER", yaml.SafeLoader)


def read(text: str) -> Json:
    parsed = parse(text, "f")[0]
    assert parsed.problems == ()
    assert parsed.root is not None
    return plain(parsed.root)


def said(text: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.text) for problem in parse(text, "f")[0].problems]


def test_scalars_mean_what_yaml_1_2_says() -> None:
    text = "a: [no, on, true, ~, 12, -3, 1.5, 1e3, 0x1F, 012, 2021-01-10, 12:30, .5, '7', \"x\\ty\", +4, .inf]"
    values = [
        "no",
        "on",
        True,
        None,
        12,
        -3,
        1.5,
        1000.0,
        "0x1F",
        "012",
        "2021-01-10",
        "12:30",
        0.5,
        "7",
        "x\ty",
        4,
        ".inf",
    ]
    found = read(text)["a"]
    assert found == values
    assert [type(item) for item in found] == [type(item) for item in values]
    assert read("012345678901: x\n443: y\nnull: z\n") == {"012345678901": "x", "443": "y", "null": "z"}


def test_anchors_and_merge_keys() -> None:
    assert read("a: &x {b: 1, c: 2}\nd: *x\ne: {<<: *x, b: 3}\nf:\n  <<: [{b: 7}, *x]\n") == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 1, "c": 2},
        "e": {"b": 3, "c": 2},
        "f": {"b": 7, "c": 2},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (1, "the file is empty")),
        ("# nothing\n", (1, "the file is empty")),
        ("a: 1\n---\nb: 2\n", (2, "a second document")),
        ("a: 'x\nb: 1\n", (1, "a quote that is not closed")),
        ('a: 1\nb: "x\n', (2, "a quote that is not closed")),
        ("a: {b: 1\nc: 2\n", (1, "a { or [ that is not closed")),
        ("a: b: c\n", (1, "a colon where no key can stand")),
        ("a:\n   b: 1\n  c: 2\n", (3, "the indentation fits no line above")),
        ("a: *no\n", (1, "*no names no anchor")),
        ("a: &x {b: *x}\n", (1, "*x contains itself")),
        ("a: !!python/object/apply:os.system [x]\n", (1, "is not used here")),
        ("a: !custom x\n", (1, "the tag !custom")),
        ("? [a]\n: 1\n", (1, "a key that is no text")),
        ("x: 1\na: 1\nx: 2\n", (3, "duplicate key 'x', first on line 1")),
        ("a: 1\nb: \x00\n", (2, "unprintable character U+0000")),
        ("a: 1\nb: x\u2028y\n", (2, "unprintable character U+2028")),
        ("a: 1e999\n", (1, "a number too large")),
        ("a: @x\n", (1, "cannot start any token")),
        ("a: %x\n", (1, "cannot start any token")),
        ("[" * 200, (1, f"more than {MAX_DEPTH} levels deep")),
    ],
)
def test_each_mistake_has_its_line(text: str, expected: tuple[int, str]) -> None:
    found = said(text)
    assert len(found) == 1
    assert found[0][0] == expected[0]
    assert expected[1] in found[0][1]
    assert all(problem.remedy for problem in parse(text, "f")[0].problems)


def test_several_mistakes_come_together() -> None:
    assert sorted(line for line, _ in said("a: *b\na: 1\nc: !x 1\n")) == [1, 2, 3]


@pytest.mark.parametrize("tab", ["\t", "\t\t", " \t", "  \t"])
def test_tabs_are_reported_and_repaired(tab: str) -> None:
    text = f"a:\n  b:\n    x: 1\n{tab}y: 2\nc: 1\n"
    answers = parse(text, "f")
    assert all([(p.line, p.text) for p in item.problems] == [(4, "a tab in the indentation")] for item in answers)
    assert {"a": {"b": {"x": 1, "y": 2}}, "c": 1} in [plain(item.root) for item in answers if item.root]


def test_a_file_indented_by_tabs_throughout() -> None:
    answers = parse("a:\n\tb:\n\t\tc: 1\n\td: [1]\n", "f")
    assert {"a": {"b": {"c": 1}, "d": [1]}} in [plain(item.root) for item in answers if item.root]
    assert [problem.line for problem in answers[-1].problems] == [2, 3, 4]


def test_a_tab_and_a_syntax_error_come_together() -> None:
    assert [line for line, _ in said("a:\n\tb: 1\nc: 'x\n")] == [2, 3]


def test_tabs_inside_block_texts_are_the_text() -> None:
    assert read("a: |\n  all:\n  \tmake\nb: 1\n") == {"a": "all:\n\tmake\n", "b": 1}
    text = "a: |\n  all:\n  \tmake\nb:\n\tc: 1\n"
    answers = parse(text, "f")
    assert {"a": "all:\n\tmake\n", "b": {"c": 1}} in [plain(item.root) for item in answers if item.root]
    assert all([problem.line for problem in item.problems] == [5] for item in answers)


def test_a_bomb_does_not_go_off() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 12):
        bomb += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    started = time.monotonic()
    assert "expand to more than" in said(bomb)[0][1]
    assert time.monotonic() - started < 5


def test_lines_of_locations() -> None:
    root = parse("a:\n  b:\n    - x\n    - {c: 1,\n       d: 2}\ne: &e\n  f: 1\ng: *e\n", "f")[0].root
    assert root is not None
    places = {("a",): 1, ("a", "b"): 2, ("a", "b", 1): 4, ("a", "b", 1, "d"): 5, ("g", "f"): 7, ("a", "zz"): 1, (): 1}
    for loc, line in places.items():
        assert line_of(root, loc) == line


@given(st.text(st.sampled_from("ab:-{}[]&*!|>'\"#%@, \n\t\\<~0?\x00é"), max_size=40))
def test_no_text_makes_it_raise(text: str) -> None:
    for parsed in parse(text, "f"):
        if parsed.root is None:
            assert parsed.problems
        else:
            plain(parsed.root)
        assert all(problem.line >= 1 for problem in parsed.problems)


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_read_back(value: float) -> None:
    found = resolve(repr(value))
    assert found == value
    assert type(found) is type(value)
