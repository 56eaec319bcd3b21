"""What a database holds, as digests, and how two of them differ.

Enters: the JSON of ``sqlite_digest.py``. Leaves: :class:`Contents` and :class:`Difference`. Raises
:class:`Refused` for an answer that cannot be read: it comes from another machine.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import Refused
from toolkit.model import Finding

_HASH = 16


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its row count, digest, buckets of rows, and every row's hash where they are few."""

    columns: tuple[str, ...]
    rows: int
    digest: str
    buckets: Mapping[str, tuple[int, str]]
    hashes: bytes | None

    def equals(self, other: Table) -> bool:
        return (self.columns, self.rows, self.digest) == (other.columns, other.rows, other.digest)


@dataclass(frozen=True, slots=True)
class Contents:
    """All tables of one database at one moment."""

    integrity: str
    tables: Mapping[str, Table]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())

    def equals(self, other: Contents | None) -> bool:
        if other is None or self.tables.keys() != other.tables.keys():
            return False
        return all(table.equals(other.tables[name]) for name, table in self.tables.items())

    def summary(self) -> dict[str, Any]:
        """Return rows and digest per table: what an observer compares and a record keeps."""
        return {name: {"rows": table.rows, "digest": table.digest} for name, table in self.tables.items()}


@dataclass(frozen=True, slots=True)
class Difference:
    """How one table at the target differs from the source. ``exact``: rows were compared one by one."""

    table: str
    source_rows: int
    target_rows: int
    lost: int
    extra: int
    exact: bool


def parse(data: bytes) -> Contents:
    """Read the answer of the digest script.

    Raises:
        Refused: it is not such an answer.
    """
    try:
        answer = json.loads(data)
        tables = {str(name): _table(entry) for name, entry in answer["tables"].items()}
        return Contents(str(answer["integrity"]), tables)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as exc:
        raise Refused(
            f"the digest script answered something unreadable: {data[:80]!r}", "look at that machine's python3"
        ) from exc


def _table(entry: Mapping[str, Any]) -> Table:
    hashes = entry.get("hashes")
    return Table(
        tuple(entry["columns"]),
        int(entry["rows"]),
        str(entry["digest"]),
        {str(key): (int(count), str(value)) for key, (count, value) in entry["buckets"].items()},
        None if hashes is None else base64.b64decode(hashes, validate=True),
    )


def dump(contents: Contents) -> bytes:
    """Return contents in the form that :func:`parse` reads."""
    tables = {
        name: {
            "columns": table.columns,
            "rows": table.rows,
            "digest": table.digest,
            "buckets": table.buckets,
            **({} if table.hashes is None else {"hashes": base64.b64encode(table.hashes).decode()}),
        }
        for name, table in contents.tables.items()
    }
    return json.dumps({"integrity": contents.integrity, "tables": tables}, sort_keys=True).encode()


def compare(source: Contents, target: Contents) -> Iterator[Difference]:
    """Yield a difference for each table that is not equal, tables of the target alone included."""
    for name, table in source.tables.items():
        other = target.tables.get(name)
        if other is None:
            yield Difference(name, table.rows, 0, table.rows, 0, exact=True)
        elif not table.equals(other):
            yield _difference(name, table, other)
    for name, table in target.tables.items():
        if name not in source.tables:
            yield Difference(name, 0, table.rows, 0, table.rows, exact=True)


def _difference(name: str, source: Table, target: Table) -> Difference:
    if source.columns != target.columns:
        return Difference(name, source.rows, target.rows, source.rows, target.rows, exact=True)
    if source.hashes is not None and target.hashes is not None:
        ours, theirs = Counter(_rows(source.hashes)), Counter(_rows(target.hashes))
        lost, extra = (ours - theirs).total(), (theirs - ours).total()
        return Difference(name, source.rows, target.rows, lost, extra, exact=True)
    changed = [key for key in source.buckets.keys() | target.buckets.keys() if _at(source, key) != _at(target, key)]
    lost = sum(_at(source, key)[0] for key in changed)
    extra = sum(_at(target, key)[0] for key in changed)
    return Difference(name, source.rows, target.rows, lost, extra, exact=False)


def _at(table: Table, key: str) -> tuple[int, str]:
    return table.buckets.get(key, (0, ""))


def _rows(hashes: bytes) -> Sequence[bytes]:
    return [hashes[at : at + _HASH] for at in range(0, len(hashes), _HASH)]


def finding(where: str, different: Difference, against: str, *, moved_on: bool) -> Finding:
    """Say how a table differs. Rows that only the target has are news once the new side lives."""
    news = moved_on and different.lost == 0
    how = "" if different.exact else " at most"
    return Finding(
        where,
        f"table/{different.table}",
        "extra" if different.lost == 0 else "different",
        f"table {different.table}: {different.source_rows} rows at the source, {different.target_rows} at the target;"
        f"{how} {different.lost} lost or changed, {different.extra} others",
        "" if news else "run the copy again (`rehost apply`, or the cut-over's final copy)",
        "info" if news else "error",
        {"lost": different.lost, "extra": different.extra, "exact": different.exact, "against": against},
    )
