"""What leaving costs: list price of the bytes and requests, less a waiver only while it holds.

Enters: volumes in bytes (clouds bill GiB of 2^30), a :class:`PriceList` from ``prices.yaml`` and what is known of a
waiver. Leaves: a :class:`Cost` with each part, its source and its date. Money is in the currency of the list.

A waiver counts only when it was approved and the last byte leaves inside its window. Under the EU Data Act
(2023/2854, Art. 29) a provider may charge no more than its cost for switching until 12 January 2027, and nothing
after; parallel use of two providers may still be billed at cost (Art. 34). A cost that the provider does not
publish is no figure, so before that day the list price is counted and named as the ceiling.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from toolkit.model import Json

GIB = 2**30
#: From this day on switching is free of charge for customers under the Data Act.
DATA_ACT_FREE = datetime.date(2027, 1, 12)
Mode = Literal["switch", "parallel"]


@dataclass(frozen=True, slots=True)
class PriceList:
    """Tiered price of bytes to the internet, ``(GiB up to and including, price of one)``, the last without end."""

    name: str
    currency: str
    tiers: tuple[tuple[float, float], ...]
    get_per_1000: float
    list_per_1000: float
    source: str
    dated: datetime.date


@dataclass(frozen=True, slots=True)
class Waiver:
    """A promise of the provider to charge no egress. ``approved`` is None until it says so in writing."""

    requested: datetime.date | None = None
    approved: datetime.date | None = None
    days: int = 60

    def covers(self, start: datetime.date, end: datetime.date) -> bool:
        """Say whether the waiver is approved and holds from ``start`` to ``end``."""
        if self.approved is None:
            return False
        return self.approved <= start and end <= self.approved + datetime.timedelta(days=self.days)


@dataclass(frozen=True, slots=True)
class Cost:
    """The bill. ``egress_list`` is what the bytes cost by the list, ``egress`` what is counted."""

    egress_list: float
    egress: float
    requests: float
    retrieval: float
    dual_run: float
    people: float
    currency: str
    why: str
    source: str

    @property
    def total(self) -> float:
        return self.egress + self.requests + self.retrieval + self.dual_run + self.people

    def to_json(self) -> dict[str, Json]:
        parts = ("egress_list", "egress", "requests", "retrieval", "dual_run", "people", "total")
        return {
            **{name: round(getattr(self, name), 2) for name in parts},
            "currency": self.currency,
            "why": self.why,
            "source": self.source,
        }


def gib(count: float) -> float:
    """Turn bytes into the unit of the bill: 70 TB are 65,193 GiB."""
    return count / GIB


def egress(count: float, prices: PriceList) -> float:
    """Return the list price of ``count`` bytes to the internet; no free allowance is taken off."""
    left, below, total = gib(count), 0.0, 0.0
    for upto, price in prices.tiers:
        part = min(left, upto - below)
        total += part * price
        left, below = left - part, upto
        if left <= 0:
            break
    return total


def cost(
    size: float,
    objects: float,
    prices: PriceList,
    *,
    start: datetime.date,
    end: datetime.date,
    waiver: Waiver | None = None,
    data_act: bool = False,
    mode: Mode = "switch",
    archive_gib: float = 0.0,
    archive_price: float = 0.0,
    dual_run_days: float = 0.0,
    burn_per_day: float = 0.0,
    people: float = 0.0,
) -> Cost:
    """Return the bill of an exit that moves bytes from ``start`` to ``end``."""
    listed = egress(size, prices)
    counted, why = listed, "list price: no waiver is approved"
    if waiver is not None and waiver.covers(start, end):
        counted, why = 0.0, f"waived by the provider on {waiver.approved}, inside its {waiver.days} days"
    elif data_act and mode == "switch" and start >= DATA_ACT_FREE:
        counted, why = 0.0, f"EU Data Act Art. 29: no charge for switching since {DATA_ACT_FREE}"
    elif waiver is not None and waiver.approved is not None:
        why = f"list price: the waiver of {waiver.approved} does not cover {start} to {end}"
    elif data_act:
        why = "list price as the ceiling: the EU Data Act allows no more than the provider's cost, not published"
    requests = objects / 1000 * prices.get_per_1000 + objects / 1_000_000 * prices.list_per_1000
    return Cost(
        egress_list=listed,
        egress=counted,
        requests=requests,
        retrieval=archive_gib * archive_price,
        dual_run=dual_run_days * burn_per_day,
        people=people,
        currency=prices.currency,
        why=why,
        source=f"{prices.name}, {prices.source}, {prices.dated}",
    )


def price_list(name: str, row: Mapping[str, Json]) -> PriceList:
    """Read one entry of ``prices.yaml``."""
    return PriceList(
        name=name,
        currency=str(row["currency"]),
        tiers=tuple((float("inf") if upto is None else float(upto), float(price)) for upto, price in row["tiers"]),
        get_per_1000=float(row["get_per_1000"]),
        list_per_1000=float(row["list_per_1000"]),
        source=str(row["source"]),
        dated=datetime.date.fromisoformat(str(row["dated"])),
    )
