"""Deadline arithmetic: the worked example to the digit, the properties that must hold for every exit."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.exitplan.deadline import Load, answer, freeze_h, link_needed, outside_needed, times, too_late
from toolkit.exitplan.spread import Spread, percentile

TB = 1e12
POINT = Spread.point


def load(size_tb: float, link: float, objects: float = 2e8, notice: float = 29.0) -> Load:
    """The worked example: notice 29 h, decide 2, provision 4, cut over 3, eta 0.7, 0.2 Gbit/s of change."""
    return Load(
        notice_h=notice,
        size=POINT(size_tb * TB),
        objects=POINT(objects),
        link_gbps=POINT(link),
        ops=POINT(5000.0),
        eta=0.7,
        change_gbps=0.2,
        decide_h=2,
        provision_h=4,
        cutover_h=3,
        safety=0.1,
        verify=0.1,
    )


@pytest.mark.parametrize(
    ("size", "link", "objects", "bytes_h", "objects_h", "total_h", "slack_h", "verdict", "outside"),
    [
        (70, 1, 2e8, "311", "11.1", "342", "-325", "NO-GO", 95),
        (70, 10, 2e8, "22.9", "11.1", "25.2", "-8.1", "NO-GO", 32),
        (70, 20, 2e8, "11.3", "11.1", "12.4", "4.7", "GO", 0),
        (70, 20, 1e9, "11.3", "55.6", "61", "-44", "NO-GO", 72),
        (300, 10, 2e8, "98", "11.1", "108", "-91", "NO-GO", 84),
        (300, 40, 2e8, "24.0", "11.1", "26.4", "-9.3", "NO-GO", 35),
    ],
)
def test_the_worked_example_line_by_line(
    size: float,
    link: float,
    objects: float,
    bytes_h: str,
    objects_h: str,
    total_h: str,
    slack_h: str,
    verdict: str,
    outside: int,
) -> None:
    found = answer(load(size, link, objects))

    def shown(value: float, like: str) -> str:
        return f"{value:.{len(like.partition('.')[2])}f}"

    assert shown(found.available_h, "17.1") == "17.1"
    assert shown(found.middle.bytes_h, bytes_h) == bytes_h
    assert shown(found.middle.objects_h, objects_h) == objects_h
    assert shown(found.middle.total_h, total_h) == total_h
    assert shown(found.slack_p50, slack_h) == slack_h
    assert found.slack_p90 == found.slack_p50  # points: nothing is uncertain
    assert found.verdict == verdict
    assert round(100 * found.outside_min) == outside
    assert found.draws == 1


def test_the_worked_example_named_figures() -> None:
    with_48h = answer(load(70, 10, notice=48))
    assert (with_48h.verdict, round(with_48h.slack_p50, 1)) == ("GO", 9.0)
    assert round(answer(load(70, 10)).n_min) == 38
    assert round(link_needed(load(70, 20)), 1) == 14.6
    assert math.isclose(link_needed(load(300, 40)), 61.55, abs_tol=0.005)
    assert answer(load(70, 20, 1e9)).bound_by == "objects"
    # The planned exit of the Data Act: 60 days of notice and 30 of transition.
    assert {answer(load(size, link, notice=90 * 24)).verdict for size in (70, 300) for link in (1, 10)} == {"GO"}
    assert answer(load(300, 1, notice=30 * 24)).verdict == "NO-GO"
    assert round(times(load(300, 1)).total_h / 24) == 61


def test_listing_and_archive_wait_side_by_side_before_the_first_byte() -> None:
    slow = replace(load(70, 20), list_h=3.0, archive_h=12.0)
    assert math.isclose(answer(slow).middle.total_h, times(load(70, 20)).total_h + 12.0)
    assert answer(slow).verdict == "NO-GO"
    # No share outside helps against hours that pass before the first byte.
    assert answer(replace(slow, archive_h=18.0)).outside_min > 1
    assert math.isinf(link_needed(replace(slow, archive_h=18.0)))


def test_a_source_that_grows_faster_than_it_leaves_never_converges() -> None:
    found = answer(replace(load(70, 0.25), change_gbps=0.2))  # 0.25 of link * 0.7 < 0.2
    assert math.isinf(found.middle.bytes_h)
    assert found.verdict == "NO-GO"
    assert found.to_json()["n_min_h"] is None
    assert found.outside_min == 1.0


def test_names_have_a_clock_of_their_own() -> None:
    quick = load(1, 20, objects=1e6)
    assert answer(quick).bound_by != "names"
    cached = answer(replace(quick, parent_ttl_h=48.0, record_ttl_h=1.0))
    assert cached.bound_by == "names"
    assert math.isclose(cached.n_min, (48 + 2) / 0.9)


def test_the_last_pass_must_fit_the_cut_over() -> None:
    assert math.isclose(freeze_h(load(70, 10), 10.0), 0.2 * 10 / 7.0)


def test_what_takes_longer_than_the_notice_is_for_before_it() -> None:
    assert too_late(30.0, 29.0)
    assert too_late(24.0, 29.0, planned_h=6.0)
    assert not too_late(29.0, 29.0)


def test_uncertain_figures_widen_the_answer_and_keep_the_seed() -> None:
    uncertain = replace(load(70, 20), size=Spread(70 * TB, 110 * TB), link_gbps=Spread(20, 12), ops=Spread(5000, 3000))
    found = answer(uncertain)
    assert found.slack_p90 < found.slack_p50
    assert found.draws > 1000
    assert answer(uncertain) == found
    assert answer(uncertain, seed=1) != found
    assert found.verdict == "TRIAGE"
    assert found.n_min_p90 > found.n_min_p50
    assert found.to_json()["seed"] == found.seed


def test_draws_follow_the_lognormal_of_p50_and_p90() -> None:
    import random

    chance = random.Random(7)
    drawn = [Spread(10.0, 25.0).draw(chance) for _ in range(20_000)]
    assert math.isclose(percentile(drawn, 0.5), 10.0, rel_tol=0.03)
    assert math.isclose(percentile(drawn, 0.9), 25.0, rel_tol=0.03)
    rates = [Spread(10.0, 4.0).draw(chance) for _ in range(20_000)]
    assert math.isclose(percentile(rates, 0.1), 4.0, rel_tol=0.03)  # of a rate the bad tenth is the low one


def spreads(low: float, high: float, *, worse: float) -> st.SearchStrategy[Spread]:
    """A quantity whose pessimistic value is ``worse`` times its middle at most (or least, for rates)."""
    side = st.floats(min(1.0, worse), max(1.0, worse))
    return st.builds(lambda p50, factor: Spread(p50, p50 * factor), st.floats(low, high), side)


loads = st.builds(
    Load,
    notice_h=st.floats(1, 2000),
    size=spreads(1e9, 1e15, worse=3.0),
    objects=spreads(1, 1e10, worse=3.0),
    link_gbps=spreads(0.1, 400, worse=0.3),
    ops=spreads(10, 1e5, worse=0.3),
    target_gbps=st.one_of(st.just(POINT(math.inf)), spreads(0.1, 400, worse=0.3)),
    eta=st.floats(0.3, 1.0),
    change_gbps=st.floats(0, 0.5),
    outside=st.floats(0, 1),
    safety=st.floats(0, 0.5),
    list_h=st.floats(0, 5),
    archive_h=st.floats(0, 48),
)


@given(loads, st.floats(1.0, 100.0))
def test_more_bandwidth_never_lowers_slack(one: Load, factor: float) -> None:
    wider = replace(one, link_gbps=Spread(one.link_gbps.p50 * factor, one.link_gbps.p90 * factor))
    before, after = answer(one, draws=60), answer(wider, draws=60)
    for name in ("slack_p50", "slack_p90"):
        assert getattr(after, name) >= getattr(before, name) - 1e-6
    assert after.n_min_p90 <= before.n_min_p90 + 1e-6
    assert after.outside_min <= before.outside_min + 1e-9


@given(loads)
def test_at_n_min_the_slack_is_zero_and_below_it_negative(one: Load) -> None:
    found = answer(one, draws=60)
    for notice, slack in (("n_min_p50", "slack_p50"), ("n_min_p90", "slack_p90")):
        shortest = getattr(found, notice)
        if math.isinf(shortest):
            continue
        there = answer(replace(one, notice_h=shortest), draws=60)
        assert math.isclose(getattr(there, slack), 0.0, abs_tol=1e-6 * max(1.0, shortest))
        assert getattr(answer(replace(one, notice_h=shortest * 0.9), draws=60), slack) < 0


@given(loads)
def test_with_the_share_that_must_be_outside_it_fits_exactly(one: Load) -> None:
    share = outside_needed(one)
    if 0 < share < 1:
        total = times(replace(one, outside=share)).total_h
        assert math.isclose(total, one.available_h, rel_tol=1e-6, abs_tol=1e-6)
    elif share == 0:
        assert times(replace(one, outside=0.0)).total_h <= one.available_h + 1e-6


@given(loads)
def test_with_the_link_that_is_needed_the_bytes_fit(one: Load) -> None:
    needed = link_needed(one)
    if math.isinf(needed) or needed == 0 or one.outside > 0.999:
        return
    alone = replace(
        one, link_gbps=POINT(needed), target_gbps=POINT(math.inf), objects=POINT(1.0), ops=POINT(1e9), size=one.size
    )
    assert times(alone).total_h <= one.available_h * (1 + 1e-6) + 1e-6


@given(loads, st.floats(0, 1))
def test_more_outside_never_lowers_slack(one: Load, more: float) -> None:
    share = one.outside + (1 - one.outside) * more
    assert answer(replace(one, outside=share), draws=40).slack_p90 >= answer(one, draws=40).slack_p90 - 1e-6


@given(loads)
def test_the_pessimistic_case_is_never_better_than_the_middle_one(one: Load) -> None:
    found = answer(one, draws=60)
    assert found.slack_p90 <= found.slack_p50
    assert (found.verdict == "GO") == (found.slack_p90 >= 0)
    assert (found.verdict == "NO-GO") == (found.slack_p50 < 0)
