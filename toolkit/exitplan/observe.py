"""Look at the world and write down what was seen: the inventory, names, pages, certificates, past runs.

Enters: a site, the moment, and whether the systems looked at are mocks. Leaves: :class:`Evidence`, one for each
thing that could be seen. What could not be seen is left out, so its items stay unknown; why it could not is told
to ``tell``. Nothing here writes anywhere.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit import guard, reach, wire
from toolkit.errors import RehostError, Unreachable
from toolkit.exitplan import names, tables
from toolkit.exitplan.record import Evidence, Kind, Record
from toolkit.model import Json
from toolkit.providers import KINDS
from toolkit.runs import Run, load_plan, noted
from toolkit.secrets import is_reference
from toolkit.site import Site

Tell = Callable[[str], None]
#: Types of records that point at machines: these move.
_MOVING = ("A", "AAAA", "CNAME", "SRV")
_SHORT = 300
_PROVIDER = re.compile(r"arn:aws[\w-]*:[\w-]*:[^\s\"']+|[\w.-]+\.amazonaws\.com|(?<![A-Z0-9])A(?:KIA|SIA)[A-Z0-9]{16}")
_SECRET = re.compile(
    r"(?<![A-Z0-9])A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Z0-9])|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?i:(?:secret|password|token|api_?key)[\w-]*)\s*[:=]\s*[\"']?[A-Za-z0-9/+_=-]{20,}"
)
_KEYS = ("AKIA", "ASIA")
_BIG = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Looker:
    """Who looks: the moment, what kind of systems, and whom to tell what could not be seen."""

    now: datetime.datetime
    kind: Kind
    tell: Tell

    def saw(self, name: str, value: Json, collector: str, source: str = "") -> Evidence:
        return Evidence(name, value, self.now, collector, self.kind, source)


def kind_here() -> Kind:
    """Mock inside a rehearsal, where connections are guarded; real everywhere else."""
    return "mock" if os.environ.get(guard.ALLOW) else "real"


# -- without a network


def inventory(site: Site, looker: Looker) -> Iterator[Evidence]:
    """What the site definition tells: stores, TTLs of what will move, encryption by the provider, secrets."""
    if site.section("buckets"):
        yield looker.saw("stores", {name: _store(row) for name, row in site.section("buckets").items()}, "inventory")
    if site.section("zones"):
        ttls = [ttl for zone in site.section("zones").values() for ttl in _moving(zone)]
        value: dict[str, Json] = {"moving_ttl": max(ttls, default=0), "long": sum(ttl > _SHORT for ttl in ttls)}
        yield looker.saw("zone_ttl", value, "inventory", site.path.name)
    yield looker.saw("secrets", scan(site), "scan", site.path.name)


def _store(row: Json) -> Json:
    """A store as far as the definition knows it; what was never measured is null, and stays an open item."""
    facts = (row.get("facts") or {}) if isinstance(row, dict) else {}
    return {
        "bytes": facts.get("bytes"),
        "objects": facts.get("objects"),
        "tier": facts.get("tier"),
        "growth_gbps": facts.get("growth_gbps"),
        "owner": (row.get("tags") or {}).get("owner") if isinstance(row, dict) else None,
    }


def _moving(zone: Json) -> Iterator[int]:
    for key, row in (zone.get("records") or {}).items():
        rdtype = key.rpartition("/")[2].partition("#")[0]
        if rdtype in _MOVING and isinstance(row.get("ttl"), int):
            yield row["ttl"]


def scan(site: Site) -> dict[str, Json]:
    """Look for literal secrets and names of the provider in the definition's environment and payload files."""
    literal: list[str] = []
    theirs: list[str] = []
    for where, text in _texts(site):
        for number, line in enumerate(text.splitlines(), 1):
            if _SECRET.search(line) and not is_reference(line.partition(":")[2].strip()):
                literal.append(f"{where}:{number}")  # never the line itself: it holds the secret
            theirs += [f"{where}:{number} {m[0]}" for m in _PROVIDER.finditer(line) if m[0][:4] not in _KEYS]
    return {"literal": sorted(set(literal)), "provider_names": sorted(set(theirs))}


def _texts(site: Site) -> Iterator[tuple[str, str]]:
    for slug, server in site.section("servers").items():
        app = server.get("app") or {}
        for name, value in (app.get("env") or {}).items():
            if not is_reference(value):
                yield f"servers.{slug}.app.env.{name}", f"{name}={value}"
    for item in site.payload:
        if item.path.is_file() and item.path.stat().st_size <= _BIG:
            yield item.path.name, item.path.read_bytes().decode("utf-8", "replace")


def past(run: Run, looker: Looker) -> Iterator[Evidence]:
    """What earlier stages left in the run folder: verify, prove, assess's verdicts in the plan."""
    file = run.path / "result" / "verify.json"
    found = noted(run, "verify")
    if isinstance(found, dict) and "clean" in found:
        differing = len(found.get("findings") or ())
        value = {
            "differing": differing,
            "objects_equal": bool(found["clean"]),
            "bytes_equal": bool(found["clean"]),
            "hash": "sha256" if found.get("tier") == "bytes" else "etag",
        }
        yield _dated(looker, "equality", value, "rehost verify", file)
    file = run.path / "result" / "prove.json"
    found = noted(run, "prove")
    if isinstance(found, dict) and "verdict" in found:
        findings = [row for row in found.get("findings") or () if row.get("severity") == "error"]
        value = {"verdict": found["verdict"], "references": len(findings)}
        yield _dated(looker, "independence", value, "rehost prove", file)
    if run.plan_file().is_file():
        yield _dated(looker, "replacements", {"unmapped": _unmapped(run)}, "rehost assess", run.plan_file())


def _unmapped(run: Run) -> list[str]:
    return sorted(verdict.id for verdict in load_plan(run).verdicts if verdict.stands_in_the_way)


def _dated(looker: Looker, name: str, value: Json, collector: str, file: Path) -> Evidence:
    """Evidence is as old as the file it was read from, not as the reading."""
    at = datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.UTC)
    return Evidence(name, value, min(at, looker.now), collector, looker.kind, file.name)


# -- over the network


def live(site: Site, record: Record, looker: Looker) -> Iterator[Evidence]:
    """Ask name servers, pages, the registry and certificates, each on its own: one that fails hides no other."""
    looks: tuple[tuple[str, Callable[[], Json]], ...] = (
        ("operators", lambda: _operators(site)),
        ("parent_ttl", lambda: _parent_ttl(site)),
        ("status_page", lambda: _status(site, record, looker)),
        ("domain", lambda: _domain(site)),
        ("issuers", lambda: _issuers(site)),
    )
    for name, look in looks:
        try:
            value = look()
        except RehostError as exc:
            looker.tell(f"{name} could not be observed: {exc.text}")
            continue
        if value is None:
            looker.tell(f"{name} was not looked for: the site says nothing about it")
            continue
        yield looker.saw(name, value, "live")


def _zones(site: Site) -> list[tuple[str, Json]]:
    return [(str(row["name"]), row) for row in site.section("zones").values() if not row.get("private")]


def _operators(site: Site) -> Json:
    zones = _zones(site)
    if not zones:
        return None
    hints = reach.hints_of(site)
    all_names: set[str] = set()
    different: list[str] = []
    fewest = None
    for zone, row in zones:
        servers = names.delegation(zone, hints).servers
        here = {names.operator(name) for name, _ in servers}
        fewest = len(here) if fewest is None else min(fewest, len(here))
        all_names |= here
        different += names.unequal(servers, _sets(zone, row))
    return {
        "names": sorted(all_names),
        "distinct": fewest,
        "differences": len(different),
        "different": different[:20],
    }


def _sets(zone: str, row: Json) -> Iterator[tuple[str, str]]:
    """The record sets of a zone that every server must answer alike."""
    for key in row.get("records") or {}:
        owner, _, rdtype = key.partition("#")[0].rpartition("/")
        if rdtype != "NS" and "*" not in owner:  # a delegation is a referral, a wildcard has no name of its own
            yield (zone if owner == "@" else f"{owner}.{zone}"), rdtype


def _parent_ttl(site: Site) -> Json:
    hints = reach.hints_of(site)
    found = [names.delegation(zone, hints).ttl for zone, _ in _zones(site)]
    return {"seconds": max(found)} if found else None


def _status(site: Site, record: Record, looker: Looker) -> Json:
    """This machine's answer beside those of other places that are on record and not older than a week."""
    entry = site.section("outside").get("status") or {}
    if not entry.get("url"):
        return None
    answer = reach.fetcher(site)("GET", str(entry["url"]), {}, None)
    place = socket.gethostname()
    # Whether the provider was out of reach is what the guard says, never a guess.
    away = bool(os.environ.get(guard.ALLOW) and os.environ.get(guard.DENY))
    row = {"from": place, "status": answer.status, "provider_out_of_reach": away, "at": looker.now.isoformat()}
    before = record.evidence.get("status_page")
    others = (before.value.get("answers") or ()) if before and isinstance(before.value, dict) else ()
    young = [one for one in others if one.get("from") != place and _young(one, looker.now)]
    return {"url": str(entry["url"]), "network": str(entry.get("network") or ""), "answers": [*young, row]}


def _young(row: Json, now: datetime.datetime) -> bool:
    return bool(row.get("at")) and now - tables.moment(row["at"]) <= datetime.timedelta(days=7)


def _domain(site: Site) -> Json:
    """What the registry says by RDAP (RFC 9083): status, expiry, registrar. ``outside.rdap.url`` says where."""
    url = (site.section("outside").get("rdap") or {}).get("url")
    if not url:
        return None
    answer = reach.fetcher(site)("GET", str(url), {"Accept": "application/rdap+json"}, None)
    try:
        document = json.loads(answer.body)
        events = {str(row.get("eventAction")): str(row.get("eventDate")) for row in document.get("events") or ()}
        holders = [row for row in document.get("entities") or () if "registrar" in (row.get("roles") or ())]
        status = [str(word) for word in document.get("status") or ()]
    except (ValueError, AttributeError, TypeError) as exc:
        raise Unreachable(f"{url} gives no RDAP answer", "check `outside.rdap.url`") from exc
    if answer.status != 200 or "expiration" not in events:
        raise Unreachable(f"{url} answers {answer.status} without a date of expiry", "check `outside.rdap.url`")
    return {"status": status, "expires": events["expiration"], "registrar": _name(holders)}


def _name(holders: list[Json]) -> str:
    """The formatted name in a jCard: ``["vcard", [["fn", {}, "text", "…"]]]``."""
    for holder in holders:
        card = holder.get("vcardArray") or []
        for field in card[1] if len(card) > 1 else ():
            if field and field[0] == "fn":
                return str(field[3])
    return ""


def _issuers(site: Site) -> Json:
    """Who vouches for the certificates, and whether that is the side that is left."""
    hosts = reach.tls_names(site)
    if not hosts:
        return None
    hints, ca = reach.hints_of(site), (site.section("outside").get("tls") or {}).get("ca")
    trusted = str(site.folder / ca) if ca else None
    found = {host: wire.http_request("HEAD", f"https://{host}/", hints=hints, ca=trusted).issuer for host in hosts}
    olds = {name for move in site.move.values() for name in move.sources if name in site.providers}
    theirs = tuple(issuer for name in olds for issuer in KINDS[site.providers[name].kind].issuers)
    return {"issuers": found, "old": sorted(h for h, issuer in found.items() if any(t in issuer for t in theirs))}
