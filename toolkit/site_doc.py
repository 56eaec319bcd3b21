"""Looking into the plain document of a site, which may still hold mistakes: nothing here trusts a type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from toolkit.model import Json
from toolkit.providers import KINDS
from toolkit.site_words import did_you_mean
from toolkit.site_yaml import Loc

SECTION_FAMILY: Mapping[str, str] = {
    "buckets": "storage",
    "zones": "dns",
    "servers": "compute",
    "firewalls": "compute",
    "keypairs": "compute",
    "load_balancers": "compute",
    "databases": "database",
    "identities": "storage",
}
#: Entries under ``identities`` that become resources; others (single sign-on …) are kept as they are.
IDENTITY_KINDS = ("user", "role", "account")


def is_identity(entry: Json) -> bool:
    """Say whether an entry under ``identities`` is one that storage moves."""
    return isinstance(entry, dict) and entry.get("kind") in IDENTITY_KINDS


def mapping(value: Json, *keys: str) -> dict[str, Json]:
    """Return the mapping found under ``keys``, or an empty one if something else stands there."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def items(value: Json) -> list[Json]:
    """Return a list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def texts(value: Json) -> Iterator[tuple[int, str]]:
    """Yield the texts of a list with their places; a single text counts as a list of one."""
    if isinstance(value, str):
        yield 0, value
    for index, item in enumerate(items(value)):
        if isinstance(item, str):
            yield index, item


def serves(doc: dict[str, Json], provider: str, family: str) -> bool:
    entry = mapping(doc, "providers", provider)
    kind = KINDS.get(str(entry.get("kind")))
    if kind is None:
        return True  # the unknown kind is reported where it stands
    wanted = "compute" if family == "database" else family
    return entry.get("family", wanted) == wanted and wanted in kind.families


def known_names(name: str, known: Iterable[str]) -> str:
    """Return the remedy for a name that is not among the known ones."""
    names = list(known)
    return did_you_mean(name, names, "" if len(names) <= 8 else "define it first") if names else "define it first"


def entries(doc: dict[str, Json]) -> Iterator[tuple[Loc, str, dict[str, Json]]]:
    """Yield (location, family, entry) of every resource, records included."""
    for section, family in SECTION_FAMILY.items():
        for slug, entry in mapping(doc, section).items():
            if section == "identities" and not is_identity(entry):
                continue
            yield (section, slug), family, mapping(entry)
            if section == "zones":
                for key, record in mapping(entry, "records").items():
                    yield (section, slug, "records", key), family, mapping(record)


def default_source(doc: Mapping[str, Json], family: str) -> str:
    """Return the provider that resources of ``family`` come from unless they name one; empty if unclear."""
    document = dict(doc)
    for name in (family, "compute") if family == "database" else (family,):
        sources = [source for _, source in texts(mapping(document, "move", name).get("from"))]
        if sources:
            return sources[0] if len(sources) == 1 else ""
    serving = [name for name in mapping(document, "providers") if serves(document, name, family)]
    return serving[0] if len(serving) == 1 else ""
