"""What the source no longer has goes at the target too, if it is still what this run wrote there.

Enters: one key's histories, the ledger's words on it, and later the row. Leaves: rows of removal, and
:class:`Copied` tombstones. Raises Fault.

A listing that comes back short must not empty a target: removals wait until the listing has ended, are
counted against a limit (``gather``), and each asks the source once more. A key that is gone is hidden by
a delete marker where the target keeps versions, so it can be brought back; elsewhere our copy is deleted.
A single version that the source has destroyed is destroyed at the target too, by its version id.
"""

from __future__ import annotations

from toolkit.storage.engine.copy import Copied, Lane
from toolkit.storage.engine.faults import Fault
from toolkit.storage.engine.http import Store, persist
from toolkit.storage.engine.listing import history
from toolkit.storage.model import Entry, Row, Written, shown

#: Codes no store sends: the source has it again; the target's is not ours.
BACK = "rehost:Back"
CONFLICT = "rehost:Conflict"


def hidden(target: list[Entry], ours: list[Written]) -> list[Row]:
    """Return the row that takes our copy of a key away; none unless its current object is the one we wrote."""
    latest = target[-1]
    if latest.marker or not ours or not is_it(ours[-1], latest):
        return []
    return [Row(latest, "remove", len(target), latest.etag)]


def surplus(source: list[Entry], target: list[Entry], ours: list[Written]) -> list[Row]:
    """Return rows, newest first, for versions of ours at the end that the source has destroyed since."""
    rows = []
    for place in range(len(target) - 1, len(source) - 1, -1):
        have = target[place]
        done = next((done for done in ours if is_it(done, have) and done.source_version), None)
        if done is None or have.version in ("", "null"):
            return []
        rows.append(Row(have, "withdraw", place, done.source_version))
    return rows


def buried(target: list[Entry], ours: list[Written]) -> int:
    """Return how many versions of a key lie at and below the last tombstone that we put there."""
    stones = {done.target_version for done in ours if _is_tombstone(done)}
    return next((n + 1 for n in range(len(target) - 1, -1, -1) if target[n].marker and target[n].version in stones), 0)


def _is_tombstone(done: Written) -> bool:
    return done.marker and not done.source_version and bool(done.target_version)


def is_it(done: Written, have: Entry) -> bool:
    """Say whether an entry of the target is what a result says we wrote."""
    same = have.version == "" or (done.target_version or "null") == have.version
    return same and done.marker == have.marker and (have.marker or done.target_etag == have.etag)


async def take_away(lane: Lane, row: Row) -> Copied:
    """Bring about one row of removal."""
    if row.work == "withdraw":
        return await _withdraw(lane, row)
    key = row.entry.key
    if await current(lane.source, key):
        raise Fault("gone", lane.source.where, f"{shown(key)}: the source has it again", code=BACK)
    there = await current(lane.target, key)
    if not there:  # an attempt before this one, whose answer was lost
        last = (await history(lane.target, key))[-1:] if row.entry.version else []
        return Copied(_tombstone(key, last[0].version if last and last[0].marker else ""))
    if there != row.seen:
        text = f"{shown(key)}: the target holds another object that this run did not write"
        raise Fault("refused", lane.target.where, text, code=CONFLICT)
    headers, _ = await persist(lambda: lane.target.read("DELETE", key), lane.target)
    return Copied(_tombstone(key, headers.get("x-amz-version-id", "")))


async def _withdraw(lane: Lane, row: Row) -> Copied:
    key, version = row.entry.key, row.entry.version
    if any(entry.version == row.seen for entry in await history(lane.source, key)):
        raise Fault("gone", lane.source.where, f"{shown(key)}: the source has it again", code=BACK)
    await persist(lambda: lane.target.read("DELETE", key, query=[("versionId", version)]), lane.target)
    return Copied(_tombstone(key, ""))


def _tombstone(key: bytes, version: str) -> Written:
    return Written(key, "", "", version, "", 0, True)


async def current(store: Store, key: bytes) -> str:
    """Return the ETag of the current object under a key, empty if there is none."""
    try:
        headers, _ = await persist(lambda: store.read("HEAD", key), store)
    except Fault as fault:
        if fault.kind == "gone":
            return ""
        raise
    return headers.get("ETag", "").strip('"')
