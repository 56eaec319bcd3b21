"""What was observed goes into site.yaml, twice as once, and what people wrote stays theirs."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit import files
from toolkit.blobs import Blobs
from toolkit.errors import DefinitionError, NotFound, RehostError
from toolkit.model import Json, NotSeen, Resource, address, escape, sha256_hex
from toolkit.site import load
from toolkit.site_merge import Drift, merge
from toolkit.site_words import record_key

AWS: dict[str, dict[str, Json]] = {"aws": {"kind": "aws", "regions": ["us-east-1"]}}
PAYLOAD = b"#!/bin/sh\nexit 0\n"
DIGEST = sha256_hex(PAYLOAD)


def bucket(slug: str, **changes: Json) -> Resource:
    body = {"name": slug.partition("~")[0], "versioning": "off", **changes}
    return Resource(address("storage", "bucket", slug), body, "aws", "", {"region": "us-east-1"})


def server(slug: str, id: str = "", **changes: Json) -> Resource:
    body = {
        "name": slug.partition("~")[0],
        "size": {"name": "t3.micro", "vcpus": 2, "memory_mib": 1024, "arch": "x86_64"},
        "image": {"name": "debian"},
        "user_data": None,
        "keypair": None,
        "firewalls": [],
        "disks": [{"device": "/dev/xvda", "gib": 8, "type": "gp3"}],
        "addresses": {"private": ["10.0.0.1"], "public": []},
        "tags": {},
        "app": None,
        **changes,
    }
    return Resource(address("compute", "server", slug), body, "aws", id, {})


def firewall(slug: str, *rules: Json, id: str = "") -> Resource:
    body = {"name": slug, "description": "", "rules": list(rules)}
    return Resource(address("compute", "firewall", slug), body, "aws", id, {})


def rule(**changes: Json) -> dict[str, Json]:
    base = {"direction": "ingress", "protocol": "tcp", "ports": [80, 80], "peers": ["0.0.0.0/0"], "description": ""}
    return {**base, **changes}


def zone(slug: str = "agora", id: str = "Z1", **changes: Json) -> Resource:
    body = {"name": "agora.example", "private": False, **changes}
    return Resource(address("dns", "zone", slug), body, "aws", id, {"nameservers": ["ns1.example."]})


def record(key: str, body: dict[str, Json], slug: str = "agora", zone_id: str = "Z1") -> Resource:
    parts = record_key(key)
    assert parts is not None
    addr = address("dns", "rrset", slug, parts[0], parts[1]) + (f"#{escape(parts[2])}" if parts[2] else "")
    return Resource(addr, body, "aws", f"{zone_id}/{key}" if zone_id else "", {"zone": "agora.example"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agora" / "site.yaml"


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path / "run" / "blobs")
    made.put(PAYLOAD)
    return made


def put(path: Path, blobs: Blobs, *observed: Resource | NotSeen, check: bool = False) -> Drift:
    return merge(path, observed, providers=AWS, blobs=blobs, check=check)


EVERYTHING: tuple[Resource, ...] = (
    bucket("media", versioning="enabled"),
    Resource("compute/keypair/ops", {"name": "ops", "type": "rsa", "public_key": "ssh-rsa A"}, "aws", "key-1", {}),
    firewall("web", rule(), rule(protocol="icmp", ports=None, peers=["firewall:web"])),
    server(
        "web-1", "i-1", keypair="ops", firewalls=["web"], user_data={"sha256": DIGEST}, tags={"team": "web", "x": ""}
    ),
    Resource(
        "compute/load_balancer/front",
        {"name": "front", "listeners": [{"port": 80, "protocol": "http", "to_port": 80}], "targets": ["web-1"]},
        "aws",
        "arn:1",
        {"dns_name": "front.elb.amazonaws.com"},
    ),
    zone(),
    record("@/MX", {"ttl": 300, "values": ["10 mail.agora.example."]}),
    record("*.x/TXT", {"ttl": 300, "values": ['"v=spf1 -all"', '"a \\"b\\""']}),
    record("www/A#blue/1", {"ttl": 60, "values": ["192.0.2.1"], "routing": {"weight": 3}}),
)


def test_a_fresh_file_teaches_and_holds_everything(path: Path, blobs: Blobs) -> None:
    drift = put(path, blobs, *EVERYTHING)
    assert drift == Drift(tuple(item.address for item in sorted_as_written(EVERYTHING)), (), (), ())
    text = path.read_text()
    assert text.startswith("# What this site consists of")
    for word in ("journeys:", "move:", "rehost assess", "env:NAME"):
        assert word in text.partition("\nrehost: 1")[0]
    order = ["providers:", "buckets:", "keypairs:", "firewalls:", "servers:", "load_balancers:", "zones:"]
    assert [line for line in text.split("\n") if line in order] == order
    site = load(path)
    assert site.name == "agora"
    assert site.resources() == {item.address: item for item in EVERYTHING}
    assert site.providers["aws"].regions == ("us-east-1",)


def sorted_as_written(resources: tuple[Resource, ...]) -> list[Resource]:
    return sorted(resources, key=lambda item: item.address.startswith("dns/"))


def test_payload_lies_beside_the_site_with_its_bytes(path: Path, blobs: Blobs) -> None:
    put(path, blobs, *EVERYTHING)
    file = path.parent / "blobs" / DIGEST
    assert file.read_bytes() == PAYLOAD
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load(path).payload[0].path == file
    with pytest.raises(NotFound, match="payload"):
        put(path, blobs, server("web-1", "i-1", user_data={"sha256": "0" * 64}))


def test_merging_again_changes_no_byte(path: Path, blobs: Blobs) -> None:
    put(path, blobs, *EVERYTHING)
    before = path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns
    for observed in (EVERYTHING, tuple(reversed(EVERYTHING))):
        assert put(path, blobs, *observed).clean
        assert (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) == before


HUMAN = """\
# our site
rehost: 1
name: agora

providers:
  aws: {kind: aws}   # the old side
  store: {kind: ceph, endpoint: "https://s3.example.org"}
move:
  storage: {from: aws, to: store}

firewalls:
  front-door:    # was: web
    name: web
    rules:
      - {protocol: tcp, ports: [80, 80], peers: ["0.0.0.0/0"]}   # everybody
      # the office
      - {protocol: tcp, ports: [22, 22], peers: [192.0.2.0/24]}

servers:
  web:           # renamed by us
    id: i-1
    name: web-1
    size: {name: t3.micro, vcpus: 2, memory_mib: 1024}
    image: {name: 'debian'}
    firewalls: [front-door]
    disks: [{device: /dev/xvda, gib: 8, type: gp3}]
    addresses: {private: [10.0.0.1]}
    wave: 2
    x-note: do not touch
    app: {argv: [python3, app.py]}

buckets:
  media: {versioning: enabled, ignore: "not ours", x-aws: {mine: 1}}   # pictures

zones:
  agora:
    name: agora.example
    records:
      WWW/A: {ttl: 60, values: [192.0.2.2, 192.0.2.1]}   # two of them
      old/A: {ttl: 60, values: [192.0.2.9]}
journeys: []
"""


@pytest.fixture
def human(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text(HUMAN)
    path.chmod(0o640)
    return path


def lines_changed(path: Path) -> list[str]:
    before, after = HUMAN.split("\n"), path.read_text().split("\n")
    return [f"-{line}" for line in before if line not in after] + [f"+{line}" for line in after if line not in before]


SAME = (
    firewall("web", rule(), rule(ports=[22, 22], peers=["192.0.2.0/24"])),
    server("web-1", "i-1", firewalls=["web"]),
    Resource("storage/bucket/media", {"name": "media", "versioning": "enabled"}, "aws", "", {}),
    replace(zone(), id="", facts={}),
    record("www/A", {"ttl": 60, "values": ["192.0.2.1", "192.0.2.2"]}, zone_id=""),
    record("old/A", {"ttl": 60, "values": ["192.0.2.9"]}, zone_id=""),
)


def test_what_means_the_same_is_left_as_people_spelled_it(human: Path, blobs: Blobs) -> None:
    assert put(human, blobs, *SAME).clean
    assert human.read_text() == HUMAN


def test_each_change_is_shown_and_touches_its_line_only(human: Path, blobs: Blobs) -> None:
    observed = (
        firewall("web", rule(), rule(ports=[22, 22], peers=["192.0.2.0/25"])),
        server("web-1", "i-1", firewalls=["web"], tags={"team": "web"}),
        Resource(
            "storage/bucket/media", {"name": "media", "versioning": "suspended"}, "aws", "", {"x-aws": {"acl": 2}}
        ),
        zone(),
        record("www/A", {"ttl": 300, "values": ["192.0.2.1", "192.0.2.2"]}),
        record("old/A", {"alias": {"name": "x.example."}}),
        record("new/A", {"ttl": 60, "values": ["192.0.2.3"]}),
        bucket("other"),
    )
    drift = put(human, blobs, *observed)
    assert drift.added == ("storage/bucket/other", "dns/rrset/agora/new/A")
    assert drift.gone == ()
    assert drift.changed == (
        ("storage/bucket/media", "versioning", "enabled", "suspended"),
        ("storage/bucket/media", "x-aws", {"mine": 1}, {"mine": 1, "acl": 2}),
        (
            "compute/firewall/front-door",
            "rules",
            [rule(), rule(ports=[22, 22], peers=["192.0.2.0/24"])],
            [rule(), rule(ports=[22, 22], peers=["192.0.2.0/25"])],
        ),
        ("compute/server/web", "tags", {}, {"team": "web"}),
        ("dns/zone/agora", "id", "", "Z1"),
        ("dns/zone/agora", "facts.nameservers", None, ["ns1.example."]),
        ("dns/rrset/agora/WWW/A", "ttl", 60, 300),
        ("dns/rrset/agora/old/A", "alias", None, {"name": "x.example."}),
        ("dns/rrset/agora/old/A", "ttl", 60, None),
        ("dns/rrset/agora/old/A", "values", ["192.0.2.9"], None),
    )
    assert lines_changed(human) == [
        "-      - {protocol: tcp, ports: [22, 22], peers: [192.0.2.0/24]}",
        '-  media: {versioning: enabled, ignore: "not ours", x-aws: {mine: 1}}   # pictures',
        "-      WWW/A: {ttl: 60, values: [192.0.2.2, 192.0.2.1]}   # two of them",
        "-      old/A: {ttl: 60, values: [192.0.2.9]}",
        "+      - {protocol: tcp, ports: [22, 22], peers: [192.0.2.0/25]}",
        "+    tags: {team: web}",
        '+  media: {versioning: suspended, ignore: "not ours", x-aws: {mine: 1, acl: 2}}   # pictures',
        '+  other: {name: other, versioning: "off", facts: {region: us-east-1}}',
        "+      WWW/A: {ttl: 300, values: [192.0.2.2, 192.0.2.1]}   # two of them",
        "+      old/A: {alias: {name: x.example.}}",
        "+      new/A: {ttl: 60, values: [192.0.2.3]}",
        "+    id: Z1",
        "+    facts: {nameservers: [ns1.example.]}",
    ]
    assert stat.S_IMODE(human.stat().st_mode) == 0o640
    assert put(human, blobs, *observed).clean


def test_check_writes_nothing(human: Path, path: Path, blobs: Blobs, tmp_path: Path) -> None:
    drift = put(human, blobs, *SAME, bucket("other"), server("x", user_data={"sha256": DIGEST}), check=True)
    assert drift.added == ("storage/bucket/other", "compute/server/x")
    assert human.read_text() == HUMAN
    assert sorted(item.name for item in human.parent.iterdir()) == ["site.yaml"]
    absent = tmp_path / "nowhere" / "site.yaml"
    assert put(absent, blobs, bucket("a"), check=True).added == ("storage/bucket/a",)
    assert not absent.parent.exists()


def test_what_is_gone_is_listed_and_kept(human: Path, blobs: Blobs) -> None:
    drift = put(human, blobs, *SAME[:2])
    assert drift.gone == ("storage/bucket/media", "dns/zone/agora", "dns/rrset/agora/WWW/A", "dns/rrset/agora/old/A")
    assert human.read_text() == HUMAN
    assert not drift.clean


@pytest.mark.parametrize(
    ("what", "gone"),
    [("storage", {"dns"}), ("dns/zone/agora", {"storage"}), ("dns: no access", {"storage"}), ("eu-west-1", set())],
)
def test_what_was_not_seen_is_never_called_gone(human: Path, blobs: Blobs, what: str, gone: set[str]) -> None:
    drift = put(human, blobs, *SAME[:2], NotSeen(what, "denied"))
    assert {item.split("/")[0] for item in drift.gone} == gone
    assert drift.not_seen == (NotSeen(what, "denied"),)
    assert not drift.clean


def test_resources_of_other_providers_are_not_gone(human: Path, blobs: Blobs) -> None:
    observed = [Resource("storage/bucket/media", {"name": "media", "versioning": "off"}, "store", "", {})]
    drift = merge(human, observed, providers={"store": {"kind": "ceph"}}, blobs=blobs)
    assert drift == Drift(("storage/bucket/media~2",), (), (), ())
    found = load(human).resources()["storage/bucket/media~2"]
    assert (found.provider, found.body) == ("store", {"name": "media", "versioning": "off"})


def test_things_of_one_name_are_told_apart_by_id(path: Path, blobs: Blobs) -> None:
    put(path, blobs, server("web", "i-1"), server("web~2", "i-2", tags={"n": "2"}))
    text = path.read_text()
    swapped = (server("web", "i-2", tags={"n": "2"}), server("web~2", "i-1"))
    assert put(path, blobs, *swapped).clean
    assert path.read_text() == text
    drift = put(path, blobs, server("web", "i-2", tags={"n": "2"}), server("web~2", "i-3"))
    assert drift.changed == (("compute/server/web", "id", "i-1", "i-3"),)
    assert drift.added == drift.gone == ()


def test_references_follow_slugs_that_people_chose(human: Path, blobs: Blobs) -> None:
    balancer = {"name": "lb", "listeners": [], "targets": ["web-1"]}
    observed = (
        *SAME,
        Resource("compute/load_balancer/lb", balancer, "aws", "", {}),
        firewall("db", rule(peers=["firewall:web"])),
    )
    assert set(put(human, blobs, *observed).added) == {"compute/load_balancer/lb", "compute/firewall/db"}
    found = load(human).resources()
    assert found["compute/load_balancer/lb"].body["targets"] == ["web"]
    assert found["compute/firewall/db"].body["rules"][0]["peers"] == ["firewall:front-door"]
    assert put(human, blobs, *observed).clean


def test_what_the_definition_cannot_say_is_not_dropped_in_silence(path: Path, blobs: Blobs) -> None:
    odd = (
        Resource("compute/volume/v", {}, "aws", "", {}),
        bucket("media", encryption="kms"),
        bucket("bad", versioning="sometimes"),
        server("web", firewalls=["nobody"]),
        record("www/A", {"ttl": 1, "values": ["192.0.2.1"]}, slug="unknown"),
        zone(),
        record("bad/A", {"ttl": 60, "values": ["not an address"]}),
        record("good/A", {"ttl": 60, "values": ["192.0.2.1"]}),
    )
    drift = put(path, blobs, *odd)
    assert drift.added == ("storage/bucket/media", "dns/zone/agora", "dns/rrset/agora/good/A")
    assert {item.what for item in drift.not_seen} == {
        "compute/volume/v",
        "storage/bucket/media:encryption",
        "storage/bucket/bad",
        "compute/server/web",
        "dns/rrset/unknown/www/A",
        "dns/rrset/agora/bad/A",
    }
    assert all(item.why for item in drift.not_seen)
    assert set(load(path).resources()) == set(drift.added)


def test_a_change_that_does_not_fit_is_taken_back(human: Path, blobs: Blobs) -> None:
    drift = put(human, blobs, *SAME[:4], record("www/A", {"ttl": 60, "values": ["nonsense"]}), SAME[5])
    assert drift.changed == drift.gone == ()
    assert [item.what for item in drift.not_seen] == ["dns/rrset/agora/WWW/A"]
    assert human.read_text() == HUMAN


def test_a_file_with_mistakes_is_not_written_to(human: Path, blobs: Blobs) -> None:
    human.write_text(HUMAN + "bukets: {}\n")
    with pytest.raises(DefinitionError, match="did you mean 'buckets'"):
        put(human, blobs, *SAME)
    assert human.read_text() == HUMAN + "bukets: {}\n"


def test_windows_line_ends_byte_order_mark_and_links_stay(human: Path, blobs: Blobs, tmp_path: Path) -> None:
    human.write_bytes(b"\xef\xbb\xbf" + HUMAN.replace("\n", "\r\n").encode())
    link = tmp_path / "link.yaml"
    link.symlink_to(human)
    put(link, blobs, *SAME, bucket("other"))
    data = human.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf# our site\r\n")
    assert data.count(b"\n") == data.count(b"\r\n") == HUMAN.count("\n") + 1
    assert link.is_symlink()


def test_a_failed_write_leaves_the_old_file(human: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RehostError, match="No space left"):
        put(human, blobs, *SAME, bucket("other"))
    assert human.read_text() == HUMAN
    assert [item.name for item in human.parent.iterdir()] == ["site.yaml"]


# --- round trip ---

SLUGS = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,8}", fullmatch=True)
WORDS = st.text(st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs")), min_size=1, max_size=12)
CIDRS = st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "::/0", "2001:db8::/32", "firewall:web", "192.0.2.7/32"])
FACTS: st.SearchStrategy[dict[str, Json]] = st.dictionaries(
    st.sampled_from(["region", "created", "x-aws", "state"]),
    st.one_of(WORDS, st.integers(), st.none(), st.booleans(), st.lists(WORDS, max_size=2)),
    max_size=2,
)
RULES = st.builds(
    rule,
    direction=st.sampled_from(["ingress", "egress"]),
    protocol=st.sampled_from(["tcp", "udp", "icmp", "all", 50, "51"]),
    ports=st.one_of(st.none(), st.integers(0, 65535).map(lambda port: [port, port])),
    peers=st.lists(CIDRS, max_size=3),
    description=st.one_of(st.just(""), WORDS),
)
SERVER_BODIES = st.fixed_dictionaries(
    {
        "name": WORDS,
        "size": st.fixed_dictionaries(
            {
                "vcpus": st.integers(1, 64),
                "memory_mib": st.integers(1, 10**6),
                "arch": st.sampled_from(["x86_64", "arm64"]),
            },
            optional={"name": WORDS},
        ),
        "image": st.fixed_dictionaries({"name": WORDS}),
        "user_data": st.sampled_from([None, {"sha256": DIGEST}]),
        "keypair": st.just(None),
        "firewalls": st.sampled_from([[], ["web"]]),
        "disks": st.lists(
            st.fixed_dictionaries({"device": WORDS, "gib": st.integers(1, 99), "type": st.sampled_from(["", "gp3"])}),
            max_size=2,
        ),
        "addresses": st.fixed_dictionaries(
            {
                "private": st.lists(st.ip_addresses().map(str), max_size=2),
                "public": st.lists(st.ip_addresses(v=4).map(str), max_size=1),
            }
        ),
        "tags": st.dictionaries(WORDS, st.one_of(st.just(""), WORDS), max_size=2),
        "app": st.just(None),
    }
)
RECORD_BODIES = st.one_of(
    st.fixed_dictionaries({"ttl": st.integers(0, 2**31 - 1), "values": st.lists(WORDS, min_size=1, max_size=3)}),
    st.fixed_dictionaries(
        {
            "alias": st.fixed_dictionaries({"name": WORDS, "zone_id": WORDS, "evaluate_health": st.booleans()}),
            "routing": st.dictionaries(WORDS, st.integers(), max_size=2),
        }
    ),
)
OWNERS = st.from_regex(r"@|(\*\.)?[a-z0-9_%#-]{1,8}(\.[a-z0-9-]{1,5}){0,2}|[0-9]{1,2}/[0-9]{1,2}", fullmatch=True)
KEYS = st.builds(
    lambda owner, kind, set_id: f"{owner}/{kind}" + (f"#{set_id}" if set_id else ""),
    OWNERS,
    st.sampled_from(["TXT", "CAA", "TYPE65"]),
    st.one_of(st.just(""), WORDS),
)


def _record(draw: st.DrawFn, key: str) -> Resource:
    made = record(key, draw(RECORD_BODIES), slug="z", zone_id="Z0")
    ident = draw(st.sampled_from([made.id, made.id, "", "own"]))
    return replace(made, id=ident, facts={"zone": "agora.example", **draw(FACTS)})


@st.composite
def accounts(draw: st.DrawFn) -> list[Resource]:
    found = [firewall("web", *draw(st.lists(RULES, max_size=3)), id="sg-0"), zone("z", "Z0")]
    for n, slug in enumerate(draw(st.lists(SLUGS, max_size=3, unique=True))):
        body = {"name": draw(WORDS), "versioning": draw(st.sampled_from(["enabled", "suspended", "off"]))}
        found.append(Resource(address("storage", "bucket", slug), body, "aws", f"b-{n}", draw(FACTS)))
    for n, slug in enumerate(draw(st.lists(SLUGS, max_size=2, unique=True))):
        found.append(Resource(address("compute", "server", slug), draw(SERVER_BODIES), "aws", f"i-{n}", draw(FACTS)))
    for key in draw(st.lists(KEYS, max_size=4, unique_by=str.lower)):
        found.append(_record(draw, key))
    return found


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(accounts(), accounts())
def test_round_trip_and_update(
    tmp_path_factory: pytest.TempPathFactory, first: list[Resource], second: list[Resource]
) -> None:
    folder = tmp_path_factory.mktemp("account")
    path, blobs = folder / "site.yaml", Blobs(folder / "run")
    blobs.put(PAYLOAD)
    drift = put(path, blobs, *first)
    assert drift.not_seen == ()
    assert load(path).resources() == {item.address: item for item in first}
    before = path.read_bytes()
    assert put(path, blobs, *first).clean
    assert path.read_bytes() == before
    moved = put(path, blobs, *second)
    assert moved.not_seen == ()
    assert put(path, blobs, *second).changed == ()
    assert len(load(path).resources()) == len(first) + len(moved.added)
