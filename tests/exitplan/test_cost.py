"""Egress at list price, waivers that hold or do not, the day of the Data Act, the order of triage."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.exitplan import cost, tables, triage

AWS = tables.prices()["aws-us-east-1"]
JAN = datetime.date(2021, 1, 11)


@pytest.mark.parametrize(("size_tb", "thousands"), [(70, 5.4), (300, 17.9)])
def test_the_worked_example_at_list_price(size_tb: float, thousands: float) -> None:
    assert round(cost.egress(size_tb * 1e12, AWS) / 1000, 1) == thousands


def test_the_unit_of_the_bill_is_gib() -> None:
    assert round(cost.gib(70e12)) == 65_193


@given(st.floats(0, 1e16), st.floats(0, 1e16))
def test_more_bytes_never_cost_less_and_never_more_than_apart(one: float, two: float) -> None:
    both = cost.egress(one + two, AWS)
    assert both >= cost.egress(one, AWS) - 1e-6
    assert both <= (cost.egress(one, AWS) + cost.egress(two, AWS)) * (1 + 1e-9) + 1e-6


def bill(day: datetime.date, *, days: int = 1, **more: object) -> cost.Cost:
    end = day + datetime.timedelta(days=days)
    return cost.cost(70e12, 2e8, AWS, start=day, end=end, **more)  # type: ignore[arg-type]


def test_a_waiver_counts_only_when_approved_and_inside_its_window() -> None:
    asked = cost.Waiver(requested=JAN)
    given_ = cost.Waiver(requested=JAN, approved=JAN, days=60)
    assert bill(JAN, waiver=asked).egress == bill(JAN).egress_list > 5000
    assert bill(JAN, waiver=given_).egress == 0
    late = bill(JAN + datetime.timedelta(days=59), days=3, waiver=given_)
    assert late.egress == late.egress_list
    assert "does not cover" in late.why
    early = bill(JAN - datetime.timedelta(days=1), waiver=given_)
    assert early.egress == early.egress_list


def test_the_data_act_makes_switching_free_from_its_day_on() -> None:
    before, day = cost.DATA_ACT_FREE - datetime.timedelta(days=1), cost.DATA_ACT_FREE
    assert "ceiling" in bill(before, data_act=True).why
    assert bill(before, data_act=True).egress > 0
    assert bill(day, data_act=True).egress == 0
    assert bill(day, data_act=True, mode="parallel").egress > 0
    assert bill(day).egress > 0  # a customer outside the Act


def test_every_price_names_source_and_day() -> None:
    found = bill(JAN, dual_run_days=30, burn_per_day=10_000, archive_gib=1000, archive_price=0.03, people=500)
    assert "2025-01-15" in found.source
    assert found.retrieval == 30
    assert found.dual_run == 300_000
    assert found.requests == pytest.approx(80 + 1)
    document = found.to_json()
    assert document["total"] == pytest.approx(
        sum(document[k] for k in ("egress", "requests", "retrieval", "dual_run", "people"))
    )


def test_triage_takes_keys_first_and_old_media_last_and_passes_over_what_does_not_fit() -> None:
    lots = [
        triage.Lot("everything since 2018", "old-media", 40.0),
        triage.Lot("signing keys", "keys", 0.001),
        triage.Lot("agora.example", "zone", 0.01),
        triage.Lot("accounts", "identities", 0.1),
        triage.Lot("main", "database", 0.5),
        triage.Lot("last month", "recent-media", 3.0),
        triage.Lot("thumbnails", "rebuildable", 1.0),
    ]
    turns = triage.order(lots, 5.0)
    assert [turn.lot.kind for turn in turns] == [
        "keys",
        "zone",
        "identities",
        "database",
        "recent-media",
        "rebuildable",
        "old-media",
    ]
    assert [turn.fits for turn in turns] == [True] * 6 + [False]
    assert triage.order(lots, 0.05)[2].fits is False
    own = triage.order([triage.Lot("a", "old-media", 1.0, value=10, irreplaceable=10), lots[4]], 9.0)
    assert own[0].lot.name == "main"  # 81 / 0.5 is still more than 100 / 1
