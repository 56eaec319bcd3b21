"""Can a lab run here? Look before anything is started.

Enters: the folder of the lab. Leaves: Findings (none of severity error: it can). May raise: nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import RehostError
from toolkit.model import Finding
from toolkit.rehearsal.lab import recipe
from toolkit.rehearsal.lab.accelerator import KVM, kvm_boots
from toolkit.rehearsal.lab.debian import ALL, missing_packages
from toolkit.rehearsal.lab.guest_image import cache_folder

MEMORY_MIB = {"s3": 1500, "powerdns": 100, "libvirt": 1700, "sshd": 20}
DISK_MIB = 6000


def doctor(folder: Path, parts: frozenset[str] = ALL) -> Iterator[Finding]:
    """Yield what stands in the way of a lab in ``folder``, and notes on what it will be like."""
    root = os.geteuid() == 0
    if not root:
        yield _finding("root", "refused", "the lab needs root", "Run as root.")
    version = _debian()
    if version is None:
        yield _finding("debian", "missing", "this is not Debian", "Use Debian 12, or the embedded target.")
    elif version != "12":
        text = f"the lab was measured on Debian 12, this is Debian {version}"
        yield _finding("debian", "unproven", text, "Expect other versions of the servers.", severity="warning")
    if lacking := missing_packages(parts):
        text = f"{len(lacking)} Debian packages are missing: {' '.join(lacking)}"
        yield _finding("packages", "missing", text, "As root, rehost installs them.", severity="warning")
    yield from _room(folder, parts)
    if root:
        yield from _namespaces()
    if "libvirt" in parts and not lacking:
        yield from _accelerator()


def _debian() -> str | None:
    try:
        return Path("/etc/debian_version").read_text().strip().partition(".")[0]
    except OSError:
        return None


def _room(folder: Path, parts: frozenset[str]) -> Iterator[Finding]:
    wanted = sum(MEMORY_MIB[part] for part in parts)
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(rows["MemAvailable"].split()[0]) // 1024
    if free < wanted:
        text = f"{free} MiB of memory are available, the lab wants {wanted}"
        yield _finding("memory", "missing", text, "End something, or bring up fewer parts.")
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    room = shutil.disk_usage(there).free // 1024**2
    if room < DISK_MIB:
        text = f"{room} MiB of disk are free at {there}, the lab wants {DISK_MIB}"
        yield _finding("disk", "missing", text, "Make room, or name another folder.")


def _namespaces() -> Iterator[Finding]:
    argv = ["unshare", "-m", "-n", "-p", "--fork", "--kill-child", "--mount-proc", "ip", "link", "add", "lab0"]
    try:
        done = subprocess.run([*argv, "type", "bridge"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        yield _finding("namespaces", "refused", f"no namespaces can be made: {exc}", "Use a machine that allows them.")
        return
    if done.returncode != 0:
        text = f"a bridge in namespaces of its own is refused: {done.stderr.strip()}"
        yield _finding("namespaces", "refused", text, "Use a machine (not a container) that allows them.")


def _accelerator() -> Iterator[Finding]:
    if not Path("/dev/net/tun").exists():
        yield _finding("tun", "missing", "/dev/net/tun is missing", "Load the tun module.")
    try:
        with tempfile.TemporaryDirectory() as place:
            works = kvm_boots(Path(place), cache_folder() / recipe.digest() / "vmlinuz")
    except RehostError as error:
        yield _finding("kvm", "unproven", error.text, error.remedy, severity="warning")
        return
    if works is None:
        text = f"whether {KVM} works shows once the guest image is built"
        yield _finding("kvm", "unproven", text, "", severity="info")
    elif not works:
        there = "exists, but a guest does not boot on it" if KVM.exists() else "does not exist"
        text = f"{KVM} {there}: guests run under software emulation, about ten times slower"
        yield _finding("kvm", "note", text, "", severity="info")


def _finding(feature: str, verdict: str, text: str, remedy: str, *, severity: str = "error") -> Finding:
    level = {"warning": "warning", "info": "info"}.get(severity, "error")
    return Finding("lab", feature, verdict, text, remedy, severity=level)  # type: ignore[arg-type]
