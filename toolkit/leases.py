"""Shards under lease: who may copy which slice of a manifest, fenced by owner and epoch.

Claims are made by database time, every progress write carries owner and epoch: a worker that slept
past its lease finds zero rows and must drop the shard. A crash repeats at most one batch.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.errors import JournalError
from toolkit.families import Shard
from toolkit.journal import Journal
from toolkit.model import Finding, Json

LEASE_SECONDS = 60.0
_NOW = "(julianday('now') - 2440587.5) * 86400.0"


def owner_name() -> str:
    """A name no other worker has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def add(journal: Journal, change_id: str, shard: Shard) -> None:
    """Make a shard known; adding one twice changes nothing."""
    with journal.write() as db:
        db.execute(
            "INSERT OR IGNORE INTO leases VALUES(?, ?, ?, ?, ?, ?, 'open', NULL, 0, 0, ?, 0, 0)",
            (
                change_id,
                shard.id,
                shard.manifest,
                shard.start,
                shard.stop,
                json.dumps(dict(shard.figures)),
                shard.start,
            ),
        )


@dataclass
class HeldLease:
    """A claimed shard. Fulfils :class:`toolkit.families.Lease`."""

    journal: Journal
    change_id: str
    shard: Shard
    cursor: int
    owner: str
    epoch: int
    seconds: float = LEASE_SECONDS

    def commit(self, cursor: int, *, done: int, size: int, exceptions: list[Finding]) -> None:
        """Move the cursor: everything below it is done and proven, or listed in ``exceptions``."""
        state = "done" if cursor >= self.shard.stop else "leased"
        with self.journal.write() as db:
            changed = db.execute(
                f"UPDATE leases SET cursor=?, state=?, done=done+?, size=size+?, expires={_NOW}+?"  # noqa: S608 - constant
                " WHERE change=? AND shard=? AND owner=? AND epoch=?",
                (cursor, state, done, size, self.seconds, self.change_id, self.shard.id, self.owner, self.epoch),
            ).rowcount
            if changed == 0:
                raise JournalError(f"the lease on shard {self.shard.id} was lost", "another worker took it over")
            db.executemany(
                "INSERT INTO exceptions VALUES(?, ?, ?)",
                [(self.change_id, self.shard.id, json.dumps(finding.to_json())) for finding in exceptions],
            )
        self.cursor = cursor

    def heartbeat(self) -> None:
        """Renew the lease while a long object is under way."""
        with self.journal.write() as db:
            changed = db.execute(
                f"UPDATE leases SET expires={_NOW}+? WHERE change=? AND shard=? AND owner=? AND epoch=?",  # noqa: S608
                (self.seconds, self.change_id, self.shard.id, self.owner, self.epoch),
            ).rowcount
        if changed == 0:
            raise JournalError(f"the lease on shard {self.shard.id} was lost", "another worker took it over")


def claim(journal: Journal, change_id: str, owner: str, seconds: float = LEASE_SECONDS) -> HeldLease | None:
    """Take the first open or expired shard of a change, or None when there is none."""
    with journal.write() as db:
        row = db.execute(
            f"UPDATE leases SET owner=?, epoch=epoch+1, state='leased', expires={_NOW}+?"  # noqa: S608 - constant
            " WHERE change=? AND shard=(SELECT shard FROM leases WHERE change=? AND"
            f" (state='open' OR (state='leased' AND expires<{_NOW})) ORDER BY shard LIMIT 1)"
            " RETURNING shard, manifest, start, stop, figures, cursor, epoch",
            (owner, seconds, change_id, change_id),
        ).fetchone()
    if row is None:
        return None
    shard = Shard(row[0], row[1], row[2], row[3], json.loads(row[4]))
    return HeldLease(journal, change_id, shard, row[5], owner, row[6], seconds)


def claims(journal: Journal, change_id: str, owner: str) -> Iterator[HeldLease]:
    """Claim shards one after another until none is left."""
    while (lease := claim(journal, change_id, owner)) is not None:
        yield lease


def release_dead(journal: Journal) -> None:
    """Give back every lease at the start of an exclusive run: whoever held one is gone."""
    with journal.write() as db:
        db.execute("UPDATE leases SET state='open', expires=0 WHERE state='leased'")


def counts(journal: Journal, change_id: str) -> dict[str, int]:
    """Rows done, bytes done, shards open, exceptions recorded for one change."""
    done, size, waiting = journal.rows(
        "SELECT COALESCE(SUM(done),0), COALESCE(SUM(size),0), COALESCE(SUM(state<>'done'),0)"
        " FROM leases WHERE change=?",
        change_id,
    )[0]
    failed = journal.rows("SELECT COUNT(*) FROM exceptions WHERE change=?", change_id)[0][0]
    return {"done": done, "bytes": size, "open": waiting, "exceptions": failed}


def exceptions(journal: Journal, change_id: str) -> list[Finding]:
    """The items that a change could not bring over, newest judgement last."""
    return [
        as_finding(json.loads(row[0]))
        for row in journal.rows("SELECT finding FROM exceptions WHERE change=? ORDER BY rowid", change_id)
    ]


def clear_exceptions(journal: Journal, change_id: str) -> None:
    """Forget failures before another pass: what still fails is recorded again. Notes of what was done stay."""
    with journal.write() as db:
        db.execute(
            "DELETE FROM exceptions WHERE change=? AND json_extract(finding, '$.severity') <> 'info'", (change_id,)
        )


def as_finding(data: dict[str, Json]) -> Finding:
    """Read a finding back from its JSON."""
    return Finding(
        data["address"],
        data["feature"],
        data["verdict"],
        data["text"],
        data["remedy"],
        data["severity"],
        data["evidence"],
    )
