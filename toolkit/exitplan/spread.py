"""Uncertain quantities: a middle value and a pessimistic one, drawn from a lognormal distribution.

Enters: ``p50`` (as likely too low as too high) and ``p90`` (with 90 % certainty it is no worse than this): for a
volume or a time ``p90`` is the larger of the two, for a rate the smaller. Leaves: draws, and percentiles of what
was computed from them. A spread with one value is a point and draws always that.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

#: The 90th percentile of the standard normal distribution.
Z90 = 1.2815515655446004


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity with its middle and its pessimistic value, both positive (or both zero)."""

    p50: float
    p90: float

    @classmethod
    def point(cls, value: float) -> Spread:
        """A quantity known exactly."""
        return cls(value, value)

    @property
    def exact(self) -> bool:
        return self.p50 == self.p90

    def draw(self, chance: random.Random) -> float:
        """Return one value: lognormal, with ``p50`` as its median and ``p90`` as its bad tenth."""
        # One number is taken from the generator even for a point: what is uncertain elsewhere keeps its draws.
        step = chance.gauss(0.0, 1.0)
        if self.exact or self.p50 == 0:
            return self.p50
        return self.p50 * math.exp(step * math.log(self.p90 / self.p50) / Z90)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a ``share`` (0 to 1) of the values does not exceed; linear between two ranks.

    >>> percentile([1.0, 2.0, 3.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    if ordered[below] == ordered[above]:  # infinities too: their difference is no number
        return ordered[below]
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
