"""Which entry of site.yaml an observed resource is: by id, else by name, else by slug.

People rename slugs, and accounts hold two things of one name; an entry is recognised all the same, and
references inside observed bodies are turned to the slugs of the file. Enters: observed resources and
the site. Leaves: for each where it belongs, and what could not be placed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from toolkit.families import SECTIONS
from toolkit.model import Json, NotSeen, Resource, address, split
from toolkit.site import Site, record_address
from toolkit.site_doc import mapping
from toolkit.site_words import SLUG, record_key
from toolkit.site_yaml import Loc

_SECTION_OF: Mapping[tuple[str, str], str] = {pair: section for section, pair in SECTIONS.items()}


@dataclass(frozen=True, slots=True)
class Found:
    """An observed resource and its place in the file; ``existing`` is what stands there now."""

    resource: Resource
    body: Mapping[str, Json]
    loc: Loc
    address: str
    existing: Resource | None
    zone: Resource | None = None  # of a record


@dataclass(slots=True)
class Matched:
    """All places, the addresses that were seen, and what has no place."""

    found: list[Found] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    not_seen: list[NotSeen] = field(default_factory=list)


def section_of(addr: str) -> str:
    """Return the section of an address, empty if site.yaml has none for it."""
    family, kind, *_ = addr.split("/", 2)  # neither is ever escaped, and this is asked often
    return "databases" if family == "database" else _SECTION_OF.get((family, kind), "")


def match(resources: list[Resource], site: Site | None) -> Matched:
    """Place every resource."""
    result = Matched()
    slugs: dict[str, str] = {}  # observed address → slug in the file
    places: list[tuple[Resource, str]] = []
    existing = {} if site is None else site.resources()
    by_section: dict[str, list[Resource]] = {}
    for item in resources:
        by_section.setdefault(section_of(item.address), []).append(item)
    defined: dict[str, dict[str, Resource]] = {}
    for addr, item in existing.items():
        if section := section_of(addr):
            defined.setdefault(section, {})[split(addr)[2]] = item
    for section in SECTIONS:
        ours, known = by_section.get(section, []), defined.get(section, {})
        for resource, slug in _slugs(ours, known):
            slugs[resource.address] = slug
            places.append((resource, section))
    for resource, section in places:
        slug = slugs[resource.address]
        family, kind = split(resource.address)[:2]
        addr = address(family, kind, slug)
        made = _retargeted(resource, slugs)
        result.found.append(Found(resource, made, (section, slug), addr, existing.get(addr)))
    documented = {} if site is None else mapping(dict(site.doc), "zones")
    zones = _Zones(
        slugs,
        {split(item.address)[2]: item for item in by_section.get("zones", ())},
        {slug: {key.lower(): key for key in mapping(zone, "records")} for slug, zone in documented.items()},
        existing,
    )
    for resource in resources:
        if resource.address.startswith("dns/rrset/"):
            _record(resource, zones, result)
        elif not section_of(resource.address) and not resource.address.startswith("storage/objects/"):
            result.not_seen.append(NotSeen(resource.address, "site.yaml has no section for this kind"))
    result.seen = {found.address for found in result.found}
    return result


def _slugs(ours: list[Resource], known: Mapping[str, Resource]) -> Iterator[tuple[Resource, str]]:
    """Pair observed resources with the slugs of the file, best evidence first; the rest get new slugs."""
    ids = {(item.provider, item.id) for item in ours if item.id}
    free = dict(known)
    paired: dict[int, str] = {}

    def pair(fits: Callable[[Resource, str, Resource], bool]) -> None:
        for index, resource in enumerate(ours):
            if index in paired:
                continue
            own = split(resource.address)[2]
            for slug in sorted(free, key=lambda slug: slug != own):
                if fits(resource, slug, free[slug]):
                    paired[index] = slug
                    del free[slug]
                    break

    def provider(one: Resource, other: Resource) -> bool:
        return one.provider in ("", other.provider)

    def still_there(item: Resource) -> bool:
        return bool(item.id) and (item.provider, item.id) in ids

    pair(lambda one, _slug, other: bool(one.id) and one.id == other.id and provider(one, other))
    pair(
        lambda one, _slug, other: (
            provider(one, other)
            and not still_there(other)
            and one.body.get("name") is not None
            and one.body.get("name") == other.body.get("name")
            and one.body.get("private") == other.body.get("private")
        )
    )
    pair(lambda one, slug, other: provider(one, other) and not still_there(other) and split(one.address)[2] == slug)
    taken = set(known)
    for index, resource in enumerate(ours):
        if index not in paired:
            paired[index] = _new_slug(split(resource.address)[2], taken)
            taken.add(paired[index])
        yield resource, paired[index]


def _new_slug(wanted: str, taken: set[str]) -> str:
    slug = wanted if re.fullmatch(SLUG, wanted) else re.sub(r"[^a-z0-9._-]+", "-", wanted.lower()).strip("-.") or "x"
    if slug not in taken:
        return slug
    base = re.sub(r"~[0-9]+$", "", slug)
    number = 2
    while f"{base}~{number}" in taken:
        number += 1
    return f"{base}~{number}"


def _retargeted(resource: Resource, slugs: Mapping[str, str]) -> dict[str, Json]:
    """Return the body with references to other resources as the file calls them."""
    made = dict(resource.body)

    def turned(kind: str, slug: Json) -> Json:
        return slugs.get(address("compute", kind, slug), slug) if isinstance(slug, str) else slug

    for key, kind in (("firewalls", "firewall"), ("targets", "server")):
        if isinstance(made.get(key), list):
            made[key] = [turned(kind, slug) for slug in made[key]]
    if "keypair" in made:
        made["keypair"] = turned("keypair", made["keypair"])
    if isinstance(made.get("rules"), list):
        made["rules"] = [_rule(rule, slugs) for rule in made["rules"]]
    return made


def _rule(rule: Json, slugs: Mapping[str, str]) -> Json:
    if not isinstance(rule, dict) or not isinstance(rule.get("peers"), list):
        return rule
    peers = []
    for peer in rule["peers"]:
        name = peer.removeprefix("firewall:") if isinstance(peer, str) else peer
        own = slugs.get(address("compute", "firewall", name), name) if name != peer else peer
        peers.append(f"firewall:{own}" if name != peer else peer)
    return rule | {"peers": peers}


@dataclass(frozen=True, slots=True)
class _Zones:
    """What placing a record needs to know of the zones."""

    slugs: Mapping[str, str]
    observed: Mapping[str, Resource]  # by the slug they were observed under
    keys: Mapping[str, Mapping[str, str]]  # slug in the file → lower-case record key → key as it is spelled
    existing: Mapping[str, Resource]


def _record(resource: Resource, zones: _Zones, result: Matched) -> None:
    parts = split(resource.address)
    name = parts[2] if len(parts) == 5 else ""
    slug = zones.slugs.get(address("dns", "zone", name), name)
    known = zones.keys.get(slug)
    if not name or (name not in zones.observed and known is None):
        result.not_seen.append(NotSeen(resource.address, "its zone was neither observed nor defined"))
        return
    key = f"{parts[3]}/{parts[4]}"
    readable = record_key(key)
    if readable is None or readable[0] != parts[3]:
        result.not_seen.append(NotSeen(resource.address, "site.yaml cannot name this record"))
        return
    key = (known or {}).get(key.lower(), key)
    addr = record_address(slug, key)
    existing = zones.existing.get(addr)
    zone = zones.observed.get(name) or zones.existing.get(address("dns", "zone", slug))
    result.found.append(Found(resource, resource.body, ("zones", slug, "records", key), addr, existing, zone))
