"""Read EC2 completely through boto3: what libcloud's own parser drops, it drops in silence.

Enters: boto3 clients of one region. Leaves: :class:`Found` in native words (group ids, key names), and
``NotSeen`` for every call the account may not make. Raises what :mod:`ec2_errors` translates.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.compute.drivers.ec2_errors import denied, translated
from toolkit.compute.model import Found, Size
from toolkit.model import Json, NotSeen

PROVENANCE = "rehost:"
_PROTOCOLS = {"-1": "all", "1": "icmp", "6": "tcp", "17": "udp", "icmpv6": "58"}


def pages(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    """Yield every item of a listing, over all pages."""
    with translated():
        for page in client.get_paginator(operation).paginate(**arguments):
            yield from page.get(key, ())


def tags(item: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags") or ()}


def provenance(all_tags: Mapping[str, str]) -> dict[str, str]:
    """Return what we wrote into the tags of something we made."""
    return {name.removeprefix(PROVENANCE): v for name, v in all_tags.items() if name.startswith(PROVENANCE)}


# key pairs ---------------------------------------------------------------------------------


def keypairs(ec2: Any, region: str) -> Iterator[Found]:
    with translated():
        pairs = ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    for pair in sorted(pairs, key=lambda pair: pair["KeyName"]):
        public = str(pair.get("PublicKey") or "").strip()
        kind = pair.get("KeyType") or ("ed25519" if public.startswith("ssh-ed25519") else "rsa")
        yield Found(
            "keypair",
            pair["KeyName"],
            {"name": pair["KeyName"], "type": kind, "public_key": public},
            {"region": region, "fingerprint": pair.get("KeyFingerprint", "")},
            provenance(tags(pair)),
        )


# firewalls ---------------------------------------------------------------------------------


def firewalls(ec2: Any, region: str) -> Iterator[Found | NotSeen]:
    """Yield security groups; a VPC's ``default`` group only where something uses it."""
    groups = list(pages(ec2, "describe_security_groups", "SecurityGroups"))
    used = {
        g["GroupId"] for eni in pages(ec2, "describe_network_interfaces", "NetworkInterfaces") for g in eni["Groups"]
    }
    used |= {
        pair["GroupId"]
        for group in groups
        for permission in group["IpPermissions"]
        for pair in permission.get("UserIdGroupPairs", ())
        if pair["GroupId"] != group["GroupId"]
    }
    lists: dict[str, list[str]] = {}
    for group in sorted(groups, key=lambda g: (g["GroupName"], g["GroupId"])):
        if group["GroupName"] == "default" and group["GroupId"] not in used:
            continue
        rules: list[Json] = []
        unread: set[str] = set()
        for direction, key in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
            for permission in group.get(key, ()):
                rules += _rules(ec2, direction, permission, group, lists, unread)
        all_tags = tags(group)
        yield Found(
            "firewall",
            group["GroupId"],
            {"name": group["GroupName"], "description": group.get("Description", ""), "rules": rules},
            {
                "region": region,
                "x-aws": {"id": group["GroupId"], "vpc": group.get("VpcId", ""), "prefix_lists": sorted(lists)},
            },
            provenance(all_tags),
        )
        for name in sorted(unread):
            yield NotSeen(f"prefix list {name} of security group {group['GroupId']}", "its entries may not be read")


def _rules(
    ec2: Any,
    direction: str,
    permission: Mapping[str, Any],
    group: Mapping[str, Any],
    lists: dict[str, list[str]],
    unread: set[str],
) -> list[Json]:
    """Turn one permission into rules: one for each distinct description, peers kept together."""
    protocol = _PROTOCOLS.get(permission["IpProtocol"], permission["IpProtocol"])
    low, high = permission.get("FromPort"), permission.get("ToPort")
    ports = None if protocol == "all" or low is None or (low, high) == (-1, -1) else [low, high]
    by_description: dict[str, list[str]] = {}

    def add(entry: Mapping[str, Any], peers: Sequence[str]) -> None:
        by_description.setdefault(entry.get("Description") or "", []).extend(peers)

    for entry in permission.get("IpRanges", ()):
        add(entry, [entry["CidrIp"]])
    for entry in permission.get("Ipv6Ranges", ()):
        add(entry, [entry["CidrIpv6"]])
    for entry in permission.get("PrefixListIds", ()):
        add(entry, _prefix_list(ec2, entry["PrefixListId"], lists, unread))
    for entry in permission.get("UserIdGroupPairs", ()):
        owner = entry.get("UserId") or group.get("OwnerId")
        foreign = f"{owner}/" if owner != group.get("OwnerId") else ""
        add(entry, [f"firewall:{foreign}{entry['GroupId']}"])
    return [
        {"direction": direction, "protocol": protocol, "ports": ports, "peers": peers, "description": text}
        for text, peers in sorted(by_description.items())
    ]


def _prefix_list(ec2: Any, ident: str, lists: dict[str, list[str]], unread: set[str]) -> list[str]:
    if ident not in lists:
        try:
            entries = pages(ec2, "get_managed_prefix_list_entries", "Entries", PrefixListId=ident)
            lists[ident] = [entry["Cidr"] for entry in entries]
        except Exception as exc:
            if not denied(exc):
                raise
            unread.add(ident)
            lists[ident] = [f"prefix-list:{ident}"]
    return lists[ident]


# servers -----------------------------------------------------------------------------------


def servers(ec2: Any, region: str) -> Iterator[Found]:
    """Yield every instance that is not terminated, with its user-data bytes."""
    reservations = list(pages(ec2, "describe_instances", "Reservations"))
    alive = [
        instance
        for reservation in reservations
        for instance in reservation["Instances"]
        if instance["State"]["Name"] not in ("terminated", "shutting-down")
    ]
    known = sizes(ec2, sorted({instance["InstanceType"] for instance in alive}))
    names = _images(ec2, sorted({instance["ImageId"] for instance in alive}))
    volumes = _volumes(ec2, alive)
    for instance in sorted(alive, key=lambda i: (str(i["LaunchTime"]), i["InstanceId"])):
        yield _server(ec2, region, instance, known, names, volumes)


def _server(
    ec2: Any,
    region: str,
    instance: Mapping[str, Any],
    known: Mapping[str, Size],
    names: Mapping[str, str],
    volumes: Mapping[str, Mapping[str, Any]],
) -> Found:
    ident, all_tags = instance["InstanceId"], tags(instance)
    size = known.get(instance["InstanceType"])
    interfaces = sorted(instance.get("NetworkInterfaces", ()), key=lambda eni: eni["Attachment"]["DeviceIndex"])
    data = user_data(ec2, ident)
    mine = {k: v for k, v in all_tags.items() if not k.startswith(("aws:", PROVENANCE)) and k != "Name"}
    body: dict[str, Json] = {
        "name": all_tags.get("Name") or ident,
        "size": {
            "name": instance["InstanceType"],
            "vcpus": size.vcpus if size else None,
            "memory_mib": size.memory_mib if size else None,
            "arch": instance.get("Architecture") or (size.arch if size else None),
        },
        "image": {"name": names.get(instance["ImageId"], instance["ImageId"])},
        "keypair": instance.get("KeyName") or None,
        "firewalls": sorted(group["GroupId"] for group in instance.get("SecurityGroups", ())),
        "disks": _disks(instance, volumes),
        "addresses": {"private": _private(instance, interfaces), "public": _public(instance, interfaces)},
        "tags": mine,
    }
    facts = {
        "region": region,
        "state": instance["State"]["Name"],
        "launched": str(instance["LaunchTime"]),
        "x-aws": _extras(ident, instance, interfaces, volumes),
    }
    return Found("server", ident, body, facts, provenance(all_tags), data)


def user_data(ec2: Any, ident: str) -> bytes | None:
    """Return the user-data of an instance byte for byte, ``None`` when it has none."""
    with translated():
        answer = ec2.describe_instance_attribute(InstanceId=ident, Attribute="userData")
    value = (answer.get("UserData") or {}).get("Value")
    return base64.b64decode(value) if value else None


def _private(instance: Mapping[str, Any], interfaces: Sequence[Mapping[str, Any]]) -> list[Json]:
    found = [address["PrivateIpAddress"] for eni in interfaces for address in eni.get("PrivateIpAddresses", ())]
    return _once([*found, instance.get("PrivateIpAddress")])


def _public(instance: Mapping[str, Any], interfaces: Sequence[Mapping[str, Any]]) -> list[Json]:
    found = [
        (address.get("Association") or {}).get("PublicIp")
        for eni in interfaces
        for address in eni.get("PrivateIpAddresses", ())
    ]
    six = [address["Ipv6Address"] for eni in interfaces for address in eni.get("Ipv6Addresses", ())]
    return _once([*found, instance.get("PublicIpAddress"), *six])


def _once(values: Sequence[Any]) -> list[Json]:
    return list(dict.fromkeys(value for value in values if value))


def _disks(instance: Mapping[str, Any], volumes: Mapping[str, Mapping[str, Any]]) -> list[Json]:
    disks: list[Json] = []
    for mapping in instance.get("BlockDeviceMappings", ()):
        volume = volumes.get(mapping.get("Ebs", {}).get("VolumeId", ""))
        if volume:
            disks.append({"device": mapping["DeviceName"], "gib": volume["Size"], "type": volume["VolumeType"]})
    root = instance.get("RootDeviceName")
    return sorted(disks, key=lambda disk: (disk["device"] != root, disk["device"]))


def _extras(
    ident: str,
    instance: Mapping[str, Any],
    interfaces: Sequence[Mapping[str, Any]],
    volumes: Mapping[str, Mapping[str, Any]],
) -> dict[str, Json]:
    """Keep what has no neutral word: it is shown, judged, and needed to go back."""
    all_tags = tags(instance)
    attached = [m["Ebs"]["VolumeId"] for m in instance.get("BlockDeviceMappings", ()) if "Ebs" in m]
    extras: dict[str, Json] = {
        "id": ident,
        "image": instance["ImageId"],
        "zone": (instance.get("Placement") or {}).get("AvailabilityZone"),
        "subnet": instance.get("SubnetId"),
        "vpc": instance.get("VpcId"),
        "private_dns": instance.get("PrivateDnsName") or None,
        "public_dns": instance.get("PublicDnsName") or None,
        "instance_profile": (instance.get("IamInstanceProfile") or {}).get("Arn"),
        "metadata_tokens": (instance.get("MetadataOptions") or {}).get("HttpTokens"),
        "platform": instance.get("Platform"),
        "lifecycle": instance.get("InstanceLifecycle"),
        "launch_template": all_tags.get("aws:ec2launchtemplate:id"),
        "group": all_tags.get("aws:autoscaling:groupName"),
        "elastic_ips": _once(
            [
                association.get("PublicIp")
                for eni in interfaces
                for address in eni.get("PrivateIpAddresses", ())
                if (association := address.get("Association") or {}).get("IpOwnerId") not in (None, "amazon")
            ]
        ),
        "interfaces": [
            {
                "index": eni["Attachment"]["DeviceIndex"],
                "mac": eni.get("MacAddress"),
                "subnet": eni.get("SubnetId"),
                "source_dest_check": eni.get("SourceDestCheck"),
            }
            for eni in interfaces
        ],
        "volumes": [
            {
                "id": name,
                "iops": volumes.get(name, {}).get("Iops"),
                "throughput": volumes.get(name, {}).get("Throughput"),
                "encrypted": bool(volumes.get(name, {}).get("Encrypted")),
            }
            for name in attached
        ],
    }
    return {name: value for name, value in extras.items() if value not in (None, [], "")}


def sizes(ec2: Any, names: Sequence[str]) -> dict[str, Size]:
    """Return the sizes of ``names`` as the provider states them; an unknown name is simply absent."""
    found: dict[str, Size] = {}
    for start in range(0, len(names), 50):
        values = list(names[start : start + 50])
        filters = [{"Name": "instance-type", "Values": values}]
        for item in pages(ec2, "describe_instance_types", "InstanceTypes", Filters=filters):
            found[item["InstanceType"]] = size_of(item)
    return found


def size_of(item: Mapping[str, Any]) -> Size:
    architectures = (item.get("ProcessorInfo") or {}).get("SupportedArchitectures") or ["x86_64"]
    arch = next((a for a in architectures if a in ("x86_64", "arm64")), architectures[0])
    return Size(item["InstanceType"], item["VCpuInfo"]["DefaultVCpus"], item["MemoryInfo"]["SizeInMiB"], arch)


def _images(ec2: Any, idents: Sequence[str]) -> dict[str, str]:
    """Return image names; an image that was deregistered or is not shared keeps its id."""
    if not idents:
        return {}
    filters = [{"Name": "image-id", "Values": list(idents)}]
    found = pages(ec2, "describe_images", "Images", Filters=filters)
    return {image["ImageId"]: image.get("Name") or image["ImageId"] for image in found}


def _volumes(ec2: Any, instances: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    wanted = {m["Ebs"]["VolumeId"] for i in instances for m in i.get("BlockDeviceMappings", ()) if "Ebs" in m}
    if not wanted:
        return {}
    return {v["VolumeId"]: v for v in pages(ec2, "describe_volumes", "Volumes") if v["VolumeId"] in wanted}


# load balancers ----------------------------------------------------------------------------


def load_balancers(elb: Any, region: str) -> Iterator[Found]:
    for balancer in sorted(pages(elb, "describe_load_balancers", "LoadBalancers"), key=lambda b: b["LoadBalancerName"]):
        arn = balancer["LoadBalancerArn"]
        groups = {
            g["TargetGroupArn"]: g for g in pages(elb, "describe_target_groups", "TargetGroups", LoadBalancerArn=arn)
        }
        listeners: list[Json] = []
        rules = 0
        for listener in pages(elb, "describe_listeners", "Listeners", LoadBalancerArn=arn):
            forwards = [a["TargetGroupArn"] for a in listener.get("DefaultActions", ()) if a.get("TargetGroupArn")]
            to_port = groups[forwards[0]].get("Port") if forwards and forwards[0] in groups else None
            port = listener["Port"]
            listeners.append({"port": port, "protocol": listener["Protocol"].lower(), "to_port": to_port or port})
            with translated():
                described = elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
            rules += sum(1 for rule in described if not rule.get("IsDefault"))
        targets: list[str] = []
        for group in groups:
            with translated():
                health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
            targets += [entry["Target"]["Id"] for entry in health]
        name, dns = balancer["LoadBalancerName"], balancer["DNSName"]
        yield Found(
            "load_balancer",
            arn,
            {
                "name": name,
                "listeners": sorted(listeners, key=lambda item: item["port"]),
                "targets": sorted(set(targets)),
            },
            {
                "region": region,
                "dns_name": dns,
                "x-aws": {
                    "id": arn,
                    "dns_name": dns,
                    "zone_id": balancer.get("CanonicalHostedZoneId"),
                    "type": balancer.get("Type"),
                    "scheme": balancer.get("Scheme"),
                    "rules": rules,
                },
            },
        )
