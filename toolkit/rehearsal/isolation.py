"""Run a rehearsal in a network of its own: a namespace with nothing but loopback, where the kernel allows.

Enters: the command to run. Leaves: its exit code, or ``None`` when no namespace can be had (then the
audit hook of ``toolkit.guard`` alone keeps the rehearsal inside).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence

#: Set inside the namespace, so that the command does not enter another one.
INSIDE = "REHOST_NETNS"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def possible() -> bool:
    """Say whether this user may have a network namespace."""
    tool = shutil.which("unshare")
    if tool is None:
        return False
    return subprocess.run([tool, "-r", "-n", "true"], capture_output=True, timeout=10, check=False).returncode == 0


def inside() -> bool:
    """Say whether this process already runs in a namespace of the rehearsal."""
    return os.environ.get(INSIDE) == "1"


def run_isolated(argv: Sequence[str], env: Mapping[str, str]) -> int | None:
    """Run ``argv`` in a new network namespace; ``None`` when there can be none."""
    if inside() or not possible():
        return None
    tool = str(shutil.which("unshare"))
    return subprocess.run([tool, "-r", "-n", "--", *argv], env={**env, INSIDE: "1"}, check=False).returncode


def raise_loopback() -> None:
    """Bring ``lo`` up: a new namespace starts with it down. Needs no tool beside the kernel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
