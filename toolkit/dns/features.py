"""The features of a zone or record set that get a verdict, by the names in ``verdicts.yaml``.

Enters: a resource. Leaves: pairs of feature and detail. A routing word without a row is blocked by
:func:`toolkit.verdicts.judge`, so nothing new slips through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from toolkit.dns import names, rdata
from toolkit.dns.model import parse_key, rrset_key
from toolkit.errors import Unsupported
from toolkit.model import Endpoint, Json, Resource, split

#: What PowerDNS's API takes as an owner name (measured on 4.7.3); a wildcard label only in front.
_EASY = re.compile(r"^(?:\*\.)?[a-z0-9_/.\-]*$|^@$")

Feature = tuple[str, str]


def features(resource: Resource, moved: Mapping[str, Endpoint] | None = None) -> Iterator[Feature]:
    """Yield every feature of a ``dns/zone`` or ``dns/rrset`` resource."""
    if split(resource.address)[1] == "zone":
        yield from _zone(resource)
    else:
        yield from _rrset(resource, moved or {})


def _zone(resource: Resource) -> Iterator[Feature]:
    name = str(resource.body["name"])
    yield ("zone-private", name) if resource.body.get("private") else ("zone", name)
    facts = resource.facts
    if facts.get("dnssec"):
        yield "zone-dnssec", f"{name} is {facts['dnssec']}"
    if facts.get("linked_service"):
        yield "zone-linked-service", str(facts["linked_service"])
    if facts.get("comment") or facts.get("tags"):
        yield "zone-notes", "comment and tags"


def _rrset(resource: Resource, moved: Mapping[str, Endpoint]) -> Iterator[Feature]:
    _, key = rrset_key(resource.address)
    owner, rdtype, _ = parse_key(key)
    body, facts = resource.body, resource.facts
    yield (f"type-{rdtype}", "")
    for value in body.get("values") or ():
        try:
            rdata.canonical(rdtype, str(value))
        except Unsupported as exc:
            yield "unreadable-data", exc.text
            break
    if len(body.get("values") or ()) > 1:
        yield "multi-value", f"{len(body['values'])} values"
    alias = body.get("alias")
    if alias is not None:
        yield "alias", f"to {alias['name']}"
    elif rdtype == "CNAME" and _becomes_addresses(body, moved):
        yield "cname-to-addresses", str(body["values"][0])
    routing: Mapping[str, Json] = body.get("routing") or {}
    for word in routing:
        yield f"routing-{word.replace('_', '-')}", str(routing[word])
    if not _EASY.match(names.absolute(owner, "zone.invalid").removesuffix(".zone.invalid.") if owner != "@" else owner):
        yield "owner-name", owner
    if facts.get("disabled"):
        yield "disabled-records", f"{len(facts['disabled'])} records"
    if facts.get("comments"):
        yield "record-comments", f"{len(facts['comments'])} comments"


def _becomes_addresses(body: Mapping[str, Json], moved: Mapping[str, Endpoint]) -> bool:
    host = str((body.get("values") or [""])[0]).lower().rstrip(".")
    return any(end.kind == "hostname" and end.old.lower().rstrip(".") == host for end in moved.values())
