"""P3, P4: killed anywhere and run again, the same end state; run twice, nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.fake import FakeFamily, Killed, families, thing
from toolkit import leases
from toolkit.apply import apply
from toolkit.errors import ApplyError, Conflict, DefinitionError, JournalError, NotFound, Refused
from toolkit.families import Shard
from toolkit.journal import Journal
from toolkit.model import Change, Plan, Resource
from toolkit.plan import ordered, plan
from toolkit.rollback import rollback
from toolkit.runs import Run, load_plan, locked, open_run, save_plan


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path / "run", "site")


def planned(run: Run, fams: dict[str, FakeFamily], *things: Resource) -> Plan:
    fams["dns"].source = {item.address: item for item in things}
    return plan(fams["dns"].source, fams, run)


def test_what_is_gone_at_the_source_stops_the_plan_and_what_changed_is_told(run: Run) -> None:
    fams = families(source={"dns/rrset/zone/a/A": thing("a", 2)})
    with pytest.raises(NotFound, match="dns/rrset/zone/b/A"):
        plan({item.address: item for item in (thing("a"), thing("b"))}, fams, run)
    made = plan({"dns/rrset/zone/a/A": thing("a", 1)}, fams, run)
    assert "rehost discover" in "".join(made.notices)


def test_p4_a_second_apply_does_nothing(run: Run) -> None:
    fams = families()
    made = planned(run, fams, thing("a"), thing("b"))
    with Journal(run.journal) as journal:
        first = apply(made, fams, journal)
        second = apply(made, fams, journal)
    assert len(first.made) == 2
    assert second.made == ()
    assert fams["dns"].done == ["dns/rrset/zone/a/A", "dns/rrset/zone/b/A"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("slug", ["a", "b", "c"])
def test_p3_killed_at_any_step_then_run_again(run: Run, moment: str, slug: str) -> None:
    fams = families(die=f"{moment}:dns/rrset/zone/{slug}/A")
    made = planned(run, fams, thing("a"), thing("b"), thing("c"))
    with Journal(run.journal) as journal, pytest.raises(Killed):
        apply(made, fams, journal)
    fams["dns"].die = ""
    with Journal(run.journal) as journal:
        apply(made, fams, journal)
        assert all(step.state == "done" for step in journal.steps())
    assert len(fams["dns"].done) == 3
    with Journal(run.journal) as journal:
        rollback(journal, fams, purge=True)
    assert fams["dns"].world == {}


@pytest.mark.parametrize("batch", [1, 7, 10, 11, 23])
def test_p3_a_killed_copy_repeats_at_most_one_batch(run: Run, batch: int) -> None:
    fams = families(rows=250, die=f"batch:{batch}")
    made = planned(run, fams)
    with Journal(run.journal) as journal, pytest.raises(Killed):
        apply(made, fams, journal)
    fams["dns"].die = ""
    with Journal(run.journal) as journal:
        apply(made, fams, journal)
    written = fams["dns"].copied["dns/objects/box"]
    assert sorted(set(written)) == list(range(250))
    assert len(written) - 250 <= 10


def test_what_was_there_before_is_never_ours(run: Run) -> None:
    fams = families(world={"dns/rrset/zone/a/A": thing("a")})
    made = Plan("site", run.id, "", (Change("dns/rrset/zone/a/A", "create", None, thing("a")),), ())
    with Journal(run.journal) as journal:
        applied = apply(made, fams, journal)
        assert applied.present
        rollback(journal, fams, purge=True)
    assert "dns/rrset/zone/a/A" in fams["dns"].world


def test_a_world_that_is_neither_before_nor_after_stops_the_run(run: Run) -> None:
    fams = families()
    made = planned(run, fams, thing("a", 1))
    fams["dns"].world["dns/rrset/zone/a/A"] = thing("a", 99)
    with Journal(run.journal) as journal, pytest.raises(Conflict):
        apply(made, fams, journal)
    assert fams["dns"].world["dns/rrset/zone/a/A"].body == {"value": 99}


def test_a_change_that_does_not_take_fails(run: Run) -> None:
    fams = families(deaf={"dns/rrset/zone/a/A"})
    with Journal(run.journal) as journal, pytest.raises(ApplyError):
        apply(planned(run, fams, thing("a")), fams, journal)


@pytest.mark.parametrize("outcome", ["blocked", "degraded"])
def test_p2_apply_refuses_while_a_verdict_stands(run: Run, outcome: str) -> None:
    fams = families(outcomes={"dns/rrset/zone/a/A": outcome})
    with Journal(run.journal) as journal, pytest.raises(Refused):
        apply(planned(run, fams, thing("a")), fams, journal)
    assert fams["dns"].world == {}


def test_outputs_of_one_change_reach_another(run: Run) -> None:
    fams = families()
    made = ordered(
        [
            Change("dns/rrset/zone/b/A", "create", None, thing("b", "@{dns/rrset/zone/a/A:ip}")),
            Change("dns/rrset/zone/a/A", "create", None, thing("a"), needs=()),
        ][::-1]
    )
    with Journal(run.journal) as journal:
        apply(Plan("site", run.id, "", made, ()), fams, journal)
    assert fams["dns"].world["dns/rrset/zone/b/A"].body == {"value": "10.0.0.1"}


def test_rollback_restores_updates_and_leaves_what_others_changed(run: Run) -> None:
    fams = families(world={"dns/rrset/zone/a/A": thing("a", 0), "dns/rrset/zone/b/A": thing("b", 0)})
    with Journal(run.journal) as journal:
        apply(planned(run, fams, thing("a", 1), thing("b", 1)), fams, journal)
        fams["dns"].world["dns/rrset/zone/b/A"] = thing("b", 7)
        result = rollback(journal, fams)
    assert fams["dns"].world["dns/rrset/zone/a/A"].body == {"value": 0}
    assert fams["dns"].world["dns/rrset/zone/b/A"].body == {"value": 7}
    assert [finding.address for finding in result.left] == ["dns/rrset/zone/b/A"]


def test_two_applies_then_rollback_restores_the_first_state(run: Run) -> None:
    fams = families(world={"dns/rrset/zone/a/A": thing("a", 0)})
    with Journal(run.journal) as journal:
        apply(planned(run, fams, thing("a", 1)), fams, journal)
        apply(planned(run, fams, thing("a", 2)), fams, journal)
        rollback(journal, fams)
    assert fams["dns"].world["dns/rrset/zone/a/A"].body == {"value": 0}


def test_changes_that_wait_for_each_other_are_refused() -> None:
    a = Change("dns/rrset/z/a/A", "create", None, thing("a"), needs=("build:create:dns/rrset/z/b/A",))
    b = Change("dns/rrset/z/b/A", "create", None, thing("b"), needs=("build:create:dns/rrset/z/a/A",))
    with pytest.raises(Refused, match="wait for each other"):
        ordered([a, b])


def test_a_plan_is_refused_when_edited_or_from_another_run(run: Run, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_plan(run)
    save_plan(run, planned(run, families(), thing("a")))
    assert load_plan(run).digest == planned_digest(run)
    other = open_run(tmp_path / "other", "site")
    with pytest.raises(Refused, match="another run"):
        load_plan(other, file=run.plan_file())
    text = run.plan_file().read_text()
    run.plan_file().write_text(text.replace('"value": 1', '"value": 2'))
    with pytest.raises(Refused, match="changed after"):
        load_plan(run)
    run.plan_file().write_text("{broken")
    with pytest.raises(DefinitionError):
        load_plan(run)


def planned_digest(run: Run) -> str:
    import json

    return str(json.loads(run.plan_file().read_text())["digest"])


def test_the_run_folder_belongs_to_one_site_and_one_command(run: Run) -> None:
    with pytest.raises(Refused):
        open_run(run.path, "another")
    with locked(run), pytest.raises(JournalError, match="is active"), locked(run):
        raise AssertionError("two commands held one run")


def test_p8_an_edited_journal_is_refused(run: Run) -> None:
    import sqlite3

    with Journal(run.journal) as journal:
        journal.event("one", {"a": 1})
        journal.event("two", {"b": 2})
        assert journal.broken_link() is None
    db = sqlite3.connect(run.journal)
    db.execute("UPDATE events SET body='{\"a\":9}' WHERE seq=1")
    db.commit()
    db.close()
    with pytest.raises(JournalError, match="broken at event 1"):
        Journal(run.journal)


def test_a_newer_journal_and_a_damaged_one_are_refused(run: Run, tmp_path: Path) -> None:
    with Journal(run.journal) as journal, journal.write() as db:
        db.execute("UPDATE meta SET value='99' WHERE key='schema'")
    with pytest.raises(JournalError, match="newer"):
        Journal(run.journal)
    (tmp_path / "bad.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 4096)
    with pytest.raises(JournalError):
        Journal(tmp_path / "bad.db")


def test_a_late_worker_is_fenced(run: Run) -> None:
    with Journal(run.journal) as journal:
        leases.add(journal, "c", Shard("s", "m", 0, 10))
        slow = leases.claim(journal, "c", "slow", seconds=-1)
        fast = leases.claim(journal, "c", "fast")
        assert slow is not None
        assert fast is not None
        assert fast.epoch == slow.epoch + 1
        with pytest.raises(JournalError, match="was lost"):
            slow.commit(5, done=5, size=0, exceptions=[])
        fast.commit(10, done=10, size=0, exceptions=[])
        assert leases.claim(journal, "c", "third") is None
        assert leases.counts(journal, "c") == {"done": 10, "bytes": 0, "open": 0, "exceptions": 0}
