#!/usr/bin/python3 -Es
"""Run cloud-init's four stages in forks of one process. This file is copied into the guest image.

Under software emulation, importing cloud-init takes longer than any of its stages does anything. So
``cloud-init-local.service`` imports it once, runs the first stage, tells systemd that it is ready and
waits: the units of the later stages ask for theirs through one FIFO and read its exit code from another.
Each stage runs in a fork that has nothing of the earlier ones but the imported modules.
"""

import importlib
import os
import pkgutil
import socket
import sys
from pathlib import Path

ASK, ANSWER = Path("/run/cloud-init/ask"), Path("/run/cloud-init/answer")
LATER = {"init": ["init"], "config": ["modules", "--mode=config"], "final": ["modules", "--mode=final"]}


def stage(words: list[str]) -> int:
    """Run one stage in a fork and return its exit code."""
    pid = os.fork()
    if pid == 0:
        sys.argv = ["/usr/bin/cloud-init", *words]
        sys.exit(importlib.import_module("cloudinit.cmd.main").main())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def preload() -> None:
    """Import what the stages would import one by one."""
    for name in ("cmd.main", "sources.DataSourceNoCloud", "sources.DataSourceNone", "distros.debian", "net.eni"):
        importlib.import_module(f"cloudinit.{name}")
    wanted = {"bootcmd", "write_files", "resizefs", "set_hostname", "users_groups", "ssh", "runcmd", "scripts_user"}
    package = importlib.import_module("cloudinit.config")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.removeprefix("cc_") in wanted:
            importlib.import_module(f"cloudinit.config.{module.name}")


def ready() -> None:
    """Tell systemd that the first stage is done."""
    where = os.environ.pop("NOTIFY_SOCKET", "")
    if where:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(b"READY=1", where.replace("@", "\0", 1) if where.startswith("@") else where)


def serve() -> int:
    preload()
    first = stage(["init", "--local"])
    ASK.parent.mkdir(exist_ok=True)
    for fifo in (ASK, ANSWER):
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo, 0o600)
    ready()
    for _ in LATER:
        asked = ASK.read_text().strip()
        ANSWER.write_text(f"{stage(LATER[asked])}\n")
    ASK.unlink()
    ANSWER.unlink()
    return first


if __name__ == "__main__":
    sys.exit(serve())
