"""What is safe at the target and what is missing yet, wave by wave: said when a run pauses.

Enters: the changes of a plan and the journal. Leaves: one line for each wave. Reads the journal alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from toolkit import leases
from toolkit.journal import Journal
from toolkit.model import Change

_LAST = 1 << 30  # what is in no wave comes after all waves


def standing(changes: Iterable[Change], journal: Journal) -> Iterator[str]:
    """Say what is safe at the target and what is missing yet, a line for each wave, the first wave first.

    What was copied counts as safe, since each object was proven before it was counted.
    """
    waves: dict[int, _Sum] = {}
    for change in changes:
        wave = change.after.facts.get("wave") if change.after is not None else None
        told = waves.setdefault(_LAST if wave is None else int(wave), _Sum())
        step = journal.step(change.id)
        done = step is not None and step.state in ("done", "present")
        told.changes += 1
        told.done += done
        if change.figures:
            counted = leases.counts(journal, change.id)
            objects, size = int(change.figures.get("objects", 0)), int(change.figures.get("bytes", 0))
            told.objects += max(objects, counted["done"])
            told.size += max(size, counted["bytes"])
            told.safe += objects if done else counted["done"]
            told.safe_size += size if done else counted["bytes"]
        if not done:
            told.open.append(change.address)
    for wave, told in sorted(waves.items()):
        name = "in no wave" if wave == _LAST else f"wave {wave}"
        missing = f"; missing: {', '.join(told.open[:5])}{' …' if len(told.open) > 5 else ''}" if told.open else ""
        yield (
            f"{name}: safe {told.safe:,} of {told.objects:,} objects ({told.safe_size:,} of {told.size:,} bytes),"
            f" {told.done} of {told.changes} changes{missing}"
        )


@dataclass(slots=True)
class _Sum:
    """What one wave has and needs."""

    changes: int = 0
    done: int = 0
    objects: int = 0
    safe: int = 0
    size: int = 0
    safe_size: int = 0
    open: list[str] = field(default_factory=list)
