"""The conditions of the catalogue: ``{of: sms.failover_ok, is: true, else: …}`` against what was observed.

Enters: conditions and a :class:`View`. Leaves: an :class:`Outcome`. What is not there is unknown, never false.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping

from toolkit.exitplan import tables
from toolkit.exitplan.view import Outcome, View, value_at
from toolkit.model import Json

_SHOWN = 5


def check(conditions: Iterable[Mapping[str, Json]], needs: Iterable[str], view: View) -> Outcome:
    """Return pass when every condition holds, fail at the first that does not, unknown where something is missing."""
    names = tuple(needs)
    at: list[datetime.datetime] = []
    kinds: set[str] = set()
    for name in names:
        evidence = view.record.evidence.get(name)
        if evidence is None:
            return Outcome("unknown", f"nobody looked: {name} was never observed", evidence=names)
        at.append(evidence.at)
        kinds.add(evidence.kind)
    missing = ""
    texts = []
    for condition in conditions:
        result, text = _one(condition, view)
        if result == "fail":
            return Outcome("fail", text, min(at, default=None), "mock" if "mock" in kinds else "real", names)
        missing = missing or (text if result == "unknown" else "")
        texts.append(text)
    if missing:
        return Outcome("unknown", missing, min(at, default=None), evidence=names)
    return Outcome(
        "pass",
        "; ".join(text for text in texts if text),
        min(at, default=None),
        "mock" if "mock" in kinds else "real",
        names,
    )


def _one(condition: Mapping[str, Json], view: View) -> tuple[str, str]:
    path = str(condition["of"]).split(".")
    evidence = view.record.evidence.get(path[0])
    try:
        value = value_at(evidence.value if evidence else None, path[1:])
    except KeyError:
        value = None
    if value is None:
        return "unknown", f"{condition['of']} was not observed"
    try:
        holds, said = _holds(condition, value, view)
    except (TypeError, ValueError, AttributeError):
        return "unknown", f"{condition['of']} is {_show(value)}, which cannot be judged"
    if holds is None:
        return "unknown", said
    if holds:
        return "pass", f"{condition['of']}: {said}"
    return "fail", f"{condition.get('else') or condition['of']} ({condition['of']}: {said})"


def _holds(condition: Mapping[str, Json], value: Json, view: View) -> tuple[bool | None, str]:
    if "each" in condition:
        bad = [row for row in value if not all(_fits(row.get(key), want) for key, want in condition["each"].items())]
        names = [str(row.get("name") or row.get("vendor") or row) for row in bad]
        # An empty list proves nothing: nobody listed what there is.
        return (None, f"{condition['of']} is empty") if not value else (not bad, _list(names) if bad else "all")
    if "count" in condition:
        fits = [row for row in value if all(_fits(row.get(key), want) for key, want in condition["count"].items())]
        names = sorted({str(row.get("vendor") or row.get("name")) for row in fits})
        return len(names) >= int(condition["at_least"]), f"{len(names)} ({_list(names)})" if names else "0"
    if "empty" in condition:
        if not isinstance(value, list):
            return None, f"{condition['of']} is {_show(value)}, which is no list"
        return (not value) == bool(condition["empty"]), _list([str(one) for one in value]) if value else "none"
    if "among" in condition:
        return value in condition["among"], _show(value)
    for word, compare in _COMPARE.items():
        if word in condition:
            wanted = condition[word]
            limit = view.named(wanted) if isinstance(wanted, str) else float(wanted)
            if limit is None:
                return None, f"{wanted} is not set, so {condition['of']} cannot be judged"
            number = tables.hours(value)
            return compare(number, limit), f"{_show(value)}, limit {limit:g}"
    if "is" in condition:
        return _fits(value, condition["is"]), _show(value)
    return not _fits(value, condition["not"]), _show(value)


_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "at_least": lambda value, limit: value >= limit,
    "at_most": lambda value, limit: value <= limit,
}


def _fits(value: Json, want: Json) -> bool:
    if isinstance(want, dict) and "not" in want:
        return value is not None and value != want["not"]
    if isinstance(value, bool) != isinstance(want, bool):  # 1 is not true
        return False
    return bool(value == want)


def _show(value: Json) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)[:80]


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
