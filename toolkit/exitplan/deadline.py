"""Can everything still leave within the notice? Arithmetic only: nothing is read, nothing is asked.

Enters: :class:`Load`, the volumes, rates and hours of one exit. Leaves: an :class:`Answer` with the slack, the
verdict, the shortest survivable notice, the link to buy and the share that must already be outside.

Units: hours, bytes, objects, Gbit/s (10^9 bits), objects/s. The formulas, with ``s`` the safety share::

    T_avail = N - t_decide - t_provision - t_cutover - s N
    R       = min(source, link, target, workers) eta
    T_bytes = 8 B (1-f) / (R - c)                never, if R <= c: the source grows faster than it leaves
    T_obj   = n (1-f) / ops
    T_fixed = max(T_list, T_arch)                listing that does not stream, retrieval from archive tiers
    T       = T_fixed + max(T_bytes, T_obj) (1 + v + retry)
    slack   = T_avail - T                        GO: slack_P90 >= 0; TRIAGE: slack_P50 >= 0; else NO-GO
    N_min   = (T + t_decide + t_provision + t_cutover) / (1 - s)
    f_min   = the f at which slack is 0          (1 - T_avail / T where nothing is listed or retrieved first)
    R_req   = (8 B (1-f) (1+v+retry) / (T_avail - T_fixed) + c) / eta

Caches of names have a clock of their own: with one operator of the names, a change at the parent is seen by
everybody only after the parent's TTL, so no notice shorter than that (after deciding) is survivable either.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from toolkit.exitplan.spread import Spread, percentile
from toolkit.model import Json

Go = Literal["GO", "TRIAGE", "NO-GO"]

SEED = 20210111
DRAWS = 4000
_GIGA = 1e9
_HOUR = 3600.0
_ZERO = Spread.point(0.0)
_UNLIMITED = Spread.point(math.inf)


@dataclass(frozen=True, slots=True)
class Load:
    """One exit in figures. Rates that do not limit are infinite."""

    notice_h: float
    size: Spread  # bytes
    objects: Spread
    link_gbps: Spread
    ops: Spread = _UNLIMITED  # objects/s: the least of source, target and workers / latency
    source_gbps: Spread = _UNLIMITED
    target_gbps: Spread = _UNLIMITED
    workers_gbps: Spread = _UNLIMITED
    eta: float = 0.7  # share of the rate that arrives as payload
    change_gbps: float = 0.0
    outside: float = 0.0  # share (0 to 1) that is already outside
    decide_h: float = 2.0
    provision_h: float = 4.0
    cutover_h: float = 3.0
    safety: float = 0.1
    verify: float = 0.1  # share of the copying time
    retry: float = 0.0
    list_h: float = 0.0  # listing before the first object moves; 0 where the lister streams
    archive_h: float = 0.0  # the slowest retrieval among the archive tiers that are used
    record_ttl_h: float = 0.0
    parent_ttl_h: float = 0.0  # 0 where a second operator already serves the names

    @property
    def fixed_h(self) -> float:
        """Hours before the first byte: listing and retrieval run side by side."""
        return max(self.list_h, self.archive_h)

    @property
    def steps_h(self) -> float:
        """Hours that are not copying: decide, provision, cut over."""
        return self.decide_h + self.provision_h + self.cutover_h

    @property
    def dns_h(self) -> float:
        """Hours until every cache knows the new place."""
        return max(self.record_ttl_h, self.parent_ttl_h)

    @property
    def available_h(self) -> float:
        """Hours left for copying."""
        return self.notice_h * (1 - self.safety) - self.steps_h


@dataclass(frozen=True, slots=True)
class Times:
    """What one set of exact figures comes to, in hours."""

    bytes_h: float
    objects_h: float
    total_h: float
    rate_gbps: float  # before change: R

    @property
    def bound_by(self) -> Literal["bytes", "objects"]:
        return "bytes" if self.bytes_h >= self.objects_h else "objects"


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it fits. ``*_p50`` and ``*_p90`` are the middle and the pessimistic case."""

    load: Load
    middle: Times
    available_h: float
    slack_p50: float
    slack_p90: float
    verdict: Go
    n_min_p50: float
    n_min_p90: float
    names_h: float  # shortest notice that the caches of names allow
    outside_min: float  # share that must already be outside; above 1: no share would do
    link_needed_gbps: float
    seed: int
    draws: int

    @property
    def n_min(self) -> float:
        """The headline: the shortest notice (hours) that is survived with 90 % certainty."""
        return max(self.n_min_p90, self.names_h)

    @property
    def bound_by(self) -> str:
        return "names" if self.names_h > self.n_min_p90 else self.middle.bound_by

    def to_json(self) -> dict[str, Json]:
        load = self.load
        figures: dict[str, float] = {
            "notice_h": load.notice_h,
            "available_h": self.available_h,
            "bytes_h": self.middle.bytes_h,
            "objects_h": self.middle.objects_h,
            "fixed_h": load.fixed_h,
            "total_h": self.middle.total_h,
            "slack_p50_h": self.slack_p50,
            "slack_p90_h": self.slack_p90,
            "n_min_h": self.n_min,
            "n_min_p50_h": self.n_min_p50,
            "n_min_p90_h": self.n_min_p90,
            "names_h": self.names_h,
            "dns_h": load.dns_h,
            "outside_min": self.outside_min,
            "link_needed_gbps": self.link_needed_gbps,
        }
        return {
            "verdict": self.verdict,
            "bound_by": self.bound_by,
            "seed": self.seed,
            "draws": self.draws,
            # JSON has no infinity: what never ends is null.
            **{name: round(value, 6) if math.isfinite(value) else None for name, value in figures.items()},
        }


def times(load: Load) -> Times:
    """Return the hours of the middle case."""
    return _times(load, _middle(load))


def answer(load: Load, *, seed: int = SEED, draws: int = DRAWS) -> Answer:
    """Return whether the exit fits into its notice; the same seed gives the same answer."""
    middle = times(load)
    totals = (middle.total_h,) if _exact(load) else _simulate(load, seed, draws)
    total_p50, total_p90 = percentile(totals, 0.5), percentile(totals, 0.9)
    slack_p50, slack_p90 = load.available_h - total_p50, load.available_h - total_p90
    verdict: Go = "GO" if slack_p90 >= 0 else "TRIAGE" if slack_p50 >= 0 else "NO-GO"
    return Answer(
        load=load,
        middle=middle,
        available_h=load.available_h,
        slack_p50=slack_p50,
        slack_p90=slack_p90,
        verdict=verdict,
        n_min_p50=shortest_notice(load, total_p50),
        n_min_p90=shortest_notice(load, total_p90),
        names_h=(load.dns_h + load.decide_h) / (1 - load.safety) if load.dns_h else 0.0,
        outside_min=outside_needed(load),
        link_needed_gbps=link_needed(load),
        seed=seed,
        draws=len(totals),
    )


def shortest_notice(load: Load, total_h: float) -> float:
    """Return N_min: the notice (hours) at which the slack of ``total_h`` is zero."""
    return (total_h + load.steps_h) / (1 - load.safety)


def outside_needed(load: Load) -> float:
    """Return f_min of the middle case: 0 when all fits; above 1 when not even nothing would."""
    moving = times(replace(load, outside=0.0)).total_h - load.fixed_h
    left = load.available_h - load.fixed_h
    if left < 0:
        return math.inf
    if moving == 0:
        return 0.0
    return max(0.0, 1 - left / moving)  # 1, where the source outgrows the link


def link_needed(load: Load) -> float:
    """Return R_req (Gbit/s) of the middle case; infinite when no hour is left, whatever the link."""
    left = load.available_h - load.fixed_h
    remaining = 8 * load.size.p50 * (1 - load.outside)
    if remaining == 0:
        return load.change_gbps / load.eta
    if left <= 0:
        return math.inf
    return (remaining * (1 + load.verify + load.retry) / (left * _HOUR) / _GIGA + load.change_gbps) / load.eta


def freeze_h(load: Load, since_last_h: float) -> float:
    """Return T_freeze: hours to carry over what changed since the last pass; it must fit the cut-over."""
    rate = times(load).rate_gbps
    return load.change_gbps * since_last_h / rate if rate else math.inf


def too_late(lead_p90_h: float, notice_h: float, planned_h: float = 0.0) -> bool:
    """The PRE rule: what takes longer than what is left of the notice can only have been done before it."""
    return lead_p90_h > notice_h - planned_h


_VARYING = ("size", "objects", "link_gbps", "ops", "source_gbps", "target_gbps", "workers_gbps")


def _exact(load: Load) -> bool:
    return all(getattr(load, name).exact for name in _VARYING)


def _middle(load: Load) -> Mapping[str, float]:
    return {name: getattr(load, name).p50 for name in _VARYING}


@lru_cache(maxsize=16)
def _simulate(load: Load, seed: int, draws: int) -> tuple[float, ...]:
    chance = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    return tuple(
        _times(load, {name: getattr(load, name).draw(chance) for name in _VARYING}).total_h for _ in range(draws)
    )


def _times(load: Load, drawn: Mapping[str, float]) -> Times:
    rate = min(drawn[name] for name in ("source_gbps", "link_gbps", "target_gbps", "workers_gbps")) * load.eta
    share = 1 - load.outside
    todo = 8 * drawn["size"] * share
    # What does not fit through is left over for ever: the source grows faster than it leaves.
    bytes_h = (
        0.0
        if todo == 0
        else math.inf
        if rate <= load.change_gbps
        else (todo / ((rate - load.change_gbps) * _GIGA) / _HOUR)
    )
    objects_h = drawn["objects"] * share / drawn["ops"] / _HOUR if drawn["objects"] else 0.0
    total = load.fixed_h + max(bytes_h, objects_h) * (1 + load.verify + load.retry)
    return Times(bytes_h, objects_h, total, rate)
