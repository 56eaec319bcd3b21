"""The page about the site definition is true: its examples are one valid site, and it names every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from toolkit.site import Site, load
from toolkit.site_schema import MODELS, Provider
from toolkit.site_schema import Site as Shape

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "site.md"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    text = "\n".join(re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))
    (tmp_path / "site.yaml").write_text(text)
    for name, data in (("user-data/web-1.yaml", b"#cloud-config\n"), ("app/agora.py", b""), ("accounts.jsonl", b"")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return load(tmp_path)


def test_the_examples_are_one_valid_site(site: Site) -> None:
    assert site.name == "agora"
    assert set(site.move) == {"storage", "dns", "compute", "database"}
    assert len(site.resources()) == 14
    assert len(site.payload) == 3


def test_every_section_has_an_example_and_a_heading(site: Site) -> None:
    headings = re.findall(r"^## (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    named = {name.strip() for heading in headings for name in heading.split(",")}
    for section in Shape.model_fields:
        assert section in site.doc, section
        assert section in named, section


@pytest.mark.parametrize("model", [*MODELS.values(), Provider])
def test_every_key_is_on_the_page(model: type[BaseModel]) -> None:
    text = PAGE.read_text("utf-8")
    for name, field in model.model_fields.items():
        assert re.search(rf"\b{field.alias or name}\b", text), name
