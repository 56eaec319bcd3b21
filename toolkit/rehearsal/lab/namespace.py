"""The inside of a lab's namespaces: its network, its private mounts.

Called only by the supervisor, as process 1 of fresh mount, network and process namespaces; nothing
done here is seen outside, and all of it vanishes with the last process inside.
Enters: the lab's folder. May raise: ``Unreachable``, ``Refused`` (not in a namespace of its own).
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from toolkit.errors import Refused
from toolkit.rehearsal.lab.info import BRIDGE, DNS_ADDRESSES, GATEWAY, PREFIX, S3_ADDRESS
from toolkit.rehearsal.lab.process import run

#: Host folders replaced by empty ones of the lab, so that two labs never share state.
PRIVATE = ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "kvm", "net/tun", "vhost-net")
#: The lab's folder may not lie below these: they are covered inside the lab.
COVERED = ("/run", "/var/run", "/proc", "/sys", *PRIVATE)


def prepare(folder: Path) -> None:
    """Mount and configure everything the daemons expect to find."""
    if os.getpid() != 1:
        raise Refused("the lab's supervisor is not process 1 of its own namespaces", "Use 'rehost lab up'.")
    _devices(folder)
    _mounts(folder)
    _network()


def _devices(folder: Path) -> None:
    """Give the lab a /dev of its own, without disks, from which a useless /dev/kvm can be taken away.

    libvirt asks qemu anew for its abilities at each definition (10 s) as long as /dev/kvm can be
    opened and does not work.
    """
    own = folder / "private" / "dev"
    own.mkdir(parents=True)
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(own)])
    (own / "net").mkdir()
    for name in DEVICES:
        there = Path("/dev", name)
        if there.exists():
            facts = there.stat()
            os.mknod(own / name, facts.st_mode, facts.st_rdev)
            (own / name).chmod(stat.S_IMODE(facts.st_mode))  # mknod obeys the umask
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        (own / name).symlink_to(f"/proc/self/fd{target}")
    for name in ("pts", "shm"):
        (own / name).mkdir()
        run(["mount", "--bind", f"/dev/{name}", str(own / name)])
    run(["mount", "--move", str(own), "/dev"])


def _mounts(folder: Path) -> None:
    # /sys shows the interfaces of the network namespace it was mounted in: libvirt reads bridges there.
    run(["mount", "-t", "sysfs", "sysfs", "/sys"])
    resolver = Path("/etc/resolv.conf").resolve()
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])
    for name in ("lock", "libvirt", "ceph", "sshd", "pdns", "user"):
        Path("/run", name).mkdir(mode=0o755)
    _resolver(folder, resolver)
    for place in PRIVATE:
        if not Path(place).is_dir():
            continue
        own = folder / "private" / place.strip("/").replace("/", "-")
        own.mkdir(parents=True, exist_ok=True)
        filters = Path(place, "nwfilter")  # the packaged filters (clean-traffic and so on) are wanted too
        if filters.is_dir():
            shutil.copytree(filters, own / "nwfilter")
        run(["mount", "--bind", str(own), place])


def _resolver(folder: Path, resolver: Path) -> None:
    """Names are asked of the lab's own servers: nothing outside can be reached anyway."""
    own = folder / "private" / "resolv.conf"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(f"nameserver {DNS_ADDRESSES[0]}\noptions timeout:2 attempts:2\n")
    if not resolver.exists():  # it lay in /run, which is empty now
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.touch()
    run(["mount", "--bind", str(own), str(resolver)])


def _network() -> None:
    steps = [
        ["link", "set", "lo", "up"],
        ["link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0"],
        # A fixed address: else the bridge takes the lowest one of its guests and neighbours go stale.
        ["link", "set", BRIDGE, "address", "52:54:00:77:00:01", "up"],
        *(
            ["address", "add", f"{address}/{PREFIX}", "dev", BRIDGE]
            for address in (GATEWAY, S3_ADDRESS, *DNS_ADDRESSES)
        ),
    ]
    for step in steps:
        run(["ip", *step])
