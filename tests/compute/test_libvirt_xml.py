"""libvirt XML: built and read by an XML library, and nothing of a cloud breaks out of it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from toolkit.compute.drivers import libvirt_xml
from toolkit.compute.drivers.libvirt_xml import Machine
from toolkit.compute.model import Peer
from toolkit.errors import Refused, Unsupported

EVIL = "web</name><devices/>&lt;<!-- ${x} %{y} \"' \n"


def machine(**changes: Any) -> Machine:
    values: dict[str, Any] = {
        "name": EVIL,
        "uuid": "11111111-2222-3333-4444-555555555555",
        "vcpus": 2,
        "memory_mib": 1024,
        "virt": "qemu",
        "arch": "x86_64",
        "disks": [("/pool/a<b>.qcow2", "qcow2"), ("/pool/data.qcow2", "qcow2")],
        "seed": "/pool/seed.iso",
        "mac": "52:54:00:11:22:33",
        "bridge": "br0",
        "filter": "rehost-x",
        "console": "/pool/console.log",
        "boot": {"kernel": "/vmlinuz", "initrd": "/initrd", "cmdline": "root=/dev/vda"},
    }
    return Machine(**{**values, **changes})


def test_definition_survives_whatever_it_says() -> None:
    note = {"body": {"name": EVIL, "tags": {"\x00\x01": "\ud83d"}}}
    xml = libvirt_xml.domain(machine(), note)
    assert libvirt_xml.note(xml) == note
    root = ET.fromstring(xml)
    assert root.findtext("name") == EVIL
    assert len(root.findall("devices")) == 1
    assert [target.get("dev") for target in root.findall("devices/disk/target")] == ["vda", "vdb", "vdc"]
    hardware = libvirt_xml.hardware(xml)
    assert (hardware["vcpus"], hardware["memory_mib"], hardware["arch"]) == (2, 1024, "x86_64")
    assert (hardware["bridge"], hardware["filter"], hardware["virt"]) == ("br0", "rehost-x", "qemu")
    assert hardware["disks"][0] == "/pool/a<b>.qcow2"


def test_foreign_domains_have_no_note() -> None:
    assert libvirt_xml.note("<domain type='kvm'><name>x</name></domain>") == {}
    noise = f"<domain xmlns:r='{libvirt_xml.NAMESPACE}'><metadata><r:definition>!!</r:definition></metadata></domain>"
    assert libvirt_xml.note(noise) == {}


def test_document_types_are_refused() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><domain>&a;</domain>'
    with pytest.raises(Refused):
        libvirt_xml.note(bomb)


def rules(xml: str) -> list[tuple[str, str, str, dict[str, str]]]:
    root = ET.fromstring(xml)
    return [
        (r.attrib["action"], r.attrib["direction"], next(iter(r)).tag, next(iter(r)).attrib) for r in root.iter("rule")
    ]


def rule(protocol: str, ports: Any, *peers: str, direction: str = "ingress") -> dict[str, Any]:
    return {"direction": direction, "protocol": protocol, "ports": ports, "peers": list(peers)}


def test_filter_holds_every_rule() -> None:
    body = {
        "rules": [
            rule("tcp", [443, 443], "0.0.0.0/0", "::/0"),
            rule("udp", [53, 60], "10.0.0.0/8", direction="egress"),
            rule("icmp", [8, -1], "10.0.0.0/8"),
            rule("58", None, "2001:db8::/32"),
            rule("all", None, "192.0.2.1/32"),
            rule("50", None, "192.0.2.1/32"),
        ]
    }
    assert rules(libvirt_xml.firewall("rehost-web", "u", body, {})) == [
        ("accept", "in", "tcp", {"dstportstart": "443", "dstportend": "443"}),
        ("accept", "in", "tcp-ipv6", {"dstportstart": "443", "dstportend": "443"}),
        ("accept", "out", "udp", {"dstipaddr": "10.0.0.0", "dstipmask": "8", "dstportstart": "53", "dstportend": "60"}),
        ("accept", "in", "icmp", {"srcipaddr": "10.0.0.0", "srcipmask": "8", "type": "8"}),
        ("accept", "in", "icmpv6", {"srcipaddr": "2001:db8::", "srcipmask": "32"}),
        ("accept", "in", "all", {"srcipaddr": "192.0.2.1", "srcipmask": "32"}),
        ("accept", "in", "esp", {"srcipaddr": "192.0.2.1", "srcipmask": "32"}),
    ]


def test_control_messages_stay_in_their_own_family() -> None:
    body = {"rules": [rule("icmp", None, "0.0.0.0/0", "::/0")]}
    assert [tag for _, _, tag, _ in rules(libvirt_xml.firewall("x", "u", body, {}))] == ["icmp"]


def test_reference_becomes_addresses() -> None:
    body = {"rules": [rule("tcp", [22, 22], "firewall:web")]}
    peers = {"web": Peer("web", "", ("10.77.0.16", "10.77.0.17"))}
    found = rules(libvirt_xml.firewall("x", "u", body, peers))
    assert [attributes["srcipaddr"] for _, _, _, attributes in found] == ["10.77.0.16", "10.77.0.17"]
    with pytest.raises(Unsupported):
        libvirt_xml.firewall("x", "u", body, {})


def test_unknown_protocol_is_refused() -> None:
    with pytest.raises(Unsupported):
        libvirt_xml.firewall("x", "u", {"rules": [rule("47", None, "10.0.0.0/8")]}, {})


def test_a_server_refuses_all_the_rest_last() -> None:
    xml = libvirt_xml.server("rehost-1", "u", ["rehost-web", "rehost-data"])
    root = ET.fromstring(xml)
    assert [item.get("filter") for item in root.findall("filterref")] == ["rehost-web", "rehost-data"]
    assert {(action, direction, tag) for action, direction, tag, _ in rules(xml)} == {
        ("drop", "in", "all"),
        ("drop", "in", "all-ipv6"),
        ("drop", "out", "all"),
        ("drop", "out", "all-ipv6"),
    }
