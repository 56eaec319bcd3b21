"""One sshd on the lab's gateway address, with a host key and a login key made for this lab.

Enters: the lab's folder. Leaves: the daemon (through ``spawn``) and a :class:`Sshd` record.
May raise: ``Unreachable``, ``NotFound``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import Popen

from toolkit.rehearsal.lab.info import GATEWAY, Sshd
from toolkit.rehearsal.lab.process import listening, private, run, wait_until

Spawn = Callable[[str, Sequence[str]], "Popen[bytes]"]
CONF = """Port 22
ListenAddress {address}
HostKey {home}/host_ed25519
AuthorizedKeysFile {home}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
Subsystem sftp internal-sftp
"""


def start(folder: Path, *, spawn: Spawn, step: Callable[[str], None]) -> Sshd:
    """Start sshd in ``folder``/sshd and return how to log in."""
    step("sshd")
    home, login = folder / "sshd", folder / "secrets" / "ssh_ed25519"
    home.mkdir(mode=0o700)
    for key in (home / "host_ed25519", login):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rehost-lab", "-f", str(key)])
    private(home / "authorized_keys", login.with_suffix(".pub").read_bytes())
    host_key = " ".join((home / "host_ed25519.pub").read_text().split()[:2])
    known = private(home / "known_hosts", f"{GATEWAY} {host_key}\n")
    config = private(home / "sshd_config", CONF.format(address=GATEWAY, home=home))
    Path("/run/sshd").mkdir(exist_ok=True)
    process = spawn("sshd", ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)])
    wait_until(listening(GATEWAY, 22), what="sshd", limit=20, process=process, log=folder / "log" / "sshd.log")
    return Sshd(GATEWAY, 22, "root", str(login), str(known))
