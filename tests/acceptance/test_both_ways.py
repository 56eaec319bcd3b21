"""The same verbs in the other direction: S3-compatible → S3, PowerDNS → Route 53, machines → EC2.

A small sample site moves off mocked AWS to the embedded stack, and from there to a second, empty AWS.
What arrives is compared with the first AWS by boto3 alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

import boto3
import pytest

from toolkit.model import Json
from toolkit.rehearsal import mockaws, net, overlay, rehearse
from toolkit.rehearsal.rehearse import Play

HEADERS = ("ContentType", "CacheControl", "ContentEncoding", "ContentDisposition", "ContentLanguage")
SEEDS = Path(__file__).parents[2] / "seeds" / "february-2021"


@pytest.fixture(scope="module")
def there_and_back(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Play, mockaws.MockAws]]:
    folder = tmp_path_factory.mktemp("back") / "rehearsal"
    with (
        rehearse.playing(SEEDS, folder, info=None, scale=0.02, say=print) as play,
        net.claim() as loopback,
    ):
        rehearse.define(play)
        rehearse.build(play)
        second = mockaws.start(loopback, folder / "second")
        try:
            back(play, second)
            yield play, second
        finally:
            second.stop()


def back(play: Play, second: mockaws.MockAws) -> None:
    """Discover the embedded stack as if nothing were known, and move it to the second AWS."""
    play.env |= {"SECOND_KEY": second.store.access_key, "SECOND_SECRET": second.store.secret_key.reveal()}
    image = "ami-0debian1200000001"
    forth = overlay.load(play.site / "site.yaml")
    providers = {name: dict(forth["providers"][name]) for name in ("store", "names", "machines")}
    providers["aws-2"] = {
        "kind": "aws",
        "endpoint": second.endpoint,
        "regions": ["us-east-1"],
        "credentials": {"key": "env:SECOND_KEY", "secret": "env:SECOND_SECRET"},
        "images": {"default": image},
    }
    site = play.folder / "back"
    site.mkdir()
    overlay.dump(
        site / "site.yaml",
        {
            "rehost": 1,
            "name": "agora-back",
            "providers": providers,
            "move": {
                "storage": {"from": "store", "to": "aws-2"},
                "compute": {"from": "machines", "to": "aws-2"},
                "dns": {"from": "names", "to": "aws-2"},
            },
            "outside": {
                "dns": {"parents": [second.parent_dns], "hosts": {second.loopback.old_ip(3): second.dns}},
                "registrar": {"kind": "registry", "endpoint": second.registry_url},
            },
        },
    )
    at = ("--site", str(site), "--run", str(play.folder / "back-run"))
    rehearse.rehost(play, "discover", "-p", "store", "-p", "names", "-p", "machines", *at)
    rehearse.rehost(play, "assess", *at, codes=(1,))
    doc = overlay.load(site / "site.yaml")
    doc["accept"] = [
        {
            "what": "compute/server/*:app-env",
            "why": "the environment file is written by hand on AWS",
            "who": "operations",
            "until": "2099-01-01",
            "expect": 3,
        }
    ]
    overlay.dump(site / "site.yaml", doc)
    rehearse.rehost(play, "assess", *at)
    rehearse.rehost(play, "plan", *at)
    rehearse.rehost(play, "apply", *at, "--yes")
    rehearse.rehost(play, "verify", *at, "--tier", "meta")


def client(aws: mockaws.MockAws, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=aws.endpoint,
        aws_access_key_id=aws.store.access_key,
        aws_secret_access_key=aws.store.secret_key.reveal(),
        region_name="us-east-1",
    )


def history(aws: mockaws.MockAws, bucket: str) -> dict[str, list[tuple[Json, ...]]]:
    """Every version and marker of a bucket, oldest first, with its headers.

    boto3 parts versions from markers, and two of one second have no order by date: so the order is
    taken from the answer as it came, newest first.
    """
    s3 = client(aws, "s3")
    answers: list[bytes] = []
    s3.meta.events.register(
        "before-parse.s3.ListObjectVersions", lambda response_dict, **_: answers.append(response_dict["body"])
    )
    for _ in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, EncodingType="url"):
        pass
    found: dict[str, list[tuple[Json, ...]]] = {}
    for answer in answers:
        for item in ElementTree.fromstring(answer):
            kind = item.tag.rpartition("}")[2]
            if kind not in ("Version", "DeleteMarker"):
                continue
            fields = {child.tag.rpartition("}")[2]: child.text or "" for child in item}
            key = unquote_plus(fields["Key"])
            head: dict[str, Json] = {}
            if kind == "Version":
                head = s3.head_object(Bucket=bucket, Key=key, VersionId=fields["VersionId"])
            kept = tuple(head.get(name) for name in HEADERS)
            metadata = tuple(sorted(head.get("Metadata", {}).items()))
            found.setdefault(key, []).insert(0, (kind, fields.get("ETag"), fields.get("Size"), kept, metadata))
    return found


@pytest.mark.parametrize("bucket", ["agora-media", "agora-avatars", "agora-static", "agora-backups"])
def test_objects_and_their_histories_come_back(there_and_back: tuple[Play, mockaws.MockAws], bucket: str) -> None:
    play, second = there_and_back
    first_there, now_there = history(play.aws, bucket), history(second, bucket)
    assert now_there.keys() == first_there.keys()
    assert now_there == first_there


def test_records_arrive_in_route_53(there_and_back: tuple[Play, mockaws.MockAws]) -> None:
    play, second = there_and_back
    wanted = set(play.doc["zones"]["agora.example"]["records"])
    r53 = client(second, "route53")
    (zone,) = r53.list_hosted_zones()["HostedZones"]
    sets = [
        item
        for page in r53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone["Id"])
        for item in page["ResourceRecordSets"]
    ]
    have = {(item["Name"], item["Type"]) for item in sets if item["Type"] not in ("SOA",)}
    assert len(have) >= len(wanted)
    (mx,) = [item for item in sets if item["Type"] == "MX"]
    assert {row["Value"] for row in mx["ResourceRecords"]} == {"10 mail.agora.example.", "20 mail-2.agora.example."}
    (dkim,) = [item for item in sets if item["Name"].startswith("k2021._domainkey")]
    assert '" "' in dkim["ResourceRecords"][0]["Value"]
    instances = {
        instance["PublicIpAddress"]
        for reservation in client(second, "ec2").describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    }
    (web,) = [item for item in sets if item["Name"] == "web-1.agora.example." and item["Type"] == "A"]
    assert {row["Value"] for row in web["ResourceRecords"]} <= instances


def test_servers_arrive_with_their_user_data(there_and_back: tuple[Play, mockaws.MockAws]) -> None:
    play, second = there_and_back
    ec2 = client(second, "ec2")
    found: dict[str, bytes] = {}
    for reservation in ec2.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            name = next(tag["Value"] for tag in instance["Tags"] if tag["Key"] == "Name")
            answer = ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
            found[name] = base64.b64decode(answer["UserData"]["Value"])
            assert instance["KeyName"] == "operations"
    for slug, server in play.doc["servers"].items():
        assert found[server["name"]] == (SEEDS / server["user_data"]["file"]).read_bytes(), slug
    groups = {group["GroupName"]: group for group in ec2.describe_security_groups()["SecurityGroups"]}
    opened = {
        (rule["IpProtocol"], rule.get("FromPort"), span["CidrIp"])
        for rule in groups[play.doc["firewalls"]["web"]["name"]]["IpPermissions"]
        for span in rule["IpRanges"]
    }
    assert ("tcp", 8080, "0.0.0.0/0") in opened
