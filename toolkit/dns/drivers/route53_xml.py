"""Route 53's XML, read and written without dropping a field.

Enters: answers of API version 2013-04-01. Leaves: dictionaries in the shape boto3 uses, and requests
in the element order the schema wants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from toolkit.dns import names, rdata
from toolkit.dns.model import RRSet
from toolkit.model import Json

NAMESPACE = "https://route53.amazonaws.com/doc/2013-04-01/"
#: Elements that hold a list of the named children.
_LISTS = {
    "ResourceRecords": "ResourceRecord",
    "ResourceRecordSets": "ResourceRecordSet",
    "HostedZones": "HostedZone",
    "NameServers": "NameServer",
    "VPCs": "VPC",
    "Tags": "Tag",
    "Messages": "Message",
}
_NUMBERS = frozenset({"TTL", "Weight", "Bias", "ResourceRecordSetCount"})
_BOOLEANS = frozenset({"EvaluateTargetHealth", "MultiValueAnswer", "PrivateZone", "IsTruncated"})
_ORDER = (
    "Name",
    "Type",
    "SetIdentifier",
    "Weight",
    "Region",
    "GeoLocation",
    "Failover",
    "MultiValueAnswer",
    "TTL",
    "ResourceRecords",
    "AliasTarget",
    "HealthCheckId",
    "TrafficPolicyInstanceId",
    "CidrRoutingConfig",
    "GeoProximityLocation",
)
#: Routing: our word → Route 53's element.
_ROUTING = {
    "weight": "Weight",
    "region": "Region",
    "geo": "GeoLocation",
    "failover": "Failover",
    "multivalue": "MultiValueAnswer",
    "health_check": "HealthCheckId",
    "traffic_policy": "TrafficPolicyInstanceId",
    "cidr": "CidrRoutingConfig",
    "geoproximity": "GeoProximityLocation",
}


def to_value(element: ET.Element) -> Any:
    """Turn an element into text, number, boolean, list or dictionary; the namespace is dropped."""
    tag = _tag(element)
    if tag in _LISTS:
        return [to_value(child) for child in element if _tag(child) == _LISTS[tag]]
    if len(element):
        return {_tag(child): to_value(child) for child in element}
    text = element.text or ""
    if tag in _NUMBERS and text:
        return int(text)
    if tag in _BOOLEANS:
        return text.strip().lower() == "true"
    return text


def _tag(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def to_rrset(raw: Mapping[str, Any]) -> RRSet:
    """Read a ResourceRecordSet."""
    rdtype = raw["Type"]
    alias = raw.get("AliasTarget")
    routing: dict[str, Json] = {word: raw[name] for word, name in _ROUTING.items() if raw.get(name) not in (None, "")}
    values = (record["Value"] for record in raw.get("ResourceRecords") or ())
    return RRSet(
        names.from_route53(raw["Name"]),
        rdtype,
        None if alias else int(raw.get("TTL") or 0),
        tuple(values) if rdtype == "SOA" else tuple(sorted({rdata.from_route53(rdtype, item) for item in values})),
        raw.get("SetIdentifier") or "",
        None
        if not alias
        else {
            "name": names.from_route53(alias["DNSName"]),
            "zone_id": alias.get("HostedZoneId", ""),
            "evaluate_health": bool(alias.get("EvaluateTargetHealth")),
        },
        routing or None,
        raw=raw,
    )


def from_rrset(rrset: RRSet) -> dict[str, Any]:
    """Write a ResourceRecordSet."""
    raw: dict[str, Any] = {"Name": names.to_route53(rrset.name), "Type": rrset.type}
    if rrset.set_id:
        raw["SetIdentifier"] = rrset.set_id
    for word, value in (rrset.routing or {}).items():
        raw[_ROUTING[word]] = value
    if rrset.alias is not None:
        raw["AliasTarget"] = {
            "HostedZoneId": rrset.alias["zone_id"],
            "DNSName": names.to_route53(str(rrset.alias["name"])),
            "EvaluateTargetHealth": bool(rrset.alias.get("evaluate_health")),
        }
    else:
        raw["TTL"] = rrset.ttl
        raw["ResourceRecords"] = [{"Value": rdata.to_route53(rrset.type, value)} for value in rrset.values]
    return raw


def change_request(changes: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    """Write a ChangeResourceRecordSets request of (action, record set) pairs."""
    root = ET.Element("ChangeResourceRecordSetsRequest", {"xmlns": NAMESPACE})
    listed = ET.SubElement(ET.SubElement(root, "ChangeBatch"), "Changes")
    for action, raw in changes:
        change = ET.SubElement(listed, "Change")
        ET.SubElement(change, "Action").text = action
        rrset = ET.SubElement(change, "ResourceRecordSet")
        for name in _ORDER:
            if name in raw:
                _append(rrset, name, raw[name])
    return _bytes(root)


def create_zone_request(name: str, reference: str, comment: str, vpc: Mapping[str, str] | None = None) -> bytes:
    """Write a CreateHostedZone request; a zone with a VPC is private."""
    root = ET.Element("CreateHostedZoneRequest", {"xmlns": NAMESPACE})
    ET.SubElement(root, "Name").text = name
    if vpc:
        _append(root, "VPC", dict(vpc))
    ET.SubElement(root, "CallerReference").text = reference
    config: dict[str, Any] = {"Comment": comment} if comment else {}
    if vpc:
        config["PrivateZone"] = True
    if config:
        _append(root, "HostedZoneConfig", config)
    return _bytes(root)


def _bytes(root: ET.Element) -> bytes:
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _append(parent: ET.Element, name: str, value: Any) -> None:
    element = ET.SubElement(parent, name)
    if isinstance(value, Mapping):
        for key, item in value.items():
            _append(element, key, item)
    elif isinstance(value, list):
        for item in value:
            _append(element, _LISTS[name], item)
    elif isinstance(value, bool):
        element.text = "true" if value else "false"
    else:
        element.text = str(value)
