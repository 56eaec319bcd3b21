"""What is to be done for one bucket: create it, copy in rounds, leave versioning as it must be.

Enters: the desired bucket and its objects, what exists, and how much each round has to write.
Leaves: changes in their order, each needing the one before. Does no input or output itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from toolkit.model import Change, Resource, State
from toolkit.storage.engine.gather import Figures
from toolkit.storage.model import ROUNDS, Round
from toolkit.storage.rounds import BUCKET, OBJECTS, STATE, lane_address, round_of, tail

#: Counts what each round would write: (objects wanted, does the target's bucket exist).
Count = Callable[[Resource, bool], Mapping[Round, Figures]]


def changes(desired: State, existing: State, count: Count) -> Iterator[Change]:
    """Yield what makes the target hold the desired buckets and all they contain."""
    for addr, want in desired.items():
        if addr.startswith(BUCKET):
            yield from _bucket(want, desired.get(OBJECTS + tail(addr)), existing.get(addr), count)
        elif addr.startswith(OBJECTS) and BUCKET + tail(addr) not in desired:
            yield from _chained(_copies(want, count(want, addr in existing)), ())


def _bucket(want: Resource, objects: Resource | None, have: Resource | None, count: Count) -> Iterator[Change]:
    copies = _copies(objects, count(objects, have is not None)) if objects is not None else []
    wanted = str(want.body["versioning"])
    state = str(have.body["versioning"]) if have is not None else "off"
    needs: tuple[str, ...] = ()
    if have is None:
        # Null versions that begin a history are written before versioning is switched on.
        state = "off" if copies and round_of(copies[0].address) == "null-first" else wanted
        create = Change(want.address, "create", None, _versioned(want, state), data=True)
        yield create
        needs = (create.id,)
    for change in _chained(copies, needs):
        yield change
        needs = (change.id,)
        if objects is not None and objects.body["versions"]:
            state = STATE[round_of(change.address)]
    if state != wanted and wanted != "off":
        yield Change(want.address, "update", _versioned(want, state), want, needs=needs)
    elif wanted == "off" and state == "enabled":
        # Versioning can never be switched off again, only suspended.
        yield Change(want.address, "update", _versioned(want, state), _versioned(want, "suspended"), needs=needs)


def _copies(want: Resource, figures: Mapping[Round, Figures]) -> list[Change]:
    found = []
    for lane in ROUNDS:
        counted = figures[lane]
        if counted.objects or counted.conflicts or counted.removals:
            held = f"{counted.conflicts:,} objects are held back: the target holds others"
            found.append(
                Change(
                    lane_address(want.address, lane),
                    "copy",
                    None,
                    replace(want, address=lane_address(want.address, lane)),
                    data=True,
                    note=held if counted.conflicts else "",
                    figures={
                        "objects": counted.objects,
                        "bytes": counted.size,
                        "conflicts": counted.conflicts,
                        **({"removals": counted.removals} if counted.removals else {}),
                    },
                )
            )
    return found


def _chained(copies: list[Change], needs: tuple[str, ...]) -> Iterator[Change]:
    for copy in copies:
        change = replace(copy, needs=needs)
        yield change
        needs = (change.id,)


def final_deltas(desired: State) -> Iterator[Change]:
    """Yield the copies of the traffic phase: what was written at the source since the last pass."""
    for addr, want in desired.items():
        if not addr.startswith(OBJECTS):
            continue
        bucket = desired.get(BUCKET + tail(addr))
        # New null versions appear only while the source's versioning is suspended.
        suspended = bucket is not None and bucket.body.get("versioning") == "suspended"
        lanes: tuple[Round, ...] = ("null-first", "main", "null-last") if suspended else ("main",)
        copies = [
            Change(
                lane_address(addr, lane),
                "copy",
                None,
                replace(want, address=lane_address(addr, lane)),
                "traffic",
                data=True,
                note="the final delta",
            )
            for lane in lanes
        ]
        yield from _chained(copies, ())


def _versioned(resource: Resource, versioning: str) -> Resource:
    return replace(resource, body={**resource.body, "versioning": versioning})
