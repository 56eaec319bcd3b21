"""Build and read libvirt XML with an XML library, never from text: names come from a cloud.

Enters: plain values. Leaves: XML text, or what stands in one. Raises :class:`Unsupported` for a rule
that libvirt's network filters cannot express.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from toolkit.compute.model import Peer
from toolkit.errors import Refused, Unsupported

NAMESPACE = "urn:rehost:1"
_PROTOCOLS = {"1": "icmp", "2": "igmp", "6": "tcp", "17": "udp", "50": "esp", "51": "ah", "58": "icmpv6", "132": "sctp"}
_WITH_PORTS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class Machine:
    """The hardware of one domain."""

    name: str
    uuid: str
    vcpus: int
    memory_mib: int
    virt: str  # qemu, kvm or test
    arch: str
    disks: Sequence[tuple[str, str]]  # (path, format); the first is the root
    seed: str
    mac: str
    bridge: str
    filter: str
    console: str
    boot: Mapping[str, str]  # kernel, initrd, cmdline


def domain(machine: Machine, note: Mapping[str, Any]) -> str:
    """Return the domain XML; ``note`` is stored as metadata, in base64 so that any text fits."""
    root = ET.Element("domain", type=machine.virt)
    _text(root, "name", machine.name)
    _text(root, "uuid", machine.uuid)
    metadata = ET.SubElement(root, "metadata")
    ET.register_namespace("rehost", NAMESPACE)
    encoded = base64.b64encode(json.dumps(note, sort_keys=True).encode()).decode("ascii")
    ET.SubElement(metadata, f"{{{NAMESPACE}}}definition").text = encoded
    _text(root, "memory", str(machine.memory_mib), unit="MiB")
    _text(root, "vcpu", str(machine.vcpus))
    os = ET.SubElement(root, "os")
    _text(os, "type", "hvm", **({"arch": machine.arch} if machine.virt != "test" else {}))
    for name in ("kernel", "initrd", "cmdline"):
        if machine.boot.get(name):
            _text(os, name, machine.boot[name])
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart")
    _text(root, "on_crash", "destroy")
    devices = ET.SubElement(root, "devices")
    for index, (path, kind) in enumerate(machine.disks):
        _disk(devices, path, kind, f"vd{chr(97 + index)}")
    if machine.seed:
        # a disk, not a CD-ROM: the smallest kernels have virtio but neither IDE nor SATA
        _disk(devices, machine.seed, "raw", f"vd{chr(97 + len(machine.disks))}", readonly=True)
    if machine.bridge:
        _interface(devices, machine)
    if machine.console:
        serial = ET.SubElement(devices, "serial", type="file")
        ET.SubElement(serial, "source", path=machine.console, append="on")
        ET.SubElement(serial, "target", port="0")
    if machine.virt != "test":
        rng = ET.SubElement(devices, "rng", model="virtio")
        _text(rng, "backend", "/dev/urandom", model="random")
    return ET.tostring(root, encoding="unicode")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


def _disk(devices: ET.Element, path: str, kind: str, target: str, *, readonly: bool = False) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type=kind)
    ET.SubElement(disk, "source", file=path)
    ET.SubElement(disk, "target", dev=target, bus="virtio")
    if readonly:
        ET.SubElement(disk, "readonly")


def _interface(devices: ET.Element, machine: Machine) -> None:
    interface = ET.SubElement(devices, "interface", type="bridge")
    ET.SubElement(interface, "mac", address=machine.mac)
    ET.SubElement(interface, "source", bridge=machine.bridge)
    ET.SubElement(interface, "model", type="virtio")
    if machine.filter:
        ET.SubElement(interface, "filterref", filter=machine.filter)


def _parse(xml: str) -> ET.Element:
    """Parse what libvirt says about a domain; nothing it writes has a document type."""
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise Refused("libvirt answered with a document type", "look at the domain with `virsh dumpxml`")
    return ET.fromstring(xml)  # noqa: S314  (entities are refused above)


def note(xml: str) -> dict[str, Any]:
    """Return what :func:`domain` stored beside a domain, empty for a foreign one."""
    element = _parse(xml).find(f"metadata/{{{NAMESPACE}}}definition")
    if element is None or not element.text:
        return {}
    try:
        found: dict[str, Any] = json.loads(base64.b64decode(element.text, validate=True))
    except (binascii.Error, ValueError):
        return {}  # not written by us, whatever it says
    return found


def hardware(xml: str) -> dict[str, Any]:
    """Return what a domain really has: vCPUs, memory, disks, interface."""
    root = _parse(xml)
    memory = root.find("memory")
    factor = {"b": 1 / 1024, "KiB": 1, "MiB": 1024, "GiB": 1024 * 1024}
    kib = 0.0 if memory is None else int(memory.text or 0) * factor.get(memory.get("unit", "KiB"), 1)
    arch = root.find("os/type")
    return {
        "vcpus": int(root.findtext("vcpu") or 1),
        "memory_mib": int(kib // 1024),
        "arch": arch.get("arch", "") if arch is not None else "",
        "virt": root.get("type", ""),
        "disks": [source.get("file", "") for source in root.findall("devices/disk/source")],
        "bridge": next((s.get("bridge", "") for s in root.findall("devices/interface/source")), ""),
        "filter": next((f.get("filter", "") for f in root.findall("devices/interface/filterref")), ""),
    }


# network filters ---------------------------------------------------------------------------


def filter_name(ident: str) -> str:
    """Return the name of our network filter for a firewall's slug or a server's id."""
    return f"rehost-{ident.replace('~', '_')}"  # libvirt takes no tilde


def firewall(name: str, uuid: str, body: Mapping[str, Any], peers: Mapping[str, Peer]) -> str:
    """Return a filter that accepts what the rules allow; the default refusal stands in :func:`server`."""
    root = ET.Element("filter", name=name, chain="root")
    _text(root, "uuid", uuid)
    for rule in body["rules"]:
        for network in _networks(rule["peers"], peers):
            _accept(root, rule, network)
    return ET.tostring(root, encoding="unicode")


def server(name: str, uuid: str, filters: Sequence[str]) -> str:
    """Return the filter of one server: the union of its firewalls, and nothing else."""
    root = ET.Element("filter", name=name, chain="root")
    _text(root, "uuid", uuid)
    for item in filters:
        ET.SubElement(root, "filterref", filter=item)
    for direction in ("in", "out"):
        for protocol in ("all", "all-ipv6"):
            rule = ET.SubElement(root, "rule", action="drop", direction=direction, priority="1000")
            ET.SubElement(rule, protocol)
    return ET.tostring(root, encoding="unicode")


def _networks(names: Sequence[str], peers: Mapping[str, Peer]) -> Iterator[Any]:
    for name in names:
        if name.startswith("firewall:"):
            peer = peers.get(name.removeprefix("firewall:"))
            if peer is None:
                raise Unsupported(f"nobody knows who stands behind {name}", "name the addresses as CIDRs instead")
            yield from (ipaddress.ip_network(address) for address in peer.addresses)
        else:
            yield ipaddress.ip_network(name, strict=False)


def _accept(root: ET.Element, rule: Mapping[str, Any], network: Any) -> None:
    protocol = _PROTOCOLS.get(str(rule["protocol"]), str(rule["protocol"]))
    if protocol not in (*_PROTOCOLS.values(), "all"):
        raise Unsupported(f"protocol {protocol} has no libvirt filter", "allow it on the host, or ignore the rule")
    six = network.version == 6
    if (protocol == "icmpv6") != six and protocol in ("icmp", "icmpv6"):
        return  # the other family's control protocol never travels in this one
    element = protocol if not six or protocol == "icmpv6" else f"{protocol}-ipv6"
    attributes: dict[str, str] = {}
    if network.prefixlen:
        side = "src" if rule["direction"] == "ingress" else "dst"
        attributes |= {f"{side}ipaddr": str(network.network_address), f"{side}ipmask": str(network.prefixlen)}
    ports = rule.get("ports")
    if ports and protocol in _WITH_PORTS:
        attributes |= {"dstportstart": str(ports[0]), "dstportend": str(ports[1])}
    elif ports and protocol in ("icmp", "icmpv6") and ports[0] >= 0:
        attributes["type"] = str(ports[0])
        if ports[1] >= 0:
            attributes["code"] = str(ports[1])
    direction = "in" if rule["direction"] == "ingress" else "out"
    accept = ET.SubElement(root, "rule", action="accept", direction=direction, priority="500")
    ET.SubElement(accept, element, attributes)
