"""The fence around a guest's Python: a connection guard and a resolver; standard library only.

Every ``python3`` that the embedded hypervisor starts has this folder first on ``PYTHONPATH``, so
Python imports this file before the app. It reads three environment variables:

``REHOST_RULES``     a JSON file ``{"allow": [cidr], "deny": [cidr]}``, read again whenever it changes
``REHOST_REFUSALS``  a file that gets one JSON line for each refused connection
``REHOST_RESOLVER``  ``ip:port`` of the DNS server that answers for this machine

It is a guard against accidents (an app that still calls its old cloud), not a prison: native code
and programs other than Python pass it by. The hypervisor reports that as such.
"""

import errno
import ipaddress
import json
import os
import secrets
import socket
import struct
import sys
import time
from typing import Any

_RULES = os.environ.get("REHOST_RULES", "")
_REFUSALS = os.environ.get("REHOST_REFUSALS", "")
_RESOLVER = os.environ.get("REHOST_RESOLVER", "")
_SERVER = os.environ.get("REHOST_SERVER", "")
_EVENTS = {"socket.connect": "connect", "socket.sendto": "sendto", "socket.sendmsg": "sendmsg"}
_LOCAL = ("127.0.0.0/8", "::1/128")
_MAX_CHAIN = 8
_system_getaddrinfo = socket.getaddrinfo
_cache: dict[str, Any] = {"stamp": None, "allow": [], "deny": []}


def _networks(values: Any) -> list[Any]:
    return [ipaddress.ip_network(value, strict=False) for value in values]


def _rules() -> dict[str, Any]:
    """Return the parsed rules; the file is small and changes at the cut-off, so look each time."""
    stat = os.stat(_RULES)  # noqa: PTH116  (runs at interpreter start: as few imports as possible)
    stamp = (stat.st_mtime_ns, stat.st_ino)
    if _cache["stamp"] != stamp:
        with open(_RULES, "rb") as file:  # noqa: PTH123
            rules = json.load(file)
        _cache.update(allow=_networks([*_LOCAL, *rules["allow"]]), deny=_networks(rules["deny"]), stamp=stamp)
    return _cache


def _why_not(host: Any) -> str:
    """Return the reason to refuse ``host``, or an empty string."""
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("ascii", "replace")
    if host in ("localhost", "", "<broadcast>"):
        return "" if host != "<broadcast>" else "broadcast"
    try:
        ip: Any = ipaddress.ip_address(str(host).split("%", 1)[0])
    except ValueError:
        return "a name was given to connect and would bypass the resolver"
    if ip.version == 6 and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    try:
        rules = _rules()
    except (OSError, ValueError) as exc:
        return f"the rules cannot be read ({exc.__class__.__name__})"
    if any(ip in net for net in rules["deny"]):
        return "denied range"
    if not any(ip in net for net in rules["allow"]):
        return "outside the allowed ranges"
    return ""


def _record(call: str, host: Any, port: Any, why: str) -> None:
    line = {
        "time": round(time.time(), 3),
        "server": _SERVER,
        "pid": os.getpid(),
        "call": call,
        "host": str(host),
        "port": port,
        "why": why,
    }
    fd = os.open(_REFUSALS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")
    finally:
        os.close(fd)


def _guard(event: str, args: tuple[Any, ...]) -> None:
    call = _EVENTS.get(event)
    if call is None:
        return
    sock, address = args[0], args[1]
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
        return
    why = _why_not(address[0])
    if why:
        _record(call, address[0], address[1], why)
        raise PermissionError(errno.EACCES, f"refused by the embedded hypervisor: {why}: {address[0]}:{address[1]}")


def _name(packet: bytes, at: int) -> tuple[str, int]:
    """Read a possibly compressed name; return it and the offset behind it."""
    labels, end, hops = [], 0, 0
    while True:
        size = packet[at]
        if size >= 0xC0:
            end, hops = end or at + 2, hops + 1
            if hops > 64:
                raise ValueError("compression loop")
            at = struct.unpack_from("!H", packet, at)[0] & 0x3FFF
        elif size:
            labels.append(packet[at + 1 : at + 1 + size].decode("latin-1").lower())
            at += 1 + size
        else:
            return ".".join(labels), end or at + 1


def _ask(name: str) -> tuple[int, list[tuple[str, int, str]]]:
    """Send one A query; return the rcode and the answers as ``(owner, type, value)``."""
    host, _, port = _RESOLVER.rpartition(":")
    ident = secrets.randbits(16)
    question = b"".join(bytes([len(label)]) + label for label in name.encode("idna").split(b".")) + b"\0"
    query = struct.pack("!6H", ident, 0x0100, 1, 0, 0, 0) + question + struct.pack("!2H", 1, 1)
    for wait in (1.0, 2.0, 4.0):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(wait)
            try:
                sock.sendto(query, (host, int(port)))
                packet, peer = sock.recvfrom(4096)
            except PermissionError:
                raise
            except OSError:  # lost packet or a server that is not up yet: ask again
                continue
        if peer != (host, int(port)) or packet[:2] != query[:2]:
            continue
        return packet[3] & 15, _answers(packet)
    return -1, []


def _answers(packet: bytes) -> list[tuple[str, int, str]]:
    questions, count = struct.unpack_from("!2H", packet, 4)
    at = 12
    for _ in range(questions):
        at = _name(packet, at)[1] + 4
    found = []
    for _ in range(count):
        owner, at = _name(packet, at)
        kind, _cls, _ttl, size = struct.unpack_from("!2HIH", packet, at)
        at += 10
        if kind == 1 and size == 4:
            found.append((owner, 1, socket.inet_ntoa(packet[at : at + 4])))
        elif kind == 5:
            found.append((owner, 5, _name(packet, at)[0]))
        at += size
    return found


def _addresses(name: str) -> list[str]:
    """Resolve ``name`` to IPv4 addresses through the hypervisor's resolver, following aliases."""
    name = name.rstrip(".").lower()
    if name == "localhost":
        return ["127.0.0.1"]
    if not _RESOLVER:
        raise socket.gaierror(socket.EAI_NONAME, f"no resolver is set for this machine: {name}")
    seen = 0
    while seen < _MAX_CHAIN:
        try:
            rcode, answers = _ask(name)
        except (IndexError, struct.error, UnicodeError, ValueError) as exc:
            raise socket.gaierror(socket.EAI_FAIL, f"unreadable answer for {name}") from exc
        if rcode == -1 or rcode == 2:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer from the resolver for {name}")
        here = name
        for _ in range(_MAX_CHAIN):
            found = [value for owner, kind, value in answers if kind == 1 and owner == here]
            if found:
                return found
            onward = [value for owner, kind, value in answers if kind == 5 and owner == here]
            if not onward:
                break
            here = onward[0]
        if here == name or rcode != 0:
            break
        name, seen = here, seen + 1  # the alias leads out of that server's answer: ask for its end
    raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {name}")


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return False
    return True


def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
    """Stand in for :func:`socket.getaddrinfo`: names go to the hypervisor's resolver only."""
    text = host.decode("ascii") if isinstance(host, (bytes, bytearray)) else host
    if text is None or text == "" or _literal(text):
        return list(_system_getaddrinfo(host, port, family, type, proto, flags))
    if family not in (0, socket.AF_INET):
        raise socket.gaierror(socket.EAI_NONAME, f"only IPv4 is resolved here: {text}")
    found = []
    for ip in _addresses(text):
        found += _system_getaddrinfo(ip, port, socket.AF_INET, type, proto, flags)
    return found


def gethostbyname(host: str) -> str:
    """Stand in for :func:`socket.gethostbyname`."""
    return host if _literal(host) else _addresses(host)[0]


def gethostbyname_ex(host: str) -> tuple[str, list[str], list[str]]:
    """Stand in for :func:`socket.gethostbyname_ex`."""
    return host, [], [host] if _literal(host) else _addresses(host)


if _RULES and _REFUSALS:
    sys.addaudithook(_guard)
    socket.getaddrinfo = getaddrinfo
    socket.gethostbyname = gethostbyname
    socket.gethostbyname_ex = gethostbyname_ex
