"""The nouns of object storage: a listed entry, a row of work, the door to a store's data plane.

Keys are bytes everywhere: a key is never a file name, never normalised, never compared by locale.
Nothing here does any input or output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import quote_from_bytes

from toolkit.storage.sign import Signer
from toolkit.storage.view import WHOLE, View

Addressing = Literal["path", "virtual"]
Round = Literal["null-first", "main", "null-last", "after-null"]
#: ``remove``: hide or delete our copy of a key the source lacks; ``withdraw``: delete one version of ours.
Work = Literal["copy", "refresh", "conflict", "remove", "withdraw"]
REMOVALS: frozenset[Work] = frozenset({"remove", "withdraw"})

#: The order in which the versions of a bucket are written; see ``compare.plan_key``.
ROUNDS: tuple[Round, ...] = ("null-first", "main", "null-last", "after-null")


class Transport(Protocol):
    """What answers the engine's requests where a store speaks no S3: a context that gives an answer."""

    def request(self, method: str, path: str, query: str, *, headers: Mapping[str, str], data: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class DataPlane:
    """Where and how the HTTP engine talks to one store."""

    endpoint: str  # scheme://host[:port], no path
    signer: Signer
    addressing: Addressing
    label: str = ""  # how messages name this store
    #: Reads the credentials anew, for keys that expired or were rotated; says whether they changed.
    renew: Callable[[], bool] | None = None
    transport: Transport | None = None  # answers requests in this process instead of over HTTP
    view: View = WHOLE  # the part of its buckets that is looked at, and the names given to it


class Entry(NamedTuple):
    """One line of a listing: an object, one version of it, or a delete marker.

    ``version`` is empty where the listing knows no versions, ``null`` for the null version.
    """

    key: bytes
    version: str
    latest: bool
    marker: bool
    size: int
    etag: str
    mtime: str
    storage_class: str


class Row(NamedTuple):
    """One piece of work of a manifest: an entry, what to do, and what stood at the target before.

    ``before``: how many versions of the key the target held when the manifest was written;
    ``seen``: the ETag of its current one then, empty if none. A removal's entry is the target's;
    ``seen`` of ``withdraw`` is the version at the source that it was a copy of.
    """

    entry: Entry
    work: Work
    before: int
    seen: str


class Written(NamedTuple):
    """One thing we wrote at the target, as the result log remembers it."""

    key: bytes
    source_version: str
    source_etag: str
    target_version: str
    target_etag: str
    size: int
    marker: bool


@dataclass(frozen=True, slots=True)
class Knobs:
    """How hard and in what portions the engine works. The defaults suit one small machine."""

    in_flight: int = 32  # requests at once per store
    batch_rows: int = 250  # rows per durable commit; two batches are open at most
    shard_rows: int = 10_000  # at most; the first shards are smaller
    small: int = 8 << 20  # bodies up to this size are held whole, larger ones stream
    hold: int = 64 << 20  # bytes of small bodies held at once
    chunk: int = 1 << 20
    part: int = 16 << 20  # part size where the source's cannot be learned
    attempts: int = 7
    read_timeout: float = 60.0
    heartbeat: float = 10.0
    patience: float = 300.0  # how long a side that stopped answering is waited for
    probe_every: float = 60.0  # seconds between two looks at it, at most


#: Opens a data plane for a bucket in a region ("" = the driver's own region).
OpenPlane = Callable[[str], DataPlane]


def shown(key: bytes) -> str:
    """Return ``key`` for people and logs: printable, one line, unambiguous (percent-escaped)."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return quote_from_bytes(key)
    return "".join(c if c.isprintable() and c != "%" else quote_from_bytes(c.encode()) for c in text)
