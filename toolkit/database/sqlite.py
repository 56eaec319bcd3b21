"""SQLite at either side: read its digest, take a copy, put a copy in place.

Enters: how to run a command on a server. Leaves: :class:`Contents` and bytes. Raises
:class:`ApplyError` when a command there fails, and whatever running it raises.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from toolkit.commands import Completed
from toolkit.database.digest import Contents, parse
from toolkit.errors import ApplyError, RehostError
from toolkit.model import Resource, Side, State

_log = logging.getLogger(__name__)
#: side, address of the server, argv, stdin, seconds → how it ended.
RunAt = Callable[[Side, str, list[str], bytes, float], Completed]
_ABSENT = 3
_SECONDS = 3600.0
#: Up to this many rows each row's hash is fetched, so that losses are counted one by one.
EXACT_ROWS = 1_000_000


def script(name: str) -> str:
    """Return a shipped script."""
    return resources.files("toolkit.database").joinpath(name).read_text("utf-8")


def contents(run_at: RunAt, side: Side, database: Resource) -> Contents | None:
    """Return what a database holds, ``None`` when there is none."""
    body = database.body
    argv = ["python3", "-", str(body["path"]), str(EXACT_ROWS), *(body.get("tables") or ())]
    done = run_at(side, body["at"], argv, script("sqlite_digest.py").encode(), _SECONDS)
    if done.rc == _ABSENT:
        return None
    _must(done, f"reading {database.address} at the {side}")
    return parse(done.out)


def copy(run_at: RunAt, side: Side, database: Resource) -> bytes | None:
    """Return a consistent copy of the file, ``None`` when there is none."""
    body = database.body
    done = run_at(side, body["at"], ["python3", "-", str(body["path"])], script("sqlite_backup.py").encode(), _SECONDS)
    if done.rc == _ABSENT:
        return None
    _must(done, f"copying {database.address} at the {side}")
    return done.out


def take(run_at: RunAt, database: Resource) -> bytes:
    """Dump at the source: the site's own command, else a consistent copy."""
    if database.body.get("dump"):
        return command(run_at, "source", database, "dump").out
    data = copy(run_at, "source", database)
    if data is None:
        raise ApplyError(f"{database.address} is not at the source: {database.body['path']}", "correct its path")
    return data


def put(run_at: RunAt, database: Resource, data: bytes, *, own: bool = True) -> None:
    """Restore at the target: the site's own command (``own``), else aside, checked, then into place."""
    if own and database.body.get("restore"):
        command(run_at, "target", database, "restore", data)
        return
    argv = ["python3", "-c", script("sqlite_restore.py"), str(database.body["path"])]
    done = run_at("target", database.body["at"], argv, data, _SECONDS)
    _must(done, f"restoring {database.address}")


def remove(run_at: RunAt, database: Resource) -> None:
    """Remove the file at the target."""
    argv = ["python3", "-c", script("sqlite_restore.py"), str(database.body["path"]), "--absent"]
    _must(run_at("target", database.body["at"], argv, b"", _SECONDS), f"removing {database.address}")


def command(run_at: RunAt, side: Side, database: Resource, name: str, stdin: bytes = b"") -> Completed:
    """Run one of the site's own commands (dump, restore, freeze, thaw)."""
    body: Mapping[str, Any] = database.body
    argv: Sequence[str] = body[name]
    done = run_at(side, body["at"], list(argv), stdin, _SECONDS)
    _must(done, f"{name} of {database.address} at the {side}")
    return done


def _must(done: Completed, what: str) -> None:
    if done.rc:
        said = done.err.decode("utf-8", "replace").strip()[-400:]
        raise ApplyError(f"{what} ended with {done.rc}: {said}", "run the command there by hand to see why")


def texts(run_at: RunAt, resources: State) -> Iterator[tuple[str, bytes]]:
    """Yield (address, bytes) of every database that can be read at the target."""
    for where, want in resources.items():
        if where.startswith("database/"):
            try:
                data = copy(run_at, "target", want)
            except RehostError as exc:
                _log.info("%s cannot be read at the target: %s", where, exc.text)
                continue
            if data:
                yield where, data
