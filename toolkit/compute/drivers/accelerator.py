"""Find out whether KVM really runs a guest here: the device may exist and still hang in the BIOS.

Enters: nothing but this machine. Leaves: ``kvm`` or ``qemu``. Raises nothing: no proof means emulation.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

#: A boot sector that writes 0x10 to the debug-exit port, so that qemu ends with (0x10 << 1) | 1 = 33.
BOOT_SECTOR = bytes.fromhex("b010e6f4f4ebfd").ljust(510, b"\0") + b"\x55\xaa"
BOOTED = 33
_SECONDS = 10.0
#: Real KVM needs a fraction of a second. Nested KVM without hardware help was seen to need 4 s for the
#: very first instruction, fifteen times as long as emulation: that is no acceleration.
_FAST = 2.0


def boots(accelerator: str, *, emulator: str = "qemu-system-x86_64", seconds: float = _SECONDS) -> bool:
    """Say whether a tiny guest reaches its first instruction under ``accelerator`` in time."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder, "boot.img")
        disk.write_bytes(BOOT_SECTOR.ljust(1 << 20, b"\0"))
        argv = [
            *(emulator, "-machine", f"pc,accel={accelerator}", "-m", "16", "-display", "none", "-nodefaults"),
            *("-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
            *("-drive", f"file={disk},format=raw,if=ide,readonly=off"),
        ]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=seconds, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == BOOTED


def probe() -> str:
    """Return ``kvm`` only if a guest booted with it just now, and fast."""
    return "kvm" if Path("/dev/kvm").exists() and boots("kvm", seconds=_FAST) else "qemu"
