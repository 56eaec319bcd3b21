"""A family over two dictionaries, with a switch to fail at any moment. It has no policy of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from toolkit.families import Lease, OldSide, Shard
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
    diff_states,
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, nothing cleans up."""


def thing(slug: str, value: Json = 1, *, facts: Mapping[str, Json] | None = None, family: str = "dns") -> Resource:
    return Resource(f"{family}/rrset/zone/{slug}/A", {"value": value}, "old", "", facts or {})


@dataclass
class FakeFamily:
    """``world`` is the target. ``die`` names a moment (``before:ID`` or ``after:ID``) to be killed at."""

    name: str = "dns"
    source: dict[str, Resource] = field(default_factory=dict)
    world: dict[str, Resource] = field(default_factory=dict)
    die: str = ""
    deaf: set[str] = field(default_factory=set)
    outcomes: dict[str, str] = field(default_factory=dict)
    later: dict[str, list[Change]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    batches: int = 0
    hanging: list[Finding] = field(default_factory=list)
    copied: dict[str, list[int]] = field(default_factory=dict)
    rows: int = 0

    def read(self, side: Side, wanted: State | None) -> Iterator[Resource | NotSeen]:
        found = self.source if side == "source" else self.world
        yield from (item for addr, item in found.items() if wanted is None or addr in wanted)

    def probe(self, side: Side) -> Abilities:
        return Abilities("fake")

    def assess(self, resource: Resource, abilities: Abilities) -> Iterator[Verdict]:
        yield Verdict(resource.address, "value", self.outcomes.get(resource.address, "kept"))  # type: ignore[arg-type]

    def translate(self, resource: Resource, moved: Mapping[str, Endpoint]) -> Iterator[Resource]:
        yield replace(resource, provider="new")

    def endpoints(self, resource: Resource) -> Iterator[Endpoint]:
        return iter(())

    def diff(self, desired: State, existing: State) -> Iterator[Change]:
        yield from diff_states(desired, existing)
        if self.rows:
            box = Resource("dns/objects/box", {"rows": self.rows})
            yield Change(box.address, "copy", None, box, data=True, figures={"objects": self.rows})

    def cutover(self, phase: Phase, desired: State) -> Iterator[Change]:
        yield from self.later.get(phase, [])

    def observe(self, change: Change) -> Seen:
        if change.action == "copy":
            return "after" if sorted(set(self.copied.get(change.address, []))) == list(range(self.rows)) else "before"
        have = self.world.get(change.address)
        for name, side in (("after", change.after), ("before", change.before)):
            if (have is None) == (side is None) and (have is None or side is None or have.body == side.body):
                return name  # type: ignore[return-value]
        return "other"

    def took(self, change: Change) -> Seen:
        return self.observe(change)

    def giving_back(self, change: Change) -> Iterator[Change]:
        return iter(())

    def bulk(self, change: Change) -> Iterator[Shard] | None:
        if change.action != "copy":
            return None
        have = set(self.copied.get(change.address, []))
        missing = [row for row in range(self.rows) if row not in have]
        return iter(
            Shard(f"box-{missing[at]:06d}-{len(have)}", "m", missing[at], missing[min(at + 99, len(missing) - 1)] + 1)
            for at in range(0, len(missing), 100)
        )

    def do(self, change: Change, lease: Lease | None) -> Mapping[str, Json]:
        if lease is not None:
            return self._copy(change, lease)
        if self.die == f"before:{change.address}":
            raise Killed
        if change.address not in self.deaf and change.after is not None:
            self.world[change.address] = change.after
        self.done.append(change.address)
        if self.die == f"after:{change.address}":
            raise Killed
        return {"ip": f"10.0.0.{len(self.done)}"}

    def _copy(self, change: Change, lease: Lease) -> Mapping[str, Json]:
        while lease.cursor < lease.shard.stop:
            stop = min(lease.cursor + 10, lease.shard.stop)
            self.copied.setdefault(change.address, []).extend(range(lease.cursor, stop))
            self.batches += 1
            if self.die == f"batch:{self.batches}":
                raise Killed
            lease.commit(stop, done=stop - lease.cursor, size=0, exceptions=[])
        return {}

    def outputs(self, change: Change) -> Mapping[str, Json]:
        return {"ip": "10.0.0.99"} if change.address in self.world else {}

    def undo(self, change: Change, *, purge: bool) -> None:
        if change.action == "copy":
            if purge:
                self.copied.pop(change.address, None)
        elif change.before is None:
            if purge or not change.data:
                self.world.pop(change.address, None)
        else:
            self.world[change.address] = change.before

    def verify(self, desired: State, tier: str) -> Iterator[Finding | Tally]:
        for addr, want in desired.items():
            have = self.world.get(addr)
            good = have is not None and have.body == want.body
            if not good:
                yield Finding(addr, "value", "missing" if have is None else "different", f"{addr} differs")
            yield Tally(addr, 1, int(good))

    def dependence(self, desired: State, old: OldSide) -> Iterator[Finding | Tally]:
        yield from self.hanging

    def try_write(self) -> Iterator[Finding]:
        return iter(())


def families(**kwargs: Any) -> dict[str, FakeFamily]:
    return {"dns": FakeFamily(**kwargs)}
