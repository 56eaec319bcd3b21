"""The site definition: what there is, where it goes, and what proves that it works.

Enters: ``site.yaml`` (or its folder), UTF-8. Leaves: a frozen :class:`Site`. Raises
:class:`~toolkit.errors.DefinitionError` with every mistake of the file at once, each with its line and
its remedy, and :class:`~toolkit.errors.UsageError` for a selection that selects nothing.

Secrets are references and stay references: :meth:`Site.credentials` resolves them on request.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from toolkit import secrets
from toolkit.blobs import Blobs
from toolkit.errors import DefinitionError, NotFound, Problem, UsageError
from toolkit.families import FAMILIES
from toolkit.model import Json, Resource, address, escape, matches
from toolkit.site_check import meaning_troubles
from toolkit.site_doc import SECTION_FAMILY, default_source, is_identity, texts
from toolkit.site_messages import shape_troubles
from toolkit.site_outside import outside_troubles, payloads
from toolkit.site_schema import BESIDE, LOOSE, MODELS, body, schema
from toolkit.site_words import did_you_mean, duration, moment, record_key
from toolkit.site_yaml import Node, Parsed, line_of, parse, plain

__all__ = ["Accept", "Move", "Payload", "Provider", "Site", "import_payload", "load", "schema"]

NAME = "site.yaml"
KIND_OF_SECTION: Mapping[str, str] = {
    "buckets": "bucket",
    "zones": "zone",
    "servers": "server",
    "firewalls": "firewall",
    "keypairs": "keypair",
    "load_balancers": "load_balancer",
    "identities": "identity",
}
_OBJECTIVES = ("rto", "rpo", "notice")
_DECISIONS = ("to", "wave", "ignore", "live", "grants", "sink")
_PROVIDER_KEYS = ("kind", "endpoint", "regions", "credentials", "insecure")


@dataclass(frozen=True, slots=True)
class Provider:
    """One account or installation. ``credentials`` are references; ``extra`` holds every other key."""

    name: str
    kind: str
    endpoint: str = ""
    regions: tuple[str, ...] = ()
    credentials: str | Mapping[str, str] | None = None
    insecure: bool = False
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """Where a family comes from and where it goes."""

    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True, slots=True)
class Accept:
    """A degradation that somebody accepted until a day. ``what`` is a verdict's id, or a glob of them."""

    what: str
    why: str
    who: str
    until: datetime.date
    expect: int | None = None
    line: int = 1

    def covers(self, verdict_id: str) -> bool:
        return verdict_id == self.what or fnmatchcase(verdict_id, self.what)


@dataclass(frozen=True, slots=True)
class Payload:
    """A file beside site.yaml whose bytes stay as they are. ``what`` says where the site names it."""

    what: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Site:
    """A checked site definition. ``doc`` is the document as plain JSON, ``path`` the file it came from."""

    name: str
    path: Path
    doc: Mapping[str, Json]
    providers: Mapping[str, Provider]
    move: Mapping[str, Move]
    groups: Mapping[str, tuple[str, ...]]
    accepts: tuple[Accept, ...]
    journeys: tuple[Mapping[str, Json], ...]
    logins: Mapping[str, Json] | None
    objectives: Mapping[str, datetime.timedelta]
    payload: tuple[Payload, ...]
    _resources: Mapping[str, Resource] = field(repr=False, default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder that relative paths of the definition start from."""
        return self.path.parent

    def resources(self) -> dict[str, Resource]:
        """Return every resource, as it is desired in the words of the source, keyed by address."""
        return dict(self._resources)

    def credentials(self, provider: str) -> secrets.Credentials:
        """Resolve the credentials of a provider; raises what :mod:`toolkit.secrets` raises."""
        return secrets.credentials(self.providers[provider].credentials, base=self.folder)

    def section(self, name: str) -> Mapping[str, Json]:
        """Return a section that is kept as it is (networks, hosts, vendors …)."""
        found: Mapping[str, Json] = self.doc.get(name) or {}
        return found

    def selected(self, only: Sequence[str] = (), exclude: Sequence[str] = ()) -> dict[str, Resource]:
        """Return the resources that ``only`` selects (none given: all) and ``exclude`` does not.

        A term is an address with globs, ``wave:2``, ``tag:team=web`` or ``group:name``. One that
        selects nothing is a mistake: a typing error must neither skip nor move anything.
        """
        chosen = set(self._resources)
        if only:
            chosen = {addr for term in only for addr in self._select(term, "--only")}
        for term in exclude:
            chosen -= self._select(term, "--except")
        return {addr: resource for addr, resource in self._resources.items() if addr in chosen}

    def _select(self, term: str, option: str) -> set[str]:
        found = {addr for addr, resource in self._resources.items() if self._term(term, resource, option)}
        if not found:
            raise UsageError(f"{option} {term} selects nothing", self._advice(term))
        return found

    def _term(self, term: str, resource: Resource, option: str) -> bool:
        word, colon, value = term.partition(":")
        if colon and word == "wave":
            return str(resource.facts.get("wave")) == value
        if colon and word == "tag":
            key, equals, wanted = value.partition("=")
            tags = resource.body.get("tags") or {}
            return key in tags and (not equals or str(tags[key]) == wanted)
        if colon and word == "group":
            if value not in self.groups:
                raise UsageError(f"{option} {term}: there is no such group", did_you_mean(value, self.groups))
            return any(matches(resource.address, pattern) for pattern in self.groups[value])
        return matches(resource.address, term)

    def _advice(self, term: str) -> str:
        if term.startswith(("wave:", "tag:", "group:")):
            return "correct it, or add it to the resources that it shall select"
        return did_you_mean(term, self._resources, "write an address such as storage/bucket/media, or a glob of it")


def load(path: Path | str, *, today: datetime.date | None = None) -> Site:
    """Read and check a site definition; all mistakes come in one ``DefinitionError``."""
    file = Path(path)
    file = file / NAME if file.is_dir() else file
    text = _read(file)
    day = today or datetime.datetime.now(datetime.UTC).date()
    checked = [_check(parsed, file, day) for parsed in parse(text, str(file))]
    # Where tabs were repaired in several ways, the right one is that which leaves the fewest mistakes.
    root, doc, problems = min(checked, key=lambda item: len(item[2]))
    if problems or root is None:
        raise DefinitionError(problems)
    return _site(file, root, doc)


def _read(file: Path) -> str:
    def fail(text: str, remedy: str, line: int = 1) -> DefinitionError:
        return DefinitionError([Problem(str(file), line, text, remedy)])

    try:
        data = file.read_bytes()
    except FileNotFoundError as exc:
        raise fail("there is no site definition", f"run `rehost discover -p aws --site {file}` to write one") from exc
    except OSError as exc:
        raise fail(f"it cannot be read: {exc.strerror}", "check its owner and mode") from exc
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise fail(f"it is not UTF-8: byte 0x{data[exc.start]:02x}", "save the file as UTF-8", line) from exc


def _check(parsed: Parsed, file: Path, today: datetime.date) -> tuple[Node | None, dict[str, Json], list[Problem]]:
    root, problems = parsed.root, list(parsed.problems)
    doc: dict[str, Json] = {}
    if root is not None:
        value = plain(root)
        if isinstance(value, dict):
            doc = filled(value)
            folder = file.parent
            for loc, text, remedy in (
                *shape_troubles(doc),
                *meaning_troubles(doc, today),
                *outside_troubles(doc, folder),
            ):
                problems.append(Problem(str(file), line_of(root, loc), text, remedy))
        else:
            problems.append(Problem(str(file), root.line, "it is not a mapping", "begin with `rehost: 1`"))
    unique = dict.fromkeys(sorted(problems, key=lambda problem: problem.line))
    return root, doc, list(unique)


def filled(value: Mapping[str, Json]) -> dict[str, Json]:
    """Return the document with sections, entries and record lists that are left empty made mappings."""
    doc = {key: item for key, item in value.items() if item is not None or key in ("rehost", "name")}
    for section in (*MODELS, *LOOSE, "providers", "groups"):
        entries = doc.get(section)
        if not isinstance(entries, dict) or section in ("providers", "groups"):
            continue
        doc[section] = {slug: {} if entry is None else entry for slug, entry in entries.items()}
    for entry in (doc.get("zones") or {}).values() if isinstance(doc.get("zones"), dict) else ():
        if isinstance(entry, dict) and "records" in entry and entry["records"] is None:
            entry["records"] = {}
    return doc


def _site(file: Path, root: Node, doc: dict[str, Json]) -> Site:
    folder = file.parent.resolve()
    return Site(
        name=doc["name"],
        path=file,
        doc=doc,
        providers={name: _provider(name, entry) for name, entry in doc.get("providers", {}).items()},
        move=_moves(doc),
        groups=_groups(doc),
        accepts=tuple(_accept(entry, line_of(root, ("accept", n))) for n, entry in enumerate(doc.get("accept", ()))),
        journeys=tuple(doc.get("journeys", ())),
        logins=doc.get("logins"),
        objectives={
            key: duration(text) for key, text in doc.get("objectives", {}).items() if key in _OBJECTIVES and text
        },
        payload=tuple(
            Payload(".".join(str(part) for part in loc), folder / entry["file"], entry["sha256"])
            for loc, entry in payloads(doc)
        ),
        _resources={resource.address: resource for resource in _resources(doc)},
    )


def _provider(name: str, entry: Mapping[str, Any]) -> Provider:
    return Provider(
        name=name,
        kind=entry["kind"],
        endpoint=entry.get("endpoint") or "",
        regions=tuple(entry.get("regions", ())),
        credentials=entry.get("credentials"),
        insecure=entry.get("insecure", False),
        extra={key: value for key, value in entry.items() if key not in _PROVIDER_KEYS},
    )


def _moves(doc: Mapping[str, Any]) -> dict[str, Move]:
    wanted: Mapping[str, Any] = doc.get("move", {})
    found = {}
    for family in FAMILIES:
        entry = wanted.get(family) or {}
        follows = (wanted.get("compute") or {}) if family == "database" else {}
        sources = tuple(name for _, name in texts(entry.get("from") or follows.get("from")))
        target = entry.get("to") or follows.get("to")
        if sources and target:
            found[family] = Move(sources, target)
    return found


def _groups(doc: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    groups: Mapping[str, list[str]] = doc.get("groups", {})
    return {name: tuple(dict.fromkeys(_members(groups, name))) for name in groups}


def _members(groups: Mapping[str, list[str]], name: str) -> Iterator[str]:
    """Yield the patterns of a group and of the groups in it, in order; chains may be long."""
    pending, seen = [f"group:{name}"], set()
    while pending:
        member = pending.pop()
        if not member.startswith("group:"):
            yield member
        elif member not in seen:
            seen.add(member)
            pending += reversed(groups[member.removeprefix("group:")])


def _accept(entry: Mapping[str, Any], line: int) -> Accept:
    return Accept(entry["what"], entry["why"], entry["who"], moment(entry["until"]), entry.get("expect"), line)


def _resources(doc: Mapping[str, Any]) -> Iterator[Resource]:
    for section, family in SECTION_FAMILY.items():
        default = default_source(doc, family)
        for slug, entry in doc.get(section, {}).items():
            if section == "identities" and not is_identity(entry):
                continue
            kind = KIND_OF_SECTION.get(section) or entry["kind"]
            made = body(section, slug, entry)
            facts = facts_of(entry)
            provider = entry.get("provider") or default
            resource = Resource(address(family, kind, slug), made, provider, entry.get("id", ""), facts)
            yield resource
            if section == "zones":
                # A record goes where its zone goes, unless it says otherwise.
                above = {"zone": made["name"], **{key: facts[key] for key in _DECISIONS if key in facts}}
                for key, record in (entry.get("records") or {}).items():
                    yield _record(slug, key, record, resource, above)


def _record(slug: str, key: str, record: Mapping[str, Any], zone: Resource, above: Mapping[str, Json]) -> Resource:
    made = {name: value for name, value in record.items() if name not in BESIDE and not name.startswith("x-")}
    ident = record.get("id", record_id(zone, key))
    return Resource(
        record_address(slug, key), made, record.get("provider") or zone.provider, ident, {**above, **facts_of(record)}
    )


def record_id(zone: Resource, key: str) -> str:
    """Return the id that a record has unless it says otherwise: that of its zone, and its key."""
    return f"{zone.id}/{key}" if zone.id else ""


def record_address(slug: str, key: str) -> str:
    """Return the address of a record: ``www/A#blue`` of zone ``agora`` → ``dns/rrset/agora/www/A#blue``."""
    parts = record_key(key)
    if parts is None:
        raise NotFound(f"{key!r} is no record key", "write owner/TYPE")
    owner, kind, set_id = parts
    return address("dns", "rrset", slug, owner, kind) + (f"#{escape(set_id)}" if set_id else "")


def facts_of(entry: Mapping[str, Any]) -> dict[str, Json]:
    """Return what stands beside a body: observed facts, a person's decisions, provider extras."""
    facts: dict[str, Json] = dict(entry.get("facts") or {})
    for key, value in entry.items():
        if (key in _DECISIONS and value is not None) or key.startswith("x-"):
            facts[key] = {"provider": value} if key == "to" and isinstance(value, str) else value
    return facts


def import_payload(site: Site, blobs: Blobs) -> int:
    """Copy every payload file of the site into ``blobs``, each checked against its digest; return how many."""
    for item in site.payload:
        if blobs.has(item.sha256):
            continue
        try:
            digest = blobs.put(item.path.read_bytes())
        except OSError as exc:
            problem = Problem(str(item.path), 1, f"payload cannot be read: {exc.strerror}", "put the file back")
            raise DefinitionError([problem]) from exc
        if digest != item.sha256:
            text = f"payload of {item.what} was changed after the site was read"
            raise DefinitionError([Problem(str(item.path), 1, text, "restore it, or write its new sha256")])
    return len(site.payload)
