"""Where new keys go: one file (0600) or the standard input of one program, and nowhere else.

Enters: ``file:PATH`` or ``cmd:PROGRAM ARGS`` and a key pair. Leaves: the two lines that AWS tools read from an
environment file. Raises ``Refused`` for a file that is not ours to write, ``ApplyError`` if a program fails.
"""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
from pathlib import Path

from toolkit.errors import ApplyError, Refused
from toolkit.files import write_atomic
from toolkit.secrets import Secret

_SECONDS = 60
_LINE = re.compile(r"^(AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY)=(.+)$", re.MULTILINE)


def deliver(sink: str, key: Secret, secret: Secret, base: Path) -> None:
    """Hand a key pair over. A file that holds anything else is left alone."""
    text = f"AWS_ACCESS_KEY_ID={key.reveal()}\nAWS_SECRET_ACCESS_KEY={secret.reveal()}\n"
    scheme, _, rest = sink.partition(":")
    if scheme == "file":
        place = _place(rest, base)
        if place.exists() and place.read_text("utf-8", "replace").strip() and fetch(sink, base) is None:
            raise Refused(f"{place} holds something else than keys", "name another file as sink, or move this one away")
        write_atomic(place, text.encode())
        return
    argv = shlex.split(rest)
    try:
        ended = subprocess.run(argv, input=text.encode(), capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        # What the program said may hold the key, so none of it is repeated.
        raise ApplyError(
            f"the sink {argv[0]} could not be run: {type(exc).__name__}", "correct `sink`, then apply again"
        ) from None
    if ended.returncode:
        raise ApplyError(f"the sink {argv[0]} ended with {ended.returncode}", "correct `sink`, then apply again")


def fetch(sink: str, base: Path) -> tuple[Secret, Secret] | None:
    """Return the key pair that lies in a file; ``None`` if there is none, or if a program has it."""
    scheme, _, rest = sink.partition(":")
    if scheme != "file":
        return None
    place = _place(rest, base)
    try:
        if stat.S_IMODE(place.stat().st_mode) & 0o077:
            raise Refused(
                f"{place} can be read by others", f"chmod 600 {place}; if others could read it, make new keys"
            )
        found = dict(_LINE.findall(place.read_text("utf-8", "replace")))
    except FileNotFoundError:
        return None
    if set(found) != {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}:
        return None
    return Secret(found["AWS_ACCESS_KEY_ID"]), Secret(found["AWS_SECRET_ACCESS_KEY"])


def withdraw(sink: str, key: str, base: Path) -> None:
    """Remove a file that holds this key and nothing else; what a program got is its own business."""
    found = fetch(sink, base)
    if found is not None and found[0].reveal() == key:
        _place(sink.partition(":")[2], base).unlink(missing_ok=True)


def _place(path: str, base: Path) -> Path:
    return base / Path(path).expanduser()
