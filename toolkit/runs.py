"""The run folder: where one move keeps its plan, journal, manifests, payload and reports (mode 0700).

Enters: a folder. Leaves: a :class:`Run`. Raises ``JournalError`` when another process works in it,
``Refused`` when the folder belongs to another site.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from toolkit.errors import DefinitionError, JournalError, NotFound, Problem, Refused
from toolkit.files import read_json, write_atomic, write_json
from toolkit.model import Finding, Json, Phase, Plan, sha256_hex

_FOLDERS = ("approvals", "manifest", "log", "result", "blobs", "report")


@dataclass(frozen=True, slots=True)
class Run:
    """An open run folder."""

    path: Path
    id: str
    site: str

    @property
    def journal(self) -> Path:
        return self.path / "journal.db"

    def plan_file(self, phase: Phase = "build") -> Path:
        """Return where the plan of a phase lies: ``plan.json`` for the first, ``plan-<phase>.json`` after."""
        return self.path / ("plan.json" if phase == "build" else f"plan-{phase}.json")


def open_run(path: Path, site: str) -> Run:
    """Open the run folder, making it on first use."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    for name in _FOLDERS:
        (path / name).mkdir(exist_ok=True, mode=0o700)
    file = path / "run.json"
    if not file.exists():
        write_json(file, {"schema": "rehost.run/1", "id": uuid.uuid4().hex, "site": site, "created": now()})
    data = read_json(file)
    if data["site"] != site:
        raise Refused(
            f"the run folder {path} belongs to the site {data['site']!r}, not to {site!r}",
            "choose another folder with --run, or the right site with --site",
        )
    return Run(path, data["id"], site)


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Hold the run lock: two commands that change the world never share a run folder."""
    handle = (run.path / "lock").open("a+")
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise JournalError(
                f"run {run.id[:8]} is active: {holder}", "wait for it to end, or stop it and run again"
            ) from exc
        handle.truncate(0)
        handle.write(f"pid {os.getpid()} since {now()}\n")
        handle.flush()
        yield
    finally:
        handle.close()


def save_plan(run: Run, plan: Plan, phase: Phase = "build") -> None:
    """Write a plan with its digest beside it."""
    write_json(run.plan_file(phase), {"digest": plan.digest, "plan": plan.to_json()})


def load_plan(run: Run, phase: Phase = "build", *, file: Path | None = None) -> Plan:
    """Read a plan back; refuse one that was edited or belongs to another run."""
    path = file or run.plan_file(phase)
    if not path.exists():
        raise NotFound(f"there is no plan in {run.path}", "make one with: rehost plan")
    try:
        data = read_json(path)
        plan = Plan.from_json(data["plan"])
    except (json.JSONDecodeError, KeyError, TypeError) as exc:
        line = exc.lineno if isinstance(exc, json.JSONDecodeError) else 1
        raise DefinitionError([Problem(str(path), line, "this is not a plan", "make one with: rehost plan")]) from exc
    if plan.digest != data.get("digest"):
        raise Refused(f"the plan {path} was changed after it was made", "make a new one with: rehost plan")
    if plan.run != run.id:
        raise Refused(
            f"the plan {path} belongs to another run ({plan.run[:8]}, this is {run.id[:8]})",
            "plan again in this run folder, or choose the plan's own with --run",
        )
    return plan


def save_findings(run: Run, findings: Iterable[Finding]) -> None:
    """Write findings, one JSON a line."""
    lines = "".join(json.dumps(finding.to_json(), sort_keys=True) + "\n" for finding in findings)
    write_atomic(run.path / "findings.jsonl", lines.encode())


def note(run: Run, name: str, value: Json) -> None:
    """Keep the result of a stage (``verify``, ``prove`` …) for the report."""
    write_json(run.path / "result" / f"{name}.json", value)


def noted(run: Run, name: str) -> Json | None:
    """Read what a stage left, or None if it has not run."""
    file = run.path / "result" / f"{name}.json"
    return read_json(file) if file.exists() else None


def forget(run: Run, name: str) -> None:
    """Drop what a stage left: it no longer says how things are."""
    (run.path / "result" / f"{name}.json").unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a small file."""
    return sha256_hex(path.read_bytes())


def now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
