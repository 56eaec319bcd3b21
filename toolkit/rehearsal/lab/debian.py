"""The Debian packages of the lab: which, which are missing, install them.

Enters: the parts wanted. Leaves: installed packages, and no service started by them.
May raise: ``Refused`` (not root, not Debian), ``Unreachable`` (apt failed).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import Refused, Unreachable
from toolkit.families import Progress, Tick
from toolkit.rehearsal.lab.process import missing_program, private

BASE = ("iproute2", "util-linux")
PACKAGES: dict[str, tuple[str, ...]] = {
    "s3": ("ceph-mon", "ceph-osd", "radosgw", "ceph-common"),
    "powerdns": ("pdns-server", "pdns-backend-sqlite3"),
    "libvirt": (
        "libvirt-daemon",
        "libvirt-daemon-driver-qemu",
        "libvirt-daemon-system",
        "libvirt-daemon-config-nwfilter",
        "libvirt-clients",
        "libvirt-dev",  # the Python binding is built against it
        "qemu-system-x86",
        "qemu-utils",
        "genisoimage",
        "mmdebstrap",
        "e2fsprogs",
        "iptables",
        "kmod",
    ),
    "sshd": ("openssh-server", "openssh-client"),
}
ALL = frozenset(PACKAGES)
POLICY = Path("/usr/sbin/policy-rc.d")


def packages(parts: frozenset[str] = ALL) -> tuple[str, ...]:
    """Return the names of the packages these parts need."""
    return (*BASE, *(name for part in sorted(parts) for name in PACKAGES[part]))


def missing_packages(parts: frozenset[str] = ALL, extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the packages, those of ``extra`` too, that are not installed here; not on Debian: all of them."""
    wanted = (*packages(parts), *extra)
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f=${Package}\t${db:Status-Status}\n", *wanted],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return wanted
    rows = (line.partition("\t") for line in done.stdout.splitlines())
    have = {name for name, _, state in rows if state == "installed"}
    return tuple(name for name in wanted if name not in have)


def install_packages(tick: Tick, parts: frozenset[str] = ALL, extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Install what is missing and return it; nothing missing: nothing is run."""
    lacking = missing_packages(parts, extra)
    if not lacking:
        return ()
    if os.geteuid() != 0:
        raise Refused(f"packages are missing and only root can install them: {' '.join(lacking)}", "Run as root.")
    if not Path("/etc/debian_version").exists():
        raise Refused("the lab needs Debian", "Use the embedded target, or a Debian 12 machine.")
    total = len(lacking)
    tick(Progress("lab", "lab/packages", 0, total, wait=f"apt-get install --no-install-recommends {' '.join(lacking)}"))
    with _no_services():
        _apt("update", "-q")
        _apt("install", "-q", "-y", "--no-install-recommends", *lacking)
    if still := missing_packages(parts, extra):
        raise Unreachable(f"apt ended well, yet these are missing: {' '.join(still)}", "Install them by hand.")
    tick(Progress("lab", "lab/packages", total, total))
    return lacking


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Keep packages from starting their daemons: the lab runs its own. A policy already there stays."""
    ours = not POLICY.exists()
    if ours:
        private(POLICY, "#!/bin/sh\nexit 101\n").chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def _apt(*words: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    argv = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *words]
    try:
        done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError as exc:
        raise missing_program("apt-get") from exc
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace")[-1500:]
        raise Unreachable(f"apt-get {words[0]} failed: {said}", "Check the machine's package sources.")
