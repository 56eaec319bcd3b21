"""Does KVM really work here? Boot something on it; the device alone proves nothing.

Enters: the guest kernel, if there is one. Leaves: yes or no. May raise: ``NotFound`` (no qemu).

Nested and paravirtual hosts have been seen that offer ``/dev/kvm``, create machines, even run a
boot sector (slowly), and then hang on the first real kernel. So two guests are tried: five bytes
that leave through qemu's debug port, then the kernel, which panics for want of a root disk and
reboots, which ends qemu. Saying no when in doubt costs speed only.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from toolkit.rehearsal.lab.process import missing_program

KVM = Path("/dev/kvm")
#: ``mov al, 0x10; out 0xf4, al; hlt``
BOOT_SECTOR = (b"\xb0\x10\xe6\xf4\xf4").ljust(510, b"\0") + b"\x55\xaa"
BOOTED = (0x10 << 1) | 1
QEMU = ["qemu-system-x86_64", "-accel", "kvm", "-machine", "pc", "-nodefaults", "-display", "none", "-no-reboot"]


def kvm_boots(folder: Path, kernel: Path | None) -> bool | None:
    """Say whether guests boot under KVM; ``None`` when only the kernel could tell and there is none."""
    if not KVM.exists():
        return False
    sector = folder / "boot-sector.bin"
    sector.write_bytes(BOOT_SECTOR)
    drive = ["-m", "16", "-drive", f"file={sector},format=raw,if=ide"]
    if _qemu([*drive, "-device", "isa-debug-exit,iobase=0xf4,iosize=1"], limit=2.0) != BOOTED:
        return False
    if kernel is None or not kernel.exists():
        return None
    return _qemu(["-m", "256", "-kernel", str(kernel), "-append", "panic=-1 quiet"], limit=15.0) == 0


def _qemu(words: Sequence[str], *, limit: float) -> int | None:
    try:
        return subprocess.run([*QEMU, *words], capture_output=True, timeout=limit, check=False).returncode
    except subprocess.TimeoutExpired:
        return None
    except FileNotFoundError as exc:
        raise missing_program(QEMU[0]) from exc
