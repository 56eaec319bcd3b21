"""The guard of a rehearsal: no cloud credential, no metadata route, no connection outside loopback.

``strip_credentials`` empties an environment of everything a cloud SDK would pick up. ``install`` adds
an audit hook that refuses every outgoing connection outside the allowed networks, naming caller and
address; an audit hook cannot be removed again, so it is installed in processes of a rehearsal only.
"""

from __future__ import annotations

import ipaddress
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.errors import Refused

#: Set by a rehearsal for every process it starts: comma-separated networks.
ALLOW = "REHOST_ALLOW_ONLY"
DENY = "REHOST_DENY"

_CREDENTIALS = ("AWS_", "BOTO_", "AMAZON_", "GOOGLE_", "AZURE_", "OS_", "OCI_", "ALIBABA_", "DIGITALOCEAN_")


def strip_credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without cloud credentials, profiles and proxies, and with metadata off."""
    kept = {
        key: value
        for key, value in environment.items()
        if not key.upper().startswith(_CREDENTIALS) and not key.lower().endswith("_proxy")
    }
    nowhere = str(Path(os.devnull))
    return {
        **kept,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "BOTO_CONFIG": nowhere,
    }


def install_from_environment() -> None:
    """Install the guard if the environment of this process asks for it."""
    if os.environ.get(ALLOW):
        install(os.environ[ALLOW].split(","), [part for part in os.environ.get(DENY, "").split(",") if part])


def install(allow: list[str], deny: list[str]) -> None:
    """Refuse every connection to an address outside ``allow`` or inside ``deny`` (CIDRs)."""
    allowed = tuple(ipaddress.ip_network(part) for part in allow)
    denied = tuple(ipaddress.ip_network(part) for part in deny)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in ("socket.connect", "socket.sendto"):
            return
        target = args[1]
        if not isinstance(target, tuple) or not target:
            return  # a Unix socket stays on this machine
        host = str(target[0])
        try:
            ip = ipaddress.ip_address(host.split("%")[0])
        except ValueError:
            _refuse(host, "is a name that nobody resolved")
            return
        if any(ip in network for network in denied):
            _refuse(host, "belongs to the side that was left")
        if not any(ip in network for network in allowed):
            _refuse(host, "lies outside the rehearsal")

    sys.addaudithook(hook)


def _refuse(host: str, why: str) -> None:
    caller = next(
        (
            f"{frame.filename}:{frame.lineno}"
            for frame in reversed(traceback.extract_stack())
            if "guard.py" not in frame.filename
        ),
        "unknown",
    )
    raise Refused(
        f"a connection to {host} was refused: it {why} (asked for at {caller})",
        "a rehearsal talks to loopback and its own namespaces only",
    )
