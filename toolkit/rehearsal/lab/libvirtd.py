"""libvirtd with qemu, in the lab's private /etc/libvirt, /var/lib/libvirt and /run/libvirt.

Enters: the lab's folder, the guest image. Leaves: the daemon (through ``spawn``) and a
:class:`Libvirt` record. May raise: ``Unreachable``, ``NotFound``. Loads the kernel module
``br_netfilter`` where it is missing; that one stays.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import Popen

from toolkit.rehearsal.lab.accelerator import KVM, kvm_boots
from toolkit.rehearsal.lab.info import BRIDGE, DNS_ADDRESSES, GATEWAY, POOL, PREFIX, Libvirt
from toolkit.rehearsal.lab.process import run, wait_until

Spawn = Callable[[str, Sequence[str]], "Popen[bytes]"]
URI = "qemu:///system"
BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
IMAGES = "/var/lib/libvirt/images"

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


def start(folder: Path, *, image: Mapping[str, str], spawn: Spawn, step: Callable[[str], None]) -> Libvirt:
    """Start libvirtd and return how to reach it."""
    etc = Path("/etc/libvirt")
    (etc / "nwfilter").mkdir(exist_ok=True)
    (etc / "qemu.conf").write_text(QEMU_CONF)
    (etc / "libvirtd.conf").write_text(LIBVIRTD_CONF)
    Path(IMAGES).mkdir(exist_ok=True)
    # libvirt's filters for guests on a bridge are iptables rules: without this they would be ignored.
    if not BRIDGED.exists():
        run(["modprobe", "br_netfilter"])
    BRIDGED.write_text("1\n")
    step("accelerator")
    domain_type = "kvm" if kvm_boots(folder, Path(image["kernel"])) else "qemu"
    if domain_type == "qemu":
        KVM.unlink(missing_ok=True)  # from the lab's own /dev, see namespace._devices
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


def _answers() -> bool:
    """Say whether libvirtd answers and its nwfilter driver is there."""
    done = subprocess.run(["virsh", "-c", URI, "nwfilter-list"], capture_output=True, timeout=60, check=False)
    return done.returncode == 0
