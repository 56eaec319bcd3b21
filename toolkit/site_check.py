"""What one value of a site definition cannot tell: references, payload, expiry, circles.

Enters: the plain document, possibly with mistakes of shape (nothing here trusts a type), and today's
date. Leaves: troubles ``(location, text, remedy)``, all of them.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections import defaultdict
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from toolkit.families import FAMILIES
from toolkit.model import Json
from toolkit.providers import KINDS
from toolkit.site_doc import (
    SECTION_FAMILY,
    default_source,
    entries,
    is_identity,
    items,
    known_names,
    mapping,
    serves,
    texts,
)
from toolkit.site_schema import Trouble
from toolkit.site_words import address_trouble, is_glob, moment, record_key, show
from toolkit.site_yaml import Loc

_DOTTED_TYPES = ("CNAME", "NS", "PTR", "MX", "SRV", "DNAME")


def meaning_troubles(doc: Mapping[str, Json], today: datetime.date) -> Iterator[Trouble]:
    """Yield everything in the document that does not fit together."""
    document = dict(doc)
    yield from _providers(document)
    yield from _moves(document)
    yield from _placements(document)
    yield from _references(document)
    yield from _zones(document)
    yield from _twins(document)
    yield from _groups(document)
    yield from _accepts(document, today)


def _providers(doc: dict[str, Json]) -> Iterator[Trouble]:
    for name, entry in mapping(doc, "providers").items():
        endpoint = mapping(entry).get("endpoint")
        if not isinstance(endpoint, str) or not endpoint.lower().startswith("http://"):
            continue
        if mapping(entry).get("insecure") is not True and not loopback(endpoint):
            text = f"endpoint {show(endpoint)} is not encrypted"
            yield ("providers", name, "endpoint"), text, "use https://, or write insecure: true if that is meant"


def loopback(endpoint: str) -> bool:
    """Say whether an address never leaves this machine."""
    try:
        host = (urlsplit(endpoint).hostname or "").rstrip(".")
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _moves(doc: dict[str, Json]) -> Iterator[Trouble]:
    providers = mapping(doc, "providers")
    for family, entry in mapping(doc, "move").items():
        if family not in FAMILIES:
            continue
        sources = list(texts(mapping(entry).get("from")))
        target = mapping(entry).get("to")
        named: list[tuple[Loc, str]] = [(("move", family, "from", n), name) for n, name in sources]
        named += [(("move", family, "to"), target)] if isinstance(target, str) else []
        for loc, name in named:
            if name not in providers:
                yield (
                    loc,
                    f"move.{family} names the provider {name!r}, which is not defined",
                    known_names(name, providers),
                )
            elif not serves(doc, name, family):
                kinds = ", ".join(sorted(kind for kind, row in KINDS.items() if family in row.families))
                text = f"provider {name!r} of kind {mapping(providers[name]).get('kind')!r} serves no {family}"
                yield loc, text, f"kinds that serve {family}: {kinds or 'those that serve compute'}"
        if isinstance(target, str) and target in [name for _, name in sources]:
            yield ("move", family, "to"), f"move.{family} goes from {target!r} to itself", "name two providers"
        if family != "database" and isinstance(entry, dict):
            for key in ("from", "to"):
                if not entry.get(key):
                    yield ("move", family), f"move.{family}: {key!r} is missing", f"add `{key}:` with a provider"


def _placements(doc: dict[str, Json]) -> Iterator[Trouble]:
    providers = mapping(doc, "providers")
    defaults = {family: default_source(doc, family) for family in FAMILIES}
    for loc, family, entry in entries(doc):
        provider = entry.get("provider")
        to = entry.get("to")
        wanted: list[tuple[Loc, Json]] = [(("provider",), provider)]
        wanted.append((("to", "provider"), mapping(to).get("provider")) if isinstance(to, dict) else (("to",), to))
        for key, name in wanted:
            if isinstance(name, str) and name not in providers:
                yield (*loc, *key), f"the provider {name!r} is not defined", known_names(name, providers)
            elif isinstance(name, str) and not serves(doc, name, family):
                yield (*loc, *key), f"the provider {name!r} serves no {family}", f"name one that serves {family}"
        if provider is None and not defaults[family] and len(loc) == 2:
            text = f"{loc[0]}.{loc[1]} does not say which provider it comes from"
            remedy = f"add `provider:`, or one source as move.{family}.from"
            yield loc, text, remedy


def _references(doc: dict[str, Json]) -> Iterator[Trouble]:
    keypairs, firewalls, servers = (mapping(doc, name) for name in ("keypairs", "firewalls", "servers"))
    for slug, entry in servers.items():
        keypair = mapping(entry).get("keypair")
        if isinstance(keypair, str) and keypair not in keypairs:
            yield (
                ("servers", slug, "keypair"),
                f"the keypair {keypair!r} is not defined",
                known_names(keypair, keypairs),
            )
        for n, name in texts(mapping(entry).get("firewalls")):
            if name not in firewalls:
                yield (
                    ("servers", slug, "firewalls", n),
                    f"the firewall {name!r} is not defined",
                    known_names(name, firewalls),
                )
    for slug, entry in firewalls.items():
        for index, rule in enumerate(items(mapping(entry).get("rules"))):
            loc = ("firewalls", slug, "rules", index)
            for n, peer in texts(mapping(rule).get("peers")):
                name = peer.removeprefix("firewall:")
                if name != peer and name not in firewalls:
                    yield (*loc, "peers", n), f"the firewall {name!r} is not defined", known_names(name, firewalls)
            ports = items(mapping(rule).get("ports"))
            if len(ports) == 2 and all(isinstance(port, int) for port in ports):
                backwards = ports[0] > ports[1] and not str(mapping(rule).get("protocol")).startswith("icmp")
                if backwards:
                    yield (*loc, "ports"), f"ports {ports[0]} to {ports[1]} run backwards", f"write {ports[::-1]}"
    for slug, entry in mapping(doc, "load_balancers").items():
        for n, name in texts(mapping(entry).get("targets")):
            if name not in servers:
                yield (
                    ("load_balancers", slug, "targets", n),
                    f"the server {name!r} is not defined",
                    known_names(name, servers),
                )
    for slug, entry in mapping(doc, "databases").items():
        at = mapping(entry).get("at")
        known = [f"compute/server/{name}" for name in servers]
        if isinstance(at, str) and at not in known:
            yield ("databases", slug, "at"), f"{at!r} is not defined", known_names(at, known)


def _zones(doc: dict[str, Json]) -> Iterator[Trouble]:
    for slug, zone in mapping(doc, "zones").items():
        name = mapping(zone).get("name", slug)
        if isinstance(name, str) and name.endswith("."):
            yield ("zones", slug, "name"), f"zone name {show(name)} ends in a dot", f"write {name.rstrip('.')}"
        seen: dict[tuple[str, str, str], str] = {}
        for key, record in mapping(zone, "records").items():
            loc = ("zones", slug, "records", key)
            parts = record_key(key)
            if parts is None or not isinstance(record, dict):
                continue
            folded = (parts[0].lower(), parts[1], parts[2])
            if folded in seen:
                yield loc, f"record {key!r} stands twice, also as {seen[folded]!r}", "keep one of the two"
            seen.setdefault(folded, key)
            yield from _record(loc, parts[1], record)


def _record(loc: Loc, kind: str, record: dict[str, Json]) -> Iterator[Trouble]:
    has_values, has_alias = bool(record.get("values")), bool(record.get("alias"))
    if has_values == has_alias:
        text = f"record {loc[-1]!r} has {'both values and an alias' if has_values else 'neither values nor an alias'}"
        yield loc, text, "give it `ttl` and `values`, or an `alias`"
    if has_values and "ttl" not in record:
        yield loc, f"record {loc[-1]!r} has no TTL", "add `ttl:`; 300 is usual"
    if has_values and kind == "CNAME" and len(items(record.get("values"))) > 1:
        yield (*loc, "values"), "a CNAME has one value", "keep one, or use A and AAAA records"
    for n, value in texts(record.get("values")):
        if kind in ("A", "AAAA"):
            try:
                good = ipaddress.ip_address(value).version == (4 if kind == "A" else 6)
            except ValueError:
                good = False
            if not good:
                example = "192.0.2.7" if kind == "A" else "2001:db8::7"
                yield (*loc, "values", n), f"{show(value)} is no value of an {kind} record", f"write it like {example}"
        elif kind in _DOTTED_TYPES and not value.endswith("."):
            yield (*loc, "values", n), f"{kind} value {show(value)} is not absolute", f"did you mean '{value}.'?"


def _twins(doc: dict[str, Json]) -> Iterator[Trouble]:
    for section, family in SECTION_FAMILY.items():
        default = default_source(doc, family)
        seen: dict[tuple[Json, ...], list[tuple[str, Json]]] = defaultdict(list)
        for slug, value in mapping(doc, section).items():
            entry = mapping(value)
            name = str(entry.get("name") or slug)
            if section == "databases" or (section == "identities" and not is_identity(entry)):
                continue
            kind = entry.get("kind") if section == "identities" else None  # a user and a role may share a name
            identity = (str(entry.get("provider") or default), name.lower(), entry.get("private") is True, kind)
            for other, other_id in seen[identity]:
                if not entry.get("id") or not other_id or other_id == entry.get("id"):
                    text = f"{section}.{slug} and {section}.{other} are both {name!r} at {identity[0]!r}"
                    yield (section, slug), text, "remove one, or give each its own `id`"
                    break
            seen[identity].append((slug, entry.get("id")))


def _groups(doc: dict[str, Json]) -> Iterator[Trouble]:
    groups = mapping(doc, "groups")
    for name, members in groups.items():
        for n, member in texts(members):
            other = member.removeprefix("group:")
            if other == member:
                trouble = address_trouble(member)
                if trouble:
                    yield ("groups", name, n), *trouble
            elif other not in groups:
                yield ("groups", name, n), f"the group {other!r} is not defined", known_names(other, groups)
    done: set[str] = set()
    for name in groups:
        circle = _circle(groups, name, done)
        if circle:
            way = " → ".join(circle)
            yield ("groups", circle[0]), f"cyclic groups: {way}", "take one of these out of the circle"


def _circle(groups: dict[str, Json], start: str, done: set[str]) -> list[str]:
    """Follow groups from ``start``; return the first circle, once. Iterative: chains may be long."""
    path: dict[str, None] = {}
    pending: list[tuple[str, Iterator[str]]] = []

    def enter(name: str) -> None:
        path[name] = None
        members = [m.removeprefix("group:") for _, m in texts(groups.get(name)) if m.startswith("group:")]
        pending.append((name, iter(members)))

    if start not in done:
        enter(start)
    found: list[str] = []
    while pending:
        name, members = pending[-1]
        other = next(members, None)
        if other is None:
            pending.pop()
            path.popitem()
            done.add(name)
        elif other in path:
            found = found or [*list(path)[list(path).index(other) :], other]
        elif other not in done and other in groups:
            enter(other)
    return found


def _accepts(doc: dict[str, Json], today: datetime.date) -> Iterator[Trouble]:
    for index, value in enumerate(items(doc.get("accept"))):
        entry = mapping(value)
        what, until = entry.get("what"), entry.get("until")
        loc: Loc = ("accept", index)
        if isinstance(what, str):
            addr, colon, feature = what.rpartition(":")
            trouble = address_trouble(addr if colon else what)
            if trouble:
                yield (*loc, "what"), *trouble
            elif not colon or not feature:
                yield (
                    (*loc, "what"),
                    f"{show(what)} is no verdict id",
                    "write address:feature as `rehost assess` prints it",
                )
            if is_glob(what) and entry.get("expect") is None:
                text = f"accept {show(what)} is a glob without `expect`"
                yield (*loc, "what"), text, "add `expect:` with the number of verdicts it covers"
        try:
            expired = isinstance(until, str) and moment(until) < today
        except ValueError:
            expired = False
        if expired:
            text = f"accept {show(what)} expired on {until}"
            yield (*loc, "until"), text, "decide again: give a later date and say why, or remove it"
