"""The published JSON Schema is what the models say, and agrees with the loader on good and bad sites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import toolkit
from tests.test_site import GOOD
from toolkit.model import Json
from toolkit.site import schema
from toolkit.site_doc import SECTION_FAMILY
from toolkit.site_schema import MODELS
from toolkit.site_yaml import parse, plain

PUBLISHED = Path(toolkit.__file__).parent / "site.schema.json"
SAMPLE = Path(toolkit.__file__).parents[1] / "seeds" / "february-2021" / "site.yaml"


def document(text: str) -> Json:
    root = parse(text, "f")[0].root
    assert root is not None
    return plain(root)


def complaints(doc: Json) -> list[str]:
    return [error.message for error in Draft202012Validator(schema()).iter_errors(doc)]


def test_published_schema_is_current() -> None:
    made = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    assert PUBLISHED.read_text("utf-8") == made, (
        "write it again: python -m json.tool is not enough, see docs/reference/site.md"
    )


def test_it_is_a_schema_of_its_draft() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_good_sites_pass() -> None:
    assert complaints(document(SAMPLE.read_text("utf-8"))) == []
    good = document(GOOD)
    del good["outside"], good["zones"]["inside"]["records"]  # left empty: the loader reads them as {}
    assert complaints(good) == []


@pytest.mark.parametrize(
    ("section", "entry"),
    [
        ("buckets", {"x": {"versoning": "off"}}),
        ("buckets", {"x": {"versioning": "maybe"}}),
        ("buckets", {"Bad Slug": {}}),
        ("providers", {"x": {"kind": "cloud"}}),
        ("providers", {"x": {"kind": "aws", "credentials": {"key": "literal"}}}),
        ("providers", {"x": {"kind": "aws", "credentials": "literal"}}),
        ("zones", {"z": {"records": {"www": {"ttl": 1, "values": ["x"]}}}}),
        ("zones", {"z": {"records": {"www/A": {"ttl": -1, "values": ["x"]}}}}),
        ("objectives", {"rto": "soon"}),
        ("servrs", {}),
        ("accept", [{"what": "a", "why": "b"}]),
        ("journeys", [{"name": "a", "steps": []}]),
    ],
)
def test_bad_ones_do_not(section: str, entry: Json) -> None:
    assert complaints({"rehost": 1, "name": "a", section: entry})


def test_extras_are_allowed_where_resources_stand() -> None:
    doc = {"rehost": 1, "name": "a", "x-note": 1, "buckets": {"m": {"x-aws": {"acl": 1}}}}
    assert complaints(doc) == []


def test_every_resource_section_has_a_model_and_a_family() -> None:
    assert set(SECTION_FAMILY) == set(MODELS)
