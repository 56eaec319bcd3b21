"""A side that stopped answering: stand still, say why, keep the state, go on when it answers again.

Enters: an attempt at a shard (or at a page of a listing) that failed for a reason that concerns a whole
side. Leaves: the attempt's success, or ``Paused`` when patience ends: everything proven so far is on disk,
and the same command goes on from there. Credentials are read anew before each look.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from toolkit.errors import NeedsHuman, Paused, RehostError
from toolkit.families import Lease
from toolkit.storage.engine.faults import Fault, Kind, as_error
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.http import Store, persist, session, where
from toolkit.storage.model import DataPlane, Knobs

T = TypeVar("T")
#: Trouble of a whole side that may pass: nothing of it is the fault of an object.
PAUSED: frozenset[Kind] = frozenset({"credentials", "unreachable", "throttle", "no-bucket", "shut", "stuck"})
_FIRST = 1.0  # seconds until the first look; doubled up to knobs.probe_every

#: Both doors: (data plane, bucket) of source and target.
Doors = tuple[tuple[DataPlane, str], tuple[DataPlane, str]]


def ride_out(
    attempt: Callable[[], None], doors: Doors, lease: Lease, knobs: Knobs, tell: Callable[[str], None]
) -> None:
    """Run ``attempt`` until it goes well; between two tries wait for the side that failed."""
    since = 0.0
    while True:
        begun = lease.cursor
        try:
            attempt()
        except Fault as fault:
            if fault.kind not in PAUSED:
                raise _for_a_person(fault, doors, lease, knobs) from fault
            if not since or lease.cursor > begun:
                since = time.monotonic()
            _wait(fault, doors, lease, knobs, tell, since)
        else:
            return


def _wait(fault: Fault, doors: Doors, lease: Lease, knobs: Knobs, tell: Callable[[str], None], since: float) -> None:
    for pause in _pauses(knobs, since):
        tell(f"waiting: {fault.text}")
        until = time.monotonic() + pause
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, knobs.heartbeat))
            lease.heartbeat()
        if asyncio.run(_answers(fault, doors, knobs)):
            tell("")
            return
    raise paused(fault)


def _pauses(knobs: Knobs, since: float) -> Iterator[float]:
    pause = _FIRST
    while (left := since + knobs.patience - time.monotonic()) > 0:
        yield min(pause, knobs.probe_every, left)
        pause *= 2


async def _answers(fault: Fault, doors: Doors, knobs: Knobs) -> bool:
    """Ask the side that failed for one key (or for the object it refused last)."""
    plane, bucket = next((door for door in doors if where(*door) == fault.where), doors[0])
    async with session(knobs) as http:
        store = Store(plane, bucket, http, Gate(1, 1), replace(knobs, attempts=1))
        await store.renew()
        try:
            await look(store)
            if fault.kind == "shut" and fault.key:
                await store.read("HEAD", fault.key)
        except Fault as again:
            return again.kind == "gone"
    return True


async def look(store: Store) -> str:
    """Ask a side for at most one key; return the time it says it is."""
    headers, _ = await persist(lambda: store.read("GET", query=[("list-type", "2"), ("max-keys", "1")]), store)
    return headers.get("Date", "")


async def patiently(call: Callable[[], Awaitable[T]], store: Store) -> T:
    """Await ``call`` until it goes well or patience ends; for listings, which hold no lease."""
    since = time.monotonic()
    pauses = _pauses(store.knobs, since)
    while True:
        try:
            return await call()
        except Fault as fault:
            if fault.kind not in PAUSED:
                raise
            pause = next(pauses, None)
            if pause is None:
                raise paused(fault) from fault
            store.gate.trouble = fault.text
        await asyncio.sleep(pause)
        await store.renew()


def paused(fault: Fault) -> Paused:
    """Return what is said when patience has ended."""
    match fault.kind:
        case "shut" | "credentials":
            remedy = (
                "nothing is lost: finished work is kept. Check whether the account was suspended and whether the"
                " credentials still hold, then run the same command again"
            )
        case "stuck":
            remedy = "look at the target's space and health (`ceph health detail`), then run the same command again"
        case "no-bucket":
            remedy = "the bucket is gone or lives elsewhere; put that right, then run the same command again"
        case _:
            remedy = "finished work is kept; run the same command again when that side answers"
    return Paused(fault.text, remedy)


def _for_a_person(fault: Fault, doors: Doors, lease: Lease, knobs: Knobs) -> RehostError:
    """Return the error for trouble that only a person can end, with the figures it takes."""
    if fault.kind == "skew":
        return NeedsHuman(fault.text, "set the clock of this machine or of the store (NTP), then run again")
    if fault.kind != "full":
        return as_error(fault)
    needed = int(lease.shard.figures.get("bytes", 0))
    text = f"{fault.text}; this portion alone needs {needed:,} bytes"
    room = asyncio.run(_room(doors[1], knobs))
    return NeedsHuman(f"{text}, {room}" if room else text, "raise the quota or free space there, then run again")


async def _room(door: tuple[DataPlane, str], knobs: Knobs) -> str:
    """Return what the target says about its quota; only RGW does, in the headers of the bucket."""
    async with session(knobs) as http:
        store = Store(*door, http, Gate(1, 1), replace(knobs, attempts=1))
        try:
            headers, _ = await store.read("HEAD")
        except Fault as fault:
            return f"and the target does not tell what is left ({fault.text})"
    told = {
        name: int(value)
        for name in ("X-RGW-Bytes-Used", "X-RGW-Quota-Bucket-Size", "X-RGW-Quota-User-Size")
        if (value := headers.get(name, "")).isdecimal()
    }
    quotas = [told[name] for name in ("X-RGW-Quota-Bucket-Size", "X-RGW-Quota-User-Size") if told.get(name, 0) > 0]
    used = told.get("X-RGW-Bytes-Used")
    if used is None:
        return ""
    return f"{used:,} bytes are used here" + (
        f" of {min(quotas):,}, {max(0, min(quotas) - used):,} left" if quotas else ""
    )
