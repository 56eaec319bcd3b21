"""What the guest image consists of: packages, files, masked units, kernel command line.

Plain data, so that its digest names the image in the cache. The image is a small Debian with
cloud-init for guests that may run under software emulation: every second of Python or udev there
costs several, so what a guest with a static network and a seed disk never needs is left out.
"""

from __future__ import annotations

from toolkit.model import canonical, sha256_hex

VERSION = 1
SUITE = "bookworm"
DISK_SIZE = "3G"

PACKAGES = (
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "dbus",
    "kmod",
    "cloud-init",
    "openssh-server",
    "python3",
    "iproute2",
    "netbase",
    "ca-certificates",
    "procps",
    "sudo",
    "e2fsprogs",
)
#: Left out while unpacking. Copyright files stay: they belong to what they describe.
EXCLUDED = (
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/doc/*",
)
INCLUDED = ("/usr/share/doc/*/copyright",)

MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "apt-daily.service",
    "apt-daily-upgrade.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "getty.target",
    "serial-getty@ttyS0.service",
    "systemd-pstore.service",
    "systemd-rfkill.service",
    "systemd-rfkill.socket",
    "systemd-network-generator.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "cloud-init-hotplugd.socket",
)
ENABLED = ("systemd-networkd.service", "systemd-resolved.service", "ssh.service")

#: The disk is /dev/vda without partitions; the only modules the start needs.
MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng", "isofs", "ext4")
CMDLINE = (
    "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet loglevel=3 mitigations=off apparmor=0 audit=0 "
    "fsck.mode=skip systemd.show_status=false rd.systemd.show_status=false tsc=reliable no_timer_check"
)

# The data source is settled (a seed disk or nothing), so nothing waits for a metadata service.
# Modules: all that user data commonly asks for; the ones for other distributions are left out.
CLOUD = """datasource_list: [NoCloud, None]
ssh_genkeytypes: [ed25519]
ssh_deletekeys: true
disable_root: false
preserve_hostname: false
manage_etc_hosts: localhost
apt_preserve_sources_list: true
resize_rootfs: true
system_info:
  distro: debian
  default_user:
    name: debian
    lock_passwd: true
    gecos: Debian
    groups: [adm, sudo]
    sudo: ["ALL=(ALL) NOPASSWD:ALL"]
    shell: /bin/bash
  network:
    renderers: [networkd]
  paths:
    cloud_dir: /var/lib/cloud/
    templates_dir: /etc/cloud/templates/
  ssh_svcname: ssh
cloud_init_modules: [bootcmd, write-files, resizefs, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [set-passwords, timezone, runcmd]
cloud_final_modules: [package-update-upgrade-install, write-files-deferred, scripts-per-once, scripts-per-boot,
  scripts-per-instance, scripts-user, ssh-authkey-fingerprints, final-message]
"""
FILES: dict[str, str] = {
    "etc/cloud/cloud.cfg": "users: [default]\n" + CLOUD,
    "etc/cloud/ds-identify.cfg": "policy: enabled\n",
    "etc/fstab": "/dev/vda / ext4 rw,noatime 0 0\n",
    "etc/hostname": "guest\n",
    "etc/machine-id": "",
    "etc/apt/sources.list": "",
    "etc/initramfs-tools/modules": "\n".join(MODULES) + "\n",
    "etc/initramfs-tools/conf.d/rehost": "MODULES=list\nCOMPRESS=gzip\nRUNSIZE=10%\nFSTYPE=ext4\n",
    # Ask the configured servers directly and keep nothing: a cut-over shows at once.
    "etc/systemd/resolved.conf": "[Resolve]\nDNSStubListener=no\nCache=no\nLLMNR=no\nMulticastDNS=no\n",
    "etc/systemd/journald.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n",
}


def digest() -> str:
    """Return the SHA-256 that names this recipe's image."""
    parts = [VERSION, SUITE, DISK_SIZE, PACKAGES, EXCLUDED, INCLUDED, MASKED, ENABLED, CMDLINE, FILES]
    return sha256_hex(canonical(parts))
