"""The record of an exit plan, ``exit.yaml``: what was observed, attested, waived, and the figures of the deadline.

Enters: the file beside site.yaml, or any other. Leaves: a frozen :class:`Record`. Raises ``DefinitionError``
with every mistake of the file at once: a waiver that cannot be read must never count as one.

Every observation has a time, a collector and a kind (``mock`` or ``real``); one without is a mistake, not a guess.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from toolkit.errors import DefinitionError, Problem
from toolkit.exitplan import tables
from toolkit.exitplan.tables import Located
from toolkit.model import Json, canonical, sha256_hex

NAME = "exit.yaml"
FORMAT = 1
Kind = Literal["mock", "real"]
PHASES = ("plan", "exit", "after")
PROFILES = ("small", "regulated")
_KEYS = (
    *("exit", "site", "as_of", "phase", "profile", "notice", "owners", "people", "deadline", "observed", "attested"),
    *("waived", "not_applicable", "vendors", "drills", "promises", "preservation", "returns", "functions"),
    *("catalogues", "triggers", "alternatives", "signoffs", "lead", "prices"),
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that somebody or something saw: a value, when, by whom, on what kind of system."""

    name: str
    value: Json
    at: datetime.datetime
    collector: str
    kind: Kind
    source: str = ""
    sha256: str = ""

    @property
    def digest(self) -> str:
        """The digest that was recorded, or that of the value itself."""
        return self.sha256 or sha256_hex(canonical(self.value))

    def to_json(self) -> dict[str, Json]:
        return {
            "value": self.value,
            "at": self.at.isoformat(),
            "collector": self.collector,
            "kind": self.kind,
            "source": self.source,
            "sha256": self.digest,
        }


@dataclass(frozen=True, slots=True)
class Attestation:
    """A person's word with a file: who, when, until when, the file and its digest."""

    item: str
    by: str
    at: datetime.datetime
    until: datetime.datetime
    says: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Waived:
    """An item somebody agreed to live without: why, who agreed, until when, and what makes up for it."""

    item: str
    reason: str
    approvers: tuple[str, ...]
    expires: datetime.datetime
    compensates: str
    line: int


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """An item that does not concern this site, as long as the inventory stays what it was."""

    item: str
    reason: str
    by: str
    inventory: str


@dataclass(frozen=True, slots=True)
class Owner:
    """Who answers for an item, and who does when that person cannot."""

    owner: str = ""
    deputy: str = ""
    due: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A checked record. ``doc`` is the whole document; the other fields are its parts in types."""

    path: Path
    site: str
    doc: Mapping[str, Json]
    as_of: datetime.datetime | None = None
    phase: str = "plan"
    profile: str = "regulated"
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    attested: Mapping[str, Attestation] = field(default_factory=dict)
    waived: tuple[Waived, ...] = ()
    not_applicable: Mapping[str, NotApplicable] = field(default_factory=dict)
    owners: Mapping[str, Owner] = field(default_factory=dict)

    def part(self, name: str) -> Mapping[str, Json]:
        """Return a mapping of the document, empty when it is not there."""
        found: Mapping[str, Json] = self.doc.get(name) or {}
        return found

    def rows(self, name: str) -> list[Mapping[str, Json]]:
        """Return a list of the document, empty when it is not there."""
        return list(self.doc.get(name) or ())

    def owner(self, item: str, group: str) -> Owner:
        """Return who answers for an item: named for it, for its group, or for everything."""
        nobody = Owner()
        return self.owners.get(item) or self.owners.get(group) or self.owners.get("default") or nobody


def empty(path: Path, site: str) -> Record:
    """Return the record of a site that nobody has planned for: everything is unknown."""
    return Record(path, site, {})


def load(path: Path) -> Record:
    """Read and check a record."""
    return checked(tables.read(path, missing="write one with: rehost exit init"), path)


def checked(found: Located, path: Path) -> Record:
    """Check a parsed record; every mistake is named with its line."""
    problems = list(_problems(found))
    if problems:
        raise DefinitionError(sorted(problems, key=lambda problem: problem.line))
    doc = found.doc
    return Record(
        path=path,
        site=str(doc.get("site", "")),
        doc=doc,
        as_of=tables.moment(doc["as_of"]) if doc.get("as_of") else None,
        phase=doc.get("phase", "plan"),
        profile=doc.get("profile", "regulated"),
        evidence={name: _evidence(name, row) for name, row in (doc.get("observed") or {}).items()},
        attested={item: _attestation(item, row) for item, row in (doc.get("attested") or {}).items()},
        waived=tuple(_waived(row, found, n) for n, row in enumerate(doc.get("waived") or ())),
        not_applicable={
            item: NotApplicable(item, str(row["reason"]), str(row["by"]), str(row.get("inventory", "")))
            for item, row in (doc.get("not_applicable") or {}).items()
        },
        owners={
            name: Owner(*(str(row.get(key) or "") for key in ("owner", "deputy", "due")))
            for name, row in (doc.get("owners") or {}).items()
        },
    )


def _evidence(name: str, row: Mapping[str, Json]) -> Evidence:
    return Evidence(
        name,
        row["value"],
        tables.moment(row["at"]),
        str(row["collector"]),
        row["kind"],
        str(row.get("source") or ""),
        str(row.get("sha256") or ""),
    )


def _attestation(item: str, row: Mapping[str, Json]) -> Attestation:
    return Attestation(
        item,
        str(row["by"]),
        tables.moment(row["at"]),
        tables.moment(row["until"]),
        str(row.get("says") or ""),
        str(row["file"]),
        str(row["sha256"]),
    )


def _waived(row: Mapping[str, Json], found: Located, number: int) -> Waived:
    return Waived(
        str(row["item"]),
        str(row["reason"]),
        approvers(row["approver"]),
        tables.moment(row["expires"]),
        str(row.get("compensates") or ""),
        found.problem(("waived", number), "", "").line,
    )


def approvers(value: Json) -> tuple[str, ...]:
    """One approver or several."""
    return tuple(str(name) for name in value) if isinstance(value, list) else (str(value),)


def _problems(found: Located) -> Iterator[Problem]:
    doc = found.doc
    if doc.get("exit") != FORMAT:
        yield found.problem(("exit",), "this is no record of format 1", "begin with `exit: 1`")
    for key in tables.unknown_keys(doc, _KEYS):
        yield found.problem((key,), f"unknown key {key!r}", f"use one of: {', '.join(_KEYS)}")
    for key, allowed in (("phase", PHASES), ("profile", PROFILES)):
        if key in doc and doc[key] not in allowed:
            yield found.problem((key,), f"{key} {doc[key]!r} is not known", f"use one of: {', '.join(allowed)}")
    if doc.get("as_of") and not tables.checked(doc["as_of"], tables.moment):
        yield found.problem(("as_of",), "as_of is no time", "write it like 2021-01-10T02:53Z")
    if doc.get("notice") is not None and not tables.checked(doc["notice"], tables.hours):
        yield found.problem(("notice",), "notice is no duration", "write it like 29h")
    for name in ("observed", "attested", "not_applicable", "owners", "vendors", "deadline", "people", "lead"):
        if not isinstance(doc.get(name) or {}, dict):
            yield found.problem((name,), f"{name} is not a mapping", "write `name: {…}` lines below it")
    for name in ("waived", "drills", "promises", "catalogues", "signoffs"):
        if not isinstance(doc.get(name) or [], list):
            yield found.problem((name,), f"{name} is not a list", "write `- …` lines below it")
    yield from _rows(found, "observed", ("value", "at", "collector", "kind"), ("at",))
    yield from _rows(found, "attested", ("by", "at", "until", "file", "sha256"), ("at", "until"))
    yield from _rows(found, "not_applicable", ("reason", "by"), ())
    yield from _rows(found, "waived", ("item", "reason", "approver", "expires"), ("expires",))
    observed = doc.get("observed")
    for name, row in observed.items() if isinstance(observed, dict) else ():
        if isinstance(row, dict) and row.get("kind") not in ("mock", "real", None):
            yield found.problem(("observed", name), f"kind {row['kind']!r} is not known", "say mock or real")
    attested = doc.get("attested")
    for name, row in attested.items() if isinstance(attested, dict) else ():
        if isinstance(row, dict) and row.get("sha256") and not _DIGEST.fullmatch(str(row["sha256"])):
            yield found.problem(("attested", name), "sha256 is no digest", "write 64 hex digits: sha256sum FILE")


def _rows(found: Located, part: str, required: tuple[str, ...], times: tuple[str, ...]) -> Iterator[Problem]:
    rows = found.doc.get(part) or {}
    pairs = rows.items() if isinstance(rows, dict) else enumerate(rows) if isinstance(rows, list) else ()
    for key, row in pairs:
        if not isinstance(row, dict):
            yield found.problem((part, key), f"{part}.{key} is not a mapping", f"write {{{', '.join(required)}}}")
            continue
        for name in required:
            if name not in row or (row[name] in (None, "") and name != "value"):
                yield found.problem((part, key), f"{part}.{key} has no {name}", f"add `{name}:`")
        for name in times:
            if row.get(name) and not tables.checked(row[name], tables.moment):
                yield found.problem((part, key, name), f"{part}.{key}: {name} is no time", "write an ISO date or time")
