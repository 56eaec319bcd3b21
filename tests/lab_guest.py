"""A throw-away guest for tests of the lab itself: plain virsh and domain XML, no driver of ours.

Runs inside the lab's namespaces.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from toolkit.rehearsal.lab.info import Libvirt

DOMAIN = """<domain type='{type}'>
  <name>{name}</name><memory unit='MiB'>384</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>{cmdline}</cmdline></os>
  <features><acpi/></features><cpu mode='{cpu}'/><clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='unsafe'/>
      <source file='{disk}'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/>
      <source file='{seed}'/><target dev='vdb' bus='virtio'/><readonly/></disk>
    <interface type='bridge'><source bridge='{bridge}'/><mac address='{mac}'/><model type='virtio'/>{filter}</interface>
    <serial type='file'><source path='{console}'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
</domain>
"""
NETWORK = """version: 2
ethernets:
  nic0:
    match: {{macaddress: "{mac}"}}
    set-name: eth0
    addresses: [{address}/{prefix}]
    gateway4: {gateway}
    nameservers: {{addresses: [{nameserver}]}}
"""


def boot(
    lab: Libvirt, name: str, address: str, *, user_data: bytes, keys: Sequence[str] = (), nwfilter: str = ""
) -> Path:
    """Define and start a guest at ``address``; return the path of its console log."""
    images = Path(lab.images)
    last = int(address.rsplit(".", 1)[1])
    mac = f"52:54:00:77:01:{last:02x}"
    disk, seed, console = images / f"{name}.qcow2", images / f"{name}.iso", images / f"{name}.log"
    backing = ["-b", lab.disk, "-F", "qcow2"]
    _run("qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk))
    words = {"mac": mac, "address": address, "prefix": lab.prefix, "gateway": lab.gateway}
    _seed(seed, name, user_data, [*keys], NETWORK.format(nameserver=lab.nameserver, **words))
    xml = images / f"{name}.xml"
    xml.write_text(
        DOMAIN.format(
            type=lab.domain_type,
            cpu="host-passthrough" if lab.domain_type == "kvm" else "maximum",
            name=name,
            kernel=lab.kernel,
            initrd=lab.initrd,
            cmdline=lab.cmdline,
            disk=disk,
            seed=seed,
            bridge=lab.bridge,
            mac=mac,
            console=console,
            filter=f"<filterref filter='{nwfilter}'/>" if nwfilter else "",
        )
    )
    virsh(lab, "define", str(xml))
    virsh(lab, "start", name)
    return console


def virsh(lab: Libvirt, *words: str) -> str:
    return _run("virsh", "-c", lab.uri, *words)


def remove(lab: Libvirt, name: str) -> None:
    """Take the guest and its files away, running or not."""
    subprocess.run(["virsh", "-c", lab.uri, "destroy", name], capture_output=True, timeout=120, check=False)
    virsh(lab, "undefine", name)
    for ending in ("qcow2", "iso", "log", "xml"):
        Path(lab.images, f"{name}.{ending}").unlink(missing_ok=True)


def _seed(path: Path, name: str, user_data: bytes, keys: list[str], network: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "user-data").write_bytes(user_data)
        facts = {"instance-id": name, "local-hostname": name, "public-keys": keys}
        Path(folder, "meta-data").write_text(json.dumps(facts))
        Path(folder, "network-config").write_text(network)
        _run("genisoimage", "-quiet", "-output", str(path), "-volid", "cidata", "-joliet", "-rock", folder)


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{argv[:4]}: {done.stderr}"
    return done.stdout
