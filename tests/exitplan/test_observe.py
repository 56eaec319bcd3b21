"""Looking at the world: inventory, name servers, status page, registry, past runs; and what cannot be seen."""

from __future__ import annotations

import datetime
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.exitplan.plans import items, site
from toolkit.cli.main import app
from toolkit.exitplan import judge, names, observe, record, tables, view
from toolkit.exitplan.record import Evidence, Record
from toolkit.files import write_json
from toolkit.rehearsal import embedded_dns, twin
from toolkit.runs import open_run
from toolkit.site import Site, load

NOW = datetime.datetime(2026, 1, 10, 12, tzinfo=datetime.UTC)


def looker(said: list[str] | None = None) -> observe.Looker:
    return observe.Looker(NOW, "real", (said if said is not None else []).append)


def judged(seen: dict[str, Evidence], at: Site, now: datetime.datetime = NOW) -> dict[str, judge.Judged]:
    doc = {"exit": 1, "site": at.name, "observed": {name: one.to_json() for name, one in seen.items()}}
    found = record.checked(tables.located(json.dumps(doc), "exit.yaml"), Path("exit.yaml"))
    return judge.by_id(judge.judge(items().values(), view.look(found, at, now, 29.0)))


class World:
    """A parent, one zone on one or two operators' servers, and a web server that plays page and registry."""

    def __init__(self) -> None:
        self.one = embedded_dns.serve(dns=[("127.0.0.1", 0)], api=("127.0.0.1", 0), key="k")
        self.two = embedded_dns.serve(dns=[("127.0.0.1", 0)], api=("127.0.0.1", 0), key="k")
        self.parent = twin.Parent([("127.0.0.1", 0)], ("127.0.0.1", 0))
        self.answers: dict[str, tuple[int, bytes]] = {}
        answers = self.answers

        class Pages(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answers.get(self.path, (404, b""))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Keep the test's output clean."""

        self.pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        threading.Thread(target=self.pages.serve_forever, daemon=True).start()

    def zone(self, handle: embedded_dns.Handle, www: str) -> None:
        rrsets = [{"name": "www.agora.example.", "type": "A", "ttl": 60, "records": [{"content": www}]}]
        body = {"name": "agora.example.", "kind": "Master", "nameservers": ["ns1.agora.example."], "rrsets": rrsets}
        embedded_dns.call(handle.store, "POST", "/api/v1/servers/localhost/zones", body)

    def site(self, folder: Path, **outside: Any) -> Site:
        hosts = {
            "ns1.first.example": f"127.0.0.1:{self.one.dns[0][1]}",
            "ns1.second.example": f"127.0.0.1:{self.two.dns[0][1]}",
            "pages.example": "127.0.0.1",
        }
        doc = {
            "rehost": 1,
            "name": "agora",
            "providers": {"aws": {"kind": "aws", "regions": ["us-east-1"], "credentials": "aws-default"}},
            "zones": {
                "agora.example": {
                    "provider": "aws",
                    "name": "agora.example",
                    "records": {
                        "www/A": {"ttl": 60, "values": ["127.0.0.1"]},
                        "*.x/A": {"ttl": 5, "values": ["127.0.0.1"]},
                    },
                }
            },
            "outside": {
                "dns": {"parents": [f"{ip}:{port}" for ip, port in self.parent.dns], "hosts": hosts},
                **outside,
            },
        }
        (folder / "site.yaml").write_text(json.dumps(doc))
        return load(folder)

    @property
    def url(self) -> str:
        return f"http://pages.example:{self.pages.server_address[1]}"

    def delegate(self, *servers: str) -> None:
        self.parent.put("agora.example", {"nameservers": dict.fromkeys(servers, "127.0.0.1")})

    def close(self) -> None:
        self.pages.shutdown()
        self.pages.server_close()
        for part in (self.one, self.two, self.parent):
            part.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def seen(world: World, at: Site, found: Record | None = None) -> tuple[dict[str, Evidence], list[str]]:
    said: list[str] = []
    rows = observe.live(at, found or record.empty(Path("exit.yaml"), "agora"), looker(said))
    return {one.name: one for one in rows}, said


def test_one_operator_and_a_long_delegation_are_seen(world: World, tmp_path: Path) -> None:
    world.zone(world.one, "127.0.0.1")
    world.delegate("ns1.first.example")
    at = world.site(tmp_path)
    found, said = seen(world, at)
    assert found["operators"].value == {"names": ["first.example"], "distinct": 1, "differences": 0, "different": []}
    assert found["parent_ttl"].value["seconds"] > 0
    assert judged(found, at)["N3"].state == "fail"
    assert any("status_page was not looked for" in line for line in said)
    later = NOW + datetime.timedelta(days=8)
    assert judged(found, at, later)["N3"].state == "fail"  # what fails does not get better with age


def test_two_operators_with_one_zone_pass_and_grow_stale(world: World, tmp_path: Path) -> None:
    for handle in (world.one, world.two):
        world.zone(handle, "127.0.0.1")
    world.delegate("ns1.first.example", "ns1.second.example")
    at = world.site(tmp_path)
    found, _ = seen(world, at)
    assert found["operators"].value["distinct"] == 2
    rows = judged(found, at)
    assert (rows["N3"].state, rows["N4"].state) == ("pass", "pass")
    assert judged(found, at, NOW + datetime.timedelta(days=8))["N3"].state == "stale"


def test_two_operators_that_differ_fail(world: World, tmp_path: Path) -> None:
    world.zone(world.one, "127.0.0.1")
    world.zone(world.two, "127.0.0.9")
    world.delegate("ns1.first.example", "ns1.second.example")
    at = world.site(tmp_path)
    found, _ = seen(world, at)
    assert found["operators"].value["different"] == ["www.agora.example A"]
    assert judged(found, at)["N3"].state == "fail"


def test_a_server_that_does_not_answer_leaves_the_item_unknown(world: World, tmp_path: Path) -> None:
    world.delegate("ns1.first.example")
    world.one.close()
    at = world.site(tmp_path)
    found, said = seen(world, at)
    assert "operators" not in found
    assert any(line.startswith("operators could not be observed") for line in said)
    assert judged(found, at)["N3"].state == "unknown"
    assert "parent_ttl" in found  # one that fails hides no other


def test_status_page_and_registry_are_asked(world: World, tmp_path: Path) -> None:
    world.delegate("ns1.first.example")
    rdap = {
        "status": ["active", "pending transfer"],
        "events": [{"eventAction": "expiration", "eventDate": "2027-01-01T00:00:00Z"}],
        "entities": [{"roles": ["registrar"], "vcardArray": ["vcard", [["fn", {}, "text", "Some Registrar"]]]}],
    }
    world.answers |= {"/status": (200, b"ok"), "/domain": (200, json.dumps(rdap).encode())}
    at = world.site(
        tmp_path,
        status={"url": f"{world.url}/status", "network": "third"},
        rdap={"url": f"{world.url}/domain"},
    )
    found, _ = seen(world, at)
    page = found["status_page"].value
    assert (page["network"], page["answers"][0]["status"]) == ("third", 200)
    assert page["answers"][0]["provider_out_of_reach"] is False  # nobody kept the provider away here
    assert found["domain"].value == {
        "status": ["active", "pending transfer"],
        "expires": "2027-01-01T00:00:00Z",
        "registrar": "Some Registrar",
    }
    rows = judged(found, at)
    assert "0 places" in rows["N6"].text
    assert "pending transfer" in rows["N2"].text
    world.answers |= {"/status": (503, b""), "/domain": (200, b"<html>")}
    found, said = seen(world, at)
    assert found["status_page"].value["answers"][0]["status"] == 503
    assert "domain" not in found
    assert any("no RDAP answer" in line for line in said)


def test_answers_from_other_places_stay_while_they_are_young(world: World, tmp_path: Path) -> None:
    world.delegate("ns1.first.example")
    world.answers["/status"] = (200, b"ok")
    at = world.site(tmp_path, status={"url": f"{world.url}/status", "network": "third"})
    others = [
        {"from": "office", "status": 200, "provider_out_of_reach": True, "at": "2026-01-09"},
        {"from": "train", "status": 200, "provider_out_of_reach": True, "at": "2025-12-09"},
        {"from": "nobody knows when", "status": 200, "provider_out_of_reach": True},
    ]
    doc = {"status_page": {"value": {"answers": others}, "at": "2026-01-09", "kind": "real", "collector": "x"}}
    before = record.checked(tables.located(json.dumps({"exit": 1, "observed": doc}), "x"), Path("x"))
    found, _ = seen(world, at, before)
    assert [row["from"] for row in found["status_page"].value["answers"]][:-1] == ["office"]


def test_the_inventory_tells_ttls_and_leaves_the_unmeasured_open() -> None:
    found = {one.name: one for one in observe.inventory(site(), looker())}
    assert found["zone_ttl"].value["moving_ttl"] == 86400
    assert found["stores"].value["agora-media"] == dict.fromkeys(("bytes", "objects", "tier", "growth_gbps", "owner"))
    assert judged(found, site())["D1"].state == "fail"


def test_secrets_and_names_of_the_provider_are_found_by_place_never_by_value(tmp_path: Path) -> None:
    key = "AKIA" + "ABCDEFGHIJKLMNOP"
    (tmp_path / "run.sh").write_text(f"export KEY={key}\nexport BUCKET=arn:aws:s3:::media\nPASSWORD=short\n")
    import hashlib

    digest = hashlib.sha256((tmp_path / "run.sh").read_bytes()).hexdigest()
    doc = {
        "rehost": 1,
        "name": "x",
        "providers": {"aws": {"kind": "aws", "regions": ["us-east-1"], "credentials": "aws-default"}},
        "servers": {
            "web": {
                "provider": "aws",
                "name": "web",
                "size": {"name": "t3.micro", "vcpus": 1, "memory_mib": 512, "arch": "x86_64"},
                "image": {"name": "debian"},
                "user_data": {"file": "run.sh", "sha256": digest},
            }
        },
    }
    (tmp_path / "site.yaml").write_text(json.dumps(doc))
    found = observe.scan(load(tmp_path))
    assert found == {"literal": ["run.sh:1"], "provider_names": ["run.sh:2 arn:aws:s3:::media"]}
    assert key not in json.dumps(found)
    (tmp_path / "run.sh").write_text("echo nothing\n")
    doc["servers"]["web"]["user_data"]["sha256"] = hashlib.sha256(b"echo nothing\n").hexdigest()
    (tmp_path / "site.yaml").write_text(json.dumps(doc))
    assert observe.scan(load(tmp_path)) == {"literal": [], "provider_names": []}


def test_past_runs_are_evidence_as_old_as_they_are(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", "agora")
    assert list(observe.past(run, looker())) == []
    write_json(run.path / "result" / "verify.json", {"clean": True, "tier": "bytes", "findings": []})
    write_json(run.path / "result" / "prove.json", {"verdict": "dependent", "findings": [{"severity": "error"}]})
    import os

    old = NOW - datetime.timedelta(days=3)
    os.utime(run.path / "result" / "verify.json", (old.timestamp(), old.timestamp()))
    found = {one.name: one for one in observe.past(run, looker())}
    assert found["equality"].at == old
    assert found["equality"].value["hash"] == "sha256"
    assert found["independence"].value == {"verdict": "dependent", "references": 1}
    write_json(run.path / "result" / "verify.json", {"clean": True, "tier": "list", "findings": []})
    assert next(observe.past(run, looker())).value["hash"] == "etag"  # a listing proves no content


@pytest.mark.parametrize(
    ("server", "who"),
    [("ns-12.awsdns-34.org.", "awsdns"), ("ns-9.awsdns-01.co.uk", "awsdns"), ("NS1.Agora.Example", "agora.example")],
)
def test_operators_are_told_by_their_names(server: str, who: str) -> None:
    assert names.operator(server) == who


def test_inside_a_rehearsal_everything_seen_is_a_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    assert observe.kind_here() == "real"
    monkeypatch.setenv("REHOST_ALLOW_ONLY", "127.0.0.0/8")
    assert observe.kind_here() == "mock"


def test_the_command_looks_writes_and_judges(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for handle in (world.one, world.two):
        world.zone(handle, "127.0.0.1")
    world.delegate("ns1.first.example", "ns1.second.example")
    world.site(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["exit", "check", "--observe", "--json"])
    assert done.exit_code == 1, done.output
    kept = record.load(tmp_path / "exit.yaml")
    assert kept.evidence["operators"].value["distinct"] == 2
    assert kept.evidence["operators"].kind == "real"
    # Without looking again the record alone says the same.
    again = CliRunner().invoke(app, ["exit", "check", "--json"])
    states = {row["id"]: row["state"] for row in json.loads(again.stdout)["items"]}
    assert (states["N3"], states["N4"], states["N1"]) == ("pass", "pass", "unknown")
    refused = CliRunner().invoke(app, ["exit", "check", "--observe", "--as-of", "2021-01-01"])
    assert getattr(refused.exception, "code", 0) == 2
