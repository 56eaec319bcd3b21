"""What is remembered of one database's move, in the run folder: evidence for when the source is gone.

Enters and leaves: JSON, written aside and renamed. Contents with row hashes and prior files are payload
and lie in the payload store, named here by digest. Raises :class:`JournalError` for an unreadable file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from toolkit.errors import JournalError
from toolkit.files import write_atomic
from toolkit.model import sha256_hex


@dataclass(frozen=True, slots=True)
class Copied:
    """One finished copy: what the source held, what the target held after it, and the dump between."""

    at: str
    source: str  # payload digest of the source's contents
    target: dict[str, Any]  # rows and digest per table
    dump: str
    rows: int


@dataclass(frozen=True, slots=True)
class Record:
    """Everything known about one database's move.

    ``prior``: payload digest of the target's file before our first copy, ``""`` for none there,
    ``None`` while nothing was touched. ``restoring``: a copy was begun and not finished.
    """

    frozen: bool = False
    prior: str | None = None
    restoring: bool = False
    copies: dict[str, Copied] = field(default_factory=dict)

    @property
    def last(self) -> Copied | None:
        return max(self.copies.values(), key=lambda copied: copied.at, default=None)


def path(workspace: Path, address: str) -> Path:
    return workspace / "database" / f"{sha256_hex(address.encode())[:16]}.json"


def load(workspace: Path, address: str) -> Record:
    """Return the record of a database, an empty one if there is none yet."""
    where = path(workspace, address)
    try:
        data = json.loads(where.read_bytes())
        copies = {phase: Copied(**entry) for phase, entry in data["copies"].items()}
        return Record(data["frozen"], data["prior"], data["restoring"], copies)
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise JournalError(
            f"the record {where} cannot be read: {exc}", "move that file away; verify then compares with the source"
        ) from exc


def save(workspace: Path, address: str, record: Record) -> None:
    """Write the record durably."""
    where = path(workspace, address)
    where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(where, json.dumps({"address": address, **asdict(record)}, indent=1, sort_keys=True).encode())
