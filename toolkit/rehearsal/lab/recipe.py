"""What the guest image consists of: packages, files, masked units, kernel command line.

Plain data, so that its digest names the image in the cache. The image is a small Debian with
cloud-init for guests that may run under software emulation: every second of Python or udev there
costs several, so what a guest with a static network and a seed disk never needs is left out.
"""

from __future__ import annotations

from pathlib import Path

from toolkit.model import canonical, sha256_hex

VERSION = 1
SUITE = "bookworm"
DISK_SIZE = "3G"

PACKAGES = (
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "systemd-sysv",
    "ifupdown",
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
    "cloud-init-hotplugd.socket",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "ifupdown-wait-online.service",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-initctl.socket",
    "systemd-journal-flush.service",
    "systemd-logind.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-network-generator.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "systemd-rfkill.service",
    "systemd-rfkill.socket",
    "systemd-sysusers.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
)
#: Each generator is a program run at every start; nothing here has swap, crypt, consoles or sysv.
GENERATORS = (
    "cloud-init-generator",
    "systemd-cryptsetup-generator",
    "systemd-debug-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-veritysetup-generator",
)
ENABLED = ("networking.service", "ssh.service")
TARGETS = {"multi-user.target.wants/cloud-init.target": "/lib/systemd/system/cloud-init.target"}
#: All other rules go: each costs every device at every start.
UDEV_RULES = ("50-udev-default", "60-block", "60-persistent-storage", "80-net-setup-link", "99-systemd")

#: The disk is /dev/vda without partitions; nothing is loaded by udev later.
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "isofs", "ext4")
CMDLINE = (
    "root=/dev/vda rw rootfstype=ext4 rootflags=noatime console=ttyS0 net.ifnames=0 quiet loglevel=3 "
    "mitigations=off apparmor=0 audit=0 fsck.mode=skip systemd.show_status=false tsc=reliable no_timer_check "
    "cryptomgr.notests random.trust_cpu=on 8250.nr_uarts=1"
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
    renderers: [eni]
  paths:
    cloud_dir: /var/lib/cloud/
    templates_dir: /etc/cloud/templates/
  ssh_svcname: ssh
cloud_init_modules: [bootcmd, write-files, growpart, resizefs, disk_setup, mounts, set_hostname, update_hostname,
  update_etc_hosts, ca-certs, users-groups, ssh]
cloud_config_modules: [locale, set-passwords, apt-configure, timezone, runcmd]
cloud_final_modules: [package-update-upgrade-install, write-files-deferred, scripts-vendor, scripts-per-once,
  scripts-per-boot, scripts-per-instance, scripts-user, ssh-authkey-fingerprints, phone-home, final-message,
  power-state-change]
growpart: {mode: "off"}
locale: C.UTF-8
mount_default_fields: [~, ~, auto, "defaults,nofail,x-systemd.requires=cloud-init.service", "0", "2"]
"""
RESOLVER = """#!/bin/sh
# Write the name servers of a static interface into resolv.conf.
[ -n "$IF_DNS_NAMESERVERS" ] || exit 0
for server in $IF_DNS_NAMESERVERS; do echo "nameserver $server"; done >/etc/resolv.conf
[ -z "$IF_DNS_SEARCH" ] || echo "search $IF_DNS_SEARCH" >>/etc/resolv.conf
"""
# One process imports cloud-init once and serves all its stages (stages.py, copied into the image).
# What user data starts stays alive: KillMode=process, as cloud-final has it.
FIRST = """[Service]
Type=notify
ExecStart=
ExecStart=/usr/lib/rehost/stages
KillMode=process
TasksMax=infinity
"""
LATER = """[Service]
ExecStart=
ExecStart=/bin/sh -c '[ -p /run/cloud-init/ask ] || exec /usr/bin/cloud-init {words}; \\
  echo {name} >/run/cloud-init/ask; read code </run/cloud-init/answer; exit $code'
"""
# The packaged entry point reads the metadata of every distribution first: half a second, four times.
ENTRY = """#!/usr/bin/python3 -Es
import sys

from cloudinit.cmd.main import main

sys.exit(main())
"""
TRIGGER = """[Service]
ExecStart=
ExecStart=udevadm trigger --type=devices --action=add --subsystem-match=block --subsystem-match=net
"""
FILES: dict[str, str] = {
    "etc/apt/sources.list": "",
    "etc/cloud/cloud.cfg": "users: [default]\n" + CLOUD,
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/fstab": "",
    "etc/hostname": "guest\n",
    "etc/initramfs-tools/conf.d/rehost": "MODULES=list\nCOMPRESS=lz4\nRUNSIZE=10%\nFSTYPE=ext4\nRESUME=none\n",
    "etc/initramfs-tools/modules": "\n".join(MODULES) + "\n",
    "etc/machine-id": "",
    "etc/network/interfaces": "auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n",
    "etc/resolv.conf": "",
    "etc/systemd/journald.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n",
    "etc/systemd/system/systemd-udev-trigger.service.d/rehost.conf": TRIGGER,
    "etc/systemd/system/cloud-init-local.service.d/rehost.conf": FIRST,
    "etc/systemd/system/cloud-init.service.d/rehost.conf": LATER.format(name="init", words="init"),
    "etc/systemd/system/cloud-config.service.d/rehost.conf": LATER.format(name="config", words="modules --mode=config"),
    "etc/systemd/system/cloud-final.service.d/rehost.conf": LATER.format(name="final", words="modules --mode=final"),
    # What cloud-init's generator would have left behind.
    "usr/lib/tmpfiles.d/rehost.conf": "f /run/cloud-init/enabled 0644 root root\n",
}
PROGRAMS: dict[str, str] = {
    "etc/network/if-up.d/resolver": RESOLVER,
    "usr/bin/cloud-init": ENTRY,
    "usr/lib/rehost/stages": Path(__file__).with_name("stages.py").read_text(),
}
#: The initramfs loads a fixed list of modules; udev in it would cost seconds and find nothing.
REMOVED = (
    "usr/share/initramfs-tools/hooks/udev",
    "usr/share/initramfs-tools/hooks/dmsetup",
    "usr/lib/systemd/system/multi-user.target.wants/dbus.service",  # still started when asked for
)


def digest() -> str:
    """Return the SHA-256 that names this recipe's image."""
    lists = [PACKAGES, EXCLUDED, INCLUDED, MASKED, GENERATORS, ENABLED, UDEV_RULES, REMOVED]
    return sha256_hex(canonical([VERSION, SUITE, DISK_SIZE, CMDLINE, *lists, TARGETS, FILES, PROGRAMS]))
