"""Plain JSON to YAML that a person likes to read: short things on one line, long ones in blocks.

Enters: JSON values. Leaves: text that every YAML 1.1 or 1.2 reader understands alike, because whatever
some reader could take for a number, a date or a truth value is quoted. Raises ``ValueError`` for what
is no JSON (infinite numbers, lone surrogates).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

from toolkit.model import Json
from toolkit.site_yaml import Loc

WIDTH = 118
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+@-]*( [A-Za-z0-9_./+@-]+)*")
_DOTTED = re.compile(r"[0-9]+(\.[0-9]+){3}(/[0-9]+)?|[0-9]+( [A-Za-z0-9_./+@-]+)+")
_RAW = re.compile(r"[ -&(-~\u00a1-\u00ac\u00ae-\u024f]+")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_ESCAPED = re.compile("[\x7f-\x9f\xad\u2028\u2029\ufeff\ufffe\uffff]|[\u200b-\u200f\u202a-\u202e\u2066-\u2069]")

Forced = Callable[[Loc], bool]


def never(_loc: Loc) -> bool:
    """Force no block."""
    return False


def scalar(value: Json) -> str:
    """Return a text, number, truth value or null on one line."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        if plain or _DOTTED.fullmatch(value):
            return value
        # Texts of DNS are full of double quotes and backslashes; in single quotes they stay readable.
        return f"'{value}'" if _RAW.fullmatch(value) and ('"' in value or "\\" in value) else quoted(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot be written")
    return json.dumps(value)


def quoted(text: str) -> str:
    """Return a text in double quotes, with everything that could hide or break a line escaped."""
    text.encode()  # a lone surrogate is no text
    return _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(text, ensure_ascii=False))


def inline(value: Json) -> str:
    """Return any value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return scalar(value)


def lines(value: Json, indent: int, loc: Loc = (), forced: Forced = never) -> list[str]:
    """Return a non-empty mapping or list as block lines, indented."""
    found: list[str] = []
    if isinstance(value, dict):
        for key, item in value.items():
            found += entry(str(key), item, indent, (*loc, key), forced)
        return found
    for index, item in enumerate(value):
        text = inline(item)
        if not _is_long(item, text, indent + 2, (*loc, index), forced):
            found.append(" " * indent + f"- {text}")
        elif isinstance(item, list):
            found += [" " * indent + "-", *lines(item, indent + 2, (*loc, index), forced)]
        else:
            first, *rest = lines(item, indent + 2, (*loc, index), forced)
            found += [" " * indent + "- " + first[indent + 2 :], *rest]
    return found


def entry(key: str, value: Json, indent: int, loc: Loc = (), forced: Forced = never) -> list[str]:
    """Return ``key: value`` as lines, the value inline if it is short."""
    head = " " * indent + scalar(key) + ":"
    text = inline(value)
    if not _is_long(value, text, len(head) + 1, loc, forced):
        return [f"{head} {text}"]
    return [head, *lines(value, indent + 2, loc, forced)]


def _is_long(value: Json, text: str, indent: int, loc: Loc, forced: Forced) -> bool:
    if not isinstance(value, dict | list) or not value:
        return False
    return forced(loc) or indent + len(text) > WIDTH or _depth(value) > 3


def _depth(value: Json) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(item) for item in value), default=0)
    return 0
