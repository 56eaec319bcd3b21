"""Secrets by reference: a definition names where a secret lives and never holds one.

Enters: a reference such as ``env:CEPH_KEY``, ``file:~/.rehost/key`` (mode 0600 or stricter),
``keyring:service/user`` or ``cmd:pass show ceph`` (an argument list, no shell). Leaves: a
:class:`Secret`, which shows itself as ``***`` everywhere and can be neither pickled nor turned into
JSON. :func:`redact` and :class:`Redacting` take resolved secrets out of texts and log records.

Raises :class:`~toolkit.errors.AuthError` when the secret is not there,
:class:`~toolkit.errors.Refused` for a literal secret or a file others can read, and
:class:`~toolkit.errors.Unsupported` when the optional keyring package is not installed.
"""

from __future__ import annotations

import base64
import hmac
import importlib
import json
import logging
import os
import shlex
import stat
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import quote, quote_plus

from toolkit.errors import AuthError, Refused, Unsupported

MASK = "***"
SCHEMES = ("env", "file", "keyring", "cmd")
HOW = "use env:NAME, file:PATH (mode 0600), keyring:SERVICE/USER or cmd:PROGRAM ARGS"
_MAX_BYTES = 64 * 1024
_CMD_SECONDS = 60


class Secret:
    """A text that shows itself only to who asks with :meth:`reveal`."""

    __slots__ = ("__value",)
    __value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_Secret__value", value)

    def reveal(self) -> str:
        """Return the text itself; the caller now answers for where it goes."""
        return self.__value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise TypeError("a secret cannot be changed")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret cannot be pickled")

    # Copying in memory is harmless and keeps dataclasses.replace and asdict usable.
    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


@dataclass(frozen=True, slots=True)
class Credentials:
    """Resolved credentials of one provider: keys, a named AWS profile, or AWS's own default chain."""

    kind: Literal["keys", "profile", "default"]
    key: Secret | None = None
    secret: Secret | None = None
    token: Secret | None = None
    profile: str = ""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Every secret held here, for :func:`redact` and :class:`Redacting`."""
        return tuple(item for item in (self.key, self.secret, self.token) if item is not None)


def is_reference(text: object) -> bool:
    """Say whether ``text`` names where a secret lives (it may still not be there)."""
    if not isinstance(text, str):
        return False
    scheme, colon, rest = text.partition(":")
    return bool(colon and rest.strip()) and scheme in SCHEMES


def resolve(ref: str, *, base: Path | None = None) -> Secret:
    """Return the secret that ``ref`` names; relative files are looked for under ``base``."""
    if not is_reference(ref):
        # The text may be the secret itself, so no message may repeat it.
        raise Refused("a literal stands where a reference to a secret must stand", HOW)
    scheme, _, rest = ref.partition(":")
    readers: Mapping[str, Callable[[str], str]] = {
        "env": _from_env,
        "file": lambda path: _from_file(file_path(path, base)),
        "keyring": _from_keyring,
        "cmd": _from_command,
    }
    value = readers[scheme](rest.strip())
    if not value:
        raise AuthError(f"{scheme}:{_name(scheme, rest)} is empty", "put the secret there, then run again")
    return Secret(value)


def credentials(ref: str | Mapping[str, str] | None, *, base: Path | None = None) -> Credentials:
    """Resolve the ``credentials`` of a provider; ``None`` means AWS's own default chain."""
    if ref is None or ref == "aws-default":
        return Credentials("default")
    if isinstance(ref, str):
        profile = ref.removeprefix("aws-profile:")
        if profile == ref or not profile:
            raise Refused("credentials are neither references nor a profile", f"aws-profile:NAME, aws-default or {HOW}")
        return Credentials("profile", profile=profile)
    unknown = sorted(set(ref) - {"key", "secret", "token"})
    if unknown or "key" not in ref:
        raise Refused("credentials need key (and mostly secret), each a reference", HOW)
    found = {name: resolve(value, base=base) for name, value in ref.items()}
    return Credentials("keys", found["key"], found.get("secret"), found.get("token"))


def file_path(path: str, base: Path | None) -> Path:
    """Return the place a ``file:`` reference means."""
    place = Path(path).expanduser()
    return place if base is None else base / place


def file_trouble(path: Path) -> tuple[str, str] | None:
    """Return (what, remedy) if a secret file is open to others or is no plain file, else ``None``.

    A file that is not there is not judged here: definitions are read on machines without secrets.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return _judge(path, status)


def _judge(path: Path, status: os.stat_result) -> tuple[str, str] | None:
    if not stat.S_ISREG(status.st_mode):
        return f"secret file {path} is not a plain file", "name a plain file with mode 0600"
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        return f"secret file {path} has mode {mode:04o}, so others can read it", f"run: chmod 600 {path}"
    return None


def _from_env(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise AuthError(f"environment variable {name} is not set", f"run: export {name}=…, then run again")
    return value


def _from_file(path: Path) -> str:
    try:
        # Non-blocking, so that a named pipe cannot make us wait; judged by descriptor, so that
        # the file cannot be exchanged between look and read.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            trouble = _judge(path, os.fstat(file.fileno()))
            if trouble:
                raise Refused(*trouble)
            data = file.read(_MAX_BYTES + 1)
        text = data.decode()
    except OSError as exc:
        raise AuthError(f"cannot read secret file {path}: {exc.strerror}", "create it with mode 0600") from exc
    except UnicodeDecodeError as exc:
        raise AuthError(f"secret file {path} is not UTF-8 text", "write the secret as one line of text") from exc
    if len(data) > _MAX_BYTES:
        raise AuthError(f"secret file {path} is larger than 64 KiB", "name the file that holds only the secret")
    return text.rstrip("\r\n")


def _from_keyring(rest: str) -> str:
    service, _, user = rest.partition("/")
    try:
        keyring = importlib.import_module("keyring")
    except ImportError as exc:
        raise Unsupported(
            "keyring: references need the keyring package, which is not installed",
            "run: pip install keyring, or use env:, file: or cmd:",
        ) from exc
    try:
        value: str | None = keyring.get_password(service, user)
    except Exception as exc:
        raise AuthError(f"the keyring refused {service}/{user}: {type(exc).__name__}", "unlock the keyring") from exc
    if value is None:
        raise AuthError(f"the keyring holds nothing for {service}/{user}", f"run: keyring set {service} {user}")
    return value


def _from_command(line: str) -> str:
    try:
        argv = shlex.split(line)
    except ValueError as exc:
        raise Refused(f"cmd: reference cannot be split into arguments: {exc}", "balance its quotes") from exc
    if not argv:
        raise Refused("cmd: reference names no program", HOW)
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CMD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        why = exc.strerror if isinstance(exc, OSError) else f"no end within {_CMD_SECONDS} s"
        raise AuthError(f"cmd:{argv[0]} gave no secret: {why}", "run it by hand to see why") from exc
    if done.returncode:
        # What it printed may hold the secret, so only the code is repeated.
        raise AuthError(f"cmd:{argv[0]} ended with code {done.returncode}", "run it by hand to see why")
    try:
        return done.stdout.decode().rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise AuthError(f"cmd:{argv[0]} printed something that is not UTF-8", "print the secret as text") from exc


def _name(scheme: str, rest: str) -> str:
    return rest.strip().split()[0] if scheme == "cmd" else rest.strip()


def forms(secret: Secret) -> tuple[str, ...]:
    """Return the spellings under which ``secret`` can show up in a text, the longest first."""
    raw = secret.reveal()
    if not raw:
        return ()
    found = {raw, json.dumps(raw)[1:-1], json.dumps(raw, ensure_ascii=False)[1:-1], repr(raw)[1:-1]}
    for quoted in (quote(raw), quote(raw, safe=""), quote_plus(raw)):
        found |= {quoted, _lower_escapes(quoted)}
    data = raw.encode()
    found.add(data.hex())
    for offset in range(3):
        # Inside "user:secret" the secret starts at any of three bit offsets; keep the characters
        # that depend on the secret alone.
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(bytes(offset) + data).decode()
            part = text[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
            if len(part) >= 8:
                found.add(part)
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def _lower_escapes(text: str) -> str:
    head, *rest = text.split("%")
    return head + "".join("%" + part[:2].lower() + part[2:] for part in rest)


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """Return ``text`` with every spelling of every secret replaced by ``***``."""
    for form in sorted({form for secret in secrets for form in forms(secret)}, key=lambda form: (-len(form), form)):
        text = text.replace(form, MASK)
    return text


class Redacting(logging.Filter):
    """Takes resolved secrets out of log records. Put it on each handler: a logger's own filter
    does not see what its children log. Secrets resolved later are added with :meth:`remember`.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        super().__init__()
        self._secrets: tuple[Secret, ...] = tuple(secrets)

    def remember(self, *secrets: Secret) -> None:
        """From now on remove these too."""
        self._secrets = (*self._secrets, *secrets)

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; never drops one."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a wrong format string must not open a hole
            message = f"{record.msg} {record.args!r}"
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.msg, record.args, record.exc_info = message, (), None
        for name, value in list(vars(record).items()):
            if isinstance(value, str):
                setattr(record, name, redact(value, self._secrets))
        return True
