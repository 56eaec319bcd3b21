"""Bring a lab up, take it down, look at it, step into it.

Enters: the folder of the lab. Leaves: :class:`LabInfo`; namespaces, daemons and guests that vanish
together when ``unshare`` or its child ends, however it ends.
May raise: ``Refused`` (not root, a folder that would be covered, another lab command at work),
``Conflict`` (the lab runs with other parts), ``NotFound`` (packages), ``Unreachable`` (it did not start).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from toolkit.errors import Conflict, NotFound, Refused, Unreachable
from toolkit.families import Progress, Tick
from toolkit.model import Json
from toolkit.rehearsal.lab import debian, info, namespace
from toolkit.rehearsal.lab.guest_image import GuestImage, cache_folder, image
from toolkit.rehearsal.lab.info import LabInfo, Process
from toolkit.rehearsal.lab.process import private, tail

PARTS = frozenset({"s3", "powerdns", "libvirt", "sshd"})
#: What a lab makes in its folder; ``down`` removes exactly this and keeps ``log``.
MADE = ("lab.json", "request.json", "dead.json", "boot-sector.bin", "secrets", "ceph", "dns", "sshd", "private")
MIN_PART = 5 * 1024 * 1024
ENTER = ["nsenter", "--mount", "--net", "--pid"]


def up(folder: Path, *, parts: frozenset[str] = PARTS, tick: Tick, min_part: int = MIN_PART) -> LabInfo:
    """Start a lab in ``folder``, or return the one that runs there with these parts.

    ``min_part`` is the smallest part of a multipart upload the object store accepts, in bytes.
    """
    folder = folder.absolute()
    _refuse_bad(folder, parts)
    lacking = debian.missing_packages(parts)
    if lacking:
        raise NotFound(
            f"these Debian packages are missing: {' '.join(lacking)}",
            "As root, 'rehost lab up' installs them.",
        )
    guest = image(cache_folder(), tick) if "libvirt" in parts else None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder):
        running = status(folder)
        if running is not None and frozenset(running.parts) == parts and not running.dead:
            return running
        if running is not None:
            raise Conflict(
                f"a lab with other parts or fallen daemons runs in {folder}: {' '.join(running.parts)}",
                "Run 'rehost lab down' first.",
            )
        _clear(folder)
        return _start(folder, tick, {"parts": sorted(parts), "min_part": min_part, "image": _record(guest)})


def down(folder: Path) -> None:
    """Kill the lab in ``folder`` and remove what it made; logs stay. Nothing there: nothing done."""
    folder = folder.absolute()
    if not (folder / info.FILE).exists():
        return
    with _locked(folder):
        _clear(folder)


def status(folder: Path) -> LabInfo | None:
    """Return the lab running in ``folder``, or ``None``. ``dead`` names daemons that fell."""
    found = info.load(folder.absolute())
    if found is None or not found.ready or not _alive(found.init):
        return None
    try:
        dead = json.loads((folder / "dead.json").read_bytes())
    except FileNotFoundError:
        dead = []
    return replace(found, dead=tuple(dead))


def enter(folder: Path, argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run ``argv`` inside the lab with ``env`` added, our standard streams and folder; return its code."""
    lab = status(folder)
    if lab is None:
        raise NotFound(f"no lab runs in {folder}", "Run 'rehost lab up' first.")
    command = [*ENTER, f"--target={lab.init.pid}", f"--wdns={Path.cwd()}", "--", *argv]
    done = subprocess.run(command, env={**os.environ, **env}, check=False)
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def _start(folder: Path, tick: Tick, request: dict[str, Json]) -> LabInfo:
    (folder / "log").mkdir(exist_ok=True)
    (folder / "secrets").mkdir(mode=0o700)
    private(folder / "request.json", json.dumps(request))
    began = time.monotonic()
    reader, writer = os.pipe()
    log = folder / "log" / "supervisor.log"
    command = ["unshare", "-m", "-n", "-p", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m"]
    with log.open("ab") as sink:
        holder = subprocess.Popen(
            [*command, "toolkit.rehearsal.lab.supervisor", str(folder), str(writer)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            pass_fds=(writer,),
            start_new_session=True,
            cwd="/",
            env=_supervisor_environment(),
        )
    os.close(writer)
    with os.fdopen(reader, "rb") as lines:
        try:
            lab = _remember(folder, request["parts"], holder.pid)
            answer = _listen(lines, tick)
        except BaseException:
            _kill(Process(holder.pid, _started(holder.pid) or 0))
            raise
        if "error" in answer:
            _kill(lab.holder)
            raise Unreachable(f"the lab did not start: {answer['error']}", answer["remedy"] or f"Read {log}.")
        if "ready" not in answer:
            _kill(lab.holder)
            raise Unreachable(f"the lab's supervisor ended: {tail(log)}", f"Read {log}.")
        seconds = answer["ready"]["seconds"] | {"total": round(time.monotonic() - began, 1)}
        lab = replace(lab, ready=True, seconds=seconds, **info.parts_from_json(answer["ready"]))
        info.save(lab)
    return lab


def _supervisor_environment() -> dict[str, str]:
    """The environment of process 1: what Python needs to find this package, and no credentials."""
    here = str(Path(__file__).resolve().parents[3])
    return {"PATH": os.defpath + ":/usr/sbin:/sbin", "PYTHONPATH": here, "PYTHONDONTWRITEBYTECODE": "1"}


def _remember(folder: Path, parts: list[str], pid: int) -> LabInfo:
    """Write the lab down while it starts, so that ``down`` can end it whatever happens to us."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 20
    child: int | None = None
    while child is None:
        words = children.read_text().split() if children.exists() else []
        child = int(words[0]) if words else None
        if time.monotonic() > deadline:
            raise Unreachable("unshare made no namespaces", "Run as root on a kernel that allows namespaces.")
        time.sleep(0.01)
    holder, init = Process(pid, _started(pid) or 0), Process(child, _started(child) or 0)
    lab = LabInfo(str(folder), tuple(parts), ready=False, holder=holder, init=init)
    info.save(lab)
    return lab


def _listen(lines: Iterator[bytes], tick: Tick) -> dict[str, Json]:
    """Pass the supervisor's steps on; return its last word."""
    for steps, line in enumerate(lines, 1):
        message: dict[str, Json] = json.loads(line)
        if "step" not in message:
            return message
        tick(Progress("lab", f"lab/{message['part']}", done=steps, wait=f"starting {message['step']}"))
    return {}


def _clear(folder: Path) -> None:
    """Kill whatever lab.json names, wait until it is gone, remove what it made."""
    found = info.load(folder)
    if found is not None:
        _kill(found.holder)
        _kill(found.init)
    for name in MADE:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _kill(process: Process) -> None:
    """Kill and wait until the kernel has taken the process (and all in its namespaces) away."""
    deadline = time.monotonic() + 30
    while _alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
        if time.monotonic() > deadline:
            raise Unreachable(f"process {process.pid} of the lab does not die", "Look at it with ps.")
        time.sleep(0.02)


def _alive(process: Process) -> bool:
    return process.started != 0 and _started(process.pid) == process.started


def _started(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot; ``None`` if gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    words = text.rpartition(")")[2].split()
    return None if words[0] in "ZX" else int(words[19])


def _refuse_bad(folder: Path, parts: frozenset[str]) -> None:
    if os.geteuid() != 0:
        raise Refused("the lab needs root: it makes namespaces and mounts", "Run as root.")
    if unknown := parts - PARTS:
        raise Refused(f"unknown parts: {' '.join(sorted(unknown))}", f"Choose from {' '.join(sorted(PARTS))}.")
    if not parts:
        raise Refused("a lab without parts", f"Choose from {' '.join(sorted(PARTS))}.")
    for place in namespace.COVERED:
        if folder.resolve().is_relative_to(place):
            raise Refused(f"{folder} lies below {place}, which is covered inside the lab", "Name another folder.")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: one lab command at a time."""
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Refused(f"another lab command is at work in {folder}", "Wait for it to end.") from exc
        yield


def _record(guest: GuestImage | None) -> dict[str, str]:
    return asdict(guest) if guest else {"disk": "", "kernel": "", "initrd": "", "cmdline": ""}
