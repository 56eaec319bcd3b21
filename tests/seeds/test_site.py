"""site.yaml and timeline.yaml: what they promise is what the app and the generator do."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import dns.name
import dns.rdata
import pytest
from ruamel.yaml import YAML

from toolkit import journeys
from toolkit.site import load

from .conftest import SEED, App, Reply


def read(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((SEED / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def site() -> dict[str, Any]:
    found: dict[str, Any] = read("site.yaml")
    return found


def test_it_loads_without_a_problem_and_its_payload_is_there() -> None:
    definition = load(SEED)
    assert definition.name == "agora"
    assert set(definition.move) >= {"storage", "dns", "compute", "database"}
    resources = list(definition.resources())
    assert "compute/server/web-1" in resources
    assert sum(address.startswith("dns/rrset/agora.example/") for address in resources) == 60


def test_as_much_as_promised(site: dict[str, Any], generate: ModuleType) -> None:
    assert {bucket["name"] for bucket in site["buckets"].values()} == set(generate.BUCKETS.values())
    versioned = {bucket["name"] for bucket in site["buckets"].values() if bucket["versioning"] == "enabled"}
    assert versioned == set(generate.VERSIONED)
    assert list(site["servers"]) == ["web-1", "media-1", "status-1"]
    assert len(site["zones"]["agora.example"]["records"]) == 60
    assert len(site["journeys"]) >= 4
    kinds = {vendor["kind"] for vendor in site["vendors"].values()}
    assert kinds == {"registrar", "sms", "identity", "support", "chat", "mail", "app-store"}
    assert site["objectives"]["notice"] == "29h"


def test_records_are_valid_and_hang_together(site: dict[str, Any]) -> None:
    records = site["zones"]["agora.example"]["records"]
    assert "@/SOA" not in records
    assert "@/NS" not in records
    types = {key.split("/")[1] for key in records}
    assert types == {"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "SSHFP", "TLSA", "TXT"}
    owners = [key.split("/")[0] for key in records]
    for key, record in records.items():
        owner, kind = key.split("/")
        dns.name.from_text("agora.example." if owner == "@" else f"{owner}.agora.example.")
        assert ("alias" in record) != ("values" in record), key
        for value in record.get("values", ()):
            rdata = dns.rdata.from_text("IN", kind, value)
            assert rdata.to_text() == value or kind in ("TXT", "CAA"), key
            for name in re.findall(r"[\w.-]+\.agora\.example\.$", value):
                assert f"{name.removesuffix('.agora.example.')}" in owners, f"{key} points at {name}"
        if kind == "CNAME":
            assert owners.count(owner) == 1, key
    assert (
        max(
            len(string)
            for string in dns.rdata.from_text("IN", "TXT", records["k2021._domainkey/TXT"]["values"][0]).strings
        )
        == 255
    )


def test_names_of_the_app_are_the_sites_own(site: dict[str, Any]) -> None:
    records = site["zones"]["agora.example"]["records"]
    for server in site["servers"].values():
        for value in server["app"]["env"].values():
            for url in re.findall(r"http://\S+", value):
                assert f"{urlsplit(url).hostname}".removesuffix(".agora.example") + "/A" in records or "s3." in url
    for server in site["servers"].values():
        addresses = server["addresses"]["public"]
        assert records[f"{server['name']}/A"]["values"] == addresses
        assert all(address.startswith("198.51.100.") for address in addresses)


def test_no_secret_stands_in_the_definition(site: dict[str, Any]) -> None:
    for server in site["servers"].values():
        for name, value in server["app"]["env"].items():
            assert not re.search("SECRET|KEY", name) or value.startswith("env:")
    for path in SEED.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes(), path


def test_accounts_are_those_of_the_generator(site: dict[str, Any], generate: ModuleType) -> None:
    lines = (SEED / site["logins"]["accounts"]["file"]).read_text().splitlines()
    assert [tuple(json.loads(line).values()) for line in lines] == list(generate.accounts())


def test_every_journey_passes_on_the_app(
    generate: ModuleType, store: str, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = load(SEED)
    (tmp_path / "agora.db").write_bytes(data.read_bytes())
    env = {"AGORA_S3_ENDPOINT": store, "SMS_VENDOR": "none"}
    apps = {role: App(tmp_path, role, env).start() for role in ("web", "media", "status")}
    roles = {"status": "status", "media": "media", "static": "media"}
    login, password = next(generate.accounts(0.1))
    monkeypatch.setenv("AGORA_JOURNEY_ACCOUNT", f"{login}:{password}")

    def fetch(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        parts = urlsplit(url)
        assert parts.port == 8080
        app = apps[roles.get(str(parts.hostname).split(".")[0], "web")]
        return app.call(method, parts.path, body, **headers)

    try:
        recorded = journeys.record(definition.journeys, fetch)
        baseline = {result.name: [step.to_json() for step in result.steps] for result in recorded}
        replayed = journeys.replay(definition.journeys, fetch, baseline)
        swept = journeys.sweep(journeys.logins(definition.logins, [{"login": login, "password": password}], fetch))
    finally:
        for app in apps.values():
            app.stop()
    for result in (*recorded, *replayed):
        assert result.passed, result.to_json()
    assert len(recorded) == len(definition.journeys) >= 4
    assert (swept.total, swept.passed) == (1, 1)


def test_the_database_section_names_every_table_and_real_verbs(site: dict[str, Any], web: App, tmp_path: Path) -> None:
    main = site["databases"]["main"]
    with closing(sqlite3.connect(tmp_path / main["path"])) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert set(main["tables"]) == tables - {"sqlite_sequence"}
    for verb in ("dump", "freeze", "thaw"):
        assert main[verb][:2] == ["python3", "agora.py"]
        assert web.tool(main[verb][2]).returncode == 0
    assert main["restore"][2] == "restore"


def test_timeline_cites_its_seeds() -> None:
    found = read("timeline.yaml")
    entries = [*found["timeline"], *found["claims"]]
    assert len(entries) >= 13
    assert {seed for entry in entries for seed in entry["seeds"]} == set("ABCDE")
    assert all(entry["what"] and entry["therefore"] for entry in entries)
    order = [str(entry["when"])[:10] for entry in found["timeline"]]
    assert order == sorted(order)


def test_nothing_in_the_folder_is_larger_than_it_must_be() -> None:
    hidden = ("__pycache__", ".mypy_cache", ".ruff_cache")
    files = [path for path in SEED.rglob("*") if path.is_file() and not set(hidden) & set(path.parts)]
    assert sum(os.path.getsize(path) for path in files) < 250_000
