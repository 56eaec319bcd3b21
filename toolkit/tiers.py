"""How deep a verification looks: ``list``, ``meta``, ``bytes``, ``bytes:3/10`` or ``behaviour``.

Enters: what a person typed. Leaves: a :class:`Tier`. Raises ``UsageError`` for anything else.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from typing import Literal

from toolkit.errors import UsageError

Depth = Literal["list", "meta", "bytes", "behaviour"]
DEPTHS: tuple[Depth, ...] = ("list", "meta", "bytes", "behaviour")


@dataclass(frozen=True, slots=True)
class Tier:
    """A depth and, where not everything is read back, which slice: ``part`` of ``of``, from 1.

    Every object is in exactly one slice, always the same: after ``of`` runs with rising ``part`` all
    have been read.
    """

    depth: Depth
    part: int = 1
    of: int = 1

    @property
    def sampled(self) -> bool:
        """Whether only a slice is read back."""
        return self.of > 1

    @property
    def whole(self) -> Tier:
        """The same depth for everything."""
        return replace(self, part=1, of=1)

    def holds(self, name: bytes) -> bool:
        """Say whether the object of this name is in the slice."""
        return zlib.crc32(name) % self.of == self.part - 1


def parse(text: str) -> Tier:
    """Read a tier as it is typed."""
    found = re.fullmatch(r"(list|meta|bytes|behaviour)(?::([0-9]{1,6})/([0-9]{1,6}))?", text)
    if found is None:
        raise UsageError(f"there is no tier {text!r}", f"choose one of: {', '.join(DEPTHS)}, bytes:3/10")
    depth = next(depth for depth in DEPTHS if depth == found[1])
    if found[2] is None:
        return Tier(depth)
    part, of = int(found[2]), int(found[3])
    if depth != "bytes" or not 1 <= part <= of:
        raise UsageError(f"{text!r} names no slice", "write bytes:N/T with N from 1 to T, for example bytes:3/10")
    return Tier(depth, part, of)
