"""Cases that a hostile reading of the stages found: each was wrong once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stages.fake import FakeFamily, families, thing
from toolkit.apply import apply
from toolkit.assess import assess
from toolkit.cutover import cutover
from toolkit.errors import AuthError, Conflict, JournalError, NotFound, Refused
from toolkit.journal import Journal
from toolkit.model import Change, Endpoint, NotSeen, Plan, Resource, Side, State
from toolkit.plan import plan, plan_phase
from toolkit.rollback import rollback
from toolkit.runs import Run, open_run
from toolkit.verify import verify

A, B = "dns/rrset/zone/a/A", "dns/rrset/zone/b/A"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path / "run", "site")


def planned(run: Run, fams: dict[str, FakeFamily], *things: Resource) -> Plan:
    fams["dns"].source = {item.address: item for item in things}
    return plan(fams["dns"].source, fams, run)


def test_what_is_ours_stays_ours_after_a_conflict(run: Run) -> None:
    fams = families()
    made = planned(run, fams, thing("a"))
    with Journal(run.journal) as journal:
        apply(made, fams, journal)
        fams["dns"].world[A] = thing("a", 9)
        with pytest.raises(Conflict):
            apply(made, fams, journal)
        fams["dns"].world[A] = thing("a")
        apply(made, fams, journal)
        assert rollback(journal, fams, purge=True).undone
    assert fams["dns"].world == {}


def test_outputs_lost_in_a_kill_are_read_again(run: Run) -> None:
    fams = families()
    changes = (
        Change(A, "create", None, thing("a")),
        Change(B, "create", None, thing("b", f"@{{{A}:ip}}"), needs=(f"build:create:{A}",)),
    )
    fams["dns"].world[A] = thing("a")
    with Journal(run.journal) as journal:
        journal.intend(changes[0])
        apply(Plan("site", run.id, "", changes, ()), fams, journal)
    assert fams["dns"].world[B].body == {"value": "10.0.0.99"}


def test_one_thing_that_cannot_be_undone_does_not_stop_the_others(run: Run) -> None:
    class Stubborn(FakeFamily):
        def undo(self, change: Change, *, purge: bool) -> None:
            if change.address == B:
                raise Conflict("b was changed since", "look at it")
            super().undo(change, purge=purge)

    fams: dict[str, FakeFamily] = {"dns": Stubborn()}
    with Journal(run.journal) as journal:
        apply(planned(run, fams, thing("a"), thing("b")), fams, journal)
        result = rollback(journal, fams, purge=True)
    assert A not in fams["dns"].world
    assert [finding.address for finding in result.left] == [B]


def test_dns_comes_after_traffic_and_not_after_its_rollback(run: Run) -> None:
    fams = families()
    first = planned(run, fams, thing("a"))
    with Journal(run.journal) as journal:
        apply(first, fams, journal)
        with pytest.raises(Refused, match="comes after"):
            cutover("dns", plan_phase("dns", first, fams, run), fams, journal)
        cutover("traffic", plan_phase("traffic", first, fams, run), fams, journal)
        cutover("dns", plan_phase("dns", first, fams, run), fams, journal)
        rollback(journal, fams, to="applied")
        with pytest.raises(Refused, match="comes after"):
            cutover("dns", plan_phase("dns", first, fams, run), fams, journal)


def test_the_freeze_comes_before_the_last_differences(run: Run) -> None:
    copy = Change("storage/objects/media", "copy", None, Resource("storage/objects/media", {}), "traffic")
    freeze = Change("database/freeze/main", "update", None, Resource("database/freeze/main", {}), "traffic")
    fams = {
        "storage": FakeFamily(name="storage", later={"traffic": [copy]}),
        "database": FakeFamily(name="database", later={"traffic": [freeze]}),
    }
    made = plan_phase("traffic", Plan("site", run.id, "", (), ()), fams, run)
    assert [change.address for change in made.changes] == ["database/freeze/main", "storage/objects/media"]


def test_a_resource_that_nothing_moves_is_blocked() -> None:
    (verdict,) = assess({"compute/server/web": Resource("compute/server/web", {})}, families(), {})
    assert verdict.outcome == "blocked"
    assert "nothing says where" in verdict.reason


def test_nothing_verified_is_not_clean() -> None:
    assert not verify({}, families()).clean


def test_a_full_disk_is_a_journal_error_and_loses_nothing(run: Run) -> None:
    with Journal(run.journal) as journal:
        journal.event("before", {})
        pages = journal.rows("PRAGMA page_count")[0][0]
        journal.rows(f"PRAGMA max_page_count={pages}")
        with pytest.raises(JournalError, match="disk"):
            journal.event("filler", {"text": "x" * 500_000})
    with Journal(run.journal) as journal:
        assert journal.events()[0][1] == "before"
    assert sqlite3.connect(run.journal).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_site_of_data_alone_cuts_over(run: Run) -> None:
    fams = {"storage": FakeFamily(name="storage")}
    bucket = thing("box", family="storage")
    fams["storage"].source = {bucket.address: bucket}
    first = plan(fams["storage"].source, fams, run)
    with Journal(run.journal) as journal:
        apply(first, fams, journal)
        _, verified = cutover("traffic", plan_phase("traffic", first, fams, run), fams, journal)
    assert verified.clean


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE steps SET state='undone'",
        "UPDATE steps SET change=replace(change, '\"value\":1', '\"value\":2')",
        'UPDATE steps SET outputs=\'{"ip":"10.6.6.6"}\'',
        "UPDATE steps SET id='build:create:dns/rrset/zone/b/A'",
        "DELETE FROM steps",
        "INSERT INTO steps(id, phase, state, change, outputs, updated)"
        " SELECT id, phase, state, change, outputs, updated FROM steps",
    ],
)
def test_a_step_edited_by_hand_is_refused(run: Run, edit: str) -> None:
    fams = families()
    with Journal(run.journal) as journal:
        apply(planned(run, fams, thing("a")), fams, journal)
    Journal(run.journal).close()
    with sqlite3.connect(run.journal) as db:
        assert db.execute(edit).rowcount == 1
    with pytest.raises(JournalError, match=r"step [12]"):
        Journal(run.journal)


def test_hidden_is_not_gone(run: Run) -> None:
    class Blind(FakeFamily):
        lacks = A

        def read(self, side: Side, wanted: State | None) -> Iterator[Resource | NotSeen]:
            yield from super().read(side, wanted)
            if side == "source":
                yield NotSeen(self.lacks, "the account may not look")

    blind = Blind()
    with pytest.raises(AuthError, match=r"may not be read at the source: .*the account may not look"):
        plan({A: thing("a")}, {"dns": blind}, run)
    blind.lacks = "records in one region"
    with pytest.raises(AuthError, match="may not look"):
        plan({A: thing("a")}, {"dns": blind}, run)
    blind.lacks = B  # another one is hidden: this one is really gone
    with pytest.raises(NotFound, match="not at the source"):
        plan({A: thing("a")}, {"dns": blind}, run)


def test_a_part_is_planned_with_the_whole_in_view(run: Run) -> None:
    class Linked(FakeFamily):
        seen: frozenset[str] = frozenset()

        def endpoints(self, resource: Resource) -> Iterator[Endpoint]:
            yield Endpoint(resource.address, "hostname", f"{resource.address}.old.example", ("new.example",))

        def translate(self, resource: Resource, moved: object) -> Iterator[Resource]:
            self.seen = frozenset(moved)  # type: ignore[call-overload]
            return super().translate(resource, moved)  # type: ignore[arg-type]

    linked = Linked()
    linked.source = {A: thing("a"), B: thing("b")}
    made = plan({A: thing("a")}, {"dns": linked}, run, whole=linked.source)
    assert [change.address for change in made.changes] == [A]
    assert linked.seen == {f"{addr}.old.example".lower() for addr in (A, B)}


def test_a_step_of_the_cut_over_can_be_repeated(run: Run) -> None:
    change = Change(B, "update", thing("b", 1), thing("b", 2), "traffic")
    fams = families(later={"traffic": [change]})
    fams["dns"].world[B] = thing("b", 1)
    first = planned(run, fams, thing("a"))
    with Journal(run.journal) as journal:
        apply(first, fams, journal)
        for _ in range(2):
            cutover("traffic", plan_phase("traffic", first, fams, run), fams, journal)
        assert fams["dns"].world[B].body == {"value": 2}
        assert [change for change in fams["dns"].done if change == B] == [B]
        rollback(journal, fams, to="applied")
    assert fams["dns"].world[B].body == {"value": 1}
