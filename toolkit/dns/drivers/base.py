"""What a DNS driver offers to this family, and where foreign errors are translated.

Each driver is a libcloud ``DNSDriver`` whose standard methods keep working; fidelity is in ``ex_*``.
The family uses only this Protocol. Whole record sets go in and out; a write is as atomic as the
provider allows, and done only when the provider serves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlsplit

from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.types import InvalidCredsError, LibcloudError
from libcloud.dns.types import (
    RecordAlreadyExistsError,
    RecordDoesNotExistError,
    ZoneAlreadyExistsError,
    ZoneDoesNotExistError,
)

from toolkit.dns.model import RRSet, ZoneInfo
from toolkit.errors import AuthError, Conflict, NotFound, RehostError, Throttled, Unreachable, Unsupported, UsageError

TIMEOUT = 30.0


class Revealable(Protocol):
    """A resolved secret."""

    def reveal(self) -> str: ...


class Credentials(Protocol):
    """Resolved credentials: for PowerDNS the API key is ``key``."""

    @property
    def key(self) -> Revealable: ...
    @property
    def secret(self) -> Revealable: ...


class DnsDriver(Protocol):
    """The calls the family makes. ``ex_kind`` is the provider kind of ``toolkit.providers``."""

    ex_kind: str

    def ex_capabilities(self) -> frozenset[str]: ...

    def ex_probe(self) -> str:
        """Make one harmless authenticated call; return what the server says it is."""
        ...

    def ex_could_write(self) -> bool | None:
        """Say whether the credentials could change records; ``None`` when that cannot be tried safely."""
        ...

    def ex_zones(self) -> Iterator[ZoneInfo]: ...

    def ex_read_zone(self, zone_id: str) -> tuple[ZoneInfo, list[RRSet]]:
        """Return the zone with every record set, SOA and apex NS included."""
        ...

    def ex_write_rrsets(self, zone_id: str, puts: Sequence[RRSet], deletes: Sequence[RRSet] = ()) -> None: ...

    def ex_create_zone(self, name: str, *, nameservers: Sequence[str] = ()) -> ZoneInfo: ...

    def ex_delete_zone(self, zone_id: str) -> None: ...


def split_endpoint(endpoint: str | None, default: str) -> tuple[str, int, bool]:
    """Return host, port and whether it is TLS."""
    parts = urlsplit(endpoint or default)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{endpoint!r} is not an endpoint", "write it as https://host[:port]")
    secure = parts.scheme == "https"
    return parts.hostname, parts.port or (443 if secure else 80), secure


@contextmanager
def translating(what: str) -> Iterator[None]:
    """Turn whatever libcloud or the network raises while doing ``what`` into our own error tree."""
    try:
        yield
    except RehostError:
        raise
    except InvalidCredsError as exc:
        raise AuthError(
            f"{what}: the provider refused the credentials ({_short(exc)})",
            "check the key and what it is allowed to do",
        ) from exc
    except (ZoneDoesNotExistError, RecordDoesNotExistError) as exc:
        raise NotFound(f"{what}: not found ({_short(exc)})", "check the name and the account") from exc
    except (ZoneAlreadyExistsError, RecordAlreadyExistsError) as exc:
        raise Conflict(f"{what}: it exists already ({_short(exc)})", "look at it, then plan again") from exc
    except BaseHTTPError as exc:
        raise _of_status(what, exc) from exc
    except (LibcloudError, ValueError, KeyError) as exc:
        raise Unreachable(
            f"{what}: the answer makes no sense ({type(exc).__name__}: {_short(exc)})",
            "check that the endpoint is what you think it is",
        ) from exc
    except OSError as exc:
        raise Unreachable(f"{what}: no answer ({_short(exc)})", "check endpoint, network and TLS") from exc


def _of_status(what: str, exc: BaseHTTPError) -> RehostError:
    text = f"{what}: HTTP {exc.code}: {_short(exc)}"
    if exc.code in (401, 403):
        return AuthError(text, "check the key and what it is allowed to do")
    if exc.code == 404:
        return NotFound(text, "check the name and the account")
    if exc.code == 409:
        return Conflict(text, "look at what is there, then plan again")
    if exc.code == 429 or "Throttling" in str(exc):
        return Throttled(text, "run the same command again later")
    if exc.code >= 500:
        return Unreachable(text, "look at the provider's own log, then run the same command again")
    return Unsupported(text, "the provider refuses this record: change it or leave it out with a reason")


def _short(exc: BaseException) -> str:
    text = " ".join(str(getattr(exc, "value", None) or getattr(exc, "message", None) or exc).split())
    return text if len(text) <= 400 else text[:400] + "…"
