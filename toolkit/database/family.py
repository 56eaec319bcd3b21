"""The database family: dump, restore, and the proof that no row was lost.

Enters: how to run commands at both sides, the run folder, payload. Leaves: what the Family protocol
promises. Raises :class:`ApplyError` when source and target differ after a copy, and whatever running
commands raises.

Two copies are made: one in the build phase, while the source is in use, so that the first restore is
rehearsed and timed; and the final one in the phase ``traffic``, after the freeze, which must be equal to
the last row. Once the final copy is done, nothing here ever writes to the target's database again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit import verdicts
from toolkit.blobs import Blobs
from toolkit.database import digest, sqlite
from toolkit.database import record as records
from toolkit.database.digest import Contents
from toolkit.database.record import Copied, Record
from toolkit.database.sqlite import RunAt
from toolkit.errors import ApplyError, Conflict, RehostError
from toolkit.families import Lease, OldSide, Progress, Shard, Tick
from toolkit.model import (
    Abilities,
    Change,
    Endpoint,
    Finding,
    Json,
    NotSeen,
    Phase,
    Resource,
    Seen,
    Side,
    State,
    Tally,
    Verdict,
    address,
    split,
)
from toolkit.traces import traces

_FINAL: Phase = "traffic"
_log = logging.getLogger(__name__)


class DatabaseFamily:
    """Databases bound to the two sides of one move; ``source=False`` when the old side is left alone."""

    name = "database"

    def __init__(
        self,
        *,
        source: bool = True,
        target: object = None,  # noqa: ARG002  (every family is made alike)
        workspace: Path,
        tick: Tick,
        run_at: RunAt,
        blobs: Blobs,
    ) -> None:
        self._source, self._workspace, self._tick = source is not None and source is not False, workspace, tick
        self._run_at, self._blobs = run_at, blobs
        self._rows = verdicts.load("toolkit.database")

    # reading -------------------------------------------------------------------------------

    def read(self, side: Side, wanted: State | None) -> Iterator[Resource | NotSeen]:
        """Yield the wanted databases that are there. Nobody can discover databases from outside."""
        for where, want in (wanted or {}).items():
            try:
                found = sqlite.contents(self._run_at, side, want)
            except RehostError as exc:
                if side == "source":
                    yield NotSeen(where, exc.text)
                _log.debug("%s is not readable at the %s: %s", where, side, exc.text)
                continue  # at the target its server may simply not exist yet
            if found is not None:
                yield Resource(where, want.body, want.provider, want.id, {"tables": found.summary()})

    def probe(self, side: Side) -> Abilities:  # noqa: ARG002  (the Protocol's shape)
        """Return what is supported, on either side."""
        return Abilities("sqlite", frozenset({"sqlite"}))

    # judging and translating --------------------------------------------------------------------

    def assess(self, resource: Resource, abilities: Abilities) -> Iterator[Verdict]:
        """Yield the verdicts of one database."""
        body = resource.body
        features = [f"kind-{body['kind']}", "freeze" if body.get("freeze") and body.get("thaw") else "no-freeze"]
        if bool(body.get("dump")) != bool(body.get("restore")):
            features.append("half-commands")
        if not body.get("path"):
            features.append("no-path")
        for feature in features:
            yield verdicts.judge(self._rows, resource.address, feature, source="*", target=abilities)

    def translate(self, resource: Resource, moved: Mapping[str, Endpoint]) -> Iterator[Resource]:  # noqa: ARG002  (the Protocol's shape)
        """Yield the same database; its server moves."""
        yield Resource(resource.address, dict(resource.body), resource.provider)

    def endpoints(self, resource: Resource) -> Iterator[Endpoint]:  # noqa: ARG002  (the Protocol's shape)
        """Yield nothing: a file has no address of its own."""
        yield from ()

    # changing ------------------------------------------------------------------------------

    def diff(self, desired: State, existing: State) -> Iterator[Change]:
        """Yield a first copy of every database that differs and was not finally copied already."""
        for where, want in desired.items():
            if _FINAL in self._record(where).copies:
                continue  # the new side lives: an older state must never be written over it
            have = existing.get(where)
            source = self._source_contents(want)
            if have is not None and source is not None and have.facts.get("tables") == source.summary():
                continue
            server = want.body["at"]
            needs = tuple(f"build:{action}:{server}" for action in ("create", "update"))
            rows = {"rows": source.rows} if source else {}
            yield Change(where, "copy", have, want, needs=needs, data=True, figures=rows)

    def cutover(self, phase: Phase, desired: State) -> Iterator[Change]:
        """Yield freeze and final copy."""
        if phase != _FINAL:
            return
        for where, want in desired.items():
            needs: tuple[str, ...] = ()
            if want.body.get("freeze"):
                place = address("database", "freeze", split(where)[2])
                body = {"database": where, **dict(want.body)}
                freeze = Change(
                    place,
                    "update",
                    Resource(place, {**body, "frozen": False}),
                    Resource(place, {**body, "frozen": True}),
                    phase,
                    note="the app stops taking writes at the source; thaw undoes it",
                )
                needs = (freeze.id,)
                yield freeze
            yield Change(where, "copy", None, want, phase, needs=needs, data=True, note="the last copy")

    def took(self, change: Change) -> Seen:
        return self.observe(change)

    def giving_back(self, change: Change) -> Iterator[Change]:  # noqa: ARG002  (the Protocol's shape)
        return iter(())

    def bulk(self, change: Change) -> Iterator[Shard] | None:  # noqa: ARG002  (the Protocol's shape)
        return None

    def observe(self, change: Change) -> Seen:
        """Compare the target with the source, and with what our last copy left there.

        A target database without rows counts as absent: an app that starts makes its own empty tables.
        """
        want = _desired(change)
        record = self._record(_where(change))
        if _is_freeze(change):
            return "after" if record.frozen else "before"
        if change.phase == _FINAL and _FINAL in record.copies:
            return "after"  # and the new side may have moved on since
        target = self._target_contents(want)
        if record.restoring or target is None or target.rows == 0:
            return "before" if not self._is_empty_source(target, want) else "after"
        before = change.before.facts.get("tables") if change.before else None
        if before == target.summary():
            return "before"  # a later pass: the source went on since our last copy
        copied = record.copies.get(change.phase)
        if copied is not None and copied.target == target.summary():
            return "after"
        source = self._source_contents(want)
        if source is not None and source.equals(target) and (change.phase != _FINAL or record.frozen):
            return "after" if copied is not None else "before"  # equal, but without evidence: copy writes it
        last = record.last
        return "before" if last is not None and last.target == target.summary() else "other"

    def _is_empty_source(self, target: Contents | None, want: Resource) -> bool:
        source = self._source_contents(want)
        return target is not None and source is not None and source.equals(target) and source.rows == 0

    def do(self, change: Change, lease: Lease | None) -> Mapping[str, Json]:  # noqa: ARG002  (the Protocol's shape)
        """Freeze, or copy and prove."""
        want, where = _desired(change), _where(change)
        if _is_freeze(change):
            sqlite.command(self._run_at, "source", want, "freeze")
            self._save(where, frozen=True)
            return {"frozen": True}
        self._tick(Progress(self.name, where, 0))
        before = self._must_have(self._contents("source", want), want, "source")
        dump = self._blobs.put(sqlite.take(self._run_at, want))
        self._remember_prior(want)
        self._save(where, restoring=True)
        sqlite.put(self._run_at, want, self._blobs.get(dump))
        after = self._must_have(self._contents("source", want), want, "source")
        target = self._must_have(self._contents("target", want), want, "target")
        self._prove(change, before, after, target)
        copied = Copied(
            datetime.now(UTC).isoformat(), self._blobs.put(digest.dump(after)), target.summary(), dump, target.rows
        )
        record = self._record(where)
        self._save(where, restoring=False, copies={**record.copies, change.phase: copied})
        self._tick(Progress(self.name, where, target.rows, target.rows))
        return {"rows": target.rows, "dump": dump}

    def _prove(self, change: Change, before: Contents, after: Contents, target: Contents) -> None:
        """Insist on equality, unless the source was in use while its first copy was taken."""
        if target.integrity != "ok":
            raise ApplyError(f"{change.address} is not sound at the target: {target.integrity}", "apply again")
        moving = not before.equals(after)
        if after.equals(target) or before.equals(target) or (moving and change.phase != _FINAL):
            if moving and change.phase == _FINAL:
                raise ApplyError(
                    f"{change.address} was written to after the freeze",
                    "correct `freeze` in site.yaml: it does not hold",
                )
            return
        told = "; ".join(
            f"{d.table}: {d.source_rows} rows at the source, {d.target_rows} at the target"
            for d in list(digest.compare(after, target))[:5]
        )
        raise ApplyError(
            f"{change.address} differs after its copy: {told}", "look at dump and restore, then run the same again"
        )

    def _remember_prior(self, want: Resource) -> None:
        """Keep the target's own file as it was before our first copy, for undo."""
        if self._record(want.address).prior is None:
            data = sqlite.copy(self._run_at, "target", want)
            self._save(want.address, prior="" if data is None else self._blobs.put(data))

    def outputs(self, change: Change) -> Mapping[str, Json]:  # noqa: ARG002  (the Protocol's shape)
        """Nothing here is needed by other changes."""
        return {}

    def undo(self, change: Change, *, purge: bool) -> None:
        """Thaw; a copied database stays unless ``purge``, and even then if it was written to since."""
        want, where = _desired(change), _where(change)
        record = self._record(where)
        if _is_freeze(change):
            if want.body.get("thaw"):
                sqlite.command(self._run_at, "source", want, "thaw")
            self._save(where, frozen=False)
            return
        if change.phase == _FINAL and _FINAL in record.copies:
            # No longer the last word: the source is in use again, so the next cut-over copies anew.
            kept = {phase: copied for phase, copied in record.copies.items() if phase != _FINAL}
            self._save(where, copies={**kept, "build": record.copies[_FINAL]})
            record = self._record(where)
        if not purge or record.prior is None:
            return
        target = self._target_contents(want)
        last = record.last
        if target is not None and not record.restoring and last is not None and target.summary() != last.target:
            raise Conflict(
                f"{where} was written to since our copy; its database was left as it is",
                "look at what was written; remove the database by hand if it should go",
            )
        if target is not None and record.prior:
            sqlite.put(self._run_at, want, self._blobs.get(record.prior), own=False)
        elif target is not None:
            sqlite.remove(self._run_at, want)
        records.save(self._workspace, where, Record(frozen=record.frozen))

    # checking ------------------------------------------------------------------------------

    def verify(self, desired: State, tier: str) -> Iterator[Finding | Tally]:  # noqa: ARG002  (the Protocol's shape)
        """Compare every row; with the source gone, with what it held at the last copy."""
        for where, want in desired.items():
            source, against = self._reference(want)
            target = self._target_contents(want)
            if source is None:
                yield Finding(
                    where,
                    "source",
                    "unreachable",
                    f"nothing is known of {where} at the source, and it cannot be read now",
                    "apply while the source can still be reached",
                )
                yield Tally(where, 0, 0)
            elif target is None:
                text = f"{where} is not at the target; the source has {source.rows} rows ({against})"
                yield Finding(where, "database", "missing", text, "run `rehost apply`", evidence={"against": against})
                yield Tally(where, source.rows, 0)
            else:
                yield from self._compared(want, source, target, against)

    def _compared(self, want: Resource, source: Contents, target: Contents, against: str) -> Iterator[Finding | Tally]:
        where = want.address
        if target.integrity != "ok":
            yield Finding(where, "integrity", "different", f"{where} is not sound at the target: {target.integrity}")
        for name in want.body.get("tables") or ():
            if name not in source.tables:
                text = f"{where} names a table {name} that the source has not"
                yield Finding(where, f"table/{name}", "missing", text, "correct `tables` in site.yaml")
        lost = 0
        moved_on = _FINAL in self._record(where).copies
        for different in digest.compare(source, target):
            lost += different.lost
            yield digest.finding(where, different, against, moved_on=moved_on)
        yield Tally(where, source.rows, source.rows - lost)

    def _reference(self, want: Resource) -> tuple[Contents | None, str]:
        """Return what the target is measured by, and what that is."""
        source = self._source_contents(want)
        if source is not None:
            return source, "the source now"
        last = self._record(want.address).last
        if last is None:
            return None, ""
        return digest.parse(self._blobs.get(last.source)), f"what the source held at the copy of {last.at}"

    def dependence(self, desired: State, old: OldSide) -> Iterator[Finding | Tally]:
        """Look for the old side in the target's own data."""
        for where, want in desired.items():
            try:
                data = sqlite.copy(self._run_at, "target", want)
            except RehostError as exc:
                text = f"{where} cannot be read at the target: {exc.text}"
                yield Finding(where, "contents", "unproven", text, exc.remedy, "warning")
                continue
            found = list(traces(data or b"", old))[:50]
            if found:
                yield Finding(
                    where,
                    "contents",
                    "dependent",
                    f"{where} holds {', '.join(found[:5])}, which belongs to the old side",
                    "rewrite those values at the target (`rehost rewrite`), or accept the finding with a reason",
                    evidence={"traces": list(found)},
                )
            yield Tally(where, 1, 0 if found else 1)

    def texts(self, resources: State) -> Iterator[tuple[str, bytes]]:
        """Yield the databases at the target as bytes, for counting addresses in them."""
        return sqlite.texts(self._run_at, resources)

    # both sides ----------------------------------------------------------------------------

    def _contents(self, side: Side, want: Resource) -> Contents | None:
        return sqlite.contents(self._run_at, side, want)

    def _source_contents(self, want: Resource) -> Contents | None:
        """Return what the source holds, ``None`` when it cannot be asked (any more)."""
        if not self._source:
            return None
        try:
            return self._contents("source", want)
        except RehostError as exc:
            _log.info("%s cannot be read at the source: %s", want.address, exc.text)
            return None

    def _target_contents(self, want: Resource) -> Contents | None:
        """Return what the target holds, ``None`` while there is no such server or file."""
        try:
            return self._contents("target", want)
        except RehostError as exc:
            _log.info("%s cannot be read at the target: %s", want.address, exc.text)
            return None

    def _must_have(self, found: Contents | None, want: Resource, side: str) -> Contents:
        if found is None:
            raise ApplyError(
                f"{want.address} is not at the {side}: {want.body['path']}", "correct its path in site.yaml"
            )
        return found

    def _record(self, where: str) -> Record:
        return records.load(self._workspace, where)

    def _save(self, where: str, **fields: Any) -> None:
        records.save(self._workspace, where, replace(self._record(where), **fields))

    def try_write(self) -> Iterator[Finding]:
        """A database has no credentials of its own here: its server's are compute's."""
        return iter(())


def _is_freeze(change: Change) -> bool:
    return change.address.split("/")[1] == "freeze"


def _where(change: Change) -> str:
    """Return the address of the database that a change is about."""
    return str(_after(change).body["database"]) if _is_freeze(change) else change.address


def _desired(change: Change) -> Resource:
    return replace(_after(change), address=_where(change))


def _after(change: Change) -> Resource:
    if change.after is None:
        raise ApplyError(f"{change.id} asks for nothing", "make a new plan")
    return change.after
