"""SSH hosts against a real sshd on a loopback port: strict keys, exact bytes, no shell surprises."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest

from toolkit import hosts
from toolkit.errors import AuthError, Paused, Refused, RehostError, Unreachable
from toolkit.hosts import Host
from toolkit.secrets import Secret

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
SFTP = next(
    (p for p in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server") if Path(p).exists()), "internal-sftp"
)

pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="openssh-server is not installed")


@dataclass
class Server:
    """A running sshd: where it is, the keys it shows and accepts."""

    host: Host
    folder: Path
    other_key: str
    stranger: Path


def keygen(path: Path, kind: str = "ed25519") -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True, timeout=60)
    return path.with_suffix(".pub").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    folder.chmod(0o755)
    known, _ = keygen(folder / "host"), keygen(folder / "client")
    other = keygen(folder / "other_host")
    keygen(folder / "stranger")
    (folder / "authorized").write_text((folder / "client.pub").read_text())
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    config = f"""
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp {SFTP}
"""
    (folder / "config").write_text(config)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd as root drops its privileges
    argv = [SSHD, "-D", "-e", "-f", str(folder / "config")]
    process = subprocess.Popen(argv, stderr=(folder / "log").open("wb"))
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        host = Host("127.0.0.1", port, getpass.getuser(), folder / "client", known)
        yield Server(host, folder, other, folder / "stranger")
    finally:
        process.terminate()
        process.wait(10)


def test_runs_a_command_and_returns_exact_bytes(server: Server) -> None:
    done = hosts.run(server.host, ["sh", "-c", r"printf 'a\0b\377\r\n'; printf err >&2; exit 7"])
    assert (done.rc, done.out, done.err) == (7, b"a\0b\xff\r\n", b"err")


def test_input_and_output_larger_than_any_window(server: Server) -> None:
    data = bytes(range(256)) * 20_000
    done = hosts.run(server.host, ["cat"], stdin=data)
    assert (done.rc, done.out) == (0, data)


@pytest.mark.parametrize(
    "text", ["; id", "$(id)", "`id`", "a\nb", "'", '"', "--", "-rf", "*", "~", "\\", "a b", "\u00e9"]
)
def test_arguments_arrive_as_they_are(server: Server, text: str) -> None:
    done = hosts.run(server.host, ["printf", "%s|", text, "end"])
    assert done.out == f"{text}|end|".encode()


def test_unknown_host_key_is_refused(server: Server) -> None:
    log = server.folder / "log"
    before = log.read_text().count("Accepted")
    with pytest.raises(Refused) as caught:
        hosts.run(replace(server.host, known_host_key=server.other_key), ["true"])
    assert caught.value.remedy
    assert log.read_text().count("Accepted") == before  # refused before the key was offered


def test_no_host_key_is_refused(server: Server) -> None:
    for line in ("", "ssh-ed25519", "ssh-ed25519 not-base64"):
        with pytest.raises(Refused):
            hosts.run(replace(server.host, known_host_key=line), ["true"])


def test_host_key_of_another_type_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        hosts.run(replace(server.host, known_host_key=keygen(tmp_path / "rsa", "rsa")), ["true"])


def test_unknown_user_key_is_an_authentication_error(server: Server) -> None:
    with pytest.raises(AuthError):
        hosts.run(replace(server.host, key=server.stranger), ["true"])


def test_key_as_secret(server: Server) -> None:
    secret = Secret((server.folder / "client").read_text())
    assert hosts.run(replace(server.host, key=secret), ["true"]).rc == 0
    with pytest.raises(AuthError):
        hosts.run(replace(server.host, key=Secret("no key at all")), ["true"])
    with pytest.raises(AuthError):
        hosts.run(replace(server.host, key=Path("/no/such/key")), ["true"])


def test_nobody_listens() -> None:
    host = Host("127.0.0.1", 9, "x", Secret("x"), "ssh-ed25519 AAAA")
    with pytest.raises(RehostError):
        hosts.run(host, ["true"])


def test_unreachable(server: Server) -> None:
    with pytest.raises(Unreachable):
        hosts.run(replace(server.host, port=9), ["true"])
    waited: list[float] = []
    with pytest.raises(Unreachable):
        hosts.wait_reachable(replace(server.host, port=9), seconds=2, pause=waited.append)
    assert waited == [0.0, 1.0]
    hosts.wait_reachable(server.host, seconds=0, pause=waited.append)


def test_a_command_that_hangs_is_given_up(server: Server) -> None:
    started = time.monotonic()
    with pytest.raises(Paused):
        hosts.run(server.host, ["sleep", "60"], timeout=1)
    assert time.monotonic() - started < 30


def test_no_agent_and_no_forwarding(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither an agent's keys nor anything in ~/.ssh is offered, and no agent is forwarded."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(server.folder / "client", home / ".ssh" / "id_ed25519")
    (home / ".ssh" / "config").write_text("Host *\n  ForwardAgent yes\n  ProxyCommand false\n")
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(AuthError):
        hosts.run(replace(server.host, key=server.stranger), ["true"])
    done = hosts.run(server.host, ["sh", "-c", 'echo "agent=$SSH_AUTH_SOCK"'])
    assert done.out == b"agent=\n"


def test_put_is_atomic_and_private(server: Server, tmp_path: Path) -> None:
    target = PurePosixPath(tmp_path / "secret.env")
    for data in (b"one", b"two\0\xff"):
        hosts.put(server.host, data, target)
    assert Path(target).read_bytes() == b"two\0\xff"
    assert Path(target).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.env"]
    with pytest.raises(RehostError):
        hosts.put(server.host, b"x", PurePosixPath("/no/such/folder/file"))


@pytest.mark.skipif(not shutil.which("sudo"), reason="sudo is not installed")
def test_sudo_never_asks(server: Server) -> None:
    done = hosts.run(server.host, ["id", "-u"], sudo=True, timeout=20)
    assert done.rc == 0 or b"password" in done.err
