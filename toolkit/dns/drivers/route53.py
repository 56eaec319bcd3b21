"""Route 53 through libcloud without losses: SigV4, API 2013-04-01, every type and every field.

The stock driver signs with a scheme Route 53 retired, crashes on CAA, drops aliases, flattens routing
and repeats records at page boundaries. Standard libcloud methods work here; the family uses ``ex_*``.
Works against AWS and against a mock at an explicit endpoint. Raises libcloud's errors from standard
methods and ``toolkit.errors`` from ``ex_*``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from libcloud.common.aws import AWSGenericResponse, SignedAWSConnection
from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.types import InvalidCredsError, LibcloudError, MalformedResponseError
from libcloud.dns.base import Record, Zone
from libcloud.dns.drivers.route53 import Route53DNSDriver
from libcloud.dns.types import ZoneDoesNotExistError

from toolkit.dns import names, rdata
from toolkit.dns.drivers import records
from toolkit.dns.drivers import route53_xml as xml
from toolkit.dns.drivers.base import TIMEOUT, Credentials, split_endpoint, translating
from toolkit.dns.model import RRSet, ZoneInfo
from toolkit.errors import AuthError, RehostError, Throttled, Unreachable
from toolkit.model import Json

ROOT = "/2013-04-01"
#: Limits of one ChangeResourceRecordSets: records and characters of values; an UPSERT counts twice.
MAX_RECORDS = 1000
MAX_CHARACTERS = 32_000
_THROTTLED = ("Throttling", "PriorRequestNotComplete", "TooManyRequests")
_RETRY_SECONDS = 60.0

Change = tuple[str, dict[str, Any]]


class Response(AWSGenericResponse):  # type: ignore[misc]
    """An answer of Route 53; errors become ``Code: message``."""

    def parse_body(self) -> Any:
        if not self.body:
            return {}
        try:
            # Entity expansion is bounded by expat itself; the body is text libcloud has read whole.
            return xml.to_value(ET.fromstring(self.body))  # noqa: S314
        except ET.ParseError as exc:
            raise MalformedResponseError("not XML", body=self.body[:200], driver=self.connection.driver) from exc

    def parse_error(self) -> str:
        try:
            body = xml.to_value(ET.fromstring(self.body))  # noqa: S314
        except ET.ParseError:
            body = {}
        error = body.get("Error", {}) if isinstance(body, dict) else {}
        messages = body.get("Messages", ()) if isinstance(body, dict) else ()
        code = str(error.get("Code") or ("InvalidChangeBatch" if messages else ""))
        text = f"{code}: {error.get('Message') or '; '.join(messages) or self.body[:300]}"
        if code == "NoSuchHostedZone":
            raise ZoneDoesNotExistError(text, self.connection.driver, "")
        if int(self.status) in (401, 403):
            raise InvalidCredsError(text)
        return text


class Connection(SignedAWSConnection):  # type: ignore[misc]
    """SigV4 as Route 53 wants it: region us-east-1 whatever the region, no ``Version=`` parameter."""

    host = "route53.amazonaws.com"
    version = "2013-04-01"
    service_name = "route53"
    responseCls = Response  # noqa: N815 (libcloud's name)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, signature_version="4", **kwargs)

    def add_default_params(self, params: dict[str, Any]) -> dict[str, Any]:
        return params


class LosslessRoute53(Route53DNSDriver):  # type: ignore[misc]
    """Route 53 with whole record sets, aliases and routing included."""

    connectionCls = Connection  # noqa: N815
    region_name = "us-east-1"
    ex_kind = "aws"
    ex_registrars = ("amazon", "aws", "route53", "route 53")

    def __init__(self, *, endpoint: str | None = None, credentials: Credentials) -> None:
        host, port, secure = split_endpoint(endpoint, f"https://{Connection.host}")
        token = getattr(credentials, "token", None)
        super().__init__(
            credentials.key.reveal(),
            credentials.secret.reveal(),
            secure=secure,
            host=host,
            port=port,
            token=token.reveal() if token else None,
            timeout=TIMEOUT,
        )

    def _ex_connection_class_kwargs(self) -> dict[str, Any]:
        return {**super()._ex_connection_class_kwargs(), "token": self.token}

    # --- what the family uses -------------------------------------------------------------------

    def ex_capabilities(self) -> frozenset[str]:
        return frozenset(
            {"atomic", "multi-value", "alias", "routing", "any-owner-name"} | {f"type:{name}" for name in rdata.PLAIN}
        )

    def ex_probe(self) -> str:
        with translating("Route 53"):
            self._ask("/hostedzone", {"maxitems": "1"})
            return "Route 53"

    def ex_could_write(self) -> bool | None:
        """Ask to delete a record that is not there: refused in any case, but not for the same reason."""
        zone = next(iter(self.ex_zones()), None)
        if zone is None:
            return None
        name = f"_rehost-doctor-absent.{zone.name}."
        raw = {"Name": name, "Type": "TXT", "TTL": "60", "ResourceRecords": [{"Value": '"absent"'}]}
        try:
            self.ex_change_rrsets(zone.id, [("DELETE", raw)])
        except AuthError:
            return False
        except RehostError:
            return True
        return True

    def ex_zones(self) -> Iterator[ZoneInfo]:
        with translating("listing hosted zones"):
            yield from (_zone_info(raw) for raw in self._zones())

    def ex_read_zone(self, zone_id: str) -> tuple[ZoneInfo, list[RRSet]]:
        rrsets = [xml.to_rrset(raw) for raw in self.ex_iterate_rrsets(zone_id)]
        return self.ex_zone_details(zone_id, rrsets), rrsets

    def ex_iterate_rrsets(self, zone_id: str) -> Iterator[dict[str, Any]]:
        """Yield every ResourceRecordSet with every field, each once, whatever the paging does."""
        seen: set[tuple[str, str, str]] = set()
        params: dict[str, str] = {"maxitems": "300"}
        while True:
            with translating(f"reading hosted zone {zone_id}"):
                page = self._ask(f"/hostedzone/{zone_id}/rrset", params)
            before = len(seen)
            for raw in page.get("ResourceRecordSets") or ():
                identity = (raw["Name"], raw["Type"], raw.get("SetIdentifier") or "")
                if identity not in seen:
                    seen.add(identity)
                    yield raw
            if not page.get("IsTruncated"):
                return
            if len(seen) == before:
                raise Unreachable(
                    f"hosted zone {zone_id}: the listing does not advance past {params}",
                    "this endpoint does not page as Route 53 does; use one that does",
                )
            params = {"maxitems": "300", "name": page["NextRecordName"], "type": page["NextRecordType"]}
            if page.get("NextRecordIdentifier"):
                params["identifier"] = page["NextRecordIdentifier"]

    def ex_change_rrsets(self, zone_id: str, changes: Sequence[Change]) -> list[str]:
        """Send (CREATE|UPSERT|DELETE, record set) changes in batches; return the change ids.

        Each batch is one transaction; changes of one name always travel in the same one.
        """
        ids: list[str] = []
        with translating(f"changing hosted zone {zone_id}"):
            for batch in _batches(changes):
                answer = self._ask(f"/hostedzone/{zone_id}/rrset", method="POST", data=xml.change_request(batch))
                ids.append(_bare_id(answer["ChangeInfo"]["Id"]))
        return ids

    def ex_wait(self, change_id: str, *, timeout: float = 300.0, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait until a change is served by all of Route 53's name servers."""
        end = time.monotonic() + timeout
        pause = 0.1
        while True:
            with translating(f"waiting for change {change_id}"):
                status = self._ask(f"/change/{change_id}")["ChangeInfo"]["Status"]
            if status == "INSYNC":
                return
            if time.monotonic() > end:
                raise Unreachable(
                    f"change {change_id} is still {status} after {timeout:.0f} s", "run the same command again later"
                )
            sleep(pause)
            pause = min(pause * 2, 5.0)

    def ex_write_rrsets(self, zone_id: str, puts: Sequence[RRSet], deletes: Sequence[RRSet] = ()) -> None:
        # Route 53 deletes only what is named exactly as it was entered, a missing final dot included.
        changes: list[Change] = [("DELETE", dict(rrset.raw or xml.from_rrset(rrset))) for rrset in deletes]
        changes += [("UPSERT", xml.from_rrset(rrset)) for rrset in puts]
        for change_id in self.ex_change_rrsets(zone_id, changes):
            self.ex_wait(change_id)

    def ex_create_zone(
        self,
        name: str,
        *,
        nameservers: Sequence[str] = (),  # noqa: ARG002 (Route 53 picks the name servers itself)
        comment: str = "",
    ) -> ZoneInfo:
        """Create a public hosted zone and wait until it is served."""
        with translating(f"creating hosted zone {name}"):
            answer = self._create(name, comment)
            self.ex_wait(_bare_id(answer["ChangeInfo"]["Id"]))
            return self.ex_zone_details(_bare_id(answer["HostedZone"]["Id"]))

    def ex_zone_details(self, zone_id: str, rrsets: Sequence[RRSet] = ()) -> ZoneInfo:
        """Return the zone with its name servers, VPCs, tags and DNSSEC state."""
        with translating(f"reading hosted zone {zone_id}"):
            answer = self._ask(f"/hostedzone/{zone_id}")
            tags = self._ask(f"/tags/hostedzone/{zone_id}").get("ResourceTagSet", {}).get("Tags") or ()
            private = bool((answer["HostedZone"].get("Config") or {}).get("PrivateZone"))
            signing = "NOT_SIGNING"
            if not private:
                signing = (self._ask(f"/hostedzone/{zone_id}/dnssec").get("Status") or {}).get("ServeSignature", "")
        return _zone_info(answer["HostedZone"], answer, rrsets, {tag["Key"]: tag["Value"] for tag in tags}, signing)

    def ex_delete_zone(self, zone_id: str) -> None:
        with translating(f"deleting hosted zone {zone_id}"):
            answer = self._ask(f"/hostedzone/{zone_id}", method="DELETE")
            self.ex_wait(_bare_id(answer["ChangeInfo"]["Id"]))

    # --- libcloud's standard methods --------------------------------------------------------------

    def iterate_zones(self) -> Iterator[Zone]:
        return (self._libcloud_zone(raw) for raw in self._zones())

    def list_zones(self) -> list[Zone]:
        return list(self.iterate_zones())

    def get_zone(self, zone_id: str) -> Zone:
        return self._libcloud_zone(self._ask(f"/hostedzone/{zone_id}")["HostedZone"])

    def create_zone(
        self,
        domain: str,
        type: str = "master",  # noqa: ARG002 (libcloud's signature)
        ttl: int | None = None,  # noqa: ARG002
        extra: dict[str, Any] | None = None,
    ) -> Zone:
        answer = self._create(domain, (extra or {}).get("Comment", ""))
        zone = self._libcloud_zone(answer["HostedZone"])
        zone.extra["ex_change_id"] = _bare_id(answer["ChangeInfo"]["Id"])
        return zone

    def delete_zone(self, zone: Zone, ex_delete_records: bool = False) -> bool:
        if ex_delete_records:
            self.ex_delete_all_records(zone)
        self._ask(f"/hostedzone/{zone.id}", method="DELETE")
        return True

    def ex_delete_all_records(self, zone: Zone) -> None:
        apex = names.canonical(zone.domain)
        _, found = self.ex_read_zone(zone.id)
        self.ex_write_rrsets(zone.id, [], [r for r in found if not (r.name == apex and r.type in ("NS", "SOA"))])

    def iterate_records(self, zone: Zone) -> Iterator[Record]:
        return records.iterate(self, zone)

    def list_records(self, zone: Zone) -> list[Record]:
        return list(records.iterate(self, zone))

    def get_record(self, zone_id: str, record_id: str) -> Record:
        return records.get(self, self.get_zone(zone_id), record_id)

    def create_record(self, name: str, zone: Zone, type: str, data: str, extra: dict[str, Any] | None = None) -> Record:
        return records.create(self, zone, name, type, data, extra)

    def update_record(
        self,
        record: Record,
        name: str | None = None,
        type: str | None = None,
        data: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Record:
        return records.update(self, record, name, type, data, extra)

    def delete_record(self, record: Record) -> bool:
        return records.delete(self, record)

    # --- the wire ---------------------------------------------------------------------------------

    def _zones(self) -> Iterator[dict[str, Any]]:
        params = {"maxitems": "100"}
        while True:
            page = self._ask("/hostedzone", params)
            yield from page.get("HostedZones") or ()
            if not page.get("IsTruncated"):
                return
            if page["NextMarker"] == params.get("marker"):
                raise LibcloudError("the zone listing does not advance", driver=self)
            params = {"maxitems": "100", "marker": page["NextMarker"]}

    def _create(self, name: str, comment: str) -> dict[str, Any]:
        data = xml.create_zone_request(names.to_route53(name), str(uuid.uuid4()), comment)
        answer: dict[str, Any] = self._ask("/hostedzone", method="POST", data=data)
        return answer

    def _ask(
        self, path: str, params: dict[str, str] | None = None, *, method: str = "GET", data: bytes | None = None
    ) -> dict[str, Any]:
        """One request, repeated while the account's limit of five requests a second is in the way."""
        end, pause = time.monotonic() + _RETRY_SECONDS, 0.25
        while True:
            try:
                answer = self.connection.request(ROOT + path, params=params, method=method, data=data).object
            except BaseHTTPError as exc:
                if not str(exc.message).startswith(_THROTTLED):
                    raise
                if time.monotonic() > end:
                    raise Throttled(f"Route 53 kept refusing: {exc.message}", "run the same command again") from exc
                time.sleep(pause)
                pause = min(pause * 2, 8.0)
            else:
                return answer if isinstance(answer, dict) else {}

    def _libcloud_zone(self, raw: dict[str, Any]) -> Zone:
        extra: dict[str, Json] = dict(raw.get("Config") or {})
        extra["ResourceRecordSetCount"] = raw.get("ResourceRecordSetCount")
        domain = names.from_route53(raw["Name"])
        return Zone(id=_bare_id(raw["Id"]), domain=domain, type="master", ttl=None, driver=self, extra=extra)


def _bare_id(path: str) -> str:
    return path.rpartition("/")[2]


def _zone_info(
    raw: dict[str, Any],
    answer: dict[str, Any] | None = None,
    rrsets: Sequence[RRSet] = (),
    tags: dict[str, str] | None = None,
    signing: str = "NOT_SIGNING",
) -> ZoneInfo:
    name = names.from_route53(raw["Name"])
    config = raw.get("Config") or {}
    config = config if isinstance(config, dict) else {}
    apex = {rrset.type: rrset for rrset in rrsets if rrset.name == name}
    delegation = (answer or {}).get("DelegationSet") or {}
    servers = apex["NS"].values if "NS" in apex else [names.canonical(n) for n in delegation.get("NameServers") or ()]
    facts: dict[str, Json] = {
        "comment": config.get("Comment") or "",
        "vpcs": (answer or {}).get("VPCs") or [],
        "linked_service": raw.get("LinkedService") or {},
        "tags": tags or {},
        "dnssec": "" if signing == "NOT_SIGNING" else signing,
    }
    return ZoneInfo(
        _bare_id(raw["Id"]),
        names.bare(name),
        bool(config.get("PrivateZone")),
        tuple(sorted(servers)),
        apex["SOA"].values[0] if "SOA" in apex and apex["SOA"].values else "",
        apex["NS"].ttl if "NS" in apex else None,
        {key: value for key, value in facts.items() if value},
    )


def _batches(changes: Iterable[Change]) -> Iterator[list[Change]]:
    by_name: dict[str, list[Change]] = {}
    for change in changes:
        by_name.setdefault(names.from_route53(change[1]["Name"]), []).append(change)
    batch: list[Change] = []
    count = characters = 0
    for group in by_name.values():
        more = sum(_records(change) for change in group)
        text = sum(_characters(change) for change in group)
        if batch and (count + more > MAX_RECORDS or characters + text > MAX_CHARACTERS):
            yield batch
            batch, count, characters = [], 0, 0
        batch += group
        count, characters = count + more, characters + text
    if batch:
        yield batch


def _records(change: Change) -> int:
    # An alias counts as one record.
    return (2 if change[0] == "UPSERT" else 1) * max(1, len(change[1].get("ResourceRecords") or ()))


def _characters(change: Change) -> int:
    return (2 if change[0] == "UPSERT" else 1) * sum(len(r["Value"]) for r in change[1].get("ResourceRecords") or ())
