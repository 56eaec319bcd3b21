"""Bring back to the source what was written at the target since the switch, so that a rollback loses nothing.

It is the same comparison and the same engine with the sides changed. What makes a write at the source ours is
here that the object there is still the one that stood there at the switch: those are written down first, as
if we had written them. An object that changed on both sides since is a conflict and left alone.

Enters: the forward job of a bucket. Leaves: the backward job and its slug, the base that it starts from, and
afterwards a record by which later passes know that both sides agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from toolkit.errors import NotFound
from toolkit.files import write_atomic
from toolkit.storage.engine import gather, ledger, manifest, marks, shardlog
from toolkit.storage.engine.dress import Terms
from toolkit.storage.engine.marks import Mark, Marks
from toolkit.storage.engine.work import Job
from toolkit.storage.model import Entry, Written

_PORTION = 2_000
_ADOPTED = 800_001


def backward(job: Job, slug: str, *, create_only: bool) -> tuple[Job, str]:
    """Return the job that brings back, and the name under which its files lie in the run folder.

    What stood at the source at the switch is written down at the first call.
    """
    last = marks.load(job.run, slug).last
    if last is None:
        raise NotFound(
            f"{job.address}: no pass over it is known", "nothing was moved by this run: roll back without it"
        )
    turned = replace(
        job,
        source=job.target,
        source_bucket=job.target_bucket,
        target=job.source,
        target_bucket=job.source_bucket,
        create_only=create_only and not job.versions,
        written_since=last.target,
        terms=_turned_terms(job.terms),
        loader=None,
    )
    # The last pass before the switch names the turn: resumed it is the same, after another cut-over a new one.
    name = f"{slug}~back{last.source:.0f}"
    _prepare(job, slug, name, last)
    return turned, name


def _turned_terms(terms: Terms) -> Terms:
    """Say backwards what was said forwards; where two became one, it is the first again."""
    owner = next((old for old, new in terms.grantees.items() if new == terms.owner), "")
    classes = {new: old for old, new in reversed(list(terms.classes.items()))}
    return replace(terms, classes=classes, grantees={new: old for old, new in terms.grantees.items()}, owner=owner)


def _prepare(job: Job, slug: str, turned: str, last: Mark) -> None:
    path = job.run / "result" / f"{turned}-000-000000.parquet"
    if path.exists():
        return
    there = Mark(last.target, last.source)
    marks.save(job.run, turned, Marks(there, there))
    manifest.write(path, _base(job.run, slug), manifest.WRITTEN)


def _base(run: Path, slug: str) -> Iterator[Written]:
    known = ledger.Ledger(run, slug)
    portion: list[Entry] = []
    for entry in manifest.entries(gather.inventory_path(run, slug)):
        if len(portion) >= _PORTION and entry.key != portion[-1].key:
            yield from _turned(portion, known)
            portion = []
        portion.append(entry)
    yield from _turned(portion, known)


def _turned(portion: list[Entry], known: ledger.Ledger) -> Iterator[Written]:
    told = known.lookup({entry.key for entry in portion})
    for entry in portion:
        copied = next((w for w in reversed(told.get(entry.key, [])) if w.source_etag == entry.etag), None)
        etag = copied.target_etag if copied is not None else entry.etag
        version = copied.target_version if copied is not None else ""
        yield Written(entry.key, version, etag, entry.version, entry.etag, entry.size, entry.marker)


def adopt(job: Job, slug: str, turned: str) -> None:
    """Note for later passes, once, what came back: both sides agree on it, whoever wrote it first."""
    done = job.run / "adopted" / f"{turned}.done"
    if done.exists():
        return
    number = manifest.next_pass(job.run, slug)
    name = f"{slug}-{number:03d}-{_ADOPTED}"
    found = (
        Written(w.key, w.target_version, w.target_etag, w.source_version, w.source_etag, w.size, w.marker)
        for path in sorted((job.run / "result").glob("*.parquet"))
        if shardlog.belongs(path.stem, turned) and not path.stem.endswith("-000-000000")
        for w in manifest.written(path)
        if w.source_version or w.source_etag  # not the tombstones: what is gone is gone on both sides
    )
    manifest.write(job.run / "adopted" / f"{name}.parquet", found, manifest.WRITTEN)
    manifest.write(job.run / "manifest" / f"{name}.parquet", (), manifest.ROWS)  # the number is taken
    write_atomic(done, b"")
