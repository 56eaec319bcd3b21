"""Run a server's app as a child process: spawned without a shell, fenced, dead with its parent.

Enters: a definition, a folder and the environment that may hold secrets (in memory only). Leaves:
processes and their output. Raises :class:`Refused` for a definition that cannot be run.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import Refused

GUEST = Path(__file__).with_name("guest")
_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Fence:
    """Where a guest's Python finds its rules, its resolver, and where refusals are written."""

    rules: Path
    refusals: Path
    resolver: str


def environment(definition: Mapping[str, Any], env: Mapping[str, str], fence: Fence) -> dict[str, str]:
    """Return the whole environment of a guest process: nothing of ours leaks into it."""
    body, app = definition["body"], definition["body"]["app"]
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **env,
        "PYTHONPATH": str(GUEST),
        "REHOST_BIND": address(body),
        "PORT": str(app.get("port") or 8080),
        "REHOST_SERVER": str(definition["name"]),
        "REHOST_RULES": str(fence.rules),
        "REHOST_REFUSALS": str(fence.refusals),
        "REHOST_RESOLVER": fence.resolver,
    }


def address(body: Mapping[str, Any]) -> str:
    """Return the address a server's app listens on: the first private one, else the first public.

    Raises:
        Refused: there is none, or it is not on loopback (this hypervisor owns no other network).
    """
    found = [*body["addresses"].get("private", []), *body["addresses"].get("public", [])]
    if not found:
        raise Refused("the server has no address", "give the target provider a pool of addresses")
    try:
        ipaddress.ip_address(found[0])
    except ValueError as exc:
        raise Refused(f"{found[0]!r} is not an IP address", "give the server an address of this machine") from exc
    return str(found[0])


def workdir(disk: Path, app: Mapping[str, Any]) -> Path:
    """Return the folder that stands for ``app.workdir`` inside the server's own disk folder."""
    parts = [part for part in Path(app.get("workdir") or "").parts if part not in ("/", "..", ".")]
    return disk.joinpath(*parts)


def command(argv: Sequence[str]) -> list[str]:
    """Return ``argv`` behind the launcher; plain ``python3`` means the interpreter we run on."""
    if not argv or not all(isinstance(arg, str) and "\0" not in arg for arg in argv):
        raise Refused("argv must be a list of strings", "give the command as a list")
    head = sys.executable if argv[0] in ("python3", "python") else argv[0]
    return [sys.executable, "-I", "-S", str(GUEST / "launch.py"), str(os.getpid()), head, *argv[1:]]


class Spawner:
    """Starts children from one thread that lives as long as the hypervisor.

    The kernel sends the parent-death signal when the *thread* that forked ends, so a request
    handler's thread must never be the one that forks.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

    def spawn(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], **streams: Any
    ) -> subprocess.Popen[bytes]:
        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                command(argv), cwd=cwd, env=dict(env), start_new_session=True, close_fds=True, **streams
            )

        return self._thread.submit(start).result()

    def close(self) -> None:
        self._thread.shutdown()


def exit_status(child: subprocess.Popen[bytes]) -> int | None:
    """Return how a child ended, or ``None`` while it runs; never reaps it.

    An unreaped leader keeps its process-group number from being given to somebody else, so that
    :func:`kill_group` can only ever hit what we started.
    """
    if child.returncode is not None:
        return child.returncode
    seen = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if seen is None:
        return None
    return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status


def kill_group(child: subprocess.Popen[bytes], *, grace: float = _GRACE) -> None:
    """End a child and everything it started: ask, wait, then insist."""
    if child.returncode is not None:
        return
    if exit_status(child) is None:
        _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while exit_status(child) is None and time.monotonic() < deadline:
            time.sleep(0.02)
    _signal(child, signal.SIGKILL)  # whatever stayed behind in the group
    child.wait()


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def isolation() -> dict[str, Any]:
    """Say which fences hold on this machine, so that a report never claims more than that."""
    try:
        probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, timeout=10, check=False)
        possible = probe.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        possible = False
    try:
        routes = Path("/proc/self/net/route").read_text("ascii").splitlines()[1:]
        confined = not any(len(line.split()) > 1 and line.split()[1] == "00000000" for line in routes)
    except OSError:
        confined = False
    return {
        "audit_hook": True,
        "audit_hook_covers": "Python processes of the guests",
        "namespace_possible": possible,
        "no_default_route": confined,
        "parent_death_signal": sys.platform == "linux",
    }
