"""Compare two listings as they stream by, and say for each key what is to be written, in which round.

Enters: two streams of entries in key order. Leaves: one :class:`Pair` per key, or rows of work.
Memory holds one key's versions and a few thousand undecided keys, never a bucket.

Versions are compared as histories, oldest first, by marker, size and ETag. A target whose history is
the beginning of the source's gets the rest appended. Where the null version stands in a history only
the bucket's versioning state at the time of writing decides, so rows are sorted into four rounds:
``null-first`` (state suspended or off: null versions that begin their history), ``main`` (enabled:
what follows them, and what precedes a later null), ``null-last`` (suspended: those later null
versions) and ``after-null`` (enabled again).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from toolkit.storage.engine import gone
from toolkit.storage.engine.ledger import Ledger
from toolkit.storage.model import Entry, Round, Row, Written
from toolkit.storage.rewritten import REWRITTEN

_KEY = itemgetter(0)
_UNDECIDED = 2_000


class Pair(NamedTuple):
    """One key on both sides; each history oldest first, empty if the key is not there."""

    key: bytes
    source: list[Entry]
    target: list[Entry]


@dataclass(frozen=True, slots=True)
class Todo:
    """What one key needs: rows by round. No rows at all means both sides are equal."""

    pair: Pair
    rows: tuple[tuple[Round, Row], ...]
    equal: int  # how many of the source's versions the target already shows
    note: str = ""

    @property
    def conflict(self) -> bool:
        return any(row.work == "conflict" for _, row in self.rows)


def pairs(source: Iterable[Entry], target: Iterable[Entry]) -> Iterator[Pair]:
    """Join two listings by key."""
    left, right = groupby(source, _KEY), groupby(target, _KEY)
    a, b = _history(left), _history(right)
    while a is not None or b is not None:
        if b is None or (a is not None and a[0] < b[0]):
            assert a is not None  # noqa: S101 - for the type checker: not both are None
            yield Pair(a[0], a[1], [])
            a = _history(left)
        elif a is None or b[0] < a[0]:
            yield Pair(b[0], [], b[1])
            b = _history(right)
        else:
            yield Pair(a[0], a[1], b[1])
            a, b = _history(left), _history(right)


def _history(groups: Iterator[tuple[bytes, Iterator[Entry]]]) -> tuple[bytes, list[Entry]] | None:
    for key, group in groups:
        newest_first = list(group)
        newest_first.reverse()
        return key, newest_first
    return None


def decide(joined: Iterable[Pair], ledger: Ledger) -> Iterator[Todo]:
    """Say for each key what is to be done, in key order.

    Keys whose target shows something else are looked up in the ledger together: an object may
    differ in its ETag only because we had to convert it, or be an older copy of ours.
    """
    waiting: list[Pair] = []
    unsure = 0
    for pair in joined:
        waiting.append(pair)
        if pair.target and not _begins(pair.source, pair.target):
            unsure += 1
        if unsure >= _UNDECIDED or len(waiting) >= 5 * _UNDECIDED or not unsure:
            yield from _decided(waiting, ledger)
            waiting.clear()
            unsure = 0
    yield from _decided(waiting, ledger)


def _decided(waiting: list[Pair], ledger: Ledger) -> Iterator[Todo]:
    unsure = {pair.key for pair in waiting if pair.target and not _begins(pair.source, pair.target)}
    told = ledger.lookup(unsure)
    for pair in waiting:
        yield plan_key(pair, told.get(pair.key, []))


def plan_key(pair: Pair, ours: list[Written]) -> Todo:
    """Return the rows that make the target's history of one key equal to the source's."""
    source, target = pair.source, pair.target
    if kept := without_rewritten(target, ours):
        # A version that only has new addresses in it lies on top of the copy: look at what is below.
        todo = plan_key(pair._replace(target=kept), [done for done in ours if done.source_version != REWRITTEN])
        rows = tuple((lane, row._replace(before=len(target), seen=target[-1].etag)) for lane, row in todo.rows)
        return replace(todo, rows=rows)
    if not source:
        return Todo(pair, tuple(("main", row) for row in gone.hidden(target, ours)), 0, "extra")
    if below := gone.buried(target, ours):
        # The source dropped the key, we hid it, and now the source begins it anew.
        todo = plan_key(pair._replace(target=target[below:]), ours)
        return replace(todo, rows=tuple((lane, row._replace(before=row.before + below)) for lane, row in todo.rows))
    if _begins(source, target, ours):
        rows = _rows(source, range(len(target), len(source)), target)
        return Todo(pair, rows, min(len(target), len(source)))
    if len(source) == 1 and len(target) == 1 and _single(source[0]) and _single(target[0]):
        return Todo(pair, _replace(source[0], target[0], ours), 0)
    return _mend(pair, ours)


def without_rewritten(target: list[Entry], ours: list[Written]) -> list[Entry]:
    """Return a history without the versions in which we only replaced addresses; empty if it has none."""
    again = {done.target_etag for done in ours if done.source_version == REWRITTEN}
    kept = [entry for entry in target if entry.marker or entry.etag not in again]
    return kept if len(kept) < len(target) else []


def _single(entry: Entry) -> bool:
    return entry.version in ("", "null")


def _replace(source: Entry, target: Entry, ours: list[Written]) -> tuple[tuple[Round, Row], ...]:
    mine = bool(ours) and ours[-1].target_etag == target.etag and ours[-1].marker == target.marker
    lane: Round = "null-first" if source.version else "main"
    return ((lane, Row(source, "refresh" if mine else "conflict", 1, target.etag)),)


def _mend(pair: Pair, ours: list[Written]) -> Todo:
    """A history that does not simply continue: our null version may be outdated, else it is a conflict."""
    source, target = pair.source, pair.target
    rest_source = [entry for entry in source if entry.version != "null"]
    rest_target = [entry for entry in target if entry.version != "null"]
    null = next((entry for entry in source if entry.version == "null"), None)
    old_null = next((entry for entry in target if entry.version == "null"), None)
    place = source.index(null) if null is not None else -1
    mine = old_null is None or any(done.target_etag == old_null.etag for done in ours)
    if null is not None and mine and len(rest_target) <= place and _begins(rest_source, rest_target, ours):
        # The null version moved up: everything before it is there or can still be written before it.
        missing = [n for n, entry in enumerate(source) if n > place or (n < place and n >= len(rest_target))]
        todo = sorted([*missing, place])
        return Todo(pair, _rows(source, todo, target, refresh=place), len(rest_target))
    if _contains(target, source) and _same(source[-1], target[-1], ours):
        return Todo(pair, (), len(source), "longer")  # the source has dropped old versions since we copied
    if len(target) > len(source) and _begins(target, source, ours):
        gone_since = gone.surplus(source, target, ours)
        if gone_since:
            return Todo(pair, tuple(("main", row) for row in gone_since), len(source))
    conflict = Row(source[-1], "conflict", len(target), target[-1].etag)
    return Todo(pair, (("main", conflict),), 0)


def _rows(
    source: list[Entry], numbers: Iterable[int], target: list[Entry], *, refresh: int = -1
) -> tuple[tuple[Round, Row], ...]:
    place = _null_place(source)
    seen = target[-1].etag if target else ""
    return tuple(
        (_lane(n, place), Row(source[n], "refresh" if n == refresh else "copy", len(target), seen)) for n in numbers
    )


def lane_of(source: list[Entry], number: int) -> Round:
    """Return the round in which one version of a history is written."""
    return _lane(number, _null_place(source))


def _null_place(source: list[Entry]) -> int | None:
    return next((n for n, entry in enumerate(source) if entry.version == "null"), None)


def _lane(number: int, place: int | None) -> Round:
    if place is None:
        return "main"
    if number == place:
        return "null-first" if place == 0 else "null-last"
    return "after-null" if 0 < place < number else "main"


def _same(source: Entry, target: Entry, ours: list[Written] = []) -> bool:  # noqa: B006 - never changed
    if source.marker or target.marker:
        return source.marker and target.marker
    # What we converted or rewrote is still the copy of its source, whatever its size.
    if any(done.source_etag == source.etag and done.target_etag == target.etag for done in ours):
        return True
    return source.size == target.size and source.etag == target.etag


def _begins(source: list[Entry], target: list[Entry], ours: list[Written] = []) -> bool:  # noqa: B006
    """Say whether the target's history is the beginning of the source's."""
    if len(target) > len(source):
        return False
    return all(_same(a, b, ours) for a, b in zip(source, target, strict=False))


def _contains(longer: list[Entry], shorter: list[Entry]) -> bool:
    rest = iter(longer)
    return all(any(_same(want, have) for have in rest) for want in shorter)
