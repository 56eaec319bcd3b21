"""What identities ask of a driver: ``drivers.iam`` and ``drivers.rgw_users`` fulfil it; wiring picks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from toolkit.model import Json, NotSeen
from toolkit.secrets import Secret

Document = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Seen:
    """A user, role or account as it was found. ``facts`` says what no policy says: groups, keys, boundary."""

    kind: str
    name: str
    id: str
    policies: Mapping[str, Document] = field(default_factory=dict)
    owns: tuple[str, ...] = ()
    canonical_id: str = ""
    own: bool = False
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class User:
    """A user of the target. ``mark`` is who made it; ``keys`` are the ids of its keys."""

    name: str
    mark: str
    policies: Mapping[str, Document]
    keys: tuple[str, ...]


class Directory(Protocol):
    """Where users, their keys and their policies live."""

    kind: str

    def ex_identities(self) -> Iterator[Seen | NotSeen]: ...

    def ex_abilities(self) -> frozenset[str]: ...

    def ex_owner(self) -> str: ...

    def ex_user(self, name: str) -> User | None: ...

    def ex_create_user(self, name: str, mark: str) -> None: ...

    def ex_delete_user(self, name: str) -> None: ...

    def ex_put_policy(self, name: str, policy: str, document: Document) -> None: ...

    def ex_delete_policy(self, name: str, policy: str) -> None: ...

    def ex_new_key(self, name: str) -> tuple[Secret, Secret]: ...

    def ex_secret_of(self, name: str, key: str) -> Secret | None: ...

    def ex_delete_key(self, name: str, key: str) -> None: ...


class Trial(Protocol):
    """Tries one action on one bucket as one user; says whether it was let through, ``None`` if it cannot be told."""

    def __call__(self, key: Secret, secret: Secret, action: str, bucket: str, resource: str) -> bool | None: ...
