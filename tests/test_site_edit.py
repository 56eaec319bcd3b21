"""Editing a YAML text changes what must change and no other byte."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import DefinitionError
from toolkit.model import Json
from toolkit.site_edit import rewrite, same
from toolkit.site_emit import entry, inline, lines
from toolkit.site_yaml import parse, plain

TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(
        [
            "",
            " ",
            "no",
            "On",
            "~",
            "null",
            "1",
            "1.5",
            "0x1F",
            "0o7",
            "012",
            "1e3",
            ".5",
            "-",
            "- a",
            "a: b",
            "a #b",
            "2021-01-10",
            "12:30:45",
            "@/A",
            "*.x/A",
            "10.0.0.0/16",
            "10 mail.example.",
            "::1",
            "<<",
            "=",
            "%",
            "`",
            "'",
            "#",
            '"',
            "\t",
            "a\nb\n",
            "\u2028",
            "\x85",
            "\ufeff",
            "é",
            "e\u0301",
            "🐘",
            "[",
            "}",
            ",",
            "? x",
            "!tag",
            "&a",
            "*a",
            "|",
            ">",
            "\x00",
            "a\n\n",
            "\r",
            "---",
            "...",
        ]
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)
DOCS = st.dictionaries(TEXTS, VALUES, min_size=1, max_size=5)


def meaning(text: str) -> Json:
    parsed = parse(text, "f")[0]
    assert parsed.problems == ()
    assert parsed.root is not None
    return plain(parsed.root)


@given(DOCS)
def test_what_is_written_reads_back_here_and_elsewhere(doc: dict[str, Json]) -> None:
    text = "\n".join(lines(doc, 0)) + "\n"
    assert same(meaning(text), doc)
    assert same(meaning(inline(doc) + "\n"), doc)
    for line in text.splitlines():
        assert "\t" not in line


@given(st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=5))
def test_texts_stay_texts_for_a_reader_of_yaml_1_1(doc: dict[str, str]) -> None:
    assert yaml.safe_load("\n".join(lines(doc, 0))) == doc


@settings(max_examples=200)
@given(DOCS, DOCS, st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_rewrite_means_what_is_wanted_and_twice_is_once(
    have: dict[str, Json], wanted: dict[str, Json], blocks: bool, newline: str
) -> None:
    text = "\n".join(lines(have, 0, (), lambda _: blocks)) + "\n"
    text = text.replace("\n", newline)
    made = rewrite(text, wanted, file="f", forced=lambda loc: len(loc) == 1)
    assert same(meaning(made), wanted)
    assert rewrite(made, wanted, file="f") == made
    assert rewrite(text, have, file="f") == text


def small_changes(doc: dict[str, Json], path: list[int], value: Json) -> dict[str, Json]:
    """Change one leaf somewhere in the document."""
    made = dict(doc)
    at: Json = made
    for step in path:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = keys[step % len(keys)]
        if isinstance(at[key], dict) and at[key]:
            at[key] = dict(at[key])
        elif isinstance(at[key], list) and at[key]:
            at[key] = list(at[key])
        else:
            at[key] = value
            break
        at = at[key]
    return made


@given(DOCS, st.lists(st.integers(0, 9), min_size=1, max_size=6), SCALARS, st.booleans())
def test_one_changed_leaf_keeps_every_other_line(
    doc: dict[str, Json], path: list[int], value: Json, blocks: bool
) -> None:
    text = "\n".join(lines(doc, 0, (), lambda _: blocks)) + "\n"
    wanted = small_changes(doc, path, value)
    made = rewrite(text, wanted, file="f")
    assert same(meaning(made), wanted)
    if blocks:
        before, after = text.splitlines(), made.splitlines()
        assert len(before) == len(after)
        assert sum(one != other for one, other in zip(before, after, strict=True)) <= 1


HUMAN = """\
# what we run
rehost: 1   # format
name: 'agora'

buckets:
    media: {name: "media",  versioning: off} # the big one
    # avatars are small
    avatars:
        name: avatars      # as ever
        tags: &tags {team: web}
        versioning: suspended

    static: {tags: *tags}
rules:
- {port: 80}   # plain
# between
- port: 443
  peers: [a, b]
- {port: 22}
empty:
none: # nothing yet
text: |
  one
  \ttwo

last: 1"""


def change(loc: list[str | int], value: Json, text: str = HUMAN) -> list[str]:
    """Return the lines that differ after one change, as ``-old`` and ``+new``."""
    wanted: Json = meaning(text)
    at = wanted
    for part in loc[:-1]:
        at = at[part]
    at[loc[-1]] = value
    made = rewrite(text, wanted, file="f", forced=lambda loc: len(loc) == 1)
    assert same(meaning(made), wanted)
    before, after = text.splitlines(), made.splitlines()
    return [f"-{line}" for line in before if line not in after] + [f"+{line}" for line in after if line not in before]


def test_edits_are_surgical() -> None:
    assert change(["name"], "other") == ["-name: 'agora'", "+name: other"]
    assert change(["buckets", "media", "versioning"], "enabled") == [
        '-    media: {name: "media",  versioning: off} # the big one',
        '+    media: {name: "media",  versioning: enabled} # the big one',
    ]
    assert change(["buckets", "avatars", "id"], "7") == ['+        id: "7"']
    assert change(["buckets", "new"], {"name": "x"}) == ["+    new: {name: x}"]
    assert change(["rules", 1, "peers"], ["a", "c"]) == ["-  peers: [a, b]", "+  peers: [a, c]"]
    assert change(["rules"], [{"port": 80}, {"port": 22}]) == ["-- port: 443", "-  peers: [a, b]"]
    assert change(["empty"], {"a": 1}) == ["+  a: 1"]
    assert change(["none"], {"a": 1}) == ["+  a: 1"]
    assert change(["last"], 2) == ["-last: 1", "+last: 2"]
    assert change(["text"], "three\n")[-1] == '+text: "three\\n"'
    assert change(["zones"], {"z": {"a": 1}}) == ["+zones:", "+  z: {a: 1}"]


def test_a_value_shared_by_an_anchor_changes_only_where_it_is_meant() -> None:
    wanted = meaning(HUMAN)
    wanted["buckets"]["static"]["tags"] = {"team": "other"}
    made = rewrite(HUMAN, wanted, file="f")
    assert "static: {tags: {team: other}}" in made
    assert "tags: &tags {team: web}" in made
    wanted = meaning(HUMAN)
    wanted["buckets"]["avatars"]["tags"] = {"team": "other"}
    made = rewrite(HUMAN, wanted, file="f")
    assert meaning(made) == wanted
    assert "tags: &tags {team: other}" in made


def test_merge_keys_are_overridden_in_place_and_never_half_removed() -> None:
    text = "base: &b {ttl: 1, x: 2}\none:\n  <<: *b\n  y: 3\n"
    wanted = meaning(text)
    assert wanted["one"] == {"y": 3, "ttl": 1, "x": 2}
    wanted["one"]["ttl"] = 9
    assert rewrite(text, wanted, file="f") == "base: &b {ttl: 1, x: 2}\none:\n  <<: *b\n  y: 3\n  ttl: 9\n"
    del wanted["one"]["ttl"]
    with pytest.raises(DefinitionError, match="shared through an anchor"):
        rewrite(text, wanted, file="f")


def test_a_text_with_mistakes_is_left_alone() -> None:
    with pytest.raises(DefinitionError, match="duplicate key"):
        rewrite("a: 1\na: 2\n", {"a": 3}, file="f")
    with pytest.raises(DefinitionError, match="not a mapping"):
        rewrite("- 1\n", {"a": 3}, file="f")


def test_what_is_no_json_is_refused() -> None:
    for value in (float("inf"), float("nan"), "\ud800"):
        with pytest.raises(ValueError):
            entry("a", value, 0)
