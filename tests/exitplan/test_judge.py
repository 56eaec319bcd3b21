"""States, waivers, words, what is not applicable, mocks, the gate: the rules, each by its exception."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.exitplan.plans import AFTER, Doc, as_record, document, items, judged, put, row, site
from toolkit.errors import DefinitionError
from toolkit.exitplan import catalogue, judge, record, rules, tables, vendors, view

NOW = datetime.datetime(2021, 3, 1, 12, tzinfo=datetime.UTC)


def broken(*names: str) -> Doc:
    """The state after the move with these items failing."""
    doc = document()
    doc["waived"] = []
    doc["observed"]["domain"]["value"]["locked_until"] = "2021-02-01"
    changes = {
        "N7": put("observed/leaks/value/dangling", ["x"]),
        "L3": put("observed/canary/value/minutes", 50),
        "D3": put("observed/restore_drill/value/measured", "9h"),
        "K3": put("observed/scrape/value/exif_stripped", False),
        "K4": put("observed/logs/value/chain_ok", False),
        "O1": put("observed/probes/value/baseline", False),
        "C6": put("observed/shield/value/ready", False),
        "I4": put("observed/mfa/value/vendor_bound_share", 0.9),
    }
    for name in names:
        changes[name](doc)
    return doc


def waiver(item: str, **more: Any) -> dict[str, Any]:
    return {
        "item": item,
        "reason": "it waits for spring",
        "approver": ["counsel", "board"],
        "expires": "2021-04-01",
        **more,
    }


def test_a_waiver_closes_an_item_until_its_day() -> None:
    doc = broken("N7")
    assert row(doc, "N7").state == "fail"
    doc["waived"] = [waiver("N7")]
    found = row(doc, "N7")
    assert (found.state, found.closed) == ("waived", True)
    assert "it waits for spring" in found.text
    late = row(doc, "N7", now=datetime.datetime(2021, 4, 1, tzinfo=datetime.UTC))
    assert (late.state, late.closed) == ("waiver-expired", False)


@pytest.mark.parametrize(
    ("item", "change", "why"),
    [
        ("L3", {}, "nobody can waive"),
        ("N7", {"approver": ["counsel", "operations"]}, "operations owns the item"),
        ("N7", {"approver": "operations"}, "operations owns the item"),
        ("N7", {"approver": " Operations"}, "operations owns the item"),
    ],
)
def test_a_waiver_that_does_not_count(item: str, change: dict[str, Any], why: str) -> None:
    doc = broken(item)
    doc["waived"] = [waiver(item, **change)]
    found = row(doc, item)
    assert (found.state, found.closed) == ("fail", False)
    assert why in found.text


def test_a_waiver_of_an_item_that_nobody_owns_does_not_count() -> None:
    doc = broken("N7")
    doc["owners"], doc["waived"] = {}, [waiver("N7")]
    assert "no owner" in row(doc, "N7").text


def test_unknown_and_stale_items_can_be_waived_but_not_hidden() -> None:
    doc = broken()
    del doc["observed"]["leaks"]
    assert row(doc, "N7").state == "unknown"
    doc["waived"] = [waiver("N7")]
    found = row(doc, "N7")
    assert (found.state, found.label) == ("waived", "waived")


def test_more_waivers_than_the_ceiling_shut_the_gate() -> None:
    names = ["N7", "K3", "K4", "O1", "C6", "I4"]
    doc = broken(*names)
    doc["waived"] = [waiver(name) for name in names[:5]]
    doc["observed"]["mfa"]["value"]["vendor_bound_share"] = 0.0
    assert judged(doc).passes()
    doc = broken(*names)
    doc["waived"] = [waiver(name) for name in names]
    found = judged(doc)
    assert not found.open()
    assert not found.passes()
    assert "5 is the ceiling" in found.problems[0]


def test_a_waiver_for_an_item_that_does_not_exist_is_named() -> None:
    doc = document()
    doc["waived"].append(waiver("Q9"))
    assert "Q9" in judged(doc).problems[0]


def test_the_cut_over_asks_for_two_approvers_of_a_waived_blocker() -> None:
    doc = broken("D3")
    assert "D3" in row(doc, "X1").text
    doc["waived"] = [waiver("D3", approver="board")]
    assert (row(doc, "X1").state, row(doc, "X1").text) == ("fail", "waived by one person only: D3")
    doc["waived"] = [waiver("D3")]
    assert row(doc, "X1").state == "pass"


def test_a_word_needs_its_file_unchanged(tmp_path: Path) -> None:
    doc = document()
    doc["attested"]["H1"]["sha256"] = "0" * 64
    assert (row(doc, "H1").state, row(doc, "H1").closed) == ("fail", False)
    assert "not the one that was attested" in row(doc, "H1").text
    doc["attested"]["H1"]["file"] = "evidence/nowhere.md"
    assert "is not there" in row(doc, "H1").text


def test_a_word_ends_with_its_day_and_with_the_items_age() -> None:
    doc = document()
    assert row(doc, "H1", now=datetime.datetime(2021, 5, 21, tzinfo=datetime.UTC)).state == "stale"
    doc["attested"]["H1"]["until"] = "2031-01-01"
    assert row(doc, "H1", now=datetime.datetime(2021, 6, 1, tzinfo=datetime.UTC)).state == "stale"  # 90 days
    assert row(doc, "H1", now=datetime.datetime(2021, 2, 1, tzinfo=datetime.UTC)).state == "stale"  # not yet said
    del doc["attested"]["H1"]
    assert row(doc, "H1").state == "unknown"


def test_a_word_alone_closes_no_item_that_a_machine_checks_too() -> None:
    doc = document()
    doc["observed"]["sms"]["value"]["failover_ok"] = False
    assert row(doc, "M1").state == "fail"
    doc = document()
    del doc["attested"]["M1"]
    assert (row(doc, "M1").state, row(doc, "M1").closed) == ("unknown", False)


def test_a_pass_on_mocks_never_looks_like_a_real_one() -> None:
    doc = document()
    doc["observed"]["restore_drill"]["kind"] = "mock"
    found = row(doc, "D3")
    assert (found.state, found.label, found.closed) == ("pass", "pass (mock)", False)
    assert found in judged(doc).open()
    assert "pass (mock)" in judged(doc).counts()
    # Where a mock is the proof asked for it closes the item, and still says what it is.
    assert (row(doc, "M2").label, row(doc, "M2").closed) == ("pass (mock)", True)


def test_one_mocked_step_makes_a_drill_a_mock() -> None:
    doc = document()
    doc["drills"][0]["steps"][2]["kind"] = "mock"
    assert (row(doc, "R1").label, row(doc, "R1").closed) == ("pass (mock)", False)


def test_not_applicable_holds_for_the_inventory_it_was_said_about() -> None:
    doc = document()
    digest = view.inventory(site()).digest
    doc["not_applicable"] = {"A2": {"reason": "there is no app", "by": "development", "inventory": digest}}
    assert (row(doc, "A2").state, row(doc, "A2").text) == ("n/a", "there is no app (development)")
    assert judged(doc).passes()
    doc["not_applicable"]["A2"]["inventory"] = "0" * 64
    found = row(doc, "A2")
    assert (found.state, found.closed) == ("unknown", False)
    assert "another inventory" in found.text
    doc["waived"].append(waiver("A2"))  # n/a is no waiver, but what is unknown can be waived
    assert row(doc, "A2").state == "waived"


def test_nobody_can_call_an_item_not_applicable_that_nobody_can_waive() -> None:
    doc = broken("L3")
    digest = view.inventory(site()).digest
    doc["not_applicable"] = {"L3": {"reason": "we read mail", "by": "operations", "inventory": digest}}
    assert (row(doc, "L3").state, row(doc, "L3").closed) == ("fail", False)


def test_the_short_list_knows_the_waivers_of_the_long_one() -> None:
    found = as_record(document())
    looked = view.look(found, site(), NOW, 29.0)
    short = [item for item in items().values() if item.small]
    assert judge.judge(short, looked, items()).problems == ()
    assert "N2" in judge.judge(short, looked).problems[0]


def test_rates_that_nobody_calls_real_are_mocks_and_a_copy_from_the_future_is_none() -> None:
    doc = document()
    del doc["deadline"]["kind"]
    assert (row(doc, "D8").label, row(doc, "D8").closed) == ("pass (mock)", False)
    doc["observed"]["copies"]["value"]["outside"][0]["newest"] = "2021-03-02"
    assert row(doc, "D2").state == "fail"


def test_what_the_inventory_has_none_of_is_derived_and_asked_again_when_it_comes() -> None:
    doc = document()
    assert row(doc, "P1").state == "n/a"
    doc["vendors"]["pay"] = {**doc["vendors"]["first-sms"], "kind": "payments", "rests_on": ["a bank"]}
    assert row(doc, "P1").state == "unknown"


def test_without_an_inventory_nothing_is_called_not_applicable() -> None:
    found = record.checked(tables.located("exit: 1\nphase: after", "x"), Path("x"))
    listed = judge.judge(items().values(), view.look(found, None, NOW))
    assert {one.state for one in listed.rows if one.item.id not in ("X1",)} == {"unknown"}
    assert not listed.passes("blocker")


def test_what_is_asked_later_is_not_asked_now() -> None:
    doc = document()
    doc["phase"] = "plan"
    assert (row(doc, "E1").state, row(doc, "X1").state) == ("n/a", "n/a")
    doc["phase"] = "exit"
    assert (row(doc, "E1").state, row(doc, "X1").state) == ("n/a", "fail")
    assert "L1" in row(doc, "X1").text  # the old side's contracts count again, and nobody knows them


def test_nothing_may_be_closed_while_an_order_to_preserve_is_open() -> None:
    doc = document()
    doc["preservation"]["orders"] = [{"name": "order 12"}]
    assert "refused while order 12" in row(doc, "E2").text
    doc["preservation"]["orders"][0]["lifted"] = "2021-02-25"
    assert row(doc, "E2").state == "pass"


def test_the_least_severity_decides_the_gate() -> None:
    found = judged(broken("N7"))
    assert not found.passes("major")
    assert found.passes("blocker")


def test_one_authority_over_registrar_and_host_is_found_through_what_it_rests_on() -> None:
    doc = document()
    doc["vendors"]["epik"]["rests_on"] = ["a holding"]
    doc["vendors"]["a holding"] = {"kind": "owner", "side": "new", "rests_on": ["own-host"]}
    assert "own-host hosts the site" in row(doc, "N1").text
    found = vendors.fall_together(vendors.of(record.checked(tables.located("exit: 1", "x"), AFTER)))
    assert found == {}


def test_the_contract_clock() -> None:
    listed = vendors.of(record.load(AFTER))
    clocks = {clock.vendor: clock for clock in vendors.clocks(listed.values())}
    assert (clocks["own-host"].planned_h, clocks["own-host"].hostile_h) == (60 * 24, 30 * 24)
    assert clocks["own-host"].fits_planned is True
    assert clocks["aws"].fits_planned is None  # nobody knows its transition
    assert clocks["aws"].hostile_h == 0  # it may suspend at once, whatever the notice says


def test_every_shipped_fact_has_a_source_and_a_date_or_is_unknown() -> None:
    known = vendors.templates()
    kinds = {row["kind"] for row in known.values()}
    assert {"hosting", "registrar", "dns", "sms", "identity", "support", "chat", "mail", "app-store"} <= kinds
    assert {"payments", "cdn"} <= kinds
    assert {"aws", "twilio", "okta", "zendesk", "slack", "apple", "google-play", "epik"} <= set(known)
    for name, entry in known.items():
        one = vendors.vendor(name, {}, entry)
        assert set(vendors.REQUIRED) <= set(one.facts), name
        for fact_name, fact in one.facts.items():
            assert not fact.known or (fact.source and fact.dated), f"{name}.{fact_name}"


def test_own_catalogues_stand_on_top(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "items:\n"
        "  - {id: Z1, group: own, title: Ours, severity: major, mode: A, lead: [1h, 2h], ttl: 1d,\n"
        "     needs: [zed], all: [{of: zed.n, at_most: 3, else: too many}]}\n"
        "  - {id: N7, group: dns, title: Replaced, severity: minor, mode: M, lead: [1h, 2h], ttl: 1d}\n"
    )
    found = catalogue.load([own], rules=tuple(rules.RULES))
    assert (found["Z1"].title, found["N7"].title, len(found)) == ("Ours", "Replaced", len(items()) + 1)
    own.write_text(
        "items:\n  - {id: Z1, group: own, title: x, severity: loud, mode: A, lead: soon, ttl: 1d, rule: nope}\n  - 7\n"
    )
    with pytest.raises(DefinitionError) as caught:
        catalogue.load([own], rules=tuple(rules.RULES))
    said = [f"{problem.line}: {problem.text}" for problem in caught.value.problems]
    assert [line[:2] for line in said] == ["2:", "2:", "2:", "3:"]
    assert "loud" in said[0]
    assert "[p50, p90]" in said[1]
    assert "nope" in said[2]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("exit: 2\n", 1, "format 1"),
        ("exit: 1\nwavied: []\n", 2, "unknown key 'wavied'"),
        ("exit: 1\nphase: later\n", 2, "phase"),
        ("exit: 1\nas_of: soon\n", 2, "no time"),
        ("exit: 1\nnotice: a while\n", 2, "no duration"),
        ("exit: 1\nobserved:\n  x: {value: 1, kind: real, collector: c}\n", 3, "has no at"),
        ("exit: 1\nobserved:\n  x: {value: 1, at: 2021-01-01, kind: fake, collector: c}\n", 3, "fake"),
        ("exit: 1\nwaived:\n  - {item: N7, approver: a, expires: 2021-01-01}\n", 3, "has no reason"),
        ("exit: 1\nwaived:\n  - {item: N7, reason: r, approver: a, expires: never}\n", 3, "no time"),
        ("exit: 1\nwaived: {N7: x}\n", 2, "not a list"),
        ("exit: 1\nattested:\n  H1: {by: a, at: 2021-01-01, until: 2022-01-01, file: f, sha256: abc}\n", 3, "digest"),
        ("exit: 1\nobserved: [1]\n", 2, "not a mapping"),
        ("- 1\n", 1, "not a mapping"),
    ],
)
def test_a_record_with_a_mistake_is_refused_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    file = tmp_path / "exit.yaml"
    file.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        record.load(file)
    assert any(problem.line == line and says in problem.text for problem in caught.value.problems), caught.value
    assert all(problem.remedy for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"link_gbps": [1, 2]}, "link_gbps"),  # p90 of a rate is the lower one
        ({"bytes": [2, 1]}, "bytes"),
        ({"link_gbps": 0}, "link_gbps"),
        ({"eta": 0}, "eta"),
        ({"outside": 1.5}, "outside"),
        ({"decide": "soon"}, "decide"),
        ({"speed": 1}, "speed"),
        ({"latency_s": 0}, "latency_s"),
        ({"list_parallel": "many"}, "list_parallel"),
    ],
)
def test_figures_that_cannot_be_are_refused(part: dict[str, Any], says: str) -> None:
    doc = document()
    doc["deadline"].update(part)
    with pytest.raises(DefinitionError, match=says):
        judged(doc)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("vendors/own-host/facts/notice", "a month"), "no duration"),
        (put("vendors/own-host/source", ""), "no source and date"),
        (put("vendors/aws/template", "amazon"), "no template"),
        (put("vendors/own-dns/side", "left"), "side"),
        (put("vendors/own-dns/speed", 1), "unknown key"),
        (put("drills/0/steps/0/kind", "half"), "kind: mock"),
    ],
)
def test_vendors_and_drills_that_cannot_be_read_are_refused(change: Any, says: str) -> None:
    doc = document()
    change(doc)
    with pytest.raises(DefinitionError, match=says):
        judged(doc)
