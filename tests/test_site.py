"""A site definition is loaded whole: providers, moves, resources, selections, payload."""

from __future__ import annotations

import datetime
import pickle
import time
from pathlib import Path

import pytest

from toolkit.blobs import Blobs
from toolkit.errors import AuthError, DefinitionError, UsageError
from toolkit.model import sha256_hex
from toolkit.site import Move, Provider, Site, import_payload, load

PAYLOAD = b"#cloud-config\n\xff\x00\r\n"
GOOD = f"""\
rehost: 1
name: agora
x-owner: operations
providers:
  aws: {{kind: aws, regions: [us-east-1, eu-west-1], credentials: "aws-profile:work"}}
  aws2: {{kind: aws}}
  store:
    kind: ceph
    endpoint: http://203.0.113.2:9000
    insecure: true
    credentials: {{key: "env:REHOST_TEST_KEY", secret: "file:secret"}}
    addresses: [203.0.113.2]
    x-note: rack 3
  names: {{kind: powerdns, endpoint: "http://localhost:8081", nameservers: {{ns1.agora.example: "127.0.0.3:5300"}}}}
  machines: {{kind: libvirt, endpoint: "qemu:///system", pool: 203.0.113.16/28}}
move:
  storage: {{from: [aws, aws2], to: store}}
  dns: {{from: aws, to: names}}
  compute: {{from: aws, to: machines}}
groups:
  all: ["group:front", "storage/*"]
  front: ["compute/server/web-*", "dns/rrset/agora/www/*"]
buckets:
  media: {{provider: aws, versioning: enabled, to: {{provider: store, name: pictures}}, wave: 2, x-aws: {{acl: [1]}}}}
  other: {{provider: aws2, name: media, facts: {{region: us-east-1}}}}
keypairs:
  ops: {{name: ops, type: ed25519, public_key: ssh-ed25519 AAAA}}
firewalls:
  web:
    rules:
      - {{protocol: tcp, ports: [80, 80], peers: [0.0.0.0/0, "::/0", "firewall:web"]}}
      - {{protocol: icmp, ports: [8, -1], peers: [], direction: egress}}
      - {{protocol: 50}}
servers:
  web-1:
    id: i-1
    size: {{vcpus: 2, memory_mib: 1024}}
    image: {{name: debian}}
    user_data: {{file: user-data, sha256: {sha256_hex(PAYLOAD)}}}
    keypair: ops
    firewalls: [web]
    tags: {{team: web}}
    app:
      argv: [python3, app.py]
      files: {{app.py: {{file: user-data, sha256: {sha256_hex(PAYLOAD)}}}}}
      env: {{A: b}}
  web-2:
    {{id: i-2, size: {{name: small, vcpus: 1, memory_mib: 512}}, image: {{name: x}}, ignore: old, to: machines}}
  web-2~2: {{name: web-2, id: i-3, size: {{vcpus: 1, memory_mib: 512}}, image: {{name: x}}, wave: 1}}
load_balancers:
  front: {{listeners: [{{port: 80, protocol: http, to_port: 8080}}], targets: [web-1]}}
databases:
  main: {{kind: sqlite, at: compute/server/web-1, path: a.db}}
zones:
  agora:
    name: agora.example
    id: Z1
    wave: 3
    records:
      "@/A": {{alias: {{name: x.elb.amazonaws.com., zone_id: Z1, evaluate_health: false}}}}
      www/A: {{ttl: 60, values: [192.0.2.1], wave: 1}}
      "*.x/A#blue": {{ttl: 60, values: [192.0.2.1], routing: {{weight: 1}}, ignore: not used}}
  inside: {{name: agora.example, private: true, records: }}
vendors: {{sms: {{notice: none}}}}
outside:
journeys:
  - name: front
    steps: [{{url: "https://www.agora.example/", expect: {{status: 200, sha256: baseline}}}}]
logins:
  url: https://www.agora.example/login
  body: {{login: "{{login}}", password: "{{password}}"}}
  accounts: {{file: user-data, sha256: {sha256_hex(PAYLOAD)}}}
accept:
  - {{what: "storage/bucket/media:acl", why: not used, who: Ana, until: 2030-01-01}}
  - {{what: "dns/*:alias", why: flattened, who: Ana, until: "2031-01-01", expect: 1}}
objectives: {{rto: 4h, rpo: 15m, notice: 1d5h}}
"""
TODAY = datetime.date(2030, 1, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site.yaml").write_text(GOOD)
    (tmp_path / "user-data").write_bytes(PAYLOAD)
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "secret").chmod(0o600)
    return tmp_path


@pytest.fixture
def site(folder: Path) -> Site:
    return load(folder, today=TODAY)


def test_providers_and_moves(site: Site) -> None:
    assert site.name == "agora"
    assert site.providers["aws"] == Provider(
        "aws", "aws", regions=("us-east-1", "eu-west-1"), credentials="aws-profile:work"
    )
    store = site.providers["store"]
    assert (store.kind, store.endpoint, store.insecure) == ("ceph", "http://203.0.113.2:9000", True)
    assert store.extra == {"addresses": ["203.0.113.2"], "x-note": "rack 3"}
    assert site.move == {
        "storage": Move(("aws", "aws2"), "store"),
        "dns": Move(("aws",), "names"),
        "compute": Move(("aws",), "machines"),
        "database": Move(("aws",), "machines"),
    }


def test_credentials_are_resolved_on_request_and_relative_to_the_site(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REHOST_TEST_KEY", raising=False)
    with pytest.raises(AuthError, match="REHOST_TEST_KEY"):
        site.credentials("store")
    monkeypatch.setenv("REHOST_TEST_KEY", "AK")
    assert [secret.reveal() for secret in site.credentials("store").secrets] == ["AK", "s3cret"]
    assert site.credentials("aws").profile == "work"
    assert site.credentials("aws2").kind == "default"
    assert "s3cret" not in repr(site) + str(site.doc)


def test_resources_have_whole_bodies(site: Site) -> None:
    found = site.resources()
    assert list(found) == [
        "storage/bucket/media",
        "storage/bucket/other",
        "dns/zone/agora",
        "dns/rrset/agora/@/A",
        "dns/rrset/agora/www/A",
        "dns/rrset/agora/%2A.x/A#blue",
        "dns/zone/inside",
        "compute/server/web-1",
        "compute/server/web-2",
        "compute/server/web-2~2",
        "compute/firewall/web",
        "compute/keypair/ops",
        "compute/load_balancer/front",
        "database/sqlite/main",
    ]
    media = found["storage/bucket/media"]
    assert media.body == {"name": "media", "versioning": "enabled"}
    assert media.provider == "aws"
    assert media.facts == {"to": {"provider": "store", "name": "pictures"}, "wave": 2, "x-aws": {"acl": [1]}}
    assert found["storage/bucket/other"].facts == {"region": "us-east-1"}
    assert found["compute/server/web-1"].id == "i-1"
    assert found["compute/server/web-1"].body == {
        "name": "web-1",
        "size": {"vcpus": 2, "memory_mib": 1024, "arch": "x86_64"},
        "image": {"name": "debian"},
        "user_data": {"sha256": sha256_hex(PAYLOAD)},
        "keypair": "ops",
        "firewalls": ["web"],
        "disks": [],
        "addresses": {"private": [], "public": []},
        "tags": {"team": "web"},
        "app": {
            "argv": ["python3", "app.py"],
            "files": {"app.py": {"sha256": sha256_hex(PAYLOAD)}},
            "env": {"A": "b"},
            "env_file": None,
            "workdir": None,
            "health": None,
            "port": None,
        },
    }
    assert found["compute/server/web-2"].body["size"]["name"] == "small"
    assert found["compute/firewall/web"].body["rules"][0] == {
        "direction": "ingress",
        "protocol": "tcp",
        "ports": [80, 80],
        "peers": ["0.0.0.0/0", "::/0", "firewall:web"],
        "description": "",
    }
    assert found["dns/rrset/agora/@/A"].body == {
        "alias": {"name": "x.elb.amazonaws.com.", "zone_id": "Z1", "evaluate_health": False}
    }
    assert found["dns/zone/inside"].body == {"name": "agora.example", "private": True}
    assert found["database/sqlite/main"].provider == "aws"
    assert found["database/sqlite/main"].body["dump"] is None


def test_records_go_with_their_zone(site: Site) -> None:
    found = site.resources()
    assert found["compute/server/web-2"].facts == {"ignore": "old", "to": {"provider": "machines"}}
    assert found["dns/rrset/agora/www/A"].id == "Z1/www/A"
    assert found["dns/rrset/agora/@/A"].provider == "aws"
    assert found["dns/rrset/agora/@/A"].facts == {"zone": "agora.example", "wave": 3}
    assert found["dns/rrset/agora/www/A"].facts == {"zone": "agora.example", "wave": 1}
    assert found["dns/rrset/agora/%2A.x/A#blue"].facts == {
        "zone": "agora.example",
        "wave": 3,
        "ignore": "not used",
    }


@pytest.mark.parametrize(
    ("only", "exclude", "expected"),
    [
        (["storage/*"], [], {"storage/bucket/media", "storage/bucket/other"}),
        (["wave:1"], [], {"dns/rrset/agora/www/A", "compute/server/web-2~2"}),
        (["tag:team=web"], [], {"compute/server/web-1"}),
        (["tag:team"], [], {"compute/server/web-1"}),
        (["group:front"], ["compute/server/web-2*"], {"compute/server/web-1", "dns/rrset/agora/www/A"}),
        (["group:all"], ["group:front"], {"storage/bucket/media", "storage/bucket/other"}),
        (["wave:2", "dns/zone/inside"], [], {"storage/bucket/media", "dns/zone/inside"}),
    ],
)
def test_selections(site: Site, only: list[str], exclude: list[str], expected: set[str]) -> None:
    assert set(site.selected(only, exclude)) == expected


def test_selecting_nothing_is_a_mistake(site: Site) -> None:
    assert site.selected() == site.resources()
    assert len(site.selected([], ["storage/*"])) == len(site.resources()) - 2
    for term in ("storage/bucket/mediaa", "wave:9", "tag:team=none", "group:nobody", "*/bucket/x"):
        for only, exclude in (([term], []), ([], [term])):
            with pytest.raises(UsageError) as caught:
                site.selected(only, exclude)
            assert term in caught.value.text
            assert caught.value.remedy
    with pytest.raises(UsageError) as caught:
        site.selected(["storage/bucket/mediaa"])
    assert "storage/bucket/media" in caught.value.remedy


def test_accepts_objectives_and_the_rest(site: Site) -> None:
    exact, glob = site.accepts
    assert (exact.what, exact.who, exact.until) == ("storage/bucket/media:acl", "Ana", TODAY)
    assert exact.line == GOOD.split("\n").index(next(x for x in GOOD.split("\n") if "media:acl" in x)) + 1
    assert glob.expect == 1
    assert glob.covers("dns/rrset/agora/@/A:alias")
    assert not exact.covers("storage/bucket/media:cors")
    assert site.objectives == {
        "rto": datetime.timedelta(hours=4),
        "rpo": datetime.timedelta(minutes=15),
        "notice": datetime.timedelta(hours=29),
    }
    assert site.section("vendors") == {"sms": {"notice": "none"}}
    assert site.section("outside") == {}
    assert site.journeys[0]["name"] == "front"
    assert site.logins is not None
    assert site.logins["body"] == {"login": "{login}", "password": "{password}"}
    assert site.doc["x-owner"] == "operations"


def test_an_acceptance_ends_with_its_day(folder: Path) -> None:
    with pytest.raises(DefinitionError, match="expired on 2030-01-01"):
        load(folder, today=TODAY + datetime.timedelta(days=1))


def test_payload_is_imported_and_checked(site: Site, folder: Path) -> None:
    assert {item.what for item in site.payload} == {
        "servers.web-1.user_data",
        "servers.web-1.app.files.app.py",
        "logins.accounts",
    }
    blobs = Blobs(folder / "run" / "blobs")
    assert import_payload(site, blobs) == 3
    assert blobs.get(sha256_hex(PAYLOAD)) == PAYLOAD
    (folder / "user-data").write_bytes(b"changed")
    other = Blobs(folder / "other")
    with pytest.raises(DefinitionError, match="was changed"):
        import_payload(site, other)
    assert import_payload(site, blobs) == 3
    (folder / "user-data").unlink()
    with pytest.raises(DefinitionError, match="cannot be read"):
        import_payload(site, other)


def test_a_site_is_a_value(site: Site, folder: Path) -> None:
    assert load(folder / "site.yaml", today=TODAY) == site
    assert load(str(folder), today=TODAY).resources() == site.resources()
    with pytest.raises(AttributeError):
        site.name = "x"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(site)) == site


def problem(folder: Path, data: bytes) -> str:
    (folder / "site.yaml").write_bytes(data)
    with pytest.raises(DefinitionError) as caught:
        load(folder)
    assert len(caught.value.problems) == 1
    return str(caught.value.problems[0])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ":1: the file is empty"),
        (b"\n# x\n", ":1: the file is empty"),
        (b"- a\n- b\n", ":1: it is not a mapping"),
        (b"\njust text\n", ":2: it is not a mapping"),
        (b"rehost: 1\nname: \xe9\n", ":2: it is not UTF-8: byte 0xe9"),
        ("rehost: 1\nname: a\n".encode("utf-16"), ":1: it is not UTF-8: byte 0xff"),
        (b"rehost: 2\nname: a\n", ":1: rehost: must be the number 1, not 2"),
        (b"rehost: true\nname: a\n", ":1: rehost: must be the number 1, not True"),
        (b"rehost: 1\n", ":1: 'name' is missing"),
        (b"rehost: 1\nname: a\nbuckets: {x: {}}\n", ":3: buckets.x does not say which provider"),
        (b"rehost: 1\nname: ..\n", ":2: bad slug '..'"),
        (b"rehost: 1\nname: a\nproviders: {p: {kind: libcloud, family: dns, args: {key: abc}}}\n", "a literal secret"),
    ],
)
def test_unusable_files_have_one_clear_message(folder: Path, data: bytes, expected: str) -> None:
    assert expected in problem(folder, data)


def test_byte_order_mark_and_other_alphabets_are_fine(folder: Path) -> None:
    text = 'rehost: 1\nname: agora\nproviders: {aws: {kind: aws}}\nvendors: {café: {name: "Ἀγορά 🐘"}}\r\n'
    (folder / "site.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load(folder).section("vendors") == {"café": {"name": "Ἀγορά 🐘"}}


def test_absent_unreadable_and_odd_places(folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    for place in (empty, folder / "absent.yaml", folder / "absent" / "site.yaml"):
        with pytest.raises(DefinitionError, match="there is no site definition") as caught:
            load(place)
        assert "rehost discover" in caught.value.problems[0].remedy
    (empty / "site.yaml").mkdir()
    with pytest.raises(DefinitionError, match="Is a directory"):
        load(empty)


@pytest.mark.parametrize(
    ("endpoint", "good"),
    [
        ("https://x.example", True),
        ("http://localhost:1", True),
        ("http://s3.localhost", True),
        ("http://127.9.8.7:9000", True),
        ("http://[::1]:9000", True),
        ("http://x.example", False),
        ("HTTP://10.0.0.1", False),
        ("http://127.0.0.1.example.org", False),
        ("http://localhost.example.org", False),
        ("x.example", False),
        ("http://[::1", False),
        ("http://x:port", False),
    ],
)
def test_endpoints_are_encrypted_or_local_or_said_to_be_not(folder: Path, endpoint: str, good: bool) -> None:
    text = f'rehost: 1\nname: a\nproviders:\n  p: {{kind: ceph, endpoint: "{endpoint}"}}\n'
    (folder / "site.yaml").write_text(text)
    if good:
        assert load(folder).providers["p"].endpoint == endpoint
    else:
        with pytest.raises(DefinitionError) as caught:
            load(folder)
        assert caught.value.problems[0].line == 4


def test_long_chains_of_groups_do_not_exhaust_the_stack(folder: Path) -> None:
    groups = "".join(f'  g{n}: ["group:g{n + 1}"]\n' for n in range(1500))
    text = f'rehost: 1\nname: a\ngroups:\n{groups}  g1500: ["storage/*"]\n'
    (folder / "site.yaml").write_text(text)
    assert load(folder).groups["g0"] == ("storage/*",)


def test_ten_thousand_records_load_within_seconds(folder: Path) -> None:
    records = "".join(
        f"      h{n}/A:\n        ttl: 300\n        values:\n        - 10.0.{n % 250}.{n // 250}\n"
        for n in range(10_000)
    )
    text = f"rehost: 1\nname: a\nproviders: {{aws: {{kind: aws}}}}\nzones:\n  z:\n    name: z\n    records:\n{records}"
    (folder / "site.yaml").write_text(text)
    started = time.process_time()
    assert len(load(folder).resources()) == 10_001
    assert time.process_time() - started < 5
