"""Copy: one bucket, or what begins with a prefix in it, from one provider to another, without a site.

Enters: two places, filters, and a storage family bound to both. Leaves: a plan for :mod:`toolkit.apply`,
so that the journal, the verdicts, the resume and the proof are the same as for a whole site. Raises
``UsageError`` for a place that cannot be read, ``Refused`` where source and target overlap.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote_from_bytes

from toolkit import leases
from toolkit.assess import assess
from toolkit.errors import AuthError, NotFound, Refused, UsageError
from toolkit.families import Family
from toolkit.journal import Journal
from toolkit.model import Finding, Json, NotSeen, Plan, Resource, address, canonical, sha256_hex, state
from toolkit.plan import blocked, desired, ordered
from toolkit.runs import Run, now

_PLACE = re.compile(r"(?P<provider>[^:/]+):(?P<bucket>[^/]+)(?:/(?P<prefix>.*))?", re.DOTALL)


class Copying(Family, Protocol):
    """A storage family bound to one copy."""

    def left_alone(self, resource: Resource) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Place:
    """One end: a provider, a bucket there, and the bytes that its keys begin with."""

    provider: str
    bucket: str
    prefix: bytes = b""

    @property
    def shown(self) -> str:
        """The place as it was typed, printable."""
        return f"{self.provider}:{self.bucket}" + (f"/{quote_from_bytes(self.prefix)}" if self.prefix else "")


def place(text: str) -> Place:
    """Read ``PROVIDER:BUCKET[/PREFIX]``; the prefix is bytes, not a folder."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no place", "write PROVIDER:BUCKET or PROVIDER:BUCKET/PREFIX")
    return Place(found["provider"], found["bucket"], os.fsencode(found["prefix"] or ""))


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be copied, and which degradations were accepted on the command line."""

    source: Place
    target: Place
    include: tuple[bytes, ...] = ()
    exclude: tuple[bytes, ...] = ()
    newest: bool = False
    accept: tuple[str, ...] = ()

    @property
    def scope(self) -> Json:
        """The keys that go along, as the facts of a resource keep it."""
        return {
            "from": quote_from_bytes(self.source.prefix),
            "to": quote_from_bytes(self.target.prefix),
            "include": [quote_from_bytes(glob) for glob in self.include],
            "exclude": [quote_from_bytes(glob) for glob in self.exclude],
        }

    @property
    def name(self) -> str:
        """A name that the same request always has: that of its run folder, so that it can be resumed."""
        ends = [[end.provider, end.bucket] for end in (self.source, self.target)]
        return f"copy-{sha256_hex(canonical([ends, self.scope, self.newest]))[:12]}"


@dataclass(frozen=True, slots=True)
class _Accepted:
    """A degradation accepted by the one who typed the command."""

    what: str
    why: str = "accepted on the command line"
    who: str = "--accept"
    expect: int | None = None


def refuse_overlap(request: Request, *, same_store: bool) -> None:
    """A copy onto itself would overwrite what it reads, or never end."""
    a, b = request.source, request.target
    if same_store and a.bucket == b.bucket and (a.prefix.startswith(b.prefix) or b.prefix.startswith(a.prefix)):
        raise Refused(
            f"{a.shown} and {b.shown} overlap", "choose a target that neither contains the source nor lies in it"
        )


def plan(request: Request, family: Copying, run: Run) -> Plan:
    """Look at both sides and say what would be copied, with the verdicts of every other move."""
    source = bucket(request, family)
    resources, families = {source.address: source}, {family.name: family}
    features = (*request.accept, *(("versions-left-behind",) if request.newest else ()))
    accepts = [_Accepted(f"{source.address}:{feature}") for feature in features]
    verdicts = assess(resources, families, {family.name: family.probe("target")}, accepts)
    wanted = desired(resources, families, blocked(verdicts))
    existing = state(item for item in family.read("target", wanted) if isinstance(item, Resource))
    alone = family.left_alone(source)
    notices = [f"no part of a copy: {', '.join(alone)} of the bucket (`rehost apply` moves a bucket whole)"]
    changes = ordered(family.diff(wanted, existing))
    inputs = {"request": sha256_hex(canonical(request.name))}
    return Plan(
        run.site, run.id, now(), changes, verdicts, tuple(notices if alone else ()), tuple(wanted.values()), inputs
    )


def bucket(request: Request, family: Family) -> Resource:
    """Look at the source's bucket and return it with the copy's scope."""
    asked = Resource(address("storage", "bucket", request.source.bucket), {"name": request.source.bucket})
    found = next(iter(family.read("source", state([asked]))), None)
    if found is None:
        raise NotFound(f"{request.source.shown}: there is no such bucket", "check its name and the provider")
    if isinstance(found, NotSeen):
        raise AuthError(f"{request.source.shown}: {found.why}", "allow these credentials to read the bucket")
    versioning = "off" if request.newest else found.body["versioning"]
    facts = {**found.facts, "to": {"name": request.target.bucket}, "scope": request.scope}
    return Resource(found.address, {**found.body, "versioning": versioning}, request.source.provider, found.id, facts)


def exceptions(journal: Journal, made: Plan) -> list[Finding]:
    """Return what a person should know of single objects: notes, and what could not be brought over."""
    return [
        finding
        for change in made.changes
        if change.action == "copy"
        for finding in leases.exceptions(journal, change.id)
    ]
