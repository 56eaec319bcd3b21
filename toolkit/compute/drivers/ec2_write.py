"""Create, change and remove EC2 resources of our own; every call is safe to repeat.

Enters: a boto3 client, neutral bodies, native ids. Leaves: native ids. What we make carries tags
``rehost:address`` and, once whole, ``rehost:digest``; what lacks them is never touched.
Raises :class:`Conflict` when a name is taken by something that is not ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from toolkit.compute.drivers.ec2_errors import translated
from toolkit.compute.drivers.ec2_read import PROVENANCE, pages, provenance, tags
from toolkit.compute.model import Definition, Peer, digest
from toolkit.errors import Conflict, NotFound, Unsupported
from toolkit.model import Json, address, canonical, sha256_hex


def tag_list(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": str(value)} for name, value in values.items()]


def ours(values: Mapping[str, Any]) -> dict[str, str]:
    return {f"{PROVENANCE}{name}": str(value) for name, value in values.items()}


def write_keypair(ec2: Any, where: str, body: Mapping[str, Json]) -> str:
    """Import a public key; the same key under the same name again is no change."""
    name, public = str(body["name"]), str(body["public_key"])
    with translated():
        for pair in ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]:
            if pair["KeyName"] != name:
                continue
            if str(pair.get("PublicKey") or "").split()[:2] == public.split()[:2]:
                return name
            if provenance(tags(pair)).get("address") != where:
                raise Conflict(f"a key pair {name} with another key exists", "rename ours with `to: {name: …}`")
            ec2.delete_key_pair(KeyName=name)
        marks = tag_list(ours({"address": where, "digest": digest(body)}))
        ec2.import_key_pair(
            KeyName=name,
            PublicKeyMaterial=public.encode(),
            TagSpecifications=[{"ResourceType": "key-pair", "Tags": marks}],
        )
    return name


def write_firewall(ec2: Any, vpc: str, where: str, body: Mapping[str, Json], peers: Mapping[str, Peer]) -> str:
    """Create or correct a security group; groups it refers to are created empty if they are missing."""
    ident = _group(ec2, vpc, where, str(body["name"]), str(body.get("description") or "rehost"))
    wanted = {
        direction: [
            permission
            for rule in body["rules"]
            if rule["direction"] == direction
            for permission in _permissions(rule, lambda slug: _peer(ec2, vpc, slug, peers))
        ]
        for direction in ("ingress", "egress")
    }
    with translated():
        [group] = ec2.describe_security_groups(GroupIds=[ident])["SecurityGroups"]
        for direction, key in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
            _bring(ec2, ident, direction, _flat(group.get(key, ())), _flat(wanted[direction]))
        ec2.create_tags(Resources=[ident], Tags=tag_list(ours({"digest": digest(body)})))  # last: it is whole now
    return ident


def _group(ec2: Any, vpc: str, where: str, name: str, description: str) -> str:
    for group in pages(ec2, "describe_security_groups", "SecurityGroups"):
        mark = provenance(tags(group)).get("address")
        if mark == where:
            return str(group["GroupId"])
        if group["GroupName"] == name and (not vpc or group.get("VpcId") == vpc) and mark is None:
            raise Conflict(f"a security group {name} exists and is not ours", "rename ours with `to: {name: …}`")
    arguments: dict[str, Any] = {"GroupName": name, "Description": description}
    if vpc:
        arguments["VpcId"] = vpc
    marks = tag_list(ours({"address": where}))
    with translated():
        made = ec2.create_security_group(
            **arguments, TagSpecifications=[{"ResourceType": "security-group", "Tags": marks}]
        )
    return str(made["GroupId"])


def _peer(ec2: Any, vpc: str, slug: str, peers: Mapping[str, Peer]) -> str:
    if "/" in slug:
        raise Unsupported(f"the group {slug} belongs to another account", "name its addresses as CIDRs instead")
    where = address("compute", "firewall", slug)
    for group in pages(ec2, "describe_security_groups", "SecurityGroups"):
        if provenance(tags(group)).get("address") == where:
            return str(group["GroupId"])
    peer = peers.get(slug) or Peer(slug, "")
    return _group(ec2, vpc, where, peer.name, peer.description or "rehost")


def _permissions(rule: Mapping[str, Any], peer: Callable[[str], str]) -> Iterable[dict[str, Any]]:
    protocol = {"all": "-1", "58": "icmpv6"}.get(str(rule["protocol"]), str(rule["protocol"]))
    base: dict[str, Any] = {"IpProtocol": protocol}
    if rule.get("ports"):
        base |= {"FromPort": rule["ports"][0], "ToPort": rule["ports"][1]}
    elif protocol in ("icmp", "icmpv6"):
        base |= {"FromPort": -1, "ToPort": -1}
    elif protocol in ("tcp", "udp"):
        base |= {"FromPort": 0, "ToPort": 65535}
    text = {"Description": rule["description"]} if rule.get("description") else {}
    for name in rule["peers"]:
        if str(name).startswith("firewall:"):
            yield {**base, "UserIdGroupPairs": [{"GroupId": peer(str(name).removeprefix("firewall:")), **text}]}
        elif ipaddress.ip_network(name, strict=False).version == 6:
            yield {**base, "Ipv6Ranges": [{"CidrIpv6": name, **text}]}
        else:
            yield {**base, "IpRanges": [{"CidrIp": name, **text}]}


_WITH_PORTS = ("tcp", "udp", "icmp", "icmpv6")
_LISTS = {
    "IpRanges": ("CidrIp", "Description"),
    "Ipv6Ranges": ("CidrIpv6", "Description"),
    "UserIdGroupPairs": ("GroupId", "Description"),
    "PrefixListIds": ("PrefixListId", "Description"),
}


def _flat(permissions: Iterable[Mapping[str, Any]]) -> dict[bytes, dict[str, Any]]:
    """Return single-peer permissions keyed by their canonical form, so that two lists can be compared."""
    result = {}
    for permission in permissions:
        known = ("IpProtocol", "FromPort", "ToPort") if permission["IpProtocol"] in _WITH_PORTS else ("IpProtocol",)
        base = {k: permission[k] for k in known if permission.get(k) is not None}
        for key, fields in _LISTS.items():
            for entry in permission.get(key, ()):
                single = {**base, key: [{f: entry[f] for f in fields if entry.get(f)}]}
                result[canonical(single)] = single
    return result


def _bring(ec2: Any, ident: str, direction: str, existing: Mapping[bytes, Any], wanted: Mapping[bytes, Any]) -> None:
    add, drop = (
        (ec2.authorize_security_group_ingress, ec2.revoke_security_group_ingress)
        if direction == "ingress"
        else (ec2.authorize_security_group_egress, ec2.revoke_security_group_egress)
    )
    surplus = [value for key, value in existing.items() if key not in wanted]
    missing = [value for key, value in wanted.items() if key not in existing]
    if surplus:  # first, because a rule that differs in its description only counts as a duplicate
        drop(GroupId=ident, IpPermissions=[_sent(item) for item in surplus])
    if missing:
        add(GroupId=ident, IpPermissions=[_sent(item) for item in missing])


def _sent(permission: Mapping[str, Any]) -> dict[str, Any]:
    """Give a protocol without ports the spelling that every implementation takes for "all of them"."""
    if permission["IpProtocol"] in (*_WITH_PORTS, "-1"):
        return dict(permission)
    return {**permission, "FromPort": -1, "ToPort": -1}


def write_server(ec2: Any, definition: Definition, *, image: str, subnet: str = "") -> str:
    """Run one instance; the client token makes a repeated call return the same one."""
    body = definition.body
    specification = [
        {
            "ResourceType": "instance",
            "Tags": tag_list({**body["tags"], "Name": definition.name, **ours(definition.provenance)}),
        }
    ]
    arguments: dict[str, Any] = {
        "ImageId": image,
        "InstanceType": body["size"]["name"],
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": definition.token[:64],
        "TagSpecifications": specification,
    }
    if definition.user_data:
        arguments["UserData"] = definition.user_data  # boto3 encodes it in base64, byte for byte
    if definition.keypair:
        arguments["KeyName"] = definition.keypair
    if definition.firewalls:
        arguments["SecurityGroupIds"] = list(definition.firewalls)
    if subnet:
        arguments["SubnetId"] = subnet
    disks = [disk for disk in body.get("disks") or () if disk.get("gib")]
    if disks:
        arguments["BlockDeviceMappings"] = [
            {"DeviceName": disk["device"], "Ebs": {"VolumeSize": disk["gib"], "VolumeType": disk["type"]}}
            for disk in disks
        ]
    with translated():
        made = ec2.run_instances(**arguments)["Instances"][0]
        if made["State"]["Name"] in ("terminated", "shutting-down"):
            # the token still stands for an instance that was removed since
            arguments["ClientToken"] = sha256_hex(f"{definition.token}:{made['InstanceId']}".encode())
            made = ec2.run_instances(**arguments)["Instances"][0]
        return str(made["InstanceId"])


def remove(ec2: Any, kind: str, ident: str) -> None:
    """Remove one resource; that it is gone already is no error."""
    try:
        with translated():
            if kind == "keypair":
                ec2.delete_key_pair(KeyName=ident)
            elif kind == "firewall":
                # references between groups would keep each other alive
                [group] = ec2.describe_security_groups(GroupIds=[ident])["SecurityGroups"]
                for direction, key in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
                    _bring(ec2, ident, direction, _flat(group.get(key, ())), {})
                ec2.delete_security_group(GroupId=ident)
            else:
                ec2.terminate_instances(InstanceIds=[ident])
                ec2.get_waiter("instance_terminated").wait(InstanceIds=[ident])
    except NotFound:
        return
