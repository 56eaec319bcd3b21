"""Loopback address pairs, ports, waiting and child processes for rehearsals.

Enters: nothing, or the name of a module to run. Leaves: a :class:`Loopback` nobody else holds, a
:class:`Child` that said it is ready. Raises ``Unreachable`` when something does not come up in
time, ``Conflict`` when no address pair is free.

A child never outlives its parent: it reads its configuration as one JSON line from standard input
and then watches that pipe. The pipe breaks when the parent dies, however it dies, so nothing has to
be cleaned up by name. ``PR_SET_PDEATHSIG`` is not used: it fires when the *thread* that started
the child ends, which kills children of worker threads too early.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from toolkit.errors import Conflict, Unreachable
from toolkit.model import Json

#: A listening socket on this port of ``old.1`` and ``new.1`` is the lock of an address pair.
LOCK_PORT = 47911
_USED = ((2, 9000), (3, 5300), (3, 8081), (4, 5300), (4, 8053), (5, 9400), (16, 8080))


@dataclass(frozen=True, slots=True)
class Loopback:
    """Two /24 networks of 127/8: the old side and the new side of one rehearsal."""

    old: str  # "127.22.0"
    new: str  # "127.22.1"

    def old_ip(self, host: int) -> str:
        return f"{self.old}.{host}"

    def new_ip(self, host: int) -> str:
        return f"{self.new}.{host}"


def _bindable(address: str, port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def _lock(network: str) -> socket.socket | None:
    """Hold ``network`` by listening on it; ``None`` when somebody else does."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.bind((f"{network}.1", LOCK_PORT))
        held.listen(1)
    except OSError:
        held.close()
        return None
    return held


@contextlib.contextmanager
def claim(prefer: str | None = None) -> Iterator[Loopback]:
    """Yield a pair of networks that no other rehearsal on this machine holds.

    ``prefer`` names the old network (``127.22.0``); then that pair or nothing.
    """
    for old, new in _candidates(prefer):
        locks = [lock for lock in (_lock(old), _lock(new)) if lock is not None]
        try:
            if len(locks) == 2 and all(_bindable(f"{net}.{n}", port) for net in (old, new) for n, port in _USED):
                yield Loopback(old, new)
                return
        finally:
            for lock in locks:
                lock.close()
    raise Conflict(
        f"no free pair of loopback networks{f' at {prefer}' if prefer else ''}",
        "end other rehearsals on this machine, or name a free base such as 127.22.0",
    )


def _candidates(prefer: str | None) -> Iterator[tuple[str, str]]:
    if prefer is not None:
        a, b = (int(part) for part in prefer.split(".")[1:3])
        yield f"127.{a}.{b}", f"127.{a}.{b + 1}"
        return
    dice = random.SystemRandom()
    for _ in range(200):
        a, b = dice.randrange(16, 240), dice.randrange(0, 254, 2)
        yield f"127.{a}.{b}", f"127.{a}.{b + 1}"


def wait_ready(check: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Poll ``check`` until it is true; ``Unreachable`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while not check():
        if time.monotonic() > deadline:
            raise Unreachable(f"{what} did not come up within {seconds:.0f} s", "look at its log in the run folder")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def tcp_open(address: str, port: int) -> bool:
    """Say whether something accepts connections at ``address:port``."""
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


def call_json(
    url: str, *, method: str = "GET", body: Json = None, headers: Mapping[str, str] | None = None, seconds: float = 120
) -> Json:
    """Make one JSON request to a rehearsal's own control interface."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - http on loopback, built by the caller
        url, data=data, method=method, headers={"content-type": "application/json", **(headers or {})}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as answer:
            text = answer.read()
    except urllib.error.HTTPError as exc:
        detail = exc.read(2000).decode(errors="replace")
        raise Unreachable(f"{method} {url} answered {exc.code}: {detail}", "look at the log of that process") from exc
    except OSError as exc:
        raise Unreachable(f"{method} {url}: {exc}", "look at the log of that process") from exc
    return json.loads(text) if text else None


@dataclass(frozen=True, slots=True)
class Child:
    """A running child process of ours. ``ready`` is the line it announced itself with."""

    name: str
    process: subprocess.Popen[bytes]
    ready: Mapping[str, Json]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self, *, seconds: float = 5.0) -> None:
        """End the child: politely, then not. Safe to call twice."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(seconds)


def start_module(
    module: str,
    args: Sequence[str] = (),
    *,
    folder: Path,
    config: Json = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 60.0,
) -> Child:
    """Run ``python -m module`` as a child and wait for its JSON ready line.

    ``config`` (which may hold secrets) travels over standard input, never over the command line or
    the environment. Output goes to ``<folder>/<name>.log``.
    """
    name = module.rsplit(".", 1)[-1]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = folder / f"{name}.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "toolkit.rehearsal.net", module, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            env={**os.environ, **(env or {})},
        )
    assert process.stdin is not None  # noqa: S101 - PIPE was asked for
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(json.dumps(config).encode() + b"\n")
        process.stdin.flush()
        ready = _ready_line(process.stdout, seconds)
    except (OSError, ValueError, TimeoutError) as exc:
        process.kill()
        process.wait(5)
        tail = log.read_text(errors="replace")[-2000:]
        raise Unreachable(f"{name} did not start: {exc}\n{tail}", f"look at {log}") from exc
    threading.Thread(target=_drain, args=(process.stdout, log), daemon=True, name=f"drain-{name}").start()
    return Child(name, process, ready, log)


def _ready_line(stream: IO[bytes], seconds: float) -> dict[str, Json]:
    deadline = time.monotonic() + seconds
    line, waiting = b"", select.poll()  # not select(): it knows no descriptors above 1,023
    waiting.register(stream, select.POLLIN)
    while not line.endswith(b"\n"):
        if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError(f"no ready line within {seconds:.0f} s")
        more = os.read(stream.fileno(), 65536)
        if not more:
            raise ValueError("it ended before it was ready")
        line += more
    ready: dict[str, Json] = json.loads(line.splitlines()[0])
    return ready


def _drain(stream: IO[bytes], log: Path) -> None:
    with contextlib.suppress(OSError, ValueError), log.open("ab") as sink:
        while more := os.read(stream.fileno(), 65536):
            sink.write(more)
            sink.flush()


def announce(ready: Mapping[str, Json]) -> None:
    """Tell the parent that this child is ready (one JSON line on standard output)."""
    sys.stdout.write(json.dumps(dict(ready)) + "\n")
    sys.stdout.flush()


def read_line(descriptor: int) -> bytes:
    """Read one line without reading ahead, so that the rest of the pipe stays watchable."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 1)
        if not piece:
            break
        line += piece
    return line


def _end_with_parent(descriptor: int) -> None:
    """Wait until the parent's end of the pipe closes, then end this process."""
    with contextlib.suppress(OSError):
        while os.read(descriptor, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3)
    os._exit(1)


def _run_child(module: str, args: Sequence[str]) -> None:
    """Run ``module`` as ``__main__``: its configuration on ``sys.stdin``, its life tied to ours."""
    import io

    lifeline = os.dup(0)
    config = read_line(lifeline)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdin = io.StringIO(config.decode())
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True, name="lifeline").start()
    sys.argv = [module, *args]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run_child(sys.argv[1], sys.argv[2:])
