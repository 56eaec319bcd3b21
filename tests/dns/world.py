"""A small site between two providers, for the tests of the family."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.dns.conftest import Aws, NewSide
from toolkit.dns.family import DnsFamily
from toolkit.dns.model import ZoneInfo
from toolkit.families import OldSide
from toolkit.model import Change, Endpoint, Finding, Resource, Tally, state
from toolkit.plan import ordered
from toolkit.providers import KINDS

ZONE = "agora.example"
LB = "web-1234.us-east-1.elb.amazonaws.com"
OLD = OldSide("aws", KINDS["aws"].suffixes, ("127.9.0.0/24",))
ENDS = {
    "lb": Endpoint("compute/load_balancer/web", "hostname", LB, ("127.8.0.16", "127.8.0.17")),
    "a": Endpoint("compute/server/web-1", "ipv4", "127.9.0.16", ("127.8.0.16",)),
    "b": Endpoint("compute/server/web-2", "ipv4", "127.9.0.17", ("127.8.0.17",)),
    "s3": Endpoint("storage/bucket/media", "hostname", "s3.us-east-1.amazonaws.com", ("127.8.0.2",)),
}
RECORDS: tuple[dict[str, Any], ...] = (
    {
        "Name": f"{ZONE}.",
        "Type": "A",
        "AliasTarget": {
            "HostedZoneId": "Z35SXDOTRQ7X7K",
            "DNSName": f"dualstack.{LB}.",
            "EvaluateTargetHealth": True,
        },
    },
    {"Name": f"www.{ZONE}.", "Type": "CNAME", "TTL": 2, "ResourceRecords": [{"Value": LB}]},
    {"Name": f"s3.{ZONE}.", "Type": "CNAME", "TTL": 2, "ResourceRecords": [{"Value": "s3.us-east-1.amazonaws.com"}]},
    {
        "Name": f"api.{ZONE}.",
        "Type": "A",
        "TTL": 2,
        "ResourceRecords": [{"Value": "127.9.0.16"}, {"Value": "127.9.0.17"}],
    },
    {"Name": f"m.{ZONE}.", "Type": "CNAME", "TTL": 2, "ResourceRecords": [{"Value": f"www.{ZONE}"}]},
    {"Name": f"{ZONE}.", "Type": "MX", "TTL": 300, "ResourceRecords": [{"Value": f"10 mail.{ZONE}"}]},
    {"Name": f"mail.{ZONE}.", "Type": "A", "TTL": 300, "ResourceRecords": [{"Value": "127.7.0.25"}]},
    {
        "Name": f"{ZONE}.",
        "Type": "TXT",
        "TTL": 300,
        "ResourceRecords": [{"Value": '"v=spf1 ip4:127.9.0.16 -all"'}, {"Value": '"caf\\303\\251 \\"x\\"" "second"'}],
    },
    {"Name": f"\\052.wild.{ZONE}.", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "127.9.0.16"}]},
    {"Name": f"team.{ZONE}.", "Type": "NS", "TTL": 300, "ResourceRecords": [{"Value": f"ns.team.{ZONE}"}]},
    {"Name": f"ns.team.{ZONE}.", "Type": "A", "TTL": 300, "ResourceRecords": [{"Value": "127.7.0.53"}]},
    {"Name": f"_sip._tcp.{ZONE}.", "Type": "SRV", "TTL": 300, "ResourceRecords": [{"Value": f"0 5 5060 api.{ZONE}"}]},
    {"Name": f"{ZONE}.", "Type": "CAA", "TTL": 300, "ResourceRecords": [{"Value": '0 issue "letsencrypt.org; x=y"'}]},
)


def seed(aws: Aws, *extra: dict[str, Any]) -> ZoneInfo:
    """Make the zone anew in the mock, register its domain, return it."""
    driver = aws.driver()
    for stale in [zone for zone in driver.ex_zones() if zone.name == ZONE]:
        driver.ex_delete_all_records(driver.get_zone(stale.id))
        driver.ex_delete_zone(stale.id)
    zone = driver.ex_create_zone(ZONE)
    alias = {
        "Name": f"home.{ZONE}.",
        "Type": "A",
        "AliasTarget": {"HostedZoneId": zone.id, "DNSName": f"api.{ZONE}.", "EvaluateTargetHealth": False},
    }
    changes = [{"Action": "CREATE", "ResourceRecordSet": item} for item in (*RECORDS, alias, *extra)]
    aws.boto().change_resource_record_sets(HostedZoneId=zone.id, ChangeBatch={"Changes": changes})
    register(aws, {name.rstrip("."): None for name in zone.nameservers})
    return zone


def register(
    aws: Aws, servers: Mapping[str, str | None], registrar: str = "a registrar", ds: Iterable[str] = ()
) -> None:
    body = {"registrar": registrar, "nameservers": dict(servers), "ds": list(ds)}
    request = urllib.request.Request(f"{aws.registry}/domains/{ZONE}", json.dumps(body).encode(), method="PUT")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def family(aws: Aws, new: NewSide, folder: Path, *, back: bool = False) -> DnsFamily:
    """The family from the mock to the new side, or back."""
    old, target = (new.driver, aws.driver()) if back else (aws.driver(), new.driver)
    return DnsFamily(
        source=old,
        target=target,
        workspace=folder,
        tick=lambda _progress: None,
        hints=aws.hints(**new.servers),
        target_nameservers={} if back else new.servers,
        registrar=aws.registrar(),
    )


def resources(made: DnsFamily, side: Any = "source") -> dict[str, Resource]:
    return state(item for item in made.read(side, None) if isinstance(item, Resource))


def desired(made: DnsFamily, ends: Mapping[str, Endpoint] = ENDS) -> dict[str, Resource]:
    return state(item for found in resources(made).values() for item in made.translate(found, ends))


def plan(made: DnsFamily, want: Mapping[str, Resource]) -> tuple[Change, ...]:
    existing = state(item for item in made.read("target", want) if isinstance(item, Resource))
    return ordered(made.diff(want, existing))


def run(made: DnsFamily, changes: Iterable[Change]) -> list[Change]:
    """Do as the apply stage does, each change through JSON, as the journal keeps it."""
    done = []
    for change in changes:
        change = Change.from_json(json.loads(json.dumps(change.to_json())))
        assert made.observe(change) == "before", change.id
        made.do(change, None)
        assert made.observe(change) == "after", change.id
        done.append(change)
    return done


def undo(made: DnsFamily, changes: Iterable[Change]) -> None:
    for change in reversed(list(changes)):
        assert made.observe(change) == "after", change.id
        made.undo(change, purge=False)
        assert made.observe(change) == "before", change.id


def split(items: Iterable[Finding | Tally]) -> tuple[list[Finding], list[Tally]]:
    both = list(items)
    return [i for i in both if isinstance(i, Finding)], [i for i in both if isinstance(i, Tally)]
