"""Passes over a source that is in use: what each found, how long it took, and what the last will cost.

Enters: the ``pass`` events of a journal. Leaves: :class:`Pass` records and a :class:`Forecast`. Does no
input or output.

The freeze lasts as long as one more pass: both sides are listed, and what changed since the last listing
began is copied. So the forecast adds the time of a listing to the expected changes divided by the speed of
copying, both as the last passes showed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from toolkit.model import Json


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the items of one change. ``listing`` and ``copying`` are parts of ``seconds``."""

    change: str  # id of the change
    address: str
    began: datetime
    seconds: float
    found: int  # items that were to be brought over, removals among them
    removed: int
    size: int  # bytes
    listing: float
    copying: float
    took: bool  # everything in its listing was brought over and proven

    def to_json(self) -> dict[str, Json]:
        return {
            "change": self.change,
            "address": self.address,
            "began": self.began.isoformat(timespec="milliseconds"),
            "seconds": round(self.seconds, 3),
            "found": self.found,
            "removed": self.removed,
            "bytes": self.size,
            "listing": round(self.listing, 3),
            "copying": round(self.copying, 3),
            "took": self.took,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Pass:
        return cls(
            data["change"],
            data["address"],
            datetime.fromisoformat(data["began"]),
            data["seconds"],
            data["found"],
            data["removed"],
            data["bytes"],
            data["listing"],
            data["copying"],
            data["took"],
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long writing has to stop for the last pass of one change. Seconds; ``window`` None = none was set."""

    last: Pass
    changes: float  # items expected to have changed until the freeze
    seconds: float
    window: float | None

    @property
    def fits(self) -> bool:
        return self.window is None or self.seconds <= self.window

    @property
    def text(self) -> str:
        """One line for a person."""
        last = self.last
        gone = f", {last.removed:,} of them gone at the source" if last.removed else ""
        allowed = "" if self.window is None else f"; `objectives.freeze` allows {spell(self.window)}"
        verdict = "" if self.window is None else (": it fits" if self.fits else ": it does not fit")
        return (
            f"{last.address}: the last pass found {last.found:,} changed objects{gone} in {spell(last.seconds)};"
            f" the final one is expected to take {spell(self.seconds)}{allowed}{verdict}"
        )

    def to_json(self) -> dict[str, Json]:
        return {
            "last": self.last.to_json(),
            "changes": round(self.changes, 1),
            "seconds": round(self.seconds, 1),
            "window": self.window,
            "fits": self.fits,
            "text": self.text,
        }


def passes(events: Iterable[tuple[str, str, Json]]) -> dict[str, list[Pass]]:
    """Return the passes of each change, oldest first, from a journal's events."""
    found: dict[str, list[Pass]] = {}
    for _, kind, body in events:
        if kind == "pass":
            one = Pass.from_json(body)
            found.setdefault(one.change, []).append(one)
    return found


def forecast(done: list[Pass], window: float | None = None) -> Forecast | None:
    """Say what a last pass will take; ``None`` while no pass was whole."""
    whole = [one for one in done if one.took]
    if not whole:
        return None
    last = whole[-1]
    if len(whole) == 1:
        # The first pass copies everything; how fast the source changes shows only from the second on.
        return Forecast(last, last.found, last.seconds, window)
    before = whole[-2]
    apart = max((last.began - before.began).total_seconds(), 0.001)
    changes = last.found / apart * last.seconds
    busy = [one for one in whole if one.found and one.copying > 0]
    speed = max((one.found / one.copying for one in busy[-3:]), default=0.0)
    return Forecast(last, changes, last.listing + (changes / speed if speed else 0.0), window)


def settles(done: list[Pass]) -> bool:
    """Say whether passes still get shorter: without that, repeating them leads nowhere."""
    whole = [one.seconds for one in done if one.took]
    return len(whole) < 3 or min(whole[-2:]) < 0.9 * min(whole[:-2])


def spell(seconds: float) -> str:
    """Spell a duration for a person."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return str(timedelta(seconds=round(seconds)))
