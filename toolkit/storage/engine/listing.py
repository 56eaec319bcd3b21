"""Listing a bucket as an endless stream of entries in key order, page by page.

Enters: a :class:`Store`. Leaves: :class:`Entry` tuples; all versions of a key newest first, keys in
byte order. ``encoding-type=url`` is asked for, so that every key survives XML. A store that lies
(a truncated page without a way on, the same token twice, keys out of order) is stopped with
:class:`~toolkit.errors.NeedsHuman`: a wrong listing would be a silent loss.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

from toolkit.errors import NeedsHuman
from toolkit.storage.engine import pause
from toolkit.storage.engine.faults import Fault, as_error
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.http import Store, persist, session
from toolkit.storage.model import DataPlane, Entry, Knobs, shown
from toolkit.storage.view import WHOLE, View

T = TypeVar("T")
_PAGE = 1000
_FIELDS = frozenset({"Key", "VersionId", "IsLatest", "LastModified", "ETag", "Size", "StorageClass"})
_TOP = frozenset({"IsTruncated", "NextKeyMarker", "NextVersionIdMarker", "NextContinuationToken", "EncodingType"})


class Page:
    """One parsed page: its entries in document order and how to go on."""

    def __init__(self) -> None:
        self.top: dict[str, str] = {}
        self._items: list[tuple[bool, dict[str, str]]] = []
        self._path: list[str] = []
        self._item: dict[str, str] = {}
        self._text: list[str] = []

    def parse(self, body: bytes) -> Page:
        """Read the XML (no entity declarations are accepted: the sender is untrusted)."""
        parser = expat.ParserCreate(namespace_separator=None)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.EntityDeclHandler = self._entity
        parser.Parse(body, True)
        return self

    def _entity(self, *_: object) -> None:
        raise expat.ExpatError("entity declaration in a listing")

    def _start(self, name: str, _: dict[str, str]) -> None:
        self._path.append(name)
        self._text.clear()
        if len(self._path) == 2:
            self._item = {}

    def _end(self, name: str) -> None:
        depth = len(self._path)
        self._path.pop()
        if depth == 3 and name in _FIELDS:
            self._item[name] = "".join(self._text)
        elif depth == 2:
            if name in _TOP:
                self.top[name] = "".join(self._text)
            elif name in ("Contents", "Version", "DeleteMarker"):
                self._items.append((name == "DeleteMarker", self._item))
        self._text.clear()

    @property
    def entries(self) -> list[Entry]:
        """The entries in document order; built last, since EncodingType may stand at the end."""
        return [self._entry(marker, item) for marker, item in self._items]

    def _entry(self, marker: bool, item: dict[str, str]) -> Entry:
        return Entry(
            _decoded(item["Key"], self.top),
            item.get("VersionId", ""),
            item.get("IsLatest", "true") == "true",
            marker,
            0 if marker else int(item.get("Size", "0")),
            item.get("ETag", "").strip('"'),
            item.get("LastModified", ""),
            item.get("StorageClass", "STANDARD") or "STANDARD",
        )


async def pages(store: Store, *, versions: bool, prefix: bytes = b"") -> AsyncIterator[list[Entry]]:
    """Yield the pages of a bucket; with ``versions`` every version and marker."""
    base: list[tuple[str, str | bytes]] = [("encoding-type", "url"), ("max-keys", str(_PAGE))]
    base.append(("versions", "") if versions else ("list-type", "2"))
    if prefix := store.view.there(prefix):
        base.append(("prefix", prefix))
    on: list[tuple[str, str | bytes]] = []
    last: tuple[bytes, str] | None = None
    while True:
        page, found = await _next_page(store, [*base, *on], begun=bool(on))
        found = _ordered(found) if versions else found
        last = _check_order(store, found, last)
        yield found if store.view is WHOLE else seen(store.view, found)
        if page.top.get("IsTruncated") != "true":
            return
        following = _onward(page, versions)
        if not following or following == on:
            raise NeedsHuman(
                f"{store.where}: the listing says there is more but not how to go on",
                "the store's listing cannot be trusted; check its release notes, then run again",
            )
        on = following


def seen(view: View, entries: list[Entry]) -> list[Entry]:
    """Return the entries that belong to a view, under its names."""
    return [entry._replace(key=view.here(entry.key)) for entry in entries if view.sees(entry.key)]


async def _next_page(store: Store, query: list[tuple[str, str | bytes]], *, begun: bool) -> tuple[Page, list[Entry]]:
    """Fetch a page. In the middle of a listing a side that stops answering is waited for."""

    async def fetch() -> tuple[Page, list[Entry]]:
        return await persist(lambda: _page(store, query), store)

    return await (pause.patiently(fetch, store) if begun else fetch())


async def _page(store: Store, query: list[tuple[str, str | bytes]]) -> tuple[Page, list[Entry]]:
    _, body = await store.read("GET", query=query)
    try:
        page = Page().parse(body)
        found = page.entries
    except (expat.ExpatError, KeyError, ValueError) as exc:
        raise Fault("retry", store.where, f"a page of the listing cannot be read: {exc}") from exc
    return page, found


def _onward(page: Page, versions: bool) -> list[tuple[str, str | bytes]]:
    top = page.top
    if not versions:
        token = top.get("NextContinuationToken", "")
        return [("continuation-token", token)] if token else []
    key = top.get("NextKeyMarker", "")
    if not key:
        return []
    version = top.get("NextVersionIdMarker", "")
    return [("key-marker", _decoded(key, top)), *([("version-id-marker", version)] if version else [])]


def _decoded(key: str, top: dict[str, str]) -> bytes:
    if top.get("EncodingType") != "url":
        return key.encode()
    # S3 writes a space as "+" here, as forms do; a real plus comes as %2B.
    return unquote_to_bytes(key.replace("+", "%20"))


def _check_order(store: Store, entries: list[Entry], last: tuple[bytes, str] | None) -> tuple[bytes, str] | None:
    for entry in entries:
        here = (entry.key, entry.version)
        if last is not None and (entry.key < last[0] or here == last):
            raise NeedsHuman(
                f"{store.where}: the listing is out of order at {shown(entry.key)}",
                "the store's listing cannot be trusted; check its release notes, then run again",
            )
        last = here
    return last


def _ordered(entries: list[Entry]) -> list[Entry]:
    """Interleave versions and markers where a store lists a page's markers after all its versions.

    S3 lists them in one order by key, newest first. Only when a page contradicts that (its markers
    all come last although they belong between) are times used, because a version uploaded in parts
    may be younger than its time says.
    """
    first = next((n for n, entry in enumerate(entries) if entry.marker), len(entries))
    if first in (0, len(entries)) or not all(entry.marker for entry in entries[first:]):
        return entries
    before, after = entries[first - 1], entries[first]
    out_of_place = after.key < before.key or (after.key == before.key and (after.latest or after.mtime > before.mtime))
    if not out_of_place:
        return entries
    newest_first = sorted(entries, key=lambda entry: (entry.mtime, entry.latest), reverse=True)
    return sorted(newest_first, key=lambda entry: entry.key)


async def history(store: Store, key: bytes) -> list[Entry]:
    """Return all versions of one key, oldest first."""
    found: list[Entry] = []
    async for page in pages(store, versions=True, prefix=key):
        for entry in page:
            if entry.key != key:
                return found[::-1]
            found.append(entry)
    return found[::-1]


def entries(plane: DataPlane, bucket: str, knobs: Knobs, *, versions: bool) -> Iterator[Entry]:
    """List a bucket from ordinary code. A thread of its own fetches up to two pages ahead."""

    async def start(put: Callable[[list[Entry]], bool]) -> None:
        async with session(knobs) as opened:
            store = Store(plane, bucket, opened, Gate(4, 4), knobs)
            async for page in pages(store, versions=versions):
                if not await asyncio.to_thread(put, page):
                    return

    try:
        for page in _ahead(start):
            yield from page
    except Fault as fault:
        raise as_error(fault) from fault


def _ahead(start: Callable[[Callable[[list[Entry]], bool]], Coroutine[Any, Any, None]]) -> Iterator[list[Entry]]:
    return _threaded(lambda put: asyncio.run(start(put)), 2)


def ahead(items: Generator[T, None, None], most: int = 1) -> Iterator[T]:
    """Yield the items of a generator that runs in a thread of its own, up to ``most`` ahead of its reader."""

    def work(put: Callable[[T], bool]) -> None:
        with closing(items):
            for item in items:
                if not put(item):
                    return

    return _threaded(work, most)


def _threaded(work: Callable[[Callable[[T], bool]], None], most: int) -> Iterator[T]:
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(maxsize=most)
    closed = threading.Event()

    def offer(what: tuple[T] | BaseException | None) -> bool:
        while not closed.is_set():
            try:
                ready.put(what, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            work(lambda item: offer((item,)))
        except BaseException as exc:  # noqa: BLE001 - handed to the reader, who raises it
            offer(exc)
        else:
            offer(None)

    thread = threading.Thread(target=run, name="listing", daemon=True)
    thread.start()
    try:
        while (what := ready.get()) is not None:
            if isinstance(what, BaseException):
                raise what
            yield what[0]
    finally:
        closed.set()
        thread.join(timeout=5)
