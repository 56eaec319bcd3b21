"""Process 1 of a lab: prepares the namespaces, starts the daemons, reaps what ends.

``python -m toolkit.rehearsal.lab.supervisor FOLDER STATUS_FD`` reads ``FOLDER/request.json`` and
writes JSON lines to STATUS_FD: ``{"step": …}`` while it works, then one ``{"ready": …}`` or
``{"error": …, "remedy": …}``. When nobody reads them any more before it is ready, it ends, and the
kernel takes every daemon, mount and interface with it. A daemon that falls later is noted in
``FOLDER/dead.json``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from subprocess import Popen
from typing import Any, NoReturn

from toolkit.model import Json
from toolkit.rehearsal.lab import ceph, libvirtd, namespace, powerdns, sshd
from toolkit.rehearsal.lab.process import daemon

Say = Callable[[dict[str, Json]], None]


def main(folder: Path, status: int) -> NoReturn:
    """Bring the lab up, then sleep until killed."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    lock = threading.Lock()

    def say(message: dict[str, Json]) -> None:
        with lock:
            os.write(status, json.dumps(message).encode() + b"\n")

    children: dict[int, str] = {}
    try:
        request = json.loads((folder / "request.json").read_bytes())
        namespace.prepare(folder)
        say({"ready": _start(folder, request, children, say)})
    except Exception as error:  # noqa: BLE001 - the last stop: reported, logged, and the process ends
        # Process 1 must not linger in thread clean-up: its end is what removes the half-started lab.
        with contextlib.suppress(OSError):
            say({"error": str(error) or repr(error), "remedy": getattr(error, "remedy", "")})
        traceback.print_exc()
        os._exit(1)
    os.close(status)
    _reap(folder, children)


def _start(folder: Path, request: dict[str, Json], children: dict[int, str], say: Say) -> dict[str, Json]:
    """Start the asked parts side by side; return their records and how long each took."""
    held: list[Popen[bytes]] = []  # a Popen that is collected polls its process: keep them all

    def spawn(name: str, argv: Sequence[str]) -> Popen[bytes]:
        process = daemon(argv, log=folder / "log" / f"{name}.log")
        held.append(process)
        children[process.pid] = name
        return process

    def step(part: str) -> Callable[[str], None]:
        return lambda text: say({"step": text, "part": part})

    starters: dict[str, Callable[[], Any]] = {
        "s3": lambda: ceph.start(folder, min_part=request["min_part"], spawn=spawn, step=step("s3")),
        "powerdns": lambda: powerdns.start(folder, spawn=spawn, step=step("powerdns")),
        "libvirt": lambda: libvirtd.start(folder, image=request["image"], spawn=spawn, step=step("libvirt")),
        "sshd": lambda: sshd.start(folder, spawn=spawn, step=step("sshd")),
    }

    def timed(part: str) -> tuple[str, Json, float]:
        began = time.monotonic()
        return part, asdict(starters[part]()), round(time.monotonic() - began, 1)

    # No "with": when one part fails the others are not waited for, the process ends with all of them.
    pool = ThreadPoolExecutor(len(starters))
    done = [future.result() for future in as_completed([pool.submit(timed, part) for part in request["parts"]])]
    return {**{part: record for part, record, _ in done}, "seconds": {part: spent for part, _, spent in done}}


def _reap(folder: Path, children: dict[int, str]) -> NoReturn:
    """Wait for whatever ends inside (guests are orphans and become ours); remember fallen daemons."""
    dead: list[str] = []
    while True:
        try:
            pid, code = os.wait()
        except ChildProcessError:  # all have fallen; what is run inside may still leave orphans to us
            time.sleep(0.5)
            continue
        if pid in children:
            dead.append(f"{children[pid]} ({os.waitstatus_to_exitcode(code)})")
            (folder / "dead.json").write_text(json.dumps(dead))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
