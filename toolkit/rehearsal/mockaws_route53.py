"""The mocked Route 53: moto's zones with names, batches, paging and changes as Route 53 has them.

Enters: a WSGI environment. Leaves: an answer. :func:`install` must run before the first call.
Corrections: names in octal, SOA and NS values, own name servers per zone, atomic batches that are
checked, DELETE of one set only, paging by set identifier, CIDR and geoproximity kept, changes that
are PENDING first, zones by name that page, a second change of a domain's name servers.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.moto_server.werkzeug_app import BackendRequest
from moto.route53.models import FakeZone, RecordSet, Route53Backend, route53_backends
from moto.route53.responses import Route53

from toolkit.rehearsal import mockaws_dnssec
from toolkit.rehearsal.mockaws_dnssec import Failure, SigningKey
from toolkit.rehearsal.mockaws_errors import Answer, error
from toolkit.rehearsal.mockaws_route53_rules import (
    ChangeRefused,
    Key,
    RecordSets,
    apply_batch,
    canonical_name,
    order_key,
)

_TLDS = ("com", "net", "org", "co.uk")
_PAGE = 300
ACCOUNT = "123456789012"


class Zone(FakeZone):  # type: ignore[misc]
    """A hosted zone whose record sets are kept by name, type and set identifier."""

    sets: RecordSets
    signing_keys: dict[str, SigningKey]
    signing = False

    @property
    def rrsets(self) -> list[Any]:
        """The record sets as moto's objects, in the order of the API. Read by other threads too."""
        sets = self.sets
        return [_record_set(sets[key]) for key in sorted(sets, key=order_key)]

    @rrsets.setter
    def rrsets(self, _value: list[Any]) -> None:
        self.replace({})

    def replace(self, sets: RecordSets) -> None:
        self.sets = sets
        self._ordered: list[Key] | None = None

    def ordered(self) -> list[Key]:
        if self._ordered is None:
            self._ordered = sorted(self.sets, key=order_key)
        return self._ordered

    @property
    def resource_record_set_count(self) -> int:
        return len(self.sets)


def _record_set(rrset: Mapping[str, Any]) -> Any:
    """Return moto's object for one record set, with the two fields that moto drops."""
    found = RecordSet({**rrset, "ResourceRecords": [record["Value"] for record in rrset.get("ResourceRecords") or ()]})
    found.geo_proximity_location = rrset.get("GeoProximityLocation")
    found.cidr_routing_config = rrset.get("CidrRoutingConfig")
    return found


def name_servers(dice: random.Random) -> list[str]:
    """Return four name server names in the pattern of Route 53 (moto gives every zone the same)."""
    numbers = [dice.randrange(512) for _ in _TLDS]
    return [f"ns-{512 * n + number}.awsdns-{number // 8:02d}.{_TLDS[n]}" for n, number in enumerate(numbers)]


class CorrectedRoute53(Route53Backend):  # type: ignore[misc]
    """moto's Route 53 state with batches, names and changes corrected."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.changes: dict[str, float] = {}

    def new_change(self) -> dict[str, Any]:
        """Note a change and return its description: PENDING."""
        ident = "C" + secrets.token_hex(10).upper()
        self.changes[ident] = time.monotonic()
        return {"Id": f"/change/{ident}", "Status": "PENDING", "SubmittedAt": datetime.now(UTC)}

    def create_hosted_zone(self, name: str, *args: Any, **kwargs: Any) -> Any:
        reference = kwargs.get("caller_reference")
        if reference and any(zone.caller_reference == reference for zone in self.zones.values()):
            raise Failure(409, "HostedZoneAlreadyExists", f"A hosted zone has already been created with {reference}")
        name = canonical_name(name)
        made = super().create_hosted_zone(name, *args, **kwargs)
        zone = Zone(
            name,
            made.resource_id,
            made.private_zone,
            made.caller_reference,
            comment=made.comment,
            delegation_set=made.delegation_set,
        )
        zone.vpcs, zone.signing_keys = made.vpcs, {}
        if not kwargs.get("delegation_set_id"):
            zone.delegation_set.name_servers = name_servers(random.Random(made.resource_id))  # noqa: S311
        servers = zone.delegation_set.name_servers
        soa = f"{servers[0]}. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"
        zone.replace(
            {
                (name, "NS", ""): _made(name, "NS", 172800, [f"{server}." for server in servers]),
                (name, "SOA", ""): _made(name, "SOA", 900, [soa]),
            }
        )
        self.zones[made.resource_id] = zone
        return zone

    def change_resource_record_sets(self, zoneid: str, change_list: list[dict[str, Any]]) -> None:
        zone = self.get_hosted_zone(zoneid)
        zone.replace(apply_batch(zone.sets, change_list, zone.name))

    def page(self, zone_id: str, start: tuple[str, str, str], most: int) -> tuple[list[Any], Key | None]:
        """Return one page of record sets from ``start`` on, and the key the next page starts with."""
        zone = self.get_hosted_zone(zone_id)
        keys = zone.ordered()
        if start[0]:
            first = order_key((canonical_name(start[0]), start[1], start[2]))
            keys = [key for key in keys if order_key(key) >= first]
        page, rest = keys[:most], keys[most : most + 1]
        return [_record_set(zone.sets[key]) for key in page], rest[0] if rest else None

    def zones_by_name(self, name: str, ident: str) -> list[Any]:
        """Return the zones from ``name`` (and of that name, ``ident``) on, in reversed-label order."""
        zones = sorted(self.zones.values(), key=lambda zone: (order_key((zone.name, "", ""))[0], zone.resource_id))
        if not name:
            return zones
        first = order_key((canonical_name(name), "", ""))[0]
        return [
            zone
            for zone in zones
            if (order_key((zone.name, "", ""))[0], zone.resource_id if ident else "") >= (first, ident)
        ]

    def delete_hosted_zone(self, id_: str) -> Any:
        zone = self.get_hosted_zone(id_)
        if set(zone.sets) - {(zone.name, "NS", ""), (zone.name, "SOA", "")}:
            raise Failure(400, "HostedZoneNotEmpty", "The specified hosted zone contains non-required resource records")
        return self.zones.pop(zone.resource_id)


def _made(name: str, kind: str, ttl: int, values: list[str]) -> dict[str, Any]:
    return {"Name": name, "Type": kind, "TTL": ttl, "ResourceRecords": [{"Value": value} for value in values]}


class CorrectedResponse(Route53):  # type: ignore[misc]
    """moto's request handling with the corrections that show on the wire."""

    settle: float = 0.0

    def _changed(self, answer: Any) -> Any:
        answer.result["ChangeInfo"] = self.backend.new_change()
        return answer

    def create_hosted_zone(self) -> Any:
        return self._changed(super().create_hosted_zone())

    def delete_hosted_zone(self) -> Any:
        return self._changed(super().delete_hosted_zone())

    def change_resource_record_sets(self) -> Any:
        self.backend.change_resource_record_sets(
            self._get_param("HostedZoneId"), self._get_param("ChangeBatch.Changes") or []
        )
        return ActionResult({"ChangeInfo": self.backend.new_change()})

    def get_change(self) -> Any:
        ident = self._get_param("Id").removeprefix("/change/")
        since = self.backend.changes.get(ident)
        if since is None:
            raise Failure(404, "NoSuchChange", f"Could not find resource with ID: {ident}")
        status = "INSYNC" if time.monotonic() - since >= self.settle else "PENDING"
        info = {"Id": f"/change/{ident}", "Status": status, "SubmittedAt": datetime.now(UTC)}
        return ActionResult({"ChangeInfo": info})

    def list_resource_record_sets(self) -> Any:
        most = min(self._get_int_param("MaxItems", _PAGE), _PAGE)
        start = tuple(self._get_param(f"StartRecord{what}") or "" for what in ("Name", "Type", "Identifier"))
        if (start[1] and not start[0]) or (start[2] and not start[1]):
            raise Failure(400, "InvalidInput", "The input is not valid")
        sets, following = self.backend.page(self._get_param("HostedZoneId"), start, most)
        name, kind, ident = following or (None, None, None)
        return ActionResult(
            {
                "ResourceRecordSets": sets,
                "IsTruncated": following is not None,
                "NextRecordName": name,
                "NextRecordType": kind,
                "NextRecordIdentifier": ident or None,
                "MaxItems": most,
            }
        )

    def list_hosted_zones_by_name(self) -> Any:
        most = min(self._get_int_param("MaxItems", 100), 100)
        name, ident = self._get_param("DNSName") or "", (self._get_param("HostedZoneId") or "").rpartition("/")[2]
        zones = self.backend.zones_by_name(name, ident)
        following = zones[most] if len(zones) > most else None
        return ActionResult(
            {
                "HostedZones": zones[:most],
                "DNSName": name or None,
                "HostedZoneId": ident or None,
                "IsTruncated": following is not None,
                "NextDNSName": following.name if following else None,
                "NextHostedZoneId": following.resource_id if following else None,
                "MaxItems": most,
            }
        )


def install() -> None:
    """Make this process's moto use the corrected backend. Call before any Route 53 call."""
    route53_backends.backend = CorrectedRoute53


def handle(environ: dict[str, Any], *, settle: float) -> Answer:
    """Answer one Route 53 request; a change is INSYNC ``settle`` seconds after it was made."""
    response = CorrectedResponse()
    response.settle = settle
    request = BackendRequest(environ)
    try:
        signed = mockaws_dnssec.answer(
            environ["REQUEST_METHOD"], request.raw_path, environ["rehost.body"], route53_backends[ACCOUNT]["aws"]
        )
        if signed is not None:
            return Answer(200, {"Content-Type": "text/xml"}, signed.encode())
        status, headers, body = response._dispatch(request, request.raw_url, request.headers)
    except ChangeRefused as exc:
        return error("route53", 400, "InvalidChangeBatch", "[" + ", ".join(exc.reasons) + "]")
    except Failure as exc:
        return error("route53", exc.status, exc.code, exc.message)
    except ServiceException as exc:
        return error("route53", 400, exc.code, exc.message)
    return Answer(
        int(status),
        {name: str(value) for name, value in headers.items()},
        body if isinstance(body, bytes) else body.encode(),
    )
