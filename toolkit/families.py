"""What a family is. Stages know families only through this Protocol; add a family = one folder, one row.

A family instance is made by ``wiring`` for one move (source driver, target driver, run folder) and
implements verbs, never policy: order, retry, consent and the journal live in the stages above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from toolkit.model import (
    Abilities,
    Change,
    Endpoint,
    Finding,
    Json,
    NotSeen,
    Phase,
    Resource,
    Seen,
    Side,
    State,
    Tally,
    Verdict,
)

#: The families in the order they are built: section of site.yaml → (family, kind).
SECTIONS: Mapping[str, tuple[str, str]] = {
    "buckets": ("storage", "bucket"),
    "keypairs": ("compute", "keypair"),
    "firewalls": ("compute", "firewall"),
    "servers": ("compute", "server"),
    "load_balancers": ("compute", "load_balancer"),
    "databases": ("database", "database"),
    "identities": ("storage", "identity"),
    "zones": ("dns", "zone"),
}
FAMILIES: tuple[str, ...] = ("storage", "compute", "database", "dns")
UNITS: Mapping[str, str] = {
    "storage": "object versions",
    "compute": "servers",
    "database": "rows",
    "dns": "rrsets",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of long work. ``wait`` names the reason for standing still, if there is one."""

    family: str
    address: str
    done: int
    total: int | None = None
    size: int = 0
    retries: int = 0
    wait: str = ""
    total_size: int | None = None  # bytes


Tick = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Shard:
    """A slice of a bulk change: rows ``[start, stop)`` of one immutable manifest file."""

    id: str  # unique within the change, for example "media-0003"
    manifest: str  # path inside the run folder
    start: int
    stop: int
    figures: Mapping[str, int] = field(default_factory=dict)  # objects, bytes


class Lease(Protocol):
    """The right to work on one shard until it expires; fenced by owner and epoch.

    ``cursor``: every row below it is done and proven. ``commit`` makes progress durable and raises
    ``JournalError`` if the lease was lost: then drop the shard and keep nothing.
    """

    shard: Shard
    cursor: int

    def commit(self, cursor: int, *, done: int, size: int, exceptions: list[Finding]) -> None: ...

    def heartbeat(self) -> None: ...


class Family(Protocol):
    """One family of resources, bound to the two sides of one move.

    ``read`` yields what one side has: everything (``wanted=None``, for discover) or just the
    resources named in ``wanted``. What it may not look at comes as ``NotSeen``.
    ``translate`` says what the target must look like, given the addresses that moved.
    ``diff`` may add changes of its own (objects of a bucket) beside create and update.
    ``cutover`` lists the changes of a later phase.
    ``observe`` looks at the world and says whether it shows ``before``, ``after`` or neither.
    ``do`` performs one change (or one shard of it) and returns its outputs, usable by other changes
    as ``@{address:name}``; ``outputs`` reads them from a world that already shows the change.
    ``undo`` restores ``before``; it must never delete what we did not make.
    ``bulk`` returns the shards of a change too large for one step, ``None`` for all others.
    ``took`` says of such a change whether its last pass brought over all that the pass had listed; while
    the source is in use that is less than equality, which ``observe`` demands.
    ``giving_back`` lists the changes by which the source gets what was written at the target since a change of
    the cut-over was done; none where a family keeps nothing that users write.
    ``verify`` compares the target with the desired state: findings as it goes, one Tally per resource.
    ``dependence`` looks for what still hangs on the old side.
    ``try_write`` shows, with requests that cannot succeed, whether the source credentials could write:
    a warning each where they could, an info where they are refused.
    """

    name: str

    def read(self, side: Side, wanted: State | None) -> Iterator[Resource | NotSeen]: ...

    def probe(self, side: Side) -> Abilities: ...

    def assess(self, resource: Resource, abilities: Abilities) -> Iterator[Verdict]: ...

    def translate(self, resource: Resource, moved: Mapping[str, Endpoint]) -> Iterator[Resource]: ...

    def endpoints(self, resource: Resource) -> Iterator[Endpoint]: ...

    def diff(self, desired: State, existing: State) -> Iterator[Change]: ...

    def cutover(self, phase: Phase, desired: State) -> Iterator[Change]: ...

    def observe(self, change: Change) -> Seen: ...

    def bulk(self, change: Change) -> Iterator[Shard] | None: ...

    def took(self, change: Change) -> Seen: ...

    def giving_back(self, change: Change) -> Iterator[Change]: ...

    def do(self, change: Change, lease: Lease | None) -> Mapping[str, Json]: ...

    def outputs(self, change: Change) -> Mapping[str, Json]: ...

    def undo(self, change: Change, *, purge: bool) -> None: ...

    def verify(self, desired: State, tier: str) -> Iterator[Finding | Tally]: ...

    def dependence(self, desired: State, old: OldSide) -> Iterator[Finding | Tally]: ...

    def try_write(self) -> Iterator[Finding]: ...


@dataclass(frozen=True, slots=True)
class OldSide:
    """What counts as the side we left: anything that matches is a dependence."""

    kind: str
    suffixes: tuple[str, ...] = ()  # host-name endings, e.g. "amazonaws.com"
    addresses: tuple[str, ...] = ()  # CIDRs and single IPs
    issuers: tuple[str, ...] = ()  # words in the organisation of a TLS issuer
    endpoints: tuple[str, ...] = ()  # strings that must not stand in configuration or data
