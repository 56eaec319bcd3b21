"""The bill and the order of triage for one record: prices, waiver and lots of its ``deadline:`` part."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping

from toolkit.errors import DefinitionError, Problem
from toolkit.exitplan import inputs, tables, triage
from toolkit.exitplan.cost import Cost, Waiver, cost, price_list
from toolkit.exitplan.deadline import Answer
from toolkit.exitplan.record import Record
from toolkit.exitplan.triage import Turn
from toolkit.model import Json


def bill(record: Record, found: Answer, day: datetime.date) -> Cost | None:
    """Return what the exit costs when it starts on ``day``; None when the record names no price list."""
    part = record.part("deadline")
    name = part.get("prices")
    if not name:
        return None
    try:
        known = tables.prices() | {key: price_list(key, row) for key, row in record.part("prices").items()}
        waiver = part.get("waiver") or {}
        approved = waiver.get("approved")
        promise = Waiver(
            approved=tables.moment(approved).date() if approved else None, days=int(waiver.get("days", 60))
        )
        numbers = {key: float(part.get(key) or 0) for key in ("dual_run_days", "burn_per_day", "people")}
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise _wrong(record, f"prices or waiver cannot be read ({exc})", "see docs/reference/exit.md") from exc
    if name not in known:
        raise _wrong(record, f"there is no price list {name!r}", f"use one of: {', '.join(sorted(known))}")
    hours = found.middle.total_h if math.isfinite(found.middle.total_h) else 0.0
    archive = record.evidence.get("archive")
    return cost(
        found.load.size.p50 * (1 - found.load.outside),
        found.load.objects.p50 * (1 - found.load.outside),
        known[name],
        start=day,
        end=day + datetime.timedelta(hours=hours),
        waiver=promise,
        data_act=part.get("data_act") is True,
        mode="parallel" if part.get("mode") == "parallel" else "switch",
        archive_gib=_number(archive.value if archive else {}, "gib"),
        archive_price=_number(archive.value if archive else {}, "price_per_gib"),
        **numbers,
    )


def turns(record: Record, found: Answer) -> tuple[Turn, ...]:
    """Return the order in which the lots of the record would go."""
    try:
        lots = inputs.lots(record, found.load)
    except (TypeError, ValueError, AttributeError) as exc:
        raise _wrong(record, f"lots cannot be read ({exc})", "write {class: database, bytes: 1e12}") from exc
    return triage.order(lots, max(0.0, found.available_h - found.load.fixed_h))


def _number(row: Mapping[str, Json], name: str) -> float:
    value = row.get(name) if isinstance(row, dict) else None
    return float(value) if isinstance(value, int | float) else 0.0


def _wrong(record: Record, text: str, remedy: str) -> DefinitionError:
    return DefinitionError([Problem(str(record.path), 1, f"deadline: {text}", remedy)])
