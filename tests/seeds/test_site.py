"""site.yaml and timeline.yaml: what they promise is what the app and the generator do."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import dns.name
import dns.rdata
import pytest
from ruamel.yaml import YAML

from toolkit.journeys import encode, fill

from .conftest import SEED, App


def read(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((SEED / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def site() -> dict[str, Any]:
    found: dict[str, Any] = read("site.yaml")
    return found


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


def test_every_journey_is_what_the_app_answers(
    site: dict[str, Any], generate: ModuleType, store: str, tmp_path: Path, data: Path
) -> None:
    (tmp_path / "agora.db").write_bytes(data.read_bytes())
    env = {**site["servers"]["web-1"]["app"]["env"], "AGORA_S3_ENDPOINT": store, "AGORA_SECRET": "test"}
    apps = {
        "web": App(tmp_path, "web", env).start(),
        "media": App(tmp_path, "media", env).start(),
        "status": App(tmp_path, "status").start(),
    }
    roles = {"status": "status", "media": "media", "static": "media"}
    login = "rosa.0000"
    account = {"auth_login": login, "auth_password": generate.password(login)}
    try:
        for journey in site["journeys"]:
            saved: dict[str, str] = {}
            for step in journey["steps"]:
                url = urlsplit(step["url"])
                assert url.port == 8080
                app = apps[roles.get(str(url.hostname).split(".")[0], "web")]
                headers = {name: fill(value, saved) for name, value in step.get("headers", {}).items()}
                body = encode(step.get("body"), account)
                answer = app.call(step["method"], url.path, body, **headers)
                expect = step["expect"]
                assert answer.status == expect["status"], (journey["name"], answer.body)
                for name, value in expect.get("headers", {}).items():
                    assert answer.headers[name.lower()] == value
                if "json" in expect:
                    assert {name: answer.json.get(name) for name in expect["json"]} == expect["json"]
                if "sha256" in expect:
                    assert expect["sha256"] in {
                        item.sha256 for item in generate.expected_media(0.1) if item.path == url.path
                    }
                for name, key in step.get("save", {}).items():
                    saved[name] = answer.json[key]
    finally:
        for app in apps.values():
            app.stop()


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
