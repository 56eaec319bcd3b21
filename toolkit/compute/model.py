"""The words of compute: what a driver finds, what a driver is told to create, and how they compare.

Drivers speak native identifiers (a group id, a key name); the family turns those into slugs. Nothing
here talks to anybody; nothing here raises except :class:`Refused` from :func:`safe_name`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from toolkit.commands import Completed
from toolkit.errors import Refused
from toolkit.model import Json, NotSeen, canonical, sha256_hex, split
from toolkit.secrets import Secret

Kind = Literal["keypair", "firewall", "server", "load_balancer"]
KINDS: tuple[Kind, ...] = ("keypair", "firewall", "server", "load_balancer")
RUNNING = "running"
DEFINED = "defined, not run"
_NOT_IN_SLUG = re.compile(r"[^a-z0-9.-]+")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+:-]{0,62}")


@dataclass(frozen=True, slots=True)
class Found:
    """One thing as a driver sees it. ``provenance`` is what we wrote beside it, if we made it."""

    kind: Kind
    id: str
    body: Mapping[str, Json]
    facts: Mapping[str, Json] = field(default_factory=dict)
    provenance: Mapping[str, Json] = field(default_factory=dict)
    user_data: bytes | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)  # the app's, where a driver keeps them

    @property
    def name(self) -> str:
        return str(self.body["name"])


@dataclass(frozen=True, slots=True)
class Definition:
    """Everything a driver needs to create one server. Secrets live here in memory only.

    ``firewalls`` are native ids at the target, ``public_keys`` go to the login user. ``token`` makes
    the creation idempotent: the same token never creates a second server.
    """

    address: str
    body: Mapping[str, Json]
    user_data: bytes | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    env: Mapping[str, Secret] = field(default_factory=dict)
    public_keys: tuple[str, ...] = ()
    keypair: str = ""
    firewalls: tuple[str, ...] = ()
    token: str = ""

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def provenance(self) -> dict[str, Json]:
        """What is stored beside the server, so that it is found and judged again later."""
        return {"by": "rehost", "address": self.address, "token": self.token, "digest": digest(self.body)}


@dataclass(frozen=True, slots=True)
class Size:
    """A machine size that a provider sells or knows."""

    name: str
    vcpus: int
    memory_mib: int
    arch: str


@dataclass(frozen=True, slots=True)
class Peer:
    """Another firewall that a rule refers to, and the planned addresses of the servers behind it."""

    name: str
    description: str
    addresses: tuple[str, ...] = ()


class ComputeDriver(Protocol):
    """What the family needs of a libcloud driver, beside libcloud's own methods."""

    def ex_capabilities(self) -> frozenset[str]: ...

    def ex_could_write(self) -> bool | None: ...

    def ex_read(self, kind: Kind) -> Iterator[Found | NotSeen]: ...

    def ex_sizes(self) -> tuple[Size, ...]: ...

    def ex_images(self) -> tuple[str, ...]: ...

    def ex_write_keypair(self, address: str, body: Mapping[str, Json]) -> str: ...

    def ex_write_firewall(self, address: str, body: Mapping[str, Json], peers: Mapping[str, Peer], /) -> str: ...

    def ex_write_server(self, definition: Definition) -> str: ...

    def ex_start(self, ident: str, env: Mapping[str, Secret], /) -> None: ...

    def ex_stop(self, ident: str) -> None: ...

    def ex_remove(self, kind: Kind, ident: str) -> None: ...

    def ex_exec(self, ident: str, argv: list[str], stdin: bytes, timeout: float) -> Completed: ...


def digest(body: Mapping[str, Json]) -> str:
    """Return the digest of a body, as provenance records it."""
    return sha256_hex(canonical(dict(body)))


def slug(name: str) -> str:
    """Derive a slug from a provider's name: lower case, only ``a-z 0-9 . -``."""
    return _NOT_IN_SLUG.sub("-", name.lower()).strip("-") or "unnamed"


def slugs(names: Iterable[str]) -> list[str]:
    """Derive one unique slug per name, in order; a collision gets ``~2``, ``~3``, …"""
    taken: dict[str, int] = {}
    result = []
    for name in names:
        base = slug(name)
        taken[base] = taken.get(base, 0) + 1
        result.append(base if taken[base] == 1 else f"{base}~{taken[base]}")
    return result


def slug_of(address: str) -> str:
    """Return the slug in an address such as ``compute/server/web-1``."""
    return split(address)[2]


def safe_name(name: str) -> str:
    """Return ``name`` if every target may be given it.

    Raises:
        Refused: it is empty, too long, or holds characters that a provider could misread.
    """
    if not _NAME.fullmatch(name):
        raise Refused(
            f"{name!r} is no name a server can have", "give it one with `to: {name: …}`: letters, digits, - . _ + :"
        )
    return name


def differences(kind: Kind, desired: Mapping[str, Any], existing: Mapping[str, Any]) -> list[str]:
    """Return the fields in which ``existing`` is not what ``desired`` asks for.

    What the desired state leaves open (no size name, no addresses, no app) is not a difference.
    """
    if kind == "keypair":
        desired, existing = _without_comment(desired), _without_comment(existing)
    if kind == "firewall":
        desired, existing = normal_firewall(desired), normal_firewall(existing)
    found = []
    for name, want in desired.items():
        have = existing.get(name)
        if name in ("size", "image") and isinstance(want, Mapping):
            want = {k: v for k, v in want.items() if v is not None}
            have = {k: (have or {}).get(k) for k in want}
        elif name == "addresses":
            want = {k: v for k, v in want.items() if v}
            have = {k: (have or {}).get(k) for k in want}
        elif name == "disks":
            have = [disk for disk in want or () if disk in (have or ())]  # an image may bring more of its own
            want = list(want or ())
        elif name == "firewalls":
            want, have = sorted(want or ()), sorted(have or ())
        elif name == "app" and (want is None or "app" not in existing):
            continue  # some providers know nothing of apps
        if canonical(want) != canonical(have):
            found.append(name)
    return found


def _without_comment(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, "public_key": str(body.get("public_key") or "").split()[:2]}


def normal_firewall(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a firewall body with its rules in one canonical form: split by peer, sorted, no repeats."""
    single = {
        canonical(
            {
                "direction": rule["direction"],
                "protocol": str(rule["protocol"]),
                "ports": list(rule["ports"]) if rule.get("ports") else None,
                "peer": peer,
                "description": rule.get("description") or "",
            }
        ).decode()
        for rule in body.get("rules") or ()
        for peer in rule["peers"]
    }
    return {"name": body["name"], "description": body.get("description") or "", "rules": sorted(single)}
