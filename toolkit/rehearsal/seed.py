"""Build a sample site on the mocked AWS, as its owners once built it, and start its app there.

Enters: the site definition (a plain mapping), its generator module, a running
:class:`~toolkit.rehearsal.mockaws.MockAws`. Leaves: buckets with their objects, the zone, key pair,
security groups, machines and load balancer, the domain at the registry, the app running on the old
side with its database. Everything but bulk objects goes through the real API with boto3. Raises
``Conflict`` when a server of the old side does not become healthy, errors of botocore as they are:
a seed that cannot be planted is a defect of ours, not a condition to handle.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import boto3
from botocore.config import Config

from toolkit.errors import Conflict, UsageError
from toolkit.model import Json, sha256_hex
from toolkit.rehearsal import mockaws, net, seed_app
from toolkit.rehearsal.mockaws import MockAws

Doc = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Planted:
    """What the seed made: native ids by slug, and how much there is."""

    instances: Mapping[str, str]
    groups: Mapping[str, str]
    zones: Mapping[str, str]
    figures: Mapping[str, int]


def load_generator(site_dir: Path) -> ModuleType:
    """Import ``generate.py`` of a sample site."""
    path = site_dir.resolve() / "generate.py"
    name = f"rehost_seed_{sha256_hex(str(path).encode())[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.exists():
        raise UsageError(f"there is no {path}", "name the folder of a sample site")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def pages(generator: ModuleType, scale: float) -> Iterator[str]:
    """Yield the address of every object the site serves, to be recorded before the move."""
    for item in generator.expected_media(scale):
        yield f"http://media.agora.example:8080{item.path}"


def seed(
    doc: Doc, generator: ModuleType, aws: MockAws, *, site_dir: Path, scale: float = 1.0, env: Mapping[str, str]
) -> Planted:
    """Plant the site on ``aws`` and start its app; the call log is in phase ``move`` afterwards.

    ``env`` resolves the references in the servers' ``app.env``; the store's credentials are those of
    the mock's own user ``app``, whatever ``env`` says.
    """
    aws.store.phase("seed")
    clients = Clients(aws)
    figures = objects(doc, generator, clients, aws, scale=scale)
    groups = compute_ground(doc, clients)
    instances = machines(doc, clients, aws, groups, site_dir=site_dir)
    balancers(doc, clients, instances, groups)
    zones = names(doc, clients, aws)
    seed_app.run(doc, generator, aws, site_dir=site_dir, scale=scale, env=env)
    aws.store.phase("move")
    return Planted(instances, groups, zones, figures)


class Clients:
    """boto3 clients of the mock's user ``seed``."""

    def __init__(self, aws: MockAws) -> None:
        self._aws = aws

    def __call__(self, service: str) -> Any:
        key = self._aws.store.keys["seed"]
        return boto3.client(
            service,
            endpoint_url=self._aws.endpoint,
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret.reveal(),
            region_name=mockaws.REGION,
            config=Config(retries={"total_max_attempts": 2}, s3={"addressing_style": "path"}),
        )


# --- object storage ---------------------------------------------------------------------------


def objects(doc: Doc, generator: ModuleType, clients: Clients, aws: MockAws, *, scale: float) -> dict[str, int]:
    """Create the buckets through the API, then load their objects inside the mock."""
    s3 = clients("s3")
    for bucket in (doc.get("buckets") or {}).values():
        s3.create_bucket(Bucket=bucket["name"])
        if bucket.get("versioning", "off") in ("enabled", "suspended"):
            status = {"Status": str(bucket["versioning"]).title()}
            s3.put_bucket_versioning(Bucket=bucket["name"], VersioningConfiguration=status)
    done = aws.store.bulk(site=str(Path(str(generator.__file__)).parent), scale=scale)
    return {name: int(value) for name, value in done.items()}


# --- compute ----------------------------------------------------------------------------------


def compute_ground(doc: Doc, clients: Clients) -> dict[str, str]:
    """Import key pairs and create the network and its security groups; return group ids by slug."""
    ec2 = clients("ec2")
    for pair in (doc.get("keypairs") or {}).values():
        ec2.import_key_pair(KeyName=pair["name"], PublicKeyMaterial=pair["public_key"].encode())
    vpc, _ = network(doc, ec2)
    groups: dict[str, str] = {}
    for slug, group in (doc.get("firewalls") or {}).items():
        made = ec2.create_security_group(GroupName=group["name"], Description=group["description"], VpcId=vpc)
        groups[slug] = made["GroupId"]
    for slug, group in (doc.get("firewalls") or {}).items():
        for direction in ("ingress", "egress"):
            rules = [rule for rule in group["rules"] if rule["direction"] == direction]
            _authorize(ec2, groups[slug], direction, [_permission(rule, groups) for rule in rules])
    return groups


def network(doc: Doc, ec2: Any) -> tuple[str, str]:
    """Return VPC and subnet that hold the servers' private addresses, made if they are not there."""
    private = [ip for server in (doc.get("servers") or {}).values() for ip in server["addresses"].get("private", ())]
    wide = str(ipaddress.ip_network(f"{private[0]}/16", strict=False)) if private else "172.31.0.0/16"
    for vpc in ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": [wide]}])["Vpcs"]:
        subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
        return vpc["VpcId"], sorted(subnets, key=lambda one: one["CidrBlock"])[0]["SubnetId"]
    vpc = ec2.create_vpc(CidrBlock=wide)["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    made = []
    for number, zone in enumerate(("a", "b")):
        part = list(ipaddress.ip_network(wide).subnets(new_prefix=24))[number]
        made.append(ec2.create_subnet(VpcId=vpc, CidrBlock=str(part), AvailabilityZone=f"{mockaws.REGION}{zone}"))
    return vpc, made[0]["Subnet"]["SubnetId"]


def _permission(rule: Mapping[str, Json], groups: Mapping[str, str]) -> dict[str, Any]:
    protocol = "-1" if rule["protocol"] == "all" else str(rule["protocol"])
    ports = rule.get("ports") or ([-1, -1] if protocol == "icmp" else None)
    note = {"Description": rule["description"]} if rule.get("description") else {}
    permission: dict[str, Any] = {"IpProtocol": protocol}
    if ports:
        permission |= {"FromPort": ports[0], "ToPort": ports[1]}
    for peer in rule["peers"]:
        if peer.startswith("firewall:"):
            found = {"GroupId": groups[peer.removeprefix("firewall:")], **note}
            permission.setdefault("UserIdGroupPairs", []).append(found)
        elif ":" in peer:
            permission.setdefault("Ipv6Ranges", []).append({"CidrIpv6": peer, **note})
        else:
            permission.setdefault("IpRanges", []).append({"CidrIp": peer, **note})
    return permission


def _authorize(ec2: Any, group: str, direction: str, permissions: list[dict[str, Any]]) -> None:
    if direction == "ingress":
        if permissions:
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permissions)
        return
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=found["IpPermissionsEgress"])
    if permissions:
        ec2.authorize_security_group_egress(GroupId=group, IpPermissions=permissions)


def machines(doc: Doc, clients: Clients, aws: MockAws, groups: Mapping[str, str], *, site_dir: Path) -> dict[str, str]:
    """Run one instance for each server, with its payload, disks, tags and addresses; return ids by slug."""
    ec2 = clients("ec2")
    _, subnet = network(doc, ec2)
    made: dict[str, str] = {}
    for slug, server in (doc.get("servers") or {}).items():
        name = server["image"]["name"]
        images = ec2.describe_images(Filters=[{"Name": "name", "Values": [name]}])["Images"]
        if not images:
            raise Conflict(f"server {slug}: the mock has no image {name}", f"use one of {', '.join(mockaws.IMAGES)}")
        pair = (doc.get("keypairs") or {}).get(server.get("keypair"))
        arguments: dict[str, Any] = {
            **({"KeyName": pair["name"]} if pair else {}),
            **({"UserData": seed_app.payload(site_dir, server["user_data"])} if server.get("user_data") else {}),
        }
        (instance,) = ec2.run_instances(
            ImageId=images[0]["ImageId"],
            InstanceType=server["size"]["name"],
            MinCount=1,
            MaxCount=1,
            SubnetId=subnet,
            PrivateIpAddress=server["addresses"]["private"][0],
            SecurityGroupIds=[groups[one] for one in server.get("firewalls", ())],
            BlockDeviceMappings=[_disk(disk) for disk in server.get("disks", ())],
            TagSpecifications=[{"ResourceType": "instance", "Tags": _tags(server)}],
            **arguments,
        )["Instances"]
        made[slug] = instance["InstanceId"]
        for address in server["addresses"].get("public", ())[:1]:
            aws.public_ip(instance["InstanceId"], address)
    return made


def _disk(disk: Mapping[str, Json]) -> dict[str, Any]:
    ebs = {"VolumeSize": disk["gib"], "VolumeType": disk["type"], "DeleteOnTermination": True}
    rates = {name.title(): disk[name] for name in ("iops", "throughput") if disk.get(name)}
    return {"DeviceName": disk["device"], "Ebs": {**ebs, **rates}}


def _tags(server: Mapping[str, Json]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": str(value)} for key, value in {"Name": server["name"], **server["tags"]}.items()]


def balancers(doc: Doc, clients: Clients, instances: Mapping[str, str], groups: Mapping[str, str]) -> None:
    """Create each load balancer with one target group a listener."""
    ec2, elb = clients("ec2"), clients("elbv2")
    vpc, _ = network(doc, ec2)
    subnets = [s["SubnetId"] for s in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]]
    for balancer in (doc.get("load_balancers") or {}).values():
        first = next(iter(groups.values()), None)
        (made,) = elb.create_load_balancer(
            Name=balancer["name"], Subnets=subnets, Scheme="internet-facing", SecurityGroups=[first] if first else []
        )["LoadBalancers"]
        for number, listener in enumerate(balancer["listeners"]):
            (group,) = elb.create_target_group(
                Name=f"{balancer['name']}-{number}",
                Protocol=listener["protocol"].upper(),
                Port=listener["to_port"],
                VpcId=vpc,
                HealthCheckPath="/health",
            )["TargetGroups"]
            targets = [{"Id": instances[slug], "Port": listener["to_port"]} for slug in balancer["targets"]]
            elb.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=targets)
            elb.create_listener(
                LoadBalancerArn=made["LoadBalancerArn"],
                Protocol=listener["protocol"].upper(),
                Port=listener["port"],
                DefaultActions=[{"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}],
            )


# --- names ------------------------------------------------------------------------------------


def names(doc: Doc, clients: Clients, aws: MockAws) -> dict[str, str]:
    """Create the zones with their record sets and register their domains; return zone ids by slug."""
    r53 = clients("route53")
    made: dict[str, str] = {}
    for slug, zone in (doc.get("zones") or {}).items():
        created = r53.create_hosted_zone(Name=zone["name"], CallerReference=uuid.uuid4().hex)
        made[slug] = created["HostedZone"]["Id"]
        changes = [
            {"Action": "CREATE", "ResourceRecordSet": record_set(zone["name"], key, value)}
            for key, value in (zone.get("records") or {}).items()
        ]
        for start in range(0, len(changes), 100):
            r53.change_resource_record_sets(
                HostedZoneId=made[slug], ChangeBatch={"Changes": changes[start : start + 100]}
            )
        servers = dict.fromkeys(created["DelegationSet"]["NameServers"], aws.loopback.old_ip(3))
        register(aws, zone["name"], servers)
    return made


def register(aws: MockAws, domain: str, servers: Mapping[str, str | None]) -> None:
    """Enter a domain into the parent's registry, as its registrar did."""
    body = {"registrar": "aws", "nameservers": dict(servers), "ds": []}
    net.call_json(f"{aws.registry_url}/domains/{quote(domain)}", method="PUT", body=body)


def record_set(zone: str, key: str, value: Mapping[str, Json]) -> dict[str, Any]:
    """Turn one entry of ``records`` into a Route 53 record set."""
    owner, _, rest = key.rpartition("/")
    kind, _, ident = rest.partition("#")
    made: dict[str, Any] = {"Name": f"{zone}." if owner == "@" else f"{owner}.{zone}.", "Type": kind}
    if ident:
        made["SetIdentifier"] = ident
    if alias := value.get("alias"):
        made["AliasTarget"] = {
            "DNSName": alias["name"],
            "HostedZoneId": alias["zone_id"],
            "EvaluateTargetHealth": bool(alias.get("evaluate_health")),
        }
    else:
        made |= {"TTL": value["ttl"], "ResourceRecords": [{"Value": text} for text in value["values"]]}
    return made | _routing(value.get("routing") or {})


_ROUTING = {"weight": "Weight", "region": "Region", "failover": "Failover", "health_check": "HealthCheckId"}


def _routing(routing: Mapping[str, Json]) -> dict[str, Any]:
    return {_ROUTING[name]: value for name, value in routing.items() if name in _ROUTING}
