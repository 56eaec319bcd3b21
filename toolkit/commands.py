"""The end of a command on some machine: shared by SSH hosts, compute drivers and databases."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Completed:
    """Exit code and output, byte for byte."""

    rc: int
    out: bytes
    err: bytes
