"""Write what was observed into site.yaml, and say what drifted.

Enters: the file (there or not yet) and observed resources. Leaves: a :class:`Drift`; the file, unless
``check``. Human keys, comments and order stay, observed values are updated in place, new resources are
appended, and what is gone is listed and never deleted. Merging the same observation again changes no
byte. What the definition has no words for comes back as *not seen*: nothing is dropped in silence.

Raises ``DefinitionError`` for a file with mistakes and ``NotFound`` for payload that is not in ``blobs``.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from toolkit.blobs import Blobs
from toolkit.errors import DefinitionError, Problem, RehostError
from toolkit.files import write_atomic
from toolkit.model import Json, NotSeen, Resource
from toolkit.providers import KINDS
from toolkit.site import NAME, Site, facts_of, filled, load, record_id
from toolkit.site_check import meaning_troubles
from toolkit.site_doc import SECTION_FAMILY, default_source, mapping
from toolkit.site_edit import rewrite, same
from toolkit.site_fresh import forced, fresh, site_name
from toolkit.site_match import Found, match
from toolkit.site_messages import shape_troubles
from toolkit.site_schema import MODELS, body
from toolkit.site_yaml import Loc, parse, plain

_HUMAN = ("to", "wave", "ignore")
_UNORDERED = ("values", "firewalls", "targets")
_PAYLOAD_FOLDER = "blobs"


@dataclass(frozen=True, slots=True)
class Drift:
    """How the world differs from the file: addresses, and ``(address, key, before, after)`` of changes."""

    added: tuple[str, ...] = ()
    changed: tuple[tuple[str, str, Json, Json], ...] = ()
    gone: tuple[str, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()

    @property
    def clean(self) -> bool:
        """Nothing differs and nothing was hidden from view."""
        return not (self.added or self.changed or self.gone or self.not_seen)


@dataclass(slots=True)
class _Merge:
    """The work in progress of one merge."""

    doc: dict[str, Json]
    site: Site | None
    added: list[str] = field(default_factory=list)
    changed: list[tuple[str, str, Json, Json]] = field(default_factory=list)
    not_seen: list[NotSeen] = field(default_factory=list)
    payload: list[str] = field(default_factory=list)
    original: dict[Loc, Json] = field(default_factory=dict)  # what stood where before we wrote there
    address: dict[Loc, str] = field(default_factory=dict)


def merge(
    path: Path,
    observed: Iterable[Resource | NotSeen],
    *,
    providers: Mapping[str, Mapping[str, Json]],
    blobs: Blobs,
    check: bool = False,
) -> Drift:
    """Bring ``path`` up to date with what was observed; with ``check`` only say what would change."""
    path = path / NAME if path.is_dir() else path
    everything = list(observed)
    resources = [item for item in everything if isinstance(item, Resource)]
    if len(providers) == 1:
        # A family knows the kind of its provider and not what the site calls it.
        resources = [replace(item, provider=next(iter(providers))) for item in resources]
    site = load(path) if path.exists() else None
    text, doc = _read(path) if site else ("", {"rehost": 1, "name": site_name(path), "providers": {}})
    work = _Merge(doc, site, not_seen=[item for item in everything if isinstance(item, NotSeen)])
    for name, entry in providers.items():
        if name not in mapping(doc, "providers"):
            doc["providers"] = mapping(doc, "providers") | {name: dict(entry)}
    matched = match(resources, site)
    work.not_seen += matched.not_seen
    for found in matched.found:
        _take(work, found)
    _drop_what_does_not_fit(work, path)
    hidden = [item.what for item in everything if isinstance(item, NotSeen)]
    looked_at = {resource.provider for resource in resources} | set(providers)
    gone = () if site is None else tuple(_gone(site, matched.seen, looked_at, hidden))
    drift = Drift(tuple(work.added), tuple(work.changed), gone, tuple(work.not_seen))
    if not check:
        _write(path, text, work, blobs)
    return drift


def _read(path: Path) -> tuple[str, dict[str, Json]]:
    text = path.read_bytes().decode("utf-8-sig")
    root = parse(text, str(path))[0].root
    if root is None:  # the file was read a moment ago, so it was exchanged meanwhile
        raise DefinitionError([Problem(str(path), 1, "it was changed while discover ran", "run discover again")])
    doc: dict[str, Json] = plain(root)
    return text, doc


def _write(path: Path, text: str, work: _Merge, blobs: Blobs) -> None:
    beside = Blobs(path.parent / _PAYLOAD_FOLDER)
    for digest in work.payload:
        beside.put(blobs.get(digest))
    made = rewrite(text, work.doc, file=str(path), forced=forced) if work.site else fresh(work.doc)
    if work.site and made == text:
        return
    try:
        target = path.resolve()  # a link stays a link
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        mark = b"\xef\xbb\xbf" if work.site and target.read_bytes().startswith(b"\xef\xbb\xbf") else b""
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, mark + made.encode(), mode=mode)
    except OSError as exc:
        raise RehostError(f"cannot write {path}: {exc.strerror}", "check the folder's owner and free space") from exc


def _take(work: _Merge, found: Found) -> None:
    """Write one observed resource into the document."""
    resource, loc = found.resource, found.loc
    wanted = _in_words(work, found)
    if wanted is None:
        return
    parent = _parent(work.doc, loc)
    have = parent.get(str(loc[-1]))
    work.address[loc] = found.address
    if found.existing is None:
        work.original[loc] = None
        parent[str(loc[-1])] = _entry(work, found, wanted)
        work.added.append(found.address)
        return
    work.original[loc] = copy.deepcopy(have) or {}
    entry = have if isinstance(have, dict) else {}
    parent[str(loc[-1])] = entry
    changed = list(_update_body(work, found, entry, wanted))
    if resource.id and resource.id != found.existing.id and not _derived(found):
        changed.append(("id", found.existing.id, resource.id))
        entry["id"] = resource.id
    changed += _update_facts(entry, _own_facts(found))
    work.changed += [(found.address, key, before, after) for key, before, after in changed]


def _parent(doc: dict[str, Json], loc: Loc) -> dict[str, Json]:
    at: dict[str, Json] = doc
    for part in loc[:-1]:
        if not isinstance(at.get(str(part)), dict):
            at[str(part)] = {}
        at = at[str(part)]
    return at


def _in_words(work: _Merge, found: Found) -> dict[str, Json] | None:
    """Return the body in the words of the definition, or note why it cannot be said."""
    section = str(found.loc[0])
    if len(found.loc) > 2:
        return dict(found.body)
    wanted = dict(found.body)
    for key in sorted(set(wanted) - set(MODELS[section].model_fields)):
        work.not_seen.append(NotSeen(f"{found.address}:{key}", "site.yaml has no word for it yet"))
        del wanted[key]
    try:
        normal = body(section, str(found.loc[1]), _with_files(wanted))
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        work.not_seen.append(NotSeen(found.address, f"what was observed does not fit: {where}: {first['msg']}"))
        return None
    return {key: value for key, value in normal.items() if key in wanted}


def _with_files(wanted: Mapping[str, Json], files: list[str] | None = None) -> dict[str, Json]:
    """Name the file of each payload; ``files`` collects the digests."""
    made = dict(wanted)

    def named(payload: Json) -> Json:
        if not isinstance(payload, dict) or "sha256" not in payload:
            return payload
        if files is not None:
            files.append(str(payload["sha256"]))
        return {"file": f"{_PAYLOAD_FOLDER}/{payload['sha256']}", "sha256": payload["sha256"]}

    if isinstance(made.get("user_data"), dict):
        made["user_data"] = named(made["user_data"])
    if mapping(made, "app", "files"):
        made["app"] = made["app"] | {"files": {name: named(item) for name, item in made["app"]["files"].items()}}
    return made


def _entry(work: _Merge, found: Found, wanted: dict[str, Json]) -> dict[str, Json]:
    """Return the entry of a resource that is new to the file, without what is empty anyway."""
    resource, section = found.resource, str(found.loc[0])
    inherited = found.zone.provider if found.zone else _named_source(work.doc, section)
    made: dict[str, Json] = {} if resource.provider in ("", inherited) else {"provider": resource.provider}
    if not _derived(found):
        made["id"] = resource.id
    for key, value in _with_files(wanted, work.payload).items():
        if len(found.loc) > 2 or not _is_empty(value):
            made[key] = _trimmed(key, value)
    own = _own_facts(found)
    facts = {key: value for key, value in own.items() if key not in _HUMAN and not key.startswith("x-")}
    if facts:
        made["facts"] = facts
    made |= {key: value for key, value in own.items() if key in _HUMAN or key.startswith("x-")}
    return made


def _derived(found: Found) -> bool:
    """Say whether the id need not be written: there is none, or it follows from the zone's."""
    expected = record_id(found.zone, str(found.loc[-1])) if found.zone else ""
    return found.resource.id.lower() == expected.lower()


def _own_facts(found: Found) -> Mapping[str, Json]:
    """Return the facts of a resource without those that a record has from its zone."""
    facts = found.resource.facts
    if not found.zone or facts.get("zone") != found.zone.body.get("name"):
        return facts
    return {key: value for key, value in facts.items() if key != "zone"}


def _named_source(doc: Mapping[str, Json], section: str) -> str:
    """Return the source that ``move`` names. One that merely happens to be the only provider is not
    relied on: the next provider that a person adds would make the entry unclear.
    """
    family = SECTION_FAMILY[section]
    moves = mapping(dict(doc), "move")
    return default_source(doc, family) if family in moves or (family == "database" and "compute" in moves) else ""


def _is_empty(value: Json) -> bool:
    return value in (None, "", [], {}) or value == {"private": [], "public": []}


def _trimmed(key: str, value: Json) -> Json:
    if key == "rules":
        return [{k: v for k, v in rule.items() if v not in (None, "")} for rule in value]
    if key == "addresses":
        return {k: v for k, v in value.items() if v}
    return value


def _update_body(
    work: _Merge, found: Found, entry: dict[str, Json], wanted: dict[str, Json]
) -> Iterator[tuple[str, Json, Json]]:
    normal = found.existing.body if found.existing else {}
    for key, value in wanted.items():
        before = normal.get(key)
        if same(before, value) or (key in _UNORDERED and _same_set(before, value)):
            continue
        if key == "app" and value is None:
            continue  # what runs on a server is for people to say; no cloud knows it
        yield key, before, value
        if key in ("user_data", "app"):
            entry[key] = _with_files({key: value}, work.payload)[key]
        else:
            entry[key] = _respelled(entry.get(key), before, value, key)
    if len(found.loc) > 2:
        for key in [key for key in normal if key not in wanted]:
            yield key, normal[key], None
            del entry[key]


def _same_set(one: Json, other: Json) -> bool:
    return isinstance(one, list) and isinstance(other, list) and sorted(map(str, one)) == sorted(map(str, other))


def _respelled(raw: Json, normal: Json, wanted: Json, key_above: str = "") -> Json:
    """Return ``wanted``, but where it means the same as before, as the person spelled it."""
    if raw is not None and same(normal, wanted):
        return raw
    if isinstance(raw, dict) and isinstance(normal, dict) and isinstance(wanted, dict):
        made = {}
        for key, value in wanted.items():
            if key in raw:
                made[key] = _respelled(raw[key], normal.get(key), value)
            elif key not in normal or not same(normal[key], value):
                made[key] = value  # a key that was left out meant its default, and still may
        return {key: made[key] for key in [*(k for k in raw if k in made), *(k for k in made if k not in raw)]}
    if isinstance(raw, list) and isinstance(normal, list) and isinstance(wanted, list) and len(raw) == len(normal):
        unused = dict(enumerate(zip(raw, normal, strict=True)))
        made_list: list[Json] = []
        for index, value in enumerate(wanted):
            hit = next((n for n, (_, old) in unused.items() if same(old, value)), None)
            if hit is not None:
                made_list.append(unused.pop(hit)[0])
            elif index in unused and not any(same(unused[index][1], other) for other in wanted):
                made_list.append(_respelled(*unused.pop(index), value))
            else:
                made_list += _trimmed(key_above, [value])
        return made_list
    return _trimmed(key_above, wanted)


def _update_facts(entry: dict[str, Json], facts: Mapping[str, Json]) -> Iterator[tuple[str, Json, Json]]:
    """Bring observed facts and provider extras up to date; what only the file knows stays."""
    have = facts_of(entry)
    for key, value in facts.items():
        if key in _HUMAN or same(have.get(key), value):
            continue
        if key.startswith("x-"):
            known = have.get(key)
            made = _deep(known, value)
            if same(known, made):
                continue
            entry[key] = made
            yield key, known, made
        else:
            entry["facts"] = mapping(entry, "facts") | {key: value}
            yield f"facts.{key}", have.get(key), value


def _deep(known: Json, value: Json) -> Json:
    if isinstance(known, dict) and isinstance(value, dict):
        return known | {key: _deep(known.get(key), item) for key, item in value.items()}
    return value


def _drop_what_does_not_fit(work: _Merge, path: Path) -> None:
    """Take back what would make the file invalid, with its reason: what a cloud says is untrusted."""
    for _ in range(len(work.original) + 1):
        doc = filled(copy.deepcopy(work.doc))
        troubles = [*shape_troubles(doc), *meaning_troubles(doc, datetime.date.min)]
        ours = {loc: text for loc, text in ((_owner(work, trouble[0]), trouble[1]) for trouble in troubles) if loc}
        strangers = [(loc, text, remedy) for loc, text, remedy in troubles if not _owner(work, loc)]
        if strangers:
            raise DefinitionError([Problem(str(path), 1, text, remedy) for _, text, remedy in strangers])
        if not ours:
            return
        for loc, text in ours.items():
            _take_back(work, loc, f"what was observed does not fit into site.yaml: {text}")


def _owner(work: _Merge, loc: Loc) -> Loc:
    return next((loc[:size] for size in (4, 2) if loc[:size] in work.original), ())


def _take_back(work: _Merge, loc: Loc, why: str) -> None:
    parent, address = _parent(work.doc, loc), work.address[loc]
    before = work.original.pop(loc)
    if before is None:
        parent.pop(str(loc[-1]), None)
        for inner in [other for other in work.original if other[:2] == loc]:
            del work.original[inner]
            work.not_seen.append(NotSeen(work.address[inner], "its zone could not be written"))
    else:
        parent[str(loc[-1])] = before
    gone = {address, *(item.what for item in work.not_seen)}
    work.added = [item for item in work.added if item not in gone]
    work.changed = [item for item in work.changed if item[0] != address]
    work.not_seen.append(NotSeen(address, why))


def _gone(site: Site, seen: set[str], looked_at: set[str], out_of_sight: list[str]) -> Iterator[str]:
    """Yield what stands in the file and was not observed although everything like it was looked at."""
    hidden = {what.split("/", 1)[0].split(":", 1)[0] for what in out_of_sight}
    families = {name for kind in KINDS.values() for name in kind.families}
    if hidden - families:
        return  # something unnamed was out of sight, so absence proves nothing
    for address, resource in site.resources().items():
        provider = site.providers.get(resource.provider)
        family = address.split("/", 1)[0]
        if address in seen or provider is None or provider.name not in looked_at or family in hidden:
            continue
        if family in KINDS[provider.kind].families and provider.extra.get("family", family) == family:
            yield address
