"""PowerDNS through libcloud without losses: API v1, whole record sets, atomic PATCHes.

The stock driver asks for an API that PowerDNS 4 does not have, replaces a whole set when one record
is created, returns zones with unusable ids and swallows errors. Standard libcloud methods work here;
the family uses ``ex_*``. Raises libcloud's errors from standard methods and ``toolkit.errors`` from
``ex_*``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.types import InvalidCredsError
from libcloud.dns.base import Record, Zone
from libcloud.dns.drivers.powerdns import PowerDNSConnection, PowerDNSDriver, PowerDNSResponse
from libcloud.dns.types import ZoneAlreadyExistsError, ZoneDoesNotExistError

from toolkit.dns import names, rdata
from toolkit.dns.drivers import records
from toolkit.dns.drivers.base import TIMEOUT, Credentials, split_endpoint, translating
from toolkit.dns.model import RRSet, ZoneInfo
from toolkit.errors import Unsupported
from toolkit.model import Json

log = logging.getLogger(__name__)
#: PowerDNS closes the connection on bodies of more than 2 MB unless it was told otherwise.
MAX_BODY = 1_500_000


class Response(PowerDNSResponse):  # type: ignore[misc]
    """An answer of the API; errors keep their text whatever shape the body has."""

    def parse_error(self) -> str:
        if int(self.status) in (401, 403):
            raise InvalidCredsError("PowerDNS refused the API key")
        try:
            body = json.loads(self.body)
        except ValueError:
            return str(self.body)
        if not isinstance(body, dict):
            return str(body)
        more = body.get("errors") or []
        return " ".join(str(part) for part in [body.get("error", ""), *more])


class Connection(PowerDNSConnection):  # type: ignore[misc]
    responseCls = Response  # noqa: N815 (libcloud's name)

    def add_default_headers(self, headers: dict[str, str]) -> dict[str, str]:
        headers = super().add_default_headers(headers)
        headers["Content-Type"] = "application/json"
        return headers


class LosslessPowerDNS(PowerDNSDriver):  # type: ignore[misc]
    """PowerDNS 4.7 and later over its HTTP API."""

    connectionCls = Connection  # noqa: N815
    ex_kind = "powerdns"
    ex_registrars: tuple[str, ...] = ()

    def __init__(self, *, endpoint: str, credentials: Credentials) -> None:
        host, port, secure = split_endpoint(endpoint, endpoint)
        super().__init__(
            credentials.key.reveal(), secure=secure, host=host, port=port, api_version="v1", timeout=TIMEOUT
        )

    # --- what the family uses -------------------------------------------------------------------

    def ex_capabilities(self) -> frozenset[str]:
        return frozenset(
            {"atomic", "multi-value", "own-nameservers", "apex-ns", *(f"type:{name}" for name in rdata.PLAIN)}
        )

    def ex_probe(self) -> str:
        with translating("PowerDNS"):
            answer = self._ask("")
            return f"PowerDNS {answer['version']}"

    def ex_could_write(self) -> bool | None:
        return True  # a key of this API may do everything

    def ex_zones(self) -> Iterator[ZoneInfo]:
        with translating("listing zones at PowerDNS"):
            items = self._ask("/zones")
        for item in items:
            yield _zone_info(item)

    def ex_read_zone(self, zone_id: str) -> tuple[ZoneInfo, list[RRSet]]:
        with translating(f"reading zone {zone_id} at PowerDNS"):
            item = self._ask(f"/zones/{_segment(zone_id)}")
            rrsets = [_rrset(raw) for raw in item["rrsets"]]
        return _zone_info(item, rrsets), rrsets

    def ex_list_rrsets(self, zone_id: str) -> list[dict[str, Json]]:
        """Return the zone's record sets exactly as the API gives them."""
        with translating(f"reading zone {zone_id} at PowerDNS"):
            found: list[dict[str, Json]] = self._ask(f"/zones/{_segment(zone_id)}")["rrsets"]
            return found

    def ex_patch_rrsets(self, zone_id: str, rrsets: Sequence[dict[str, Json]]) -> int:
        """Send whole record sets, as few PATCHes as the body limit allows; return how many.

        Each PATCH is one transaction. Sets of one name always travel together, so a CNAME can make
        room for an address.
        """
        count = 0
        with translating(f"writing zone {zone_id} at PowerDNS"):
            for batch in _batches(rrsets):
                self._ask(f"/zones/{_segment(zone_id)}", "PATCH", {"rrsets": batch})
                count += 1
        return count

    def ex_write_rrsets(self, zone_id: str, puts: Sequence[RRSet], deletes: Sequence[RRSet] = ()) -> None:
        gone = [{"name": rrset.name, "type": rrset.type, "changetype": "DELETE"} for rrset in deletes]
        self.ex_patch_rrsets(zone_id, [*gone, *(_raw(rrset) for rrset in puts)])
        try:
            self.ex_notify(zone_id)
        except Unsupported as exc:
            # A zone of kind Native has no secondaries to tell; what was written is written.
            log.info("no notification for %s: %s", zone_id, exc.text)

    def ex_create_zone(self, name: str, *, nameservers: Sequence[str] = (), kind: str = "Master") -> ZoneInfo:
        """Create an empty zone. Kind Master, so that secondaries are notified."""
        with translating(f"creating zone {name} at PowerDNS"):
            item = self._create(name, [names.canonical(server) for server in nameservers], kind)
        return _zone_info(item)

    def ex_delete_zone(self, zone_id: str) -> None:
        with translating(f"deleting zone {zone_id} at PowerDNS"):
            self._ask(f"/zones/{_segment(zone_id)}", "DELETE")

    def ex_notify(self, zone_id: str) -> None:
        """Tell the secondaries that the zone changed."""
        with translating(f"notifying secondaries of {zone_id}"):
            self._ask(f"/zones/{_segment(zone_id)}/notify", "PUT")

    def ex_rectify(self, zone_id: str) -> None:
        """Recompute what DNSSEC needs; refused by PowerDNS on unsigned zones of some kinds."""
        with translating(f"rectifying {zone_id}"):
            self._ask(f"/zones/{_segment(zone_id)}/rectify", "PUT")

    # --- libcloud's standard methods --------------------------------------------------------------

    def list_zones(self) -> list[Zone]:
        return [self._libcloud_zone(item) for item in self._ask("/zones")]

    def get_zone(self, zone_id: str) -> Zone:
        return self._libcloud_zone(self._ask(f"/zones/{_segment(zone_id)}"))

    def create_zone(
        self,
        domain: str,
        type: str = "master",
        ttl: int | None = None,  # noqa: ARG002 (libcloud's signature; PowerDNS has no default TTL per zone)
        extra: dict[str, Any] | None = None,
    ) -> Zone:
        more = extra or {}
        servers = [names.canonical(server) for server in more.get("nameservers", ())]
        return self._libcloud_zone(self._create(domain, servers, str(more.get("kind", type)).capitalize()))

    def delete_zone(self, zone: Zone) -> bool:
        self._ask(f"/zones/{_segment(zone.id)}", "DELETE")
        return True

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

    def _create(self, name: str, nameservers: list[str], kind: str) -> dict[str, Any]:
        body = {"name": names.canonical(name), "kind": kind, "nameservers": nameservers, "api_rectify": True}
        created: dict[str, Any] = self._ask("/zones", "POST", body)
        return created

    def _ask(self, path: str, method: str = "GET", body: Json = None) -> Any:
        zone_id = path.removeprefix("/zones/") if path.startswith("/zones/") else ""
        try:
            return self.connection.request(
                f"{self.api_root}/servers/{self.ex_server}{path}",
                method=method,
                data=None if body is None else json.dumps(body),
            ).object
        except BaseHTTPError as exc:
            if exc.code == 404 or (exc.code == 422 and "Could not find domain" in str(exc.message)):
                raise ZoneDoesNotExistError(exc.message, self, zone_id) from exc
            if exc.code == 409 and method == "POST":
                raise ZoneAlreadyExistsError(exc.message, self, zone_id) from exc
            raise

    def _libcloud_zone(self, item: dict[str, Any]) -> Zone:
        extra = {key: item[key] for key in ("kind", "dnssec", "serial", "account", "masters") if key in item}
        return Zone(id=item["id"], domain=item["name"], type=item.get("kind"), ttl=None, driver=self, extra=extra)


def _segment(zone_id: str) -> str:
    # PowerDNS ids are already escaped its own way (``=2F`` for a slash).
    return quote(zone_id, safe="=.-_")


def _batches(rrsets: Iterable[dict[str, Json]]) -> Iterator[list[dict[str, Json]]]:
    by_name: dict[str, list[dict[str, Json]]] = {}
    for rrset in rrsets:
        by_name.setdefault(rrset["name"], []).append(rrset)
    batch: list[dict[str, Json]] = []
    size = 0
    for group in by_name.values():
        weight = len(json.dumps(group))
        if batch and size + weight > MAX_BODY:
            yield batch
            batch, size = [], 0
        batch += group
        size += weight
    if batch:
        yield batch


def _zone_info(item: dict[str, Any], rrsets: Sequence[RRSet] = ()) -> ZoneInfo:
    name = names.canonical(item["name"])
    apex = {rrset.type: rrset for rrset in rrsets if rrset.name == name}
    servers, soa = apex.get("NS"), apex.get("SOA")
    facts = {key: item[key] for key in ("kind", "dnssec", "serial", "masters") if item.get(key)}
    return ZoneInfo(
        item["id"],
        names.bare(name),
        False,
        servers.values if servers else (),
        soa.values[0] if soa and soa.values else "",
        servers.ttl if servers else None,
        facts,
    )


def _rrset(raw: dict[str, Any]) -> RRSet:
    rdtype = raw["type"]
    facts: dict[str, Json] = {}
    disabled = [record["content"] for record in raw["records"] if record.get("disabled")]
    if disabled:
        facts["disabled"] = disabled
    if raw.get("comments"):
        facts["comments"] = [comment["content"] for comment in raw["comments"]]
    values = (record["content"] for record in raw["records"] if not record.get("disabled"))
    return RRSet(names.canonical(raw["name"]), rdtype, raw["ttl"], rdata.readable_set(rdtype, values), facts=facts)


def _raw(rrset: RRSet) -> dict[str, Json]:
    return {
        "name": rrset.name,
        "type": rrset.type,
        "ttl": rrset.ttl,
        "changetype": "REPLACE",
        "records": [{"content": rdata.to_powerdns(rrset.type, value), "disabled": False} for value in rrset.values],
    }
