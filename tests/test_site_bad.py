"""One file with every mistake yields every message, each at its line, in one go."""

from __future__ import annotations

import copy
import datetime
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_site import GOOD, PAYLOAD
from toolkit.errors import DefinitionError, Problem
from toolkit.model import Json
from toolkit.site import load
from toolkit.site_yaml import parse, plain

BAD = Path(__file__).parent / "test_site_data" / "bad.yaml"
TODAY = datetime.date(2030, 1, 1)
EXPECTED = [
    (3, "bad slug 'Agora Network': only a-z, 0-9, dot, dash and underscore"),
    (6, "unknown provider kind 'awss'"),
    (9, "endpoint 'http://s3.agora.example' is not encrypted"),
    (11, "secret file open-to-all has mode 0644, so others can read it"),
    (12, "secret: a literal stands where a reference to a secret must stand"),
    (16, "unknown key 'acess'"),
    (17, "endpoint: the endpoint holds a password"),
    (19, "move.storage names the provider 'cepf', which is not defined"),
    (20, "provider 'ceph' of kind 'ceph' serves no dns"),
    (21, "move.compute goes from 'machines' to itself"),
    (23, "cyclic groups: front → back → front"),
    (25, "bad address 'storge/bucket/media': no family is called 'storge'"),
    (25, "the group 'nobody' is not defined"),
    (27, "versioning: 'enable' is not allowed"),
    (28, "duplicate key 'media', first on line 27"),
    (29, "bad slug 'Bad Slug': only a-z, 0-9, dot, dash and underscore"),
    (31, "wave: must be a whole number, not text"),
    (31, "buckets.double and buckets.twin are both 'photos' at 'aws'"),
    (35, "item 1 of peers: '10.0.0.0/33' is no CIDR"),
    (35, "ports 443 to 80 run backwards"),
    (36, "item 1 of peers: '10.0.0.1/16' is no CIDR: it has host bits set"),
    (36, "the firewall 'wob' is not defined"),
    (37, "protocol: 'tpc' is no protocol"),
    (41, "vcpus: must be a whole number, not text"),
    (43, "a tab in the indentation"),
    (43, "the keypair 'operator' is not defined"),
    (44, "the firewall 'internal' is not defined"),
    (45, "payload file 'absent.yaml' cannot be read: No such file or directory"),
    (47, "argv: must be a list, not text"),
    (48, "DB_PASSWORD: a literal secret in the environment of the app"),
    (50, "payload file 'changed.py' is not what its sha256 says"),
    (51, "sha256: 12 is no SHA-256"),
    (51, "payload '../passwd' lies outside the folder of the site"),
    (53, "the server 'web-2' is not defined"),
    (55, "'compute/server/web-9' is not defined"),
    (60, "TTL -5 is out of range"),
    (61, "TTL '5m' is not a whole number of seconds"),
    (61, "'192.0.2.999' is no value of an A record"),
    (62, "record 'WWW/A' stands twice, also as 'www/A'"),
    (63, "mail: 'mail' is no record key"),
    (64, "CNAME value 'www.agora.example' is not absolute"),
    (65, "record 'both/A' has both values and an alias"),
    (66, "record 'none/TXT' has neither values nor an alias"),
    (68, "accept 'storage/bucket/*:acl' is a glob without `expect`"),
    (69, "accept 'storage/bucket/media:acl' expired on 2020-01-01"),
    (70, "until: 'later' is no date"),
    (70, "'storage/bucket/media' is no verdict id"),
    (74, "method: 'get' is no HTTP method"),
    (74, "url: '/login' is no absolute URL"),
    (74, "auth: a literal stands where a reference to a secret must stand"),
    (74, "status: must be a whole number, not text"),
    (75, "logins.accounts: 'sha256' is missing"),
    (75, "payload file 'accounts.jsonl' cannot be read: No such file or directory"),
    (76, "rto: '4x' is no duration"),
    (77, "unknown key 'servrs'"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(BAD, tmp_path / "site.yaml")
    for name, mode in (("open-to-all", 0o644), ("changed.py", 0o600)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    return tmp_path


def problems(folder: Path) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        load(folder, today=TODAY)
    assert caught.value.code == 3
    return caught.value.problems


def test_every_mistake_is_found_at_its_line(folder: Path) -> None:
    assert "\t" in BAD.read_text()
    found = [(problem.line, problem.text.replace(f"{folder}/", "")) for problem in problems(folder)]
    assert found == EXPECTED


def test_every_message_is_for_a_person(folder: Path) -> None:
    for problem in problems(folder):
        assert problem.file == str(folder / "site.yaml")
        assert problem.remedy
        assert "\n" not in str(problem)
        for word in ("pydantic", "Input should", "validation", " dict ", "NoneType", "Traceback"):
            assert word not in str(problem)


def test_no_message_repeats_a_secret(folder: Path) -> None:
    said = "\n".join(str(problem) for problem in problems(folder))
    for secret in ("a-literal-secret", "hunter2", "rosa:word", "user:word"):
        assert secret in BAD.read_text()
        assert secret not in said


def test_the_tab_hides_nothing_and_adds_nothing(folder: Path) -> None:
    repaired = BAD.read_text().replace("\tkeypair", "    keypair")
    (folder / "site.yaml").write_text(repaired)
    found = [(problem.line, problem.text.replace(f"{folder}/", "")) for problem in problems(folder)]
    assert found == [item for item in EXPECTED if item[1] != "a tab in the indentation"]


def document() -> Json:
    root = parse(GOOD, "f")[0].root
    assert root is not None
    return plain(root)


JUNK: st.SearchStrategy[Json] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "x", "env:A", "http://[", "group:", "firewall:", "10.0.0.0/99", "../..", "*[", "a:b", "\x00"]),
    st.lists(st.one_of(st.none(), st.integers(), st.just("x"), st.just({})), max_size=2),
    st.dictionaries(
        st.sampled_from(["", "a", "name", "from", "x-y", "www/A", "[key]", "<text>"]), st.none(), max_size=2
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 60), min_size=1, max_size=6), JUNK), min_size=1, max_size=3))
def test_no_junk_anywhere_makes_anything_but_located_messages(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[list[int], Json]]
) -> None:
    doc: Json = document()
    for path, junk in changes:
        at = doc
        for step in path:
            keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
            if not keys:
                break
            key, parent = keys[step % len(keys)], at
            at = at[key]
        parent[key] = copy.deepcopy(junk)
    file = tmp_path_factory.getbasetemp() / "junk.yaml"
    file.write_text(json.dumps(doc))
    (file.parent / "user-data").write_bytes(PAYLOAD)
    for problem in outcome(file):
        assert problem.line >= 1
        assert problem.text
        assert problem.remedy


def outcome(file: Path) -> tuple[Problem, ...]:
    try:
        load(file, today=TODAY).selected()
    except DefinitionError as exc:
        return exc.problems
    return ()
