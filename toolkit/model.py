"""The nouns of rehost: frozen, comparable, turned into canonical JSON.

Desired and existing are the same type (:class:`Resource`), so ``plan`` and ``verify`` are the same
diff. Bodies are plain JSON in the neutral words of the site definition; each family parses them
into its own types. Nothing here knows a provider.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

Json = Any  # None | bool | int | float | str | list[Json] | dict[str, Json]
Side = Literal["source", "target"]
Phase = Literal["build", "traffic", "dns", "registrar"]
Action = Literal["create", "update", "delete", "copy"]
Outcome = Literal["kept", "converted", "degraded", "blocked"]
Seen = Literal["before", "after", "other"]

_ESCAPED = "%/#*?[]"


def canonical(value: Json) -> bytes:
    """Return the one JSON spelling of ``value``: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def escape(part: str) -> str:
    """Escape one part of an address: ``/ # * ? [ ] %`` become ``%XX``."""
    return "".join(f"%{ord(c):02X}" if c in _ESCAPED else c for c in part)


def unescape(part: str) -> str:
    """Undo :func:`escape`."""
    for c in reversed(_ESCAPED):
        part = part.replace(f"%{ord(c):02X}", c)
    return part


def address(family: str, kind: str, *parts: str) -> str:
    """Join and escape: ``address("dns", "rrset", "agora", "www", "A")`` → ``dns/rrset/agora/www/A``."""
    return "/".join([family, kind, *(escape(part) for part in parts)])


def split(addr: str) -> tuple[str, ...]:
    """Split an address into its unescaped parts, family and kind first."""
    return tuple(unescape(part) for part in addr.split("/"))


def matches(addr: str, pattern: str) -> bool:
    """Say whether ``pattern`` (an address with globs) selects ``addr`` or a parent of it."""
    return fnmatchcase(addr, pattern) or fnmatchcase(addr, pattern.rstrip("/") + "/*")


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing of one side: a bucket, an rrset, a server, a database.

    ``body`` is what is compared; ``id`` is the provider's own name for it; ``facts`` are observed
    circumstances (state, creation time, addresses at run time) that no diff looks at.
    """

    address: str
    body: Mapping[str, Json]
    provider: str = ""
    id: str = ""
    facts: Mapping[str, Json] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical body."""
        return sha256_hex(canonical(dict(self.body)))

    def to_json(self) -> dict[str, Json]:
        return {
            "address": self.address,
            "body": dict(self.body),
            "provider": self.provider,
            "id": self.id,
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Resource:
        return cls(data["address"], data["body"], data["provider"], data["id"], data["facts"])


State = Mapping[str, Resource]


def state(resources: Iterable[Resource]) -> dict[str, Resource]:
    """Key resources by address."""
    return {resource.address: resource for resource in resources}


@dataclass(frozen=True, slots=True)
class NotSeen:
    """Something ``read`` was not allowed or able to look at: the result is incomplete, never shorter."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address of the old side and what replaces it: how names are tied to buckets and servers.

    ``kind`` is ``ipv4``, ``ipv6`` or ``hostname``. ``new`` holds one value or, where one old name
    stands for several machines, several; an entry ``@{address:attr}`` is known only after apply.
    """

    address: str
    kind: Literal["ipv4", "ipv6", "hostname"]
    old: str
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a plan. Keeps both sides, so it can be shown, hashed, observed and inverted.

    ``data`` marks changes that hold users' data (buckets, objects, rows): rollback removes those
    only with ``--purge-created``. ``needs`` are ids of changes that must be done first.
    """

    address: str
    action: Action
    before: Resource | None
    after: Resource | None
    phase: Phase = "build"
    needs: tuple[str, ...] = ()
    data: bool = False
    note: str = ""
    figures: Mapping[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.phase}:{self.action}:{self.address}"

    @property
    def family(self) -> str:
        return self.address.split("/", 1)[0]

    def to_json(self) -> dict[str, Json]:
        return {
            "address": self.address,
            "action": self.action,
            "before": self.before.to_json() if self.before else None,
            "after": self.after.to_json() if self.after else None,
            "phase": self.phase,
            "needs": list(self.needs),
            "data": self.data,
            "note": self.note,
            "figures": dict(self.figures),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Change:
        return cls(
            data["address"],
            data["action"],
            Resource.from_json(data["before"]) if data["before"] else None,
            Resource.from_json(data["after"]) if data["after"] else None,
            data["phase"],
            tuple(data["needs"]),
            data["data"],
            data["note"],
            data["figures"],
        )


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one side can do. ``assumed`` abilities come from a table, not from a probe."""

    kind: str
    have: frozenset[str] = frozenset()
    assumed: frozenset[str] = frozenset()

    def can(self, ability: str) -> bool:
        return ability in self.have or ability in self.assumed


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to one feature of one resource on the way over. Id: ``address:feature``."""

    address: str
    feature: str
    outcome: Outcome
    reason: str = ""
    instead: str = ""
    assumed: bool = False
    accepted: str = ""  # who accepted it, and why; empty = nobody

    @property
    def id(self) -> str:
        return f"{self.address}:{self.feature}"

    @property
    def stands_in_the_way(self) -> bool:
        """Blocked, or degraded and not accepted: apply refuses while this stands."""
        return self.outcome in ("blocked", "degraded") and not self.accepted

    def to_json(self) -> dict[str, Json]:
        return {
            "id": self.id,
            "address": self.address,
            "feature": self.feature,
            "verdict": self.outcome,
            "reason": self.reason,
            "instead": self.instead,
            "assumed": self.assumed,
            "accepted": self.accepted,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Verdict:
        return cls(
            data["address"],
            data["feature"],
            data["verdict"],
            data["reason"],
            data["instead"],
            data["assumed"],
            data["accepted"],
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a check found. ``id`` is stable between runs, so reports can be compared."""

    address: str
    feature: str
    verdict: str  # missing | different | extra | unreachable | dependent | unproven | refused | note
    text: str
    remedy: str = ""
    severity: Literal["error", "warning", "info"] = "error"
    evidence: Mapping[str, Json] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.address}:{self.feature}:{self.verdict}"

    def to_json(self) -> dict[str, Json]:
        return {
            "id": self.id,
            "address": self.address,
            "feature": self.feature,
            "verdict": self.verdict,
            "severity": self.severity,
            "text": self.text,
            "remedy": self.remedy,
            "evidence": dict(self.evidence),
        }


@dataclass(frozen=True, slots=True)
class Tally:
    """How many units of one resource were checked (object versions, rrsets, servers, rows)."""

    address: str
    total: int
    verified: int
    size: int = 0  # bytes, where that means something


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one run will do, with the digest that apply insists on."""

    site: str
    run: str
    created: str
    changes: tuple[Change, ...]
    verdicts: tuple[Verdict, ...]
    notices: tuple[str, ...] = ()
    desired: tuple[Resource, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)  # digests of what it was made from

    def to_json(self) -> dict[str, Json]:
        return {
            "schema": "rehost.plan/1",
            "site": self.site,
            "run": self.run,
            "created": self.created,
            "changes": [change.to_json() for change in self.changes],
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "notices": list(self.notices),
            "desired": [resource.to_json() for resource in self.desired],
            "inputs": dict(self.inputs),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Plan:
        return cls(
            data["site"],
            data["run"],
            data["created"],
            tuple(Change.from_json(item) for item in data["changes"]),
            tuple(Verdict.from_json(item) for item in data["verdicts"]),
            tuple(data["notices"]),
            tuple(Resource.from_json(item) for item in data["desired"]),
            data["inputs"],
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256_hex(canonical(self.to_json()))

    def phase(self, phase: Phase) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.phase == phase)


def diff_states(desired: State, existing: State) -> Iterator[Change]:
    """Yield a create or update for every desired resource that existing lacks or shows otherwise.

    What exists beyond the desired is never ours to delete, so no delete comes from here.
    """
    for addr, want in desired.items():
        have = existing.get(addr)
        if have is None:
            yield Change(addr, "create", None, want)
        elif canonical(dict(have.body)) != canonical(dict(want.body)):
            yield Change(addr, "update", have, want)
