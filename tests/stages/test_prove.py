"""Each of the seven checks fails when its fault is planted; without journeys nothing is proven."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from tests.stages.fake import families, thing
from toolkit.errors import Unreachable
from toolkit.families import OldSide
from toolkit.journeys import differs, record, take
from toolkit.model import Finding, Tally
from toolkit.prove import NAMES, Subject, prove
from toolkit.verify import Verified


@dataclass(frozen=True)
class Page:
    status: int = 200
    body: bytes = b"hello"
    headers: Mapping[str, str] = field(default_factory=dict)
    issuer: str = "CN=Local Test CA"


PAGES = {
    "http://www.agora.example/": Page(),
    "https://www.agora.example/": Page(),
    "http://www.agora.example/login": Page(body=json.dumps({"token": "t", "name": "ada"}).encode()),
    "http://www.agora.example/posts/1": Page(body=b'{"id": 1}'),
}
JOURNEYS = [
    {
        "name": "front and login",
        "steps": [
            {"method": "GET", "url": "https://www.agora.example/"},
            {
                "method": "POST",
                "url": "http://www.agora.example/login",
                "body": {"login": "ada", "password": "x"},
                "expect": {"status": 200, "json": {"name": "ada"}},
                "save": {"token": "token"},
            },
            {
                "method": "GET",
                "url": "http://www.agora.example/posts/1",
                "headers": {"Authorization": "Bearer {token}"},
            },
        ],
    }
]


def fetcher(pages: Mapping[str, Page]):
    def fetch(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Page:
        if url not in pages:
            raise Unreachable(f"{url} does not answer")
        return pages[url]

    return fetch


def subject(**changes: object) -> Subject:
    fetch = fetcher(PAGES)
    recorded = {r.name: [s.to_json() for s in r.steps] for r in record(JOURNEYS, fetch)}
    good = Subject(
        desired={"dns/rrset/zone/a/A": thing("a")},
        families=families(),
        old=OldSide("aws", ("amazonaws.com",), (), ("Amazon",), ()),
        fetch=fetch,
        verified=Verified((), (Tally("dns/rrset/zone/a/A", 1, 1),)),
        journeys=JOURNEYS,
        baseline=recorded,
        login={"url": "http://www.agora.example/login", "method": "POST", "body": {"login": "{login}"}},
        accounts=[{"login": "ada", "password": "x"}],
        recorded=take(["http://www.agora.example/posts/1"], fetch),
        calls=[],
        isolation="a test",
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def statuses(made: Subject) -> dict[str, str]:
    return {check.name: check.status for check in prove(made).checks}


def hang(address: str, feature: str) -> dict[str, object]:
    return {"families": families(hanging=[Finding(address, feature, "dependent", "still there")])}


def test_a_good_site_is_independent() -> None:
    proof = prove(subject())
    assert proof.verdict == "independent", proof.to_json()
    assert tuple(check.name for check in proof.checks) == NAMES


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("calls", {"calls": [{"operation": "GetObject"}]}),
        ("resolution", hang("dns/rrset/zone/a/A", "resolution")),
        ("delegation", hang("dns/zone/zone", "delegation")),
        ("delegation", hang("dns/zone/zone", "ds")),
        ("delegation", hang("dns/zone/zone", "registrar")),
        ("certificates", {"fetch": fetcher({**PAGES, "https://www.agora.example/": Page(issuer="O=Amazon, CN=M02")})}),
        ("endpoints", hang("storage/objects/media", "endpoints")),
        ("journeys", {"fetch": fetcher({**PAGES, "http://www.agora.example/posts/1": Page(status=500)})}),
        ("journeys", {"fetch": fetcher({**PAGES, "https://www.agora.example/": Page(body=b"changed")})}),
        ("contents", {"verified": Verified((), (Tally("database/sqlite/main", 5000, 4999),))}),
        ("contents", {"login": {"url": "http://www.agora.example/none", "method": "POST"}}),
        ("contents", {"recorded": [{"url": "http://www.agora.example/", "status": 200, "sha256": "0" * 64}]}),
    ],
)
def test_a_planted_fault_fails_its_check_alone(check: str, fault: dict[str, object]) -> None:
    made = subject(**fault)
    found = statuses(made)
    assert found[check] == "failed"
    assert prove(made).verdict == "dependent"
    assert {name for name, status in found.items() if status != "passed"} <= {check, "contents", "journeys"}


@pytest.mark.parametrize(
    ("check", "lack"),
    [
        ("calls", {"calls": None}),
        ("journeys", {"journeys": []}),
        ("journeys", {"baseline": {}}),
        ("journeys", {"isolation": ""}),
        ("contents", {"accounts": []}),
        ("contents", {"login": None}),
    ],
)
def test_what_was_not_shown_is_unproven_never_a_pass(check: str, lack: dict[str, object]) -> None:
    made = subject(**lack)
    assert statuses(made)[check] == "unproven"
    assert prove(made).verdict == "unproven"


def test_json_is_compared_deeply() -> None:
    assert differs({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}], "c": 3}) == ""
    assert differs({"a": {"b": 2}}, {"a": {"b": 3}}) == "$.a.b is 3 instead of 2"
    assert "missing" in differs({"x": 1}, {})
