"""The small parts of the engine: signature, digests, logs, comparison of histories."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.storage.engine import compare, digest, manifest, shardlog
from toolkit.storage.engine.compare import Pair, plan_key
from toolkit.storage.engine.headers import kept
from toolkit.storage.engine.ledger import Ledger
from toolkit.storage.engine.listing import Page
from toolkit.storage.model import Entry, Row, Written, shown
from toolkit.storage.sign import Keys, Signer, path_of, query_of


@pytest.mark.parametrize("key", ["a//b", "/lead", "..", "x/../y", "+ %2B & ? # ;", "é😀", "\x01\n", "~-._!*'()"])
def test_signature_equals_botocores(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/bucket/" + path_of(key.encode())
    query = query_of([("versionId", "a+b/c="), ("tagging", "")])
    signer = Signer(lambda: Keys("AKID", "se/cret+", "tok"), "eu-west-1", clock=lambda: 1_611_273_600)
    mine = signer.headers("PUT", "s3.example:9000", path, query, {"x-amz-meta-b": "two  words", "Content-MD5": "abc="})
    theirs = AWSRequest(
        "PUT",
        f"http://s3.example:9000{path}?{query}",
        headers={"x-amz-meta-b": "two  words", "Content-MD5": "abc=", "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"},
    )
    auth = S3SigV4Auth(Credentials("AKID", "se/cret+", "tok"), "s3", "eu-west-1")
    theirs.context["timestamp"] = "20210122T000000Z"
    theirs.headers["X-Amz-Date"] = "20210122T000000Z"
    theirs.headers["X-Amz-Security-Token"] = "tok"
    canonical = auth.canonical_request(theirs)
    signature = auth.signature(auth.string_to_sign(theirs, canonical), theirs)
    assert mine["x-amz-date"] == "20210122T000000Z"
    assert mine["Authorization"].endswith(f"Signature={signature}")


def test_keys_show_no_secret() -> None:
    assert repr(Keys("AKID", "secret")) == "***"


@given(st.binary(min_size=1, max_size=5000), st.integers(1, 700))
@settings(max_examples=50, deadline=None)
def test_composites_find_the_part_size(data: bytes, unit: int) -> None:
    parts = [data[start : start + unit] for start in range(0, len(data), unit)]
    etag = digest.composite([hashlib.md5(part).digest() for part in parts])
    composites = digest.Composites([unit + 1, unit, 5000])
    for start in range(0, len(data), 97):
        composites.update(data[start : start + 97])
    found = composites.find(etag)
    assert -(-len(data) // found) == len(parts)
    assert digest.cut(len(data), unit)[-1][1] == len(data)


@given(st.integers(1, 1 << 40), st.integers(1, 10_000))
@settings(max_examples=200, deadline=None)
def test_candidates_give_the_count(size: int, count: int) -> None:
    for unit in digest.candidates(size, count):
        assert len(range(0, size, unit)) == count


def test_etags() -> None:
    assert digest.is_single("d41d8cd98f00b204e9800998ecf8427e")
    assert digest.parts_of("d41d8cd98f00b204e9800998ecf8427e-12") == 12
    assert digest.parts_of("d41d8cd98f00b204e9800998ecf8427e") == 0
    assert digest.parts_of("x-3") == 0


def test_headers_kept() -> None:
    found = kept(
        {
            "Content-Type": "text/css",
            "Content-Encoding": "aws-chunked, gzip",
            "x-amz-meta-A": "1",
            "X-Amz-Meta-Umlaut": "é",
            "x-amz-request-id": "z",
            "Server": "x",
            "x-amz-website-redirect-location": "/y",
        }
    )
    assert found == {
        "Content-Type": "text/css",
        "Content-Encoding": "gzip",
        "x-amz-meta-a": "1",
        "x-amz-meta-umlaut": "é",
        "x-amz-website-redirect-location": "/y",
    }


def test_shown_is_one_printable_line() -> None:
    assert shown("a/b é".encode()) == "a/b é"
    assert shown(b"a\nb\x01%") == "a%0Ab%01%25"
    assert shown(b"\xff") == "%FF"


# -- listing pages -------------------------------------------------------------------------------


def test_page_reads_encoded_keys_wherever_the_encoding_stands() -> None:
    text = (
        b'<R xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>'
        b"<Contents><Key>a%2Bb+c%01</Key><ETag>&quot;e&quot;</ETag><Size>3</Size><Owner><ID>1</ID></Owner></Contents>"
        b"<NextContinuationToken>t</NextContinuationToken><EncodingType>url</EncodingType></R>"
    )
    page = Page().parse(text)
    assert page.entries[0][:7] == (b"a+b c\x01", "", True, False, 3, "e", "")
    assert page.top["NextContinuationToken"] == "t"


def test_page_accepts_no_entities() -> None:
    with pytest.raises(Exception, match="entity"):
        Page().parse(b'<!DOCTYPE r [<!ENTITY a "b">]><r><IsTruncated>&a;</IsTruncated></r>')


# -- logs ----------------------------------------------------------------------------------------

ONE = Written(b"k\x00\xff", "s1", "e1", "t1", "e1", 5, False)


def test_log_survives_a_torn_tail(tmp_path: Path) -> None:
    log = shardlog.ShardLog(tmp_path, "media-001-000001")
    log.intent(0, 10)
    log.wrote(3, ONE)
    log.upload(b"big", "u1", "this")
    log.part("u1", 2, b"\x0a" * 16)
    log.upload(b"big", "u2", "that")
    log.ended("u2")
    log.close()
    (path,) = shardlog.paths(tmp_path, "media-001-000001")
    with path.open("ab") as file:
        file.write(b'12345678 {"do":"wrote","row":4')
    told = shardlog.story(tmp_path, "media-001-000001")
    assert told.intents == set(range(10))
    assert told.wrote == {3: ONE}
    assert told.uploads == {"u1": shardlog.Left(b"big", "u1", "this", {2: "0a" * 16})}


def test_log_attempts_follow_each_other(tmp_path: Path) -> None:
    for row in range(3):
        log = shardlog.ShardLog(tmp_path, "m-001-000001")
        log.wrote(row, ONE)
        log.close()
    assert len(shardlog.paths(tmp_path, "m-001-000001")) == 3
    shardlog.seal(tmp_path, "m-001-000001")
    assert shardlog.paths(tmp_path, "m-001-000001") == []
    assert Ledger(tmp_path, "m").lookup({ONE.key}) == {ONE.key: [ONE, ONE, ONE]}
    assert Ledger(tmp_path, "m-001").empty


def test_ledger_knows_its_own_slug_only(tmp_path: Path) -> None:
    for shard in ("media-001-000001", "media-old-001-000001"):
        log = shardlog.ShardLog(tmp_path, shard)
        log.wrote(0, ONE._replace(source_etag=shard))
        log.close()
    assert [done.source_etag for done in Ledger(tmp_path, "media").lookup({ONE.key})[ONE.key]] == ["media-001-000001"]


def test_manifest_is_whole_or_absent(tmp_path: Path) -> None:
    row = Row(entry("k", "1"), "copy", 0, "")

    def broken() -> object:
        yield manifest.flat(row)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        manifest.write(tmp_path / "x.parquet", broken(), manifest.ROWS)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    manifest.write(tmp_path / "x.parquet", [manifest.flat(row)], manifest.ROWS)
    assert list(manifest.rows(tmp_path / "x.parquet")) == [row]


# -- histories -----------------------------------------------------------------------------------


def entry(key: str, etag: str, version: str = "", *, marker: bool = False) -> Entry:
    return Entry(key.encode(), version, False, marker, 0 if marker else 1, "" if marker else etag, "", "STANDARD")


def story(*steps: str) -> list[Entry]:
    """``a1``: etag a, version 1; ``-2``: a delete marker; ``bnull``: the null version."""
    return [entry("k", step[0], step[1:], marker=step[0] == "-") for step in steps]


def plan(source: list[Entry], target: list[Entry], *ours: Written) -> list[tuple[str, str, str]]:
    todo = plan_key(Pair(b"k", source, target), list(ours))
    return [(lane, row.work, row.entry.version) for lane, row in todo.rows]


def wrote(source: str, target: str, version: str = "null") -> Written:
    return Written(b"k", "", source, version, target, 1, False)


def test_history_is_continued() -> None:
    assert plan(story("a1", "b2", "-3"), []) == [("main", "copy", "1"), ("main", "copy", "2"), ("main", "copy", "3")]
    assert plan(story("a1", "b2", "-3"), story("aX")) == [("main", "copy", "2"), ("main", "copy", "3")]
    assert plan(story("a1", "b2", "-3"), story("aX", "bY", "-Z")) == []


def test_null_versions_have_their_rounds() -> None:
    assert plan(story("anull", "b2"), []) == [("null-first", "copy", "null"), ("main", "copy", "2")]
    assert plan(story("a1", "bnull", "c3"), []) == [
        ("main", "copy", "1"),
        ("null-last", "copy", "null"),
        ("after-null", "copy", "3"),
    ]
    assert plan(story("a1", "bnull", "c3"), story("a1", "bnull")) == [("after-null", "copy", "3")]


def test_a_null_version_that_moved_up_is_refreshed_only_if_ours() -> None:
    source, target = story("a1", "cnull"), story("bnull", "aX")
    assert plan(source, target, wrote("b", "b"), wrote("a", "a", "X")) == [("null-last", "refresh", "null")]
    assert plan(source, target) == [("main", "conflict", "null")]


def test_other_history_is_a_conflict() -> None:
    assert plan(story("a1", "b2"), story("zX", "bY")) == [("main", "conflict", "2")]
    assert plan(story("a1"), story("aX", "bY")) == [("main", "conflict", "1")]


def test_versions_dropped_at_the_source_are_no_difference() -> None:
    todo = plan_key(Pair(b"k", story("b2", "c3"), story("aX", "bY", "cZ")), [])
    assert (todo.rows, todo.note, todo.equal) == ((), "longer", 2)


def test_unversioned_object_is_refreshed_only_if_ours() -> None:
    source, target = [entry("k", "new")], [entry("k", "old")]
    assert plan(source, target) == [("main", "conflict", "")]
    assert plan(source, target, wrote("old", "old")) == [("main", "refresh", "")]
    assert plan(source, target, wrote("old", "older")) == [("main", "conflict", "")]


def test_converted_object_is_equal_by_the_ledger() -> None:
    source, target = [entry("k", "abc-9")], [entry("k", "def-2")]
    assert plan(source, target, wrote("abc-9", "def-2")) == []


_LISTING = st.dictionaries(st.binary(min_size=1, max_size=2), st.integers(1, 3), max_size=12)


@given(_LISTING, _LISTING)
@settings(max_examples=200, deadline=None)
def test_pairs_join_every_key_once(left: dict[bytes, int], right: dict[bytes, int]) -> None:
    def listed(side: dict[bytes, int]) -> list[Entry]:
        return [entry("x", str(n), str(n))._replace(key=key) for key in sorted(side) for n in range(side[key], 0, -1)]

    found = list(compare.pairs(listed(left), listed(right)))
    assert [pair.key for pair in found] == sorted(left.keys() | right.keys())
    assert {pair.key: (len(pair.source), len(pair.target)) for pair in found} == {
        key: (left.get(key, 0), right.get(key, 0)) for key in left.keys() | right.keys()
    }
    assert all([item.etag for item in pair.source] == sorted(item.etag for item in pair.source) for pair in found)
