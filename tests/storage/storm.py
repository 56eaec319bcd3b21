"""A worker of the kill storm: leases shards, copies them, and is told by nobody when it will die."""

from __future__ import annotations

import time
from pathlib import Path

from tests.storage.ends import End, Ends, Move
from toolkit import leases
from toolkit.errors import JournalError
from toolkit.journal import Journal
from toolkit.model import Change
from toolkit.storage.model import Knobs

LEASE = 1.0  # seconds
KNOBS = Knobs(in_flight=4, batch_rows=4, shard_rows=40, heartbeat=0.25, attempts=6)


def work(source: End, target: End, bucket: str, to: str, run: str, change: Change) -> None:
    """Copy shards until none is open; a shard whose lease was lost is dropped, as it must be."""
    family = Move(Ends(source, target), Path(run), bucket, to, KNOBS).family
    owner = leases.owner_name()
    with Journal(Path(run) / "journal.db") as journal:
        while leases.counts(journal, change.id)["open"]:
            lease = leases.claim(journal, change.id, owner, LEASE)
            if lease is None:
                time.sleep(0.05)
                continue
            try:
                family.do(change, lease)
            except JournalError as exc:
                if "was lost" not in exc.text:
                    raise
                with (Path(run) / "fenced").open("a") as told:
                    told.write(f"{lease.shard.id}\n")
