"""One row of a manifest, whatever it is: choose how to copy it, and follow it when it moves.

Enters: a row and the lane of its shard. Leaves: :class:`Copied`. Raises Fault.
"""

from __future__ import annotations

from dataclasses import replace

from toolkit.storage.engine.copy import Copied, Lane, copy_large, copy_marker, copy_small, look_again
from toolkit.storage.engine.digest import parts_of
from toolkit.storage.engine.faults import Fault
from toolkit.storage.engine.gone import CONFLICT, current, take_away
from toolkit.storage.engine.http import Store
from toolkit.storage.engine.listing import history
from toolkit.storage.engine.parts import copy_parts
from toolkit.storage.model import REMOVALS, Entry, Row, Written, shown

_FOLLOW = 5


async def copy_row(lane: Lane, row: Row, place: int = -1) -> Copied:
    """Copy what the row names. An object that changes meanwhile is looked up again and followed.

    ``place``: where it belongs in the target's history of its key, -1 if the target keeps none.
    """
    if row.work in REMOVALS:
        return await take_away(lane, row)
    ours = (row.entry.etag, *lane.meant.get(row.entry.key, ()))
    if row.work == "refresh":
        there = await current(lane.target, row.entry.key)
        if there and there not in (row.seen, *ours):
            raise _conflict(lane, row)
    lane = replace(
        lane,
        create_only=lane.create_only and row.before == 0 and not row.entry.marker,
        place=-1 if row.work == "refresh" else place,
    )
    entry = row.entry
    for _ in range(_FOLLOW):
        try:
            copied = await _copy(lane, entry)
        except Fault as fault:
            if fault.code_name == "NoSuchUpload":
                continue  # somebody aborted our upload: begin another
            if fault.kind != "changed":
                raise
            if fault.where == lane.target.where:
                if await current(lane.target, entry.key) in (entry.etag, *ours):
                    lane = replace(lane, create_only=False)  # our own, from an answer that was lost
                    continue
                raise _conflict(lane, row) from fault
            if entry.version not in ("", "null"):
                raise
            entry = await look_again(lane.source, entry)
            lane.followed(entry.key, entry.etag)
            ours = (*ours, entry.etag)
        else:
            if entry is not row.entry:
                return copied._replace(note="changed", text="changed since it was listed; the newer one was copied")
            return copied
    raise Fault("changed", lane.source.where, f"{shown(entry.key)} keeps changing while it is copied")


async def _copy(lane: Lane, entry: Entry) -> Copied:
    if entry.marker:
        return await copy_marker(lane, entry)
    if parts_of(entry.etag) and lane.target.speaks_s3:
        return await copy_parts(lane, entry)
    if entry.size <= lane.knobs.small:
        return await copy_small(lane, entry)
    return await copy_large(lane, entry)


def _conflict(lane: Lane, row: Row) -> Fault:
    text = f"{shown(row.entry.key)}: the target holds another object that this run did not write"
    return Fault("refused", lane.target.where, text, code=CONFLICT)


async def written_before(target: Store, rows: list[tuple[int, Row]]) -> dict[int, Written]:
    """Return which versions of one key an interrupted attempt has already written.

    The rows are all of one key and one shard. What stands at the target beyond ``before`` and
    continues the source's history was written by us: the intention was on disk before the write.
    """
    there = (await history(target, rows[0][1].entry.key))[rows[0][1].before :]
    found: dict[int, Written] = {}
    for (number, row), have in zip([item for item in rows if item[1].work == "copy"], there, strict=False):
        want = row.entry
        if want.marker != have.marker or want.size != have.size or (want.etag != have.etag and not want.marker):
            break
        found[number] = Written(want.key, want.version, want.etag, have.version, have.etag, want.size, want.marker)
    return found
