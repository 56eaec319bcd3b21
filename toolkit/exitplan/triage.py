"""What goes first when not everything can: by value and irreplaceability for each hour of transfer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from toolkit.model import Json

#: The order where nothing else is said: class → (value, irreplaceability), each from 1 to 10.
CLASSES: Mapping[str, tuple[int, int]] = {
    "keys": (10, 10),
    "zone": (10, 9),
    "identities": (10, 9),
    "database": (9, 9),
    "recent-media": (6, 7),
    "old-media": (4, 6),
    "logs": (3, 5),
    "rebuildable": (2, 1),
}
#: Nothing moves faster than this (hours): small things are ordered by value, not by nearly nothing.
_LEAST_H = 1 / 60


@dataclass(frozen=True, slots=True)
class Lot:
    """One part of the data: its class, its bytes and objects, and the hours it takes on its own."""

    name: str
    kind: str
    hours: float
    value: float = 0.0
    irreplaceable: float = 0.0

    @property
    def weight(self) -> float:
        """Value times irreplaceability for each hour."""
        value, irreplaceable = CLASSES.get(self.kind, (1, 1))
        return (self.value or value) * (self.irreplaceable or irreplaceable) / max(self.hours, _LEAST_H)


@dataclass(frozen=True, slots=True)
class Turn:
    """One place in the order: when it would be through (hours), and whether that is in time."""

    lot: Lot
    done_h: float
    fits: bool

    def to_json(self) -> dict[str, Json]:
        return {
            "name": self.lot.name,
            "kind": self.lot.kind,
            "hours": round(self.lot.hours, 3),
            "done_h": round(self.done_h, 3),
            "fits": self.fits,
        }


def order(lots: Iterable[Lot], available_h: float) -> tuple[Turn, ...]:
    """Put the lots in the order of their weight; one that no longer fits is passed over, not waited for."""
    at, turns = 0.0, []
    for lot in sorted(lots, key=lambda lot: (-lot.weight, lot.name)):
        fits = at + lot.hours <= available_h
        turns.append(Turn(lot, at + lot.hours, fits))
        at += lot.hours if fits else 0.0
    return tuple(turns)
