"""Parts that are one family: buckets and what is in them, who may use them, and addresses in text objects.

Enters: the parts. Leaves: what the Family protocol asks for; each address goes to the part that knows it.
Raises what the parts raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from toolkit.addresses import Addresses, Form
from toolkit.families import Family, Lease, OldSide, Shard
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
from toolkit.storage.identity.family import OWNER, Identities
from toolkit.storage.identity.map import IDENTITY
from toolkit.storage.texts import TEXT, Texts


class _Part(Protocol):
    """What a part does to the changes and resources that are its own."""

    def observe(self, change: Change) -> Seen: ...

    def took(self, change: Change) -> Seen: ...

    def giving_back(self, change: Change) -> Iterator[Change]: ...

    def bulk(self, change: Change) -> Iterator[Shard] | None: ...

    def do(self, change: Change, lease: Lease | None) -> Mapping[str, Json]: ...

    def outputs(self, change: Change) -> Mapping[str, Json]: ...

    def undo(self, change: Change, *, purge: bool) -> None: ...


class StorageParts:
    """Buckets, identities (where the site has some) and texts as one family."""

    name = "storage"

    def __init__(self, buckets: Family, identities: Identities, texts: Texts) -> None:
        self._buckets = buckets
        self._identities = identities
        self._texts = texts

    def __getattr__(self, name: str) -> object:
        """What only buckets have (and stages ask for by name) is the buckets' business."""
        return getattr(self._buckets, name)

    def _part(self, address: str) -> _Part:
        if address.startswith(TEXT):
            return self._texts
        return self._identities if address.startswith((IDENTITY, OWNER)) else self._buckets

    def _of(self, resource: Resource) -> Family:
        return self._identities if resource.address.startswith((IDENTITY, OWNER)) else self._buckets

    def forms(self, resource: Resource) -> Iterator[Form]:
        """Yield every old spelling of a bucket's address, and its new one."""
        yield from self._texts.forms(resource)

    def rewrites(self, desired: State, addresses: Addresses) -> Iterator[Change | Finding]:
        """Yield a change for each bucket whose text objects hold old addresses."""
        yield from self._texts.rewrites(desired, addresses)

    def read(self, side: Side, wanted: State | None) -> Iterator[Resource | NotSeen]:
        yield from self._buckets.read(side, _without(wanted))
        yield from self._identities.read(side, wanted)

    def probe(self, side: Side) -> Abilities:
        one, other = self._buckets.probe(side), self._identities.probe(side)
        return Abilities(one.kind, one.have | other.have, one.assumed | other.assumed)

    def assess(self, resource: Resource, abilities: Abilities) -> Iterator[Verdict]:
        yield from self._of(resource).assess(resource, abilities)

    def translate(self, resource: Resource, moved: Mapping[str, Endpoint]) -> Iterator[Resource]:
        yield from self._of(resource).translate(resource, moved)

    def endpoints(self, resource: Resource) -> Iterator[Endpoint]:
        yield from self._of(resource).endpoints(resource)

    def diff(self, desired: State, existing: State) -> Iterator[Change]:
        yield from self._buckets.diff(_without(desired) or {}, _without(existing) or {})
        yield from self._identities.diff(desired, existing)

    def cutover(self, phase: Phase, desired: State) -> Iterator[Change]:
        yield from self._buckets.cutover(phase, _without(desired) or {})

    def observe(self, change: Change) -> Seen:
        return self._part(change.address).observe(change)

    def took(self, change: Change) -> Seen:
        return self._part(change.address).took(change)

    def giving_back(self, change: Change) -> Iterator[Change]:
        yield from self._part(change.address).giving_back(change)

    def bulk(self, change: Change) -> Iterator[Shard] | None:
        return self._part(change.address).bulk(change)

    def do(self, change: Change, lease: Lease | None) -> Mapping[str, Json]:
        return self._part(change.address).do(change, lease)

    def outputs(self, change: Change) -> Mapping[str, Json]:
        return self._part(change.address).outputs(change)

    def undo(self, change: Change, *, purge: bool) -> None:
        self._part(change.address).undo(change, purge=purge)

    def verify(self, desired: State, tier: str) -> Iterator[Finding | Tally]:
        yield from self._buckets.verify(_without(desired) or {}, tier)
        yield from self._identities.verify(desired, tier)

    def dependence(self, desired: State, old: OldSide) -> Iterator[Finding | Tally]:
        yield from self._buckets.dependence(_without(desired) or {}, old)

    def try_write(self) -> Iterator[Finding]:
        yield from self._buckets.try_write()


def _without(state: State | None) -> State | None:
    """Return the part of a state that is not about identities; no state stays none."""
    if state is None:
        return None
    return {addr: item for addr, item in state.items() if not addr.startswith((IDENTITY, OWNER))}
