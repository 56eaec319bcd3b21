"""Words and figures for people: untrusted text made harmless to look at, numbers made readable."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

from toolkit.model import Json

# Control, format (bidirectional overrides, zero width), surrogate, line and paragraph separators, unassigned.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"})
_STEPS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def visible(value: Any) -> Any:
    """Return text with every invisible or direction-changing character written as an escape.

    What is not text comes back unchanged, so that this can stand as jinja2's ``finalize``.
    """
    if type(value) is not str:  # Markup is a str that jinja2 already escaped
        return value
    if value.isascii() and value.isprintable():
        return value
    return "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in value)


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def number(value: Json) -> str:
    """Group digits: 1234567 → ``1,234,567``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}".rstrip("0").rstrip(".")


def size(count: float) -> str:
    """Write a number of bytes with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} PiB"


def duration(seconds: float) -> str:
    """Write a time span with its two largest units: 3725 → ``1 h 2 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    rest = round(seconds)
    parts: list[str] = []
    for step, unit in _STEPS:
        count, rest = divmod(rest, step)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ")) or "0 s"


def figure(name: str, value: Json) -> str:
    """Write one figure by the unit in its name: ``…bytes`` and ``…seconds`` are understood."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name.endswith("bytes"):
        return size(value)
    if name.endswith("seconds"):
        return duration(value)
    return number(value)


def scale(value: float) -> str:
    """Write the scale of a rehearsal: 1/14400 reads better than 6.9e-05."""
    return f"1/{round(1 / value):,}" if 0 < value < 1 else number(value)


def between(start: str, end: str) -> float | None:
    """Return the seconds between two ISO times, or None when one of them cannot be read."""
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return None


def moment(value: str) -> str:
    """Write an ISO time for a person, in UTC to the second; what is not a time stays as it is."""
    try:
        return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return value


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: ``1 finding``, ``2 findings``."""
    return f"{number(count)} {noun}" + ("" if count == 1 else "s")
