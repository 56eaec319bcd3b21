"""From the record and the inventory to the figures of the deadline: what is measured, declared, or still missing.

Enters: the ``deadline:`` part of the record, the observed stores, the notice. Leaves: a :class:`Load`, or the
names of the figures that are missing: a deadline computed from a guess nobody made is worse than none.
A figure is one number or ``[p50, p90]``; times are ``2h`` or hours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from toolkit.errors import DefinitionError, Problem
from toolkit.exitplan import tables
from toolkit.exitplan.deadline import Load
from toolkit.exitplan.record import Record
from toolkit.exitplan.spread import Spread
from toolkit.exitplan.triage import Lot
from toolkit.model import Json

_VOLUMES = ("bytes", "objects")
_RATES = ("link_gbps", "ops", "source_gbps", "target_gbps", "workers_gbps")
_SHARES = ("eta", "outside", "safety", "verify", "retry")
_HOURS = ("decide", "provision", "cutover", "list", "archive", "record_ttl", "parent_ttl")
_NUMBERS = ("change_gbps",)
_OTHERS = ("at", "kind", "source", "lots", "waiver", "prices", "data_act", "mode", "dual_run_days", "burn_per_day")
_MORE = ("people", "latency_s", "workers", "page_s", "list_parallel", "list_streams", "since_last", "second_operator")
KEYS = (*_VOLUMES, *_RATES, *_SHARES, *_HOURS, *_NUMBERS, *_OTHERS, *_MORE)


@dataclass(frozen=True, slots=True)
class Figures:
    """The load of one exit, or what is missing for it."""

    load: Load | None
    missing: tuple[str, ...]


def figures(record: Record, notice_h: float) -> Figures:
    """Return the load that the record describes; raises ``DefinitionError`` for figures that cannot be."""
    part = dict(record.part("deadline"))
    problems = list(_problems(record, part))
    if problems:
        raise DefinitionError(problems)
    stores = record.evidence.get("stores")
    for name in _VOLUMES:
        if part.get(name) is None and stores is not None:
            part[name] = _sum(stores.value, name)
    missing = tuple(name for name in ("bytes", "objects", "link_gbps") if part.get(name) is None)
    if missing:
        return Figures(None, missing)
    return Figures(_load(part, notice_h, _archive_h(record)), ())


def _load(part: Mapping[str, Json], notice_h: float, archive_h: float) -> Load:
    def given(name: str, default: float) -> float:
        return float(part[name]) if part.get(name) is not None else default

    def span(name: str, default: float) -> float:
        return tables.hours(part[name]) if part.get(name) is not None else default

    objects = _spread(part["objects"])
    ops = _spread(part["ops"]) if part.get("ops") is not None else Spread.point(math.inf)
    if part.get("latency_s") is not None:
        # Workers that each wait for the other side: so many requests a second, whatever the link.
        bound = given("workers", 1.0) / float(part["latency_s"])
        ops = Spread(min(ops.p50, bound), min(ops.p90, bound))
    pages = objects.p50 / 1000 * given("page_s", 0.0) / given("list_parallel", 1.0) / 3600
    names_h = 0.0 if part.get("second_operator") else span("parent_ttl", 0.0)
    rates = {name: _spread(part[name]) for name in _RATES if name != "ops" and part.get(name) is not None}
    return Load(
        notice_h=notice_h,
        size=_spread(part["bytes"]),
        objects=objects,
        ops=ops,
        eta=given("eta", 0.7),
        change_gbps=given("change_gbps", 0.0),
        outside=given("outside", 0.0),
        decide_h=span("decide", 2.0),
        provision_h=span("provision", 4.0),
        cutover_h=span("cutover", 3.0),
        safety=given("safety", 0.1),
        verify=given("verify", 0.1),
        retry=given("retry", 0.0),
        list_h=0.0 if part.get("list_streams", True) else span("list", pages),
        archive_h=span("archive", archive_h),
        record_ttl_h=span("record_ttl", 0.0),
        parent_ttl_h=names_h,
        **rates,
    )


def lots(record: Record, load: Load) -> tuple[Lot, ...]:
    """Return the parts of the data with the hours each takes alone at the rate of ``load``."""
    rate = min(getattr(load, name).p50 for name in ("source_gbps", "link_gbps", "target_gbps", "workers_gbps"))
    found = []
    for name, row in (record.part("deadline").get("lots") or {}).items():
        size, count = float(row.get("bytes") or 0), float(row.get("objects") or 0)
        seconds = max(8 * size / (rate * load.eta * 1e9), count / load.ops.p50)
        found.append(
            Lot(
                name,
                str(row.get("class", "old-media")),
                seconds / 3600 * (1 + load.verify + load.retry),
                float(row.get("value") or 0),
                float(row.get("irreplaceable") or 0),
            )
        )
    return tuple(found)


def _spread(value: Json) -> Spread:
    if isinstance(value, list):
        return Spread(float(value[0]), float(value[1]))
    return Spread.point(float(value))


def _sum(stores: Json, name: str) -> float | None:
    """Add up one figure of all stores; one unknown makes the sum unknown."""
    found = [row.get(name) for row in stores.values()] if isinstance(stores, dict) else []
    if not found or any(not isinstance(value, int | float) for value in found):
        return None
    return float(sum(found))


def _archive_h(record: Record) -> float:
    archive = record.evidence.get("archive")
    if archive is None or not isinstance(archive.value, dict):
        return 0.0
    return max((float(tier.get("retrieval_h") or 0) for tier in archive.value.get("tiers") or ()), default=0.0)


def _problems(record: Record, part: Mapping[str, Json]) -> Iterator[Problem]:
    def problem(name: str, text: str, remedy: str) -> Problem:
        return Problem(str(record.path), 1, f"deadline.{name} {text}", remedy)

    for name in tables.unknown_keys(part, KEYS):
        yield problem(name, "means nothing", f"use one of: {', '.join(sorted(KEYS))}")
    for name in (*_VOLUMES, *_RATES):
        if part.get(name) is not None and not _is_spread(part[name], rate=name in _RATES):
            worse = "p90 of a rate is the lower one" if name in _RATES else "p90 of a volume is the higher one"
            yield problem(name, "is no figure", f"write a number above 0, or [p50, p90]; {worse}")
    for name in (*_SHARES, *_NUMBERS):
        value = part.get(name)
        if value is None:
            continue
        top = math.inf if name in ("change_gbps", "retry", "verify") else 1.0
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= top or (name == "eta" and value == 0) or (name == "safety" and value == 1):
            yield problem(name, "is out of range", "write a share such as 0.7, or a rate in Gbit/s")
    for name in ("latency_s", "workers", "page_s", "list_parallel"):
        value = part.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value <= 0):
            yield problem(name, "is no number above 0", "write it like 0.05, or leave it out")
    for name in (*_HOURS, "since_last"):
        if part.get(name) is not None and not tables.checked(part[name], tables.hours):
            yield problem(name, "is no duration", "write it like 2h")


def _is_spread(value: Json, *, rate: bool) -> bool:
    pair = value if isinstance(value, list) else [value, value]
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in pair)
    if len(pair) != 2 or not numbers:
        return False
    middle, worse = pair
    least = middle > 0 if rate else middle >= 0
    return bool(least and (0 < worse <= middle if rate else worse >= middle))
