"""Run commands and daemons of the lab: argv lists only, one error class out.

Enters: argv lists, log files. Leaves: captured output, running daemons.
May raise: ``Unreachable`` (a command failed, a daemon died or did not answer in time), ``NotFound``
(a program is not installed).
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from toolkit.errors import NotFound, Unreachable

TAIL = 1500


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    data: bytes | None = None,
    limit: float = 120.0,
) -> bytes:
    """Run ``argv`` to its end and return its standard output."""
    try:
        done = subprocess.run(argv, env=_environment(env), input=data, capture_output=True, timeout=limit, check=False)
    except FileNotFoundError as exc:
        raise missing_program(argv[0]) from exc
    except subprocess.TimeoutExpired as exc:
        raise Unreachable(
            f"{argv[0]} did not end within {limit:.0f} s", "Look for a machine under heavy load."
        ) from exc
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")[-TAIL:].strip() or done.stdout.decode(errors="replace")[-TAIL:]
        raise Unreachable(f"{' '.join(argv[:4])} … failed ({done.returncode}): {said}", "Read the logs of the lab.")
    return done.stdout


def daemon(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start ``argv`` as a child in the foreground, its output appended to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        try:
            return subprocess.Popen(
                argv, env=_environment(env), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
            )
        except FileNotFoundError as exc:
            raise missing_program(argv[0]) from exc


def wait_until(
    check: Callable[[], bool],
    *,
    what: str,
    limit: float,
    process: subprocess.Popen[bytes] | None = None,
    log: Path | None = None,
) -> None:
    """Poll ``check`` until it holds; give up at ``limit`` seconds or when ``process`` has ended."""
    deadline = time.monotonic() + limit
    while not check():
        if process is not None and process.poll() is not None:
            raise Unreachable(f"{what} ended with code {process.returncode}: {tail(log)}", _see(log))
        if time.monotonic() > deadline:
            raise Unreachable(f"{what} did not answer within {limit:.0f} s: {tail(log)}", _see(log))
        time.sleep(0.05)


def listening(host: str, port: int) -> Callable[[], bool]:
    """Return a check that says whether a TCP connection to ``host:port`` is accepted."""

    def check() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((host, port)) == 0

    return check


def tail(log: Path | None) -> str:
    """Return the end of a log file, or an empty text."""
    if log is None or not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        return file.read().decode(errors="replace").strip()


def private(path: Path, data: str | bytes) -> Path:
    """Write ``data`` into ``path`` so that only its owner can ever read it; replace atomically."""
    blank = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(blank, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
    blank.replace(path)
    return path


def missing_program(name: str) -> NotFound:
    """Return the error for a program that is not installed."""
    return NotFound(f"the program {name} is not installed", "Run 'rehost lab up' as root on Debian 12: it installs it.")


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    base = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
    }
    return base | dict(extra or {})


def _see(log: Path | None) -> str:
    return f"Read {log}." if log else "Read the logs of the lab."
