"""Policy documents as IAM writes them: taken apart, matched, decided.

Enters: plain JSON of a provider, which is not trusted. Leaves: :class:`Statement` and decisions. Raises
``Unsupported`` for a document that is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from toolkit.errors import Unsupported
from toolkit.model import Json

Effect = Literal["Allow", "Deny"]
Decision = Literal["allow", "deny", "depends"]
ARN = "arn:aws:s3:::"
_PARTITION = re.compile(r"^arn:aws[a-z-]*:s3:::")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. ``but_*`` stands for NotAction and NotResource; ``raw`` is what was written."""

    effect: Effect
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]]
    but_actions: bool = False
    but_resources: bool = False
    sid: str = ""


def statements(document: Mapping[str, Json]) -> Iterator[Statement]:
    """Yield the statements of an identity's policy document."""
    found = document.get("Statement")
    for raw in found if isinstance(found, list | tuple) else [found]:
        if not isinstance(raw, Mapping) or raw.get("Effect") not in ("Allow", "Deny"):
            raise Unsupported("this is no policy document: a statement without an effect", "look at the policy by hand")
        yield Statement(
            raw["Effect"],
            many(raw.get("NotAction", raw.get("Action"))),
            tuple(_PARTITION.sub(ARN, text) for text in many(raw.get("NotResource", raw.get("Resource")))),
            _conditions(raw.get("Condition")),
            "NotAction" in raw,
            "NotResource" in raw,
            str(raw.get("Sid") or ""),
        )


def _conditions(raw: Json) -> dict[str, dict[str, tuple[str, ...]]]:
    if not isinstance(raw, Mapping):
        return {}
    return {
        str(operator): {str(key): many(value) for key, value in keys.items()}
        for operator, keys in raw.items()
        if isinstance(keys, Mapping)
    }


def many(value: Json) -> tuple[str, ...]:
    """Return one or several texts as several; truth values and numbers as IAM spells them."""
    if value is None:
        return ()
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(str(item).lower() if isinstance(item, bool) else str(item) for item in items)


@lru_cache(maxsize=4096)
def _pattern(text: str, fold: bool) -> re.Pattern[str]:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in text)
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if fold else 0))


def covers(pattern: str, text: str, *, fold: bool = False) -> bool:
    """Say whether a pattern with ``*`` (slashes too) and ``?`` matches the whole text; ``fold``: any case."""
    return _pattern(pattern, fold).fullmatch(text) is not None


def rests(pattern: str, start: str) -> frozenset[str]:
    """Return what of a pattern may still follow once ``start`` has been matched; empty if it cannot be.

    ``rests("arn:aws:s3:::med*/a", "arn:aws:s3:::media/")`` → ``{"a", "*/a"}``.
    """
    at = {0}
    for letter in start:
        after = set()
        for place in _reachable(pattern, at):
            if place < len(pattern):
                sign = pattern[place]
                if sign == "*":
                    after.add(place)
                elif sign in ("?", letter):
                    after.add(place + 1)
        at = after
    return frozenset(pattern[place:] for place in at)


def _reachable(pattern: str, places: Iterable[int]) -> Iterator[int]:
    for place in places:
        yield place
        while place < len(pattern) and pattern[place] == "*":
            place += 1
            yield place


def decide(found: Iterable[Statement], action: str, resource: str) -> Decision:
    """Return what statements say of one action on one resource; a condition in the way makes it *depend*.

    An explicit Deny wins, then an Allow, and without either the answer is deny.
    """
    allowed = depends = False
    for item in found:
        if not _applies(item, action, resource):
            continue
        if item.conditions:
            depends = True
        elif item.effect == "Deny":
            return "deny"
        else:
            allowed = True
    if depends:
        return "depends"
    return "allow" if allowed else "deny"


def _applies(item: Statement, action: str, resource: str) -> bool:
    acts = any(covers(pattern, action, fold=True) for pattern in item.actions) != item.but_actions
    return acts and any(covers(pattern, resource) for pattern in item.resources) != item.but_resources
