"""Faults that a rehearsal puts on a mocked service.

Enters: rules as JSON, then each call. Leaves: the fault to apply, or none. Raises ``UsageError`` for
a rule that makes no sense.

    {"kind": "slowdown", "service": "s3", "rate": 0.3}            503 SlowDown on 30 % of calls
    {"kind": "error", "operation": "PutObject", "count": 5}       500 InternalError, five times
    {"kind": "deny", "bucket": "media", "prefix": "private/"}     403 AccessDenied on a prefix
    {"kind": "reset"}                                             connection reset before the answer
    {"kind": "lost"}                                              the call is done, the answer is lost
    {"kind": "truncate", "at": 0.5}                               the body ends half-way, then a reset
    {"kind": "flip", "rate": 0.001}                               one bit of a body read is wrong
    {"kind": "flip-put"}                                          one bit of a body written is wrong, 200
    {"kind": "stall", "seconds": 5}                               nothing happens for a while
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from toolkit.errors import UsageError
from toolkit.model import Json
from toolkit.rehearsal.mockaws_calls import Call
from toolkit.rehearsal.mockaws_errors import Answer, error

Kind = Literal["slowdown", "error", "deny", "reset", "lost", "truncate", "flip", "flip-put", "stall"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule: which calls it strikes (empty = any), how often, and what happens."""

    kind: Kind
    service: str = ""
    operation: str = ""
    method: str = ""
    bucket: str = ""
    prefix: str = ""
    rate: float = 1.0
    count: int | None = None  # how many times at most
    after: int = 0  # let this many matching calls pass first
    at: float = 0.5  # truncate: the share of the body that is sent
    seconds: float = 5.0  # stall
    seed: int = 0

    def strikes(self, call: Call) -> bool:
        wanted = (
            (self.service, call.service),
            (self.operation, call.operation),
            (self.method, call.method),
            (self.bucket, call.bucket),
        )
        return all(not want or want == have for want, have in wanted) and call.key.startswith(self.prefix)


def parse(rules: Sequence[Mapping[str, Json]]) -> tuple[Fault, ...]:
    """Read rules from JSON; every mistake is named."""
    faults = []
    for number, rule in enumerate(rules, 1):
        try:
            fault = Fault(**rule)
        except TypeError as exc:
            raise UsageError(f"fault {number}: {exc}", "see toolkit/rehearsal/faults.py for the fields") from exc
        if fault.kind not in get_args(Kind):
            raise UsageError(f"fault {number}: unknown kind {fault.kind!r}", f"one of {', '.join(get_args(Kind))}")
        if not 0 <= fault.rate <= 1 or not 0 <= fault.at <= 1:
            raise UsageError(f"fault {number}: rate and at lie between 0 and 1", "give a share such as 0.3")
        faults.append(fault)
    return tuple(faults)


@dataclass
class Rules:
    """The rules in force, with what each has seen and done so far."""

    faults: tuple[Fault, ...] = ()
    seen: dict[int, int] = field(default_factory=dict)
    struck: dict[int, int] = field(default_factory=dict)
    dice: dict[int, random.Random] = field(default_factory=dict)

    def pick(self, call: Call) -> Fault | None:
        """Return the first rule that strikes this call. The dice of each rule are seeded."""
        for index, fault in enumerate(self.faults):
            if not fault.strikes(call):
                continue
            self.seen[index] = self.seen.get(index, 0) + 1
            done = self.struck.get(index, 0)
            if self.seen[index] <= fault.after or (fault.count is not None and done >= fault.count):
                continue
            dice = self.dice.setdefault(index, random.Random(fault.seed))  # noqa: S311 - not for secrets
            if dice.random() < fault.rate:
                self.struck[index] = done + 1
                return fault
        return None


def instead(fault: Fault, call: Call) -> Answer | None:
    """Return the answer that replaces the call, where the fault does so."""
    if fault.kind == "slowdown":
        code = {"s3": "SlowDown", "ec2": "RequestLimitExceeded", "route53": "Throttling"}.get(
            call.service, "Throttling"
        )
        return error(call.service, 400 if code == "Throttling" else 503, code, "Please reduce your request rate.")
    if fault.kind == "error":
        return error(call.service, 500, "InternalError", "We encountered an internal error. Please try again.")
    if fault.kind == "deny":
        return error(call.service, 403, "AccessDenied", "Access Denied")
    return None


def flip(body: bytes) -> bytes:
    """Return ``body`` with one bit in its middle inverted."""
    if not body:
        return body
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
