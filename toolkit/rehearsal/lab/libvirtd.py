"""libvirtd with qemu, in the lab's private /etc/libvirt, /var/lib/libvirt and /run/libvirt.

Enters: the lab's folder, the guest image. Leaves: the daemon (through ``spawn``) and a
:class:`Libvirt` record. May raise: ``Unreachable``, ``NotFound``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import Popen

from toolkit.rehearsal.lab.info import BRIDGE, DNS_ADDRESSES, GATEWAY, POOL, PREFIX, Libvirt
from toolkit.rehearsal.lab.process import missing_program, run, wait_until

Spawn = Callable[[str, Sequence[str]], "Popen[bytes]"]
URI = "qemu:///system"
IMAGES = "/var/lib/libvirt/images"
KVM = Path("/dev/kvm")

# Everything inside is root's and there is no systemd: no cgroups (they would outlive the lab), no
# mount namespaces per guest, logs into files instead of through virtlogd.
QEMU_CONF = """user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
LIBVIRTD_CONF = """unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_level = 3
log_outputs = "3:stderr"
admin_min_workers = 1
min_workers = 2
"""
#: A boot sector that leaves qemu through its debug port: ``mov al, 0x10; out 0xf4, al; hlt``.
BOOT_SECTOR = (b"\xb0\x10\xe6\xf4\xf4").ljust(510, b"\0") + b"\x55\xaa"
BOOTED = (0x10 << 1) | 1


def start(folder: Path, *, image: Mapping[str, str], spawn: Spawn, step: Callable[[str], None]) -> Libvirt:
    """Start libvirtd and return how to reach it."""
    etc = Path("/etc/libvirt")
    (etc / "nwfilter").mkdir(exist_ok=True)
    (etc / "qemu.conf").write_text(QEMU_CONF)
    (etc / "libvirtd.conf").write_text(LIBVIRTD_CONF)
    Path(IMAGES).mkdir(exist_ok=True)
    step("accelerator")
    domain_type = "kvm" if kvm_boots(folder) else "qemu"
    if domain_type == "qemu" and KVM.exists():
        run(["mount", "--bind", "/dev/null", str(KVM)])  # else libvirt tries it on every probe
    step("libvirtd")
    process = spawn("libvirtd", ["libvirtd", "--config", str(etc / "libvirtd.conf")])
    log = folder / "log" / "libvirtd.log"
    wait_until(_answers, what="libvirtd", limit=60, process=process, log=log)
    return Libvirt(
        uri=URI,
        domain_type=domain_type,
        bridge=BRIDGE,
        gateway=GATEWAY,
        prefix=PREFIX,
        nameserver=DNS_ADDRESSES[0],
        pool=POOL,
        images=IMAGES,
        disk=image["disk"],
        kernel=image["kernel"],
        initrd=image["initrd"],
        cmdline=image["cmdline"],
    )


def kvm_boots(folder: Path, limit: float = 10.0) -> bool:
    """Boot a five-byte guest under KVM. The device alone proves nothing: guests may hang on it."""
    if not KVM.exists():
        return False
    sector = folder / "boot-sector.bin"
    sector.write_bytes(BOOT_SECTOR)
    argv = ["qemu-system-x86_64", "-accel", "kvm", "-machine", "pc", "-m", "16", "-nodefaults", "-display", "none"]
    drive = ["-drive", f"file={sector},format=raw,if=ide", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    try:
        done = subprocess.run([*argv, *drive], capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return False
    except FileNotFoundError as exc:
        raise missing_program(argv[0]) from exc
    return done.returncode == BOOTED


def _answers() -> bool:
    """Say whether libvirtd answers and its nwfilter driver is there."""
    done = subprocess.run(["virsh", "-c", URI, "nwfilter-list"], capture_output=True, timeout=60, check=False)
    return done.returncode == 0
