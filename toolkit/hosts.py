"""Run commands and put files on hosts over SSH: the only place that touches Fabric.

Enters: a :class:`Host` whose host key is already known, an argument list, bytes. Leaves: exit code and
bytes. Raises :class:`Refused` for an unknown or changed host key (never accepted on first sight),
:class:`AuthError` for a refused key, :class:`Unreachable` for no answer, and :class:`Paused` when a
command outlives its time. No agent, no agent forwarding, no ``~/.ssh`` of whoever runs us.
"""

from __future__ import annotations

import base64
import contextlib
import io
import shlex
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import paramiko
from fabric import Config, Connection

from toolkit.commands import Completed
from toolkit.errors import AuthError, Paused, Refused, RehostError, Unreachable
from toolkit.secrets import Secret

_CONNECT_SECONDS = 15
_CHUNK = 32768


@dataclass(frozen=True, slots=True)
class Host:
    """One machine we are given. ``known_host_key`` is its public key line, e.g. ``ssh-ed25519 AAAA…``."""

    address: str
    port: int
    user: str
    key: Path | Secret
    known_host_key: str


class _Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """Refuse any key but the given one, and say which key was shown."""

    def missing_host_key(self, _client: Any, hostname: str, key: Any) -> None:
        raise Refused(
            f"{hostname} shows the host key {key.get_name()} {key.fingerprint}, which is not the one we know",
            "compare it with the machine's console; if it is right, correct the host key in site.yaml",
        )


def run(host: Host, argv: list[str], *, stdin: bytes = b"", timeout: float = 600, sudo: bool = False) -> Completed:
    """Run ``argv`` on ``host`` and return its exit code and output, byte for byte.

    ``sudo`` puts ``sudo -n --`` before it: a password prompt is an error, never a wait.
    """
    line = shlex.join(["sudo", "-n", "--", *argv] if sudo else argv)  # the only place where argv becomes a line
    with _connected(host) as connection:
        channel = connection.transport.open_session(timeout=_CONNECT_SECONDS)
        channel.settimeout(timeout)
        channel.exec_command(line)
        feeder = threading.Thread(target=_feed, args=(channel, stdin), daemon=True)
        feeder.start()
        err: list[bytes] = []
        reader = threading.Thread(target=_drain_stderr, args=(channel, err), daemon=True)
        reader.start()
        try:
            out = _drain(channel.recv)
            reader.join(timeout)
            rc = _status(channel, timeout)
        except TimeoutError as exc:
            channel.close()
            raise Paused(
                f"a command on {host.address} gave no output for {timeout:.0f} s: {argv[0]}",
                "look at the machine; it may still be at work there. Then run the same command again",
            ) from exc
        return Completed(rc, out, b"".join(err))


def _status(channel: Any, timeout: float) -> int:
    if not channel.status_event.wait(timeout):
        raise TimeoutError
    return int(channel.recv_exit_status())


def _drain(recv: Any) -> bytes:
    parts = []
    while chunk := recv(_CHUNK):
        parts.append(chunk)
    return b"".join(parts)


def _drain_stderr(channel: Any, into: list[bytes]) -> None:
    with contextlib.suppress(TimeoutError, OSError):  # the main thread reports the end of the channel
        while chunk := channel.recv_stderr(_CHUNK):
            into.append(chunk)


def _feed(channel: Any, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the command may end without reading its input
        channel.sendall(data)
        channel.shutdown_write()


def put(host: Host, data: bytes, path: PurePosixPath, *, mode: int = 0o600) -> None:
    """Write a file by SFTP: aside first, then renamed over the old one."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with _connected(host) as connection:
        sftp = connection.sftp()
        try:
            with sftp.open(str(aside), "wxb") as file:
                file.chmod(mode)
                file.write(data)
            sftp.posix_rename(str(aside), str(path))
        except OSError as exc:
            with contextlib.suppress(OSError):
                sftp.remove(str(aside))
            raise RehostError(f"cannot write {path} on {host.address}: {exc}", "check folder and rights there") from exc


def wait_reachable(host: Host, *, seconds: float, pause: Any) -> None:
    """Return once SSH answers with the right host key; ``pause(elapsed)`` is called between attempts.

    Raises:
        Unreachable: it did not answer in time.
    """
    elapsed = 0.0
    while True:
        try:
            with _connected(host):
                return
        except Unreachable:
            if elapsed >= seconds:
                raise
        pause(elapsed)
        elapsed += 1.0


@contextlib.contextmanager
def _connected(host: Host) -> Iterator[Connection]:
    # lazy: no reading of ~/.ssh/config or /etc/ssh, which could add proxies and forwards
    config = Config(lazy=True, overrides={"load_ssh_configs": False, "forward_agent": False})
    connection = Connection(
        host.address,
        user=host.user,
        port=host.port,
        config=config,
        forward_agent=False,
        connect_timeout=_CONNECT_SECONDS,
        connect_kwargs={
            "pkey": _private_key(host.key),
            "allow_agent": False,
            "look_for_keys": False,
            "banner_timeout": _CONNECT_SECONDS,
            "auth_timeout": _CONNECT_SECONDS,
        },
    )
    kind, key = _public_key(host.known_host_key)
    # Fabric sets AutoAddPolicy and loads no known_hosts: both are corrected here
    connection.client.set_missing_host_key_policy(_Refuse())
    for name in {host.address, f"[{host.address}]:{host.port}"}:
        connection.client.get_host_keys().add(name, kind, key)
    try:
        connection.open()
        yield connection
    except paramiko.BadHostKeyException as exc:
        raise Refused(
            f"{host.address} shows another host key than the one we know ({exc.key.get_name()})",
            "somebody may stand between; compare with the machine's console before correcting site.yaml",
        ) from exc
    except paramiko.AuthenticationException as exc:
        raise AuthError(
            f"{host.address} refuses {host.user}'s key", "put the public key into its authorized_keys"
        ) from exc
    except (paramiko.SSHException, socket.gaierror, EOFError, ConnectionError) as exc:
        raise _of_ssh(host, exc) from exc
    except OSError as exc:
        raise Unreachable(f"{host.address}:{host.port} does not answer: {exc}", "check address and network") from exc
    finally:
        connection.close()


def _of_ssh(host: Host, exc: BaseException) -> RehostError:
    return Unreachable(f"SSH to {host.address}:{host.port} failed: {exc}", "check that sshd runs there")


def _public_key(line: str) -> tuple[str, Any]:
    parts = line.split()
    if len(parts) < 2:
        raise Refused("no host key is known", "give the host's public key line (`ssh-ed25519 AAAA…`)")
    try:
        key = paramiko.PKey.from_type_string(parts[0], base64.b64decode(parts[1], validate=True))
    except (ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as exc:
        raise Refused(
            f"the known host key is not readable ({parts[0][:20]})", "copy the whole public key line"
        ) from exc
    return parts[0], key


def _private_key(key: Path | Secret) -> Any:
    try:
        text = key.reveal() if isinstance(key, Secret) else key.read_text("ascii")
    except OSError as exc:
        raise AuthError(f"the SSH key {key} cannot be read: {exc.strerror}", "name a file that exists") from exc
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text + "\n"))
        except (paramiko.SSHException, ValueError):
            continue
    raise AuthError("the SSH key is of no kind we can use", "use an unencrypted Ed25519, ECDSA or RSA key")
