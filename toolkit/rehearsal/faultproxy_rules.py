"""The rules of the fault proxy: which requests they strike, and with what.

Enters: a file (YAML or JSON) or plain dictionaries, then each request. Leaves: the :class:`Rule` that
strikes it, or none; the first that matches wins. Raises ``DefinitionError`` with every mistake of the
rules at once. The page docs/reference/fault-proxy.md lists all faults and fields.

    faults: 1
    seed: 2021
    rules:
      - {name: bursts, side: target, operation: PutObject, rate: 0.3, until: 120, fault: slow-down}
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from toolkit.errors import DefinitionError, NotFound, Problem
from toolkit.model import Json

#: Answers given instead of the store's own: (status, code).
ANSWERS: Mapping[str, tuple[int, str]] = {
    "error": (500, "InternalError"),
    "slow-down": (503, "SlowDown"),
    "denied": (403, "AccessDenied"),
    "suspended": (403, "AccountProblem"),
    "bad-key": (403, "InvalidAccessKeyId"),
    "expired-token": (400, "ExpiredToken"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "quota": (403, "QuotaExceeded"),
    "refuse-trailers": (400, "XAmzContentSHA256Mismatch"),
}
#: What happens to the connection, to the body read, to the body written, to a page of a listing.
OTHERS = frozenset(
    (
        *("reset", "lost", "ok-error", "hang", "clock", "headers"),
        *("cut", "short", "pad", "flip", "stall", "drip"),
        *("flip-up", "store-wrong", "store-framing"),
        *("stale-page", "same-token", "no-token", "unsorted"),
    )
)
FAULTS = frozenset(ANSWERS) | OTHERS
#: Faults that change what the client signed: the proxy must be able to sign again.
RESIGNED = frozenset({"store-wrong", "store-framing"})
_SIDES = ("", "source", "target")


class Asked(NamedTuple):
    """One request, as far as rules look at it. ``key`` is decoded; other bytes than UTF-8 are escaped."""

    side: str
    method: str
    operation: str
    bucket: str
    key: str
    trailers: bool = False  # the body carries checksums behind it (aws-chunked with a trailer)
    body: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests are struck (empty = any), how often, and what happens to them."""

    fault: str
    name: str = ""
    side: str = ""
    method: tuple[str, ...] = ()
    operation: tuple[str, ...] = ()
    bucket: str = "*"  # shell pattern
    key: str = "*"  # shell pattern
    nth: tuple[int, ...] = ()  # only these of the matching requests, counted from 1
    each: bool = False  # nth, after and count are counted for each key apart
    after: int = 0  # let so many matching requests pass first
    count: int | None = None  # strike so often at most
    rate: float = 1.0  # the share of the matching requests that is struck
    begin: float = 0.0  # seconds after the first request
    until: float | None = None
    # what happens
    status: int = 0
    code: str = ""
    message: str = "put there by the fault proxy"
    at: float = 0.5  # the share of the body after which it happens; 1 = at its last byte
    seconds: float = 3600.0  # hang, stall: how long; clock: the shift of Date
    speed: int = 1024  # drip: bytes per second
    deed: bool = False  # ok-error: the request is carried out all the same
    lie: bool = False  # store-wrong: the answer names the ETag of the bytes that were sent
    drop: tuple[str, ...] = ()  # headers: patterns of names taken out of the answer
    set: Mapping[str, str] = field(default_factory=dict)  # headers: put into the answer

    @property
    def answer(self) -> tuple[int, str]:
        """Status and code of the answer given instead."""
        status, code = ANSWERS.get(self.fault, (200, "InternalError"))
        return self.status or status, self.code or code

    def matches(self, asked: Asked) -> bool:
        """Say whether a request is one that this rule is about."""
        return (
            self.side in ("", asked.side)
            and (not self.method or asked.method in self.method)
            and asked.operation in (self.operation or (asked.operation,))
            and (bool(self.operation) or ":" not in asked.operation)  # other services only by name
            and fnmatchcase(asked.bucket, self.bucket)
            and fnmatchcase(asked.key, self.key)
            and (asked.trailers or self.fault not in ("refuse-trailers", "store-framing"))
            and (asked.body or self.fault not in ("flip-up", "store-wrong"))
        )


class Rules:
    """The rules in force, with what each has seen and done. Safe to read from other threads."""

    def __init__(
        self, rules: Sequence[Rule] = (), *, seed: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rules = tuple(rules)
        self.struck: Counter[int] = Counter()  # by position of the rule
        self._clock = clock
        self._begun: float | None = None
        self._seen: Counter[tuple[int, str]] = Counter()
        self._done: Counter[tuple[int, str]] = Counter()
        self._dice = [random.Random(f"{seed}/{number}") for number in range(len(self.rules))]  # noqa: S311
        self._lock = threading.Lock()

    def pick(self, asked: Asked) -> Rule | None:
        """Return the first rule that strikes this request. The dice of each rule are seeded."""
        with self._lock:
            now = self._clock()
            self._begun = now if self._begun is None else self._begun
            since = now - self._begun
            for number, rule in enumerate(self.rules):
                if rule.matches(asked) and self._strikes(number, rule, asked, since):
                    self.struck[number] += 1
                    return rule
            return None

    def _strikes(self, number: int, rule: Rule, asked: Asked, since: float) -> bool:
        if since < rule.begin or (rule.until is not None and since >= rule.until):
            return False
        place = (number, f"{asked.bucket}/{asked.key}" if rule.each else "")
        self._seen[place] += 1
        if self._seen[place] <= rule.after or (rule.nth and self._seen[place] not in rule.nth):
            return False
        if rule.count is not None and self._done[place] >= rule.count:
            return False
        if self._dice[number].random() >= rule.rate:
            return False
        self._done[place] += 1
        return True

    def tally(self) -> list[dict[str, Json]]:
        """Return how often each rule struck."""
        return [
            {"name": rule.name or rule.fault, "fault": rule.fault, "struck": self.struck[number]}
            for number, rule in enumerate(self.rules)
        ]


def load(path: Path) -> tuple[tuple[Rule, ...], int]:
    """Read a file of rules; return them and the seed of their dice."""
    try:
        document = YAML(typ="rt").load(path.read_text("utf-8"))
    except OSError as exc:
        raise NotFound(f"{path} cannot be read: {exc.strerror}", "name a file of fault rules") from exc
    except (YAMLError, UnicodeDecodeError) as exc:
        line = getattr(getattr(exc, "problem_mark", None), "line", 0) + 1
        why = str(getattr(exc, "problem", "") or exc)
        raise DefinitionError([Problem(str(path), line, f"not readable: {why}", "write YAML or JSON")]) from exc
    if not isinstance(document, dict) or document.get("faults") != 1 or not isinstance(document.get("rules"), list):
        text = "this is no file of fault rules"
        raise DefinitionError([Problem(str(path), 1, text, "begin with `faults: 1` and a list `rules:`")])
    return parse(document["rules"], str(path)), int(document.get("seed", 0))


def parse(rules: Sequence[Mapping[str, Any]], file: str = "rules") -> tuple[Rule, ...]:
    """Read rules; every mistake in every rule is named."""
    problems = [
        Problem(file, _line(rule, number), f"rule {number}: {text}", remedy)
        for number, rule in enumerate(rules, 1)
        for text, remedy in _mistakes(rule)
    ]
    if problems:
        raise DefinitionError(problems)
    return tuple(Rule(**{_FIELDS[name]: _value(name, value) for name, value in rule.items()}) for rule in rules)


#: The name in a file → the name of the field.
_FIELDS = {"from": "begin", **{item.name: item.name for item in fields(Rule) if item.name != "begin"}}
_LISTS = frozenset({"method", "operation", "nth", "drop"})
_NUMBERS = frozenset({"after", "count", "rate", "from", "until", "status", "at", "seconds", "speed"})
_SHARES = frozenset({"rate", "at"})


def _value(name: str, value: Any) -> Any:
    if name in _LISTS:
        return tuple(value) if isinstance(value, list | tuple) else (value,)
    return {str(key): str(text) for key, text in value.items()} if name == "set" else value


def _mistakes(rule: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(rule, Mapping):
        yield "a rule is a mapping", "write `fault: slow-down` and what it strikes"
        return
    if rule.get("fault") not in FAULTS:
        yield f"unknown fault {rule.get('fault')!r}", f"one of {', '.join(sorted(FAULTS))}"
    for name, value in rule.items():
        if name not in _FIELDS:
            yield f"unknown field {name!r}", f"one of {', '.join(sorted(_FIELDS))}"
        elif name in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield f"{name} is a number", "give one without quotes"
        elif name in _SHARES and not 0 <= value <= 1:
            yield f"{name} lies between 0 and 1", "give a share such as 0.3"
        elif name == "side" and value not in _SIDES:
            yield f"unknown side {value!r}", "source or target"
        elif name == "nth" and any(not isinstance(n, int) or n < 1 for n in _value(name, value)):
            yield "nth counts from 1", "give whole numbers such as [1, 3]"
        elif name == "set" and not isinstance(value, Mapping):
            yield "set is a mapping of header names to values", "write {x-amz-meta-a: b}"


def _line(rule: Any, number: int) -> int:
    mark = getattr(rule, "lc", None)
    return number if mark is None else int(mark.line) + 1
