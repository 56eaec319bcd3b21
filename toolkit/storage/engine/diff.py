"""What differs, key by key, in a file: one symbol and one key a line, as ``rclone check --combined``.

``=`` equal, ``+`` only at the source, ``-`` only at the target, ``*`` different, ``!`` could not be
compared. The file is written as the comparison goes, in the order of keys; keys are percent-escaped where
they are not printable (``shown``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TextIO

from toolkit.storage.model import shown

Symbol = Literal["=", "+", "-", "*", "!"]


def path_of(run: Path, slug: str) -> Path:
    """Return where the report of a bucket lies."""
    return run / "diff" / f"{slug}.txt"


class Diff:
    """The report of one bucket while it is written. Keys wait until all that is read of them is known."""

    def __init__(self, run: Path, slug: str) -> None:
        path = path_of(run, slug)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        self._file: TextIO = os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        )
        self._waiting: dict[bytes, Symbol] = {}

    def __enter__(self) -> Diff:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._file.close()

    def add(self, key: bytes, symbol: Symbol) -> None:
        """Say what is known of a key; for a key that waits, a worse symbol replaces a better one."""
        if self._waiting.get(key, "=") == "=":
            self._waiting[key] = symbol

    def flush(self) -> None:
        """Write what waits: nothing more will be learned about it."""
        self._file.writelines(f"{symbol} {shown(key)}\n" for key, symbol in self._waiting.items())
        self._waiting.clear()
