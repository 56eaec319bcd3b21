"""The seed: the sample site stands on the mocked AWS and its app runs on the old machines."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import dns.message
import dns.query
import dns.rdatatype
import pytest

from tests.rehearsal.conftest import client
from toolkit.errors import Conflict, UsageError
from toolkit.rehearsal import mockaws, net, overlay, seed, seed_app

SITE = Path(__file__).parents[2] / "seeds" / "february-2021"
SCALE = 0.1


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return seed.load_generator(SITE)


@pytest.fixture(scope="module")
def planted(
    generator: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[mockaws.MockAws, dict[str, Any], seed.Planted]]:
    with net.claim() as loopback:
        aws = mockaws.start(loopback, tmp_path_factory.mktemp("old"))
        try:
            doc = overlay.read(SITE, loopback)
            yield aws, doc, seed.seed(doc, generator, aws, site_dir=SITE, scale=SCALE, env={"AGORA_SECRET": "none"})
        finally:
            aws.stop()


@pytest.fixture(scope="module")
def aws(planted: tuple[mockaws.MockAws, dict[str, Any], seed.Planted]) -> mockaws.MockAws:
    return planted[0]


@pytest.fixture(scope="module")
def doc(planted: tuple[mockaws.MockAws, dict[str, Any], seed.Planted]) -> dict[str, Any]:
    return planted[1]


def fetch(url: str, body: Any = None) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data=data), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read()


def test_every_object_is_there(aws: mockaws.MockAws, generator: ModuleType) -> None:
    s3 = client(aws.store, "s3")
    wanted: dict[tuple[str, str], list[int | None]] = {}
    for item in generator.objects(SCALE):
        wanted[item.bucket, item.key] = [None if v.body is None else len(v.body) for v in item.versions]
    seen: dict[tuple[str, str], list[int | None]] = {}
    for bucket in generator.BUCKETS.values():
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            rows = [(v["Key"], v["LastModified"], v["Size"]) for v in page.get("Versions", [])]
            rows += [(v["Key"], v["LastModified"], None) for v in page.get("DeleteMarkers", [])]
            for key, _, size in rows:
                seen.setdefault((bucket, key), []).append(size)
    assert {key: sorted(map(str, sizes)) for key, sizes in seen.items()} == {
        key: sorted(map(str, sizes)) for key, sizes in wanted.items()
    }


def test_machines_have_their_definition(aws: mockaws.MockAws, doc: dict[str, Any]) -> None:
    ec2 = client(aws.store, "ec2")
    found = {
        next(tag["Value"] for tag in one["Tags"] if tag["Key"] == "Name"): one
        for reservation in ec2.describe_instances()["Reservations"]
        for one in reservation["Instances"]
    }
    assert set(found) == set(doc["servers"])
    for slug, server in doc["servers"].items():
        assert found[slug]["PublicIpAddress"] == server["addresses"]["public"][0]
        assert found[slug]["PrivateIpAddress"] == server["addresses"]["private"][0]
        assert found[slug]["InstanceType"] == server["size"]["name"]
        assert {group["GroupName"] for group in found[slug]["SecurityGroups"]} == set(server["firewalls"])
        told = ec2.describe_instance_attribute(InstanceId=found[slug]["InstanceId"], Attribute="userData")
        payload = base64.b64decode(told["UserData"]["Value"])
        assert hashlib.sha256(payload).hexdigest() == server["user_data"]["sha256"]
    groups = {group["GroupName"]: group for group in ec2.describe_security_groups()["SecurityGroups"]}
    inner = [rule for rule in groups["internal"]["IpPermissions"] if rule["UserIdGroupPairs"]]
    assert {rule["UserIdGroupPairs"][0]["GroupId"] for rule in inner} == {
        groups["web"]["GroupId"],
        groups["internal"]["GroupId"],
    }


def test_every_record_set_is_there_and_answers(aws: mockaws.MockAws, doc: dict[str, Any]) -> None:
    r53 = client(aws.store, "route53")
    (zone,) = r53.list_hosted_zones()["HostedZones"]
    records = doc["zones"]["agora.example"]["records"]
    assert zone["ResourceRecordSetCount"] == len(records) + 2
    for host, want in (("www", 16), ("", 16), ("media", 17), ("s3", 2), ("any.preview", 16)):
        name = f"{host}.agora.example".lstrip(".")
        address, port = aws.dns.split(":")
        answer = dns.query.udp(dns.message.make_query(name, "A"), address, port=int(port), timeout=20)
        last = answer.answer[-1]
        assert [item.to_text() for item in last] == [aws.loopback.old_ip(want)], name
        assert last.rdtype == dns.rdatatype.A


def test_the_parent_delegates_to_the_twin(aws: mockaws.MockAws) -> None:
    told = net.call_json(f"{aws.registry_url}/domains/agora.example")
    (zone,) = client(aws.store, "route53").list_hosted_zones()["HostedZones"]
    servers = client(aws.store, "route53").get_hosted_zone(Id=zone["Id"])["DelegationSet"]["NameServers"]
    assert set(told["nameservers"]) == set(servers)
    address, port = aws.parent_dns.split(":")
    answer = dns.query.tcp(dns.message.make_query("agora.example", "NS"), address, port=int(port), timeout=20)
    assert {str(item).rstrip(".") for item in answer.authority[0]} == set(servers)


def test_the_app_serves_what_was_planted(aws: mockaws.MockAws, generator: ModuleType) -> None:
    web, media = (f"http://{aws.loopback.old_ip(n)}:8080" for n in (16, 17))
    login, password = next(iter(generator.accounts(SCALE)))
    status, answer = fetch(f"{web}/login", {"login": login, "password": password})
    assert (status, json.loads(answer)["login"]) == (200, login)
    pages = list(generator.expected_media(SCALE))
    for page in pages[:: max(1, len(pages) // 25)]:
        status, body = fetch(media + page.path)
        assert (status, hashlib.sha256(body).hexdigest()) == (200, page.sha256), page.path


def test_only_the_seed_has_written_and_the_app_is_told_apart(aws: mockaws.MockAws) -> None:
    rows = aws.store.calls(class_="write")
    assert {row["user"] for row in rows} == {"seed"}
    assert {row["phase"] for row in rows} == {"seed"}
    assert aws.writes() == []
    fetch(f"http://{aws.loopback.old_ip(17)}:8080/media/a//b")
    assert {row["phase"] for row in aws.store.calls(user="app", operation="GetObject")} <= {"seed", "move"}
    assert aws.store.calls(user="app", operation="GetObject")


def test_after_the_cutoff_the_old_side_is_gone(aws: mockaws.MockAws) -> None:
    aws.cutoff()
    with pytest.raises(urllib.error.URLError):
        fetch(f"http://{aws.loopback.old_ip(16)}:8080/health")
    address, port = aws.dns.split(":")
    answer = dns.query.udp(dns.message.make_query("www.agora.example", "A"), address, port=int(port), timeout=20)
    assert not answer.answer
    aws.restore()


def test_pages_are_whole_addresses(generator: ModuleType) -> None:
    first = next(seed.pages(generator, SCALE))
    assert first.startswith("http://media.agora.example:8080/")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"generate\.py"):
        seed.load_generator(tmp_path)
    with pytest.raises(Conflict, match="AGORA_SECRET"):
        seed_app.resolve({"X": "env:AGORA_SECRET"}, {})


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("@/A", {"ttl": 60, "values": ["192.0.2.1"]}, {"Name": "x.example.", "Type": "A", "TTL": 60}),
        ("*.a/TXT", {"ttl": 1, "values": ['"t"']}, {"Name": "*.a.x.example.", "Type": "TXT", "TTL": 1}),
        (
            "w/A#one",
            {"ttl": 5, "values": ["192.0.2.1"], "routing": {"weight": 9}},
            {"Name": "w.x.example.", "SetIdentifier": "one", "Weight": 9},
        ),
    ],
)
def test_record_sets(key: str, value: dict[str, Any], wanted: dict[str, Any]) -> None:
    made = seed.record_set("x.example", key, value)
    assert {name: made[name] for name in wanted} == wanted
