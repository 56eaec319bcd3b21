"""Name every feature of a compute resource, so that the verdict table can judge each one.

Enters: a resource in the words of the source. Leaves: (feature, the value at hand) pairs. What a
resource does not use is not named. Raises nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.model import Abilities, Resource

Feature = tuple[str, str]
#: Strings in user-data that only work where an AWS metadata service or AWS itself answers.
CLOUD_CALLS: tuple[bytes, ...] = (
    b"169.254.169.254",
    b"fd00:ec2::254",
    b"amazonaws.com",
    b"aws s3 ",
    b"aws ssm ",
    b"aws ec2 ",
    b"aws secretsmanager ",
    b"cfn-signal",
    b"cfn-init",
    b"ec2-metadata",
    b"/dev/xvdf",
)
_FILTERED = ("tcp", "udp", "icmp", "all", "1", "2", "6", "17", "50", "51", "58", "132")
_BASE_IOPS, _BASE_THROUGHPUT = 3000, 125


def features(resource: Resource, target: Abilities, user_data: bytes | None) -> Iterator[Feature]:
    """Yield the features of one resource."""
    kind = resource.address.split("/")[1]
    extras: Mapping[str, Any] = resource.facts.get("x-aws") or {}
    if kind == "keypair":
        known = bool(str(resource.body.get("public_key") or "").strip())
        yield ("keypair" if known else "keypair-without-public-key"), str(resource.body["name"])
    elif kind == "firewall":
        yield from _firewall(resource.body, extras)
    elif kind == "load_balancer":
        yield from _load_balancer(resource.body, extras)
    else:
        yield from _server(resource, extras, target, user_data)


def _firewall(body: Mapping[str, Any], extras: Mapping[str, Any]) -> Iterator[Feature]:
    rules: Sequence[Mapping[str, Any]] = body.get("rules") or ()
    yield "firewall", f"{len(rules)} rules"
    peers = [str(peer) for rule in rules for peer in rule["peers"]]
    references = sorted({peer for peer in peers if peer.startswith("firewall:")})
    for name in references:
        if "/" in name:
            yield "firewall-other-account", name
    if any("/" not in name for name in references):
        yield "firewall-reference", ", ".join(name for name in references if "/" not in name)
    if any(peer.startswith("prefix-list:") for peer in peers):
        yield "prefix-list-unread", ", ".join(sorted({p for p in peers if p.startswith("prefix-list:")}))
    if extras.get("prefix_lists"):
        yield "prefix-list", ", ".join(extras["prefix_lists"])
    odd = sorted({str(rule["protocol"]) for rule in rules} - set(_FILTERED))
    if odd:
        yield "firewall-protocol", ", ".join(odd)
    if any(_six(peer) for peer in peers):
        yield "firewall-ipv6", "IPv6 peers"


def _six(peer: str) -> bool:
    try:
        return ipaddress.ip_network(peer, strict=False).version == 6
    except ValueError:
        return False


def _load_balancer(body: Mapping[str, Any], extras: Mapping[str, Any]) -> Iterator[Feature]:
    targets = list(body.get("targets") or ())
    if not targets:
        yield "load-balancer-without-targets", str(body["name"])
        return
    yield "load-balancer", f"names become the addresses of {', '.join(targets)}"
    for listener in body.get("listeners") or ():
        if listener["port"] != listener["to_port"]:
            yield "load-balancer-port", f"{listener['port']} → {listener['to_port']}"
        if str(listener["protocol"]).lower() in ("https", "tls"):
            yield "load-balancer-tls", f"port {listener['port']}"
    if len(targets) > 1:
        yield "load-balancer-failover", f"{len(targets)} targets"
    if extras.get("rules"):
        yield "load-balancer-rules", f"{extras['rules']} rules"


def _server(
    resource: Resource, extras: Mapping[str, Any], target: Abilities, user_data: bytes | None
) -> Iterator[Feature]:
    body = resource.body
    yield "server", str(body["name"])
    yield from _size(body["size"], target)
    yield "image", str(body["image"]["name"])
    if extras.get("platform") == "windows":
        yield "windows", str(body["image"]["name"])
    if body.get("user_data"):
        yield "user-data", f"{len(user_data)} bytes" if user_data is not None else "payload"
        calls = sorted({call.decode().strip() for call in CLOUD_CALLS if user_data and call in user_data})
        if calls:
            yield "user-data-cloud-calls", ", ".join(calls)
    if body.get("tags"):
        yield "tags", f"{len(body['tags'])} tags"
    yield from _disks(body.get("disks") or (), extras)
    addresses: Mapping[str, Any] = body.get("addresses") or {}
    for kind, feature in (("private", "private-address"), ("public", "public-address")):
        if addresses.get(kind):
            yield feature, ", ".join(addresses[kind])
    six = [ip for kind in addresses.values() for ip in kind if ":" in ip]
    if six:
        yield "ipv6-address", ", ".join(six)
    if extras.get("elastic_ips"):
        yield "elastic-ip", ", ".join(extras["elastic_ips"])
    app: Mapping[str, Any] | None = body.get("app")
    if app is not None:
        yield "app", " ".join(app["argv"])
        if app.get("env"):
            yield "app-env", f"{len(app['env'])} variables"
    if extras.get("instance_profile"):
        replaced = app is not None and bool(app.get("env"))
        yield ("instance-profile-replaced" if replaced else "instance-profile"), str(extras["instance_profile"])
    yield from _circumstances(extras)


def _size(size: Mapping[str, Any], target: Abilities) -> Iterator[Feature]:
    name = size.get("name") or "size"
    if not size.get("vcpus") or not size.get("memory_mib"):
        yield "size-unknown", str(name)
        return
    yield "size", f"{name}: {size['vcpus']} vCPU, {size['memory_mib']} MiB"
    known = {item.removeprefix("arch:") for item in target.have | target.assumed if item.startswith("arch:")}
    if known and size.get("arch") not in known:
        yield "architecture-foreign", f"{size.get('arch')} on {', '.join(sorted(known))}"


def _disks(disks: Sequence[Mapping[str, Any]], extras: Mapping[str, Any]) -> Iterator[Feature]:
    if disks:
        yield "root-disk", f"{disks[0]['gib']} GiB {disks[0]['type']}"
    for disk in disks[1:]:
        yield "data-disk", f"{disk['device']}, {disk['gib']} GiB"
    volumes: Sequence[Mapping[str, Any]] = extras.get("volumes") or ()
    fast = [v for v in volumes if (v.get("iops") or 0) > _BASE_IOPS or (v.get("throughput") or 0) > _BASE_THROUGHPUT]
    if fast:
        yield "disk-performance", ", ".join(f"{v.get('iops')} IOPS, {v.get('throughput')} MiB/s" for v in fast)
    if any(volume.get("encrypted") for volume in volumes):
        yield "disk-encryption", f"{sum(bool(v.get('encrypted')) for v in volumes)} volumes"


def _circumstances(extras: Mapping[str, Any]) -> Iterator[Feature]:
    interfaces: Sequence[Mapping[str, Any]] = extras.get("interfaces") or ()
    if len(interfaces) > 1:
        yield "several-interfaces", f"{len(interfaces)} interfaces"
    if any(item.get("source_dest_check") is False for item in interfaces):
        yield "forwarding", "source/destination check is off"
    if extras.get("lifecycle") == "spot":
        yield "spot", "spot instance"
    if extras.get("group"):
        yield "auto-scaling", str(extras["group"])
    if extras.get("launch_template"):
        yield "launch-template", str(extras["launch_template"])
