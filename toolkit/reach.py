"""How rehost reaches a site: resolution hints, requests to its names, what counts as its old side.

Enters: a site definition. Leaves: values for ``wire``, ``journeys`` and ``prove``. No driver is made
here: see ``wiring``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from toolkit import wire
from toolkit.blobs import Blobs
from toolkit.errors import Unreachable
from toolkit.families import Family, OldSide
from toolkit.journeys import Answer, Fetch
from toolkit.model import State
from toolkit.providers import KINDS
from toolkit.runs import Run
from toolkit.site import Provider, Site

RESOLVE_SECONDS = 2.0
HTTP_SECONDS = 30.0


def hints_of(site: Site) -> wire.Hints:
    """Return where resolution starts: ``outside.dns``, and the name servers of the DNS target."""
    entry = site.section("outside").get("dns") or {}
    hosts = dict(entry.get("hosts") or {})
    for provider in site.providers.values():
        hosts.update(provider.extra.get("nameservers") or {})
    return wire.Hints(tuple(entry.get("parents") or ()), hosts)


def fetcher(site: Site) -> Fetch:
    """Return how journeys send a request: to whatever the name resolves to, remembered for a moment."""
    hints = hints_of(site)
    ca = (site.section("outside").get("tls") or {}).get("ca")
    trusted = str(site.folder / ca) if ca else None
    known: dict[str, tuple[float, str]] = {}

    def fetch(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        host = urlsplit(url).hostname or ""
        at, address = known.get(host, (0.0, ""))
        if not address or time.monotonic() - at > RESOLVE_SECONDS:
            found = wire.addresses(host, hints)
            if not found:
                raise Unreachable(f"{host} has no address", "look at the zone with `rehost verify`")
            address = found[0]
            known[host] = (time.monotonic(), address)
        direct = wire.Hints(hints.parents, {**hints.hosts, host: address})
        return wire.http_request(
            method, url, headers=headers, body=body, hints=direct, timeout=HTTP_SECONDS, ca=trusted
        )

    return fetch


def old_side(site: Site, families: Mapping[str, Family], resources: State) -> OldSide:
    """Return everything that counts as the side that is left."""
    outside = site.section("outside").get("old") or {}
    olds = {name for move in site.move.values() for name in move.sources}
    kinds = [KINDS[site.providers[name].kind] for name in sorted(olds)]
    ends = [end for item in resources.values() for end in families[item.address.split("/", 1)[0]].endpoints(item)]
    named = {end.old for end in ends if end.kind == "hostname"}
    return OldSide(
        kind=site.providers[min(olds)].kind if olds else "",
        suffixes=tuple(suffix for kind in kinds for suffix in kind.suffixes),
        addresses=(*outside.get("addresses", ()), *sorted({end.old for end in ends if end.kind in ("ipv4", "ipv6")})),
        issuers=tuple(issuer for kind in kinds for issuer in kind.issuers),
        endpoints=tuple(sorted({*named, *(h for name in olds for h in hosts(site.providers[name]))})),
    )


def accounts(site: Site, run: Run) -> list[dict[str, str]]:
    """Return the accounts that prove logs in with: a payload of JSON lines {login, password}."""
    reference = (site.logins or {}).get("accounts")
    if not reference:
        return []
    text = Blobs(run.path / "blobs").get(reference["sha256"]).decode()
    return [dict(json.loads(line)) for line in text.splitlines() if line]


def tls_names(site: Site) -> list[str]:
    """Return the host names under which certificates must not be the old side's."""
    return [name for entry in site.section("certificates").values() for name in entry.get("served", ())]


def hosts(provider: Provider | None) -> tuple[str, ...]:
    """Return the host of a provider's endpoint, if it has one."""
    host = urlsplit(provider.endpoint).hostname if provider and provider.endpoint else None
    return (host,) if host else ()
