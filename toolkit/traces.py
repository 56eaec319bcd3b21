"""Find traces of the side we left in text: host names, addresses, endpoint strings.

Enters: text or bytes and an :class:`OldSide`. Leaves: the traces found, each once, in order. Raises nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from toolkit.families import OldSide

_HOST = re.compile(r"(?<![\w.-])(?:[a-z0-9_](?:[a-z0-9_-]{0,62})\.)+[a-z][a-z0-9-]{0,62}(?![\w-])", re.IGNORECASE)
_FOUR = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_SIX = re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", re.IGNORECASE)


def traces(text: str | bytes, old: OldSide) -> Iterator[str]:
    """Yield what in ``text`` belongs to the old side; bytes are read as Latin-1, so nothing is skipped."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    seen: set[str] = set()
    for found in _all(text, old):
        if found not in seen:
            seen.add(found)
            yield found


def _all(text: str, old: OldSide) -> Iterator[str]:
    lower = text.lower()
    for endpoint in old.endpoints:
        if endpoint and endpoint.lower() in lower:
            yield endpoint
    suffixes = tuple(suffix.lower().lstrip(".") for suffix in old.suffixes if suffix)
    if any(suffix in lower for suffix in suffixes):  # most texts hold none: skip the expensive look
        for match in _HOST.finditer(lower):
            if any(match[0] == suffix or match[0].endswith(f".{suffix}") for suffix in suffixes):
                yield match[0]
    networks = [ipaddress.ip_network(item, strict=False) for item in old.addresses]
    if networks:
        for pattern in (_FOUR, _SIX):
            for match in pattern.finditer(text):
                if _within(match[0], networks):
                    yield match[0]


def within(host: str, old: OldSide) -> bool:
    """Say whether a host (an address or a name) belongs to the old side."""
    return any(True for _ in traces(host, old))


def _within(text: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in networks)
