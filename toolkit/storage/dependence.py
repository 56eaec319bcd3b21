"""What in the copied objects still names the old side: pages, styles, scripts, feeds, settings.

Enters: a bucket at the target and the strings of the old side. Leaves: one finding per object that
names it (bounded) and a Tally of the text objects looked into. Larger than 1 MiB is not text that an
app serves as configuration; it is not looked into and the finding says how many those were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from toolkit.families import OldSide
from toolkit.model import Finding, Tally
from toolkit.storage.engine import listing
from toolkit.storage.engine.faults import Fault, as_error
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.http import Store, persist, session
from toolkit.storage.engine.report import MOST
from toolkit.storage.model import DataPlane, Entry, Knobs, shown

_LARGEST = 1 << 20
_PORTION = 500
#: Endings of what is surely no text; everything else is asked for its Content-Type.
_BINARY = (
    b".jpg .jpeg .png .gif .webp .avif .ico .bmp .heic .mp4 .webm .mov .mkv .mp3 .ogg .wav .flac .zip .gz .bz2 .xz .zst"
    b" .7z .rar .tar .tgz .pdf .woff .woff2 .ttf .otf .eot .wasm .bin .exe .dmg .iso .parquet .sqlite .db"
).split()
_TEXT = ("text/", "application/json", "application/javascript", "application/xml", "application/x-javascript")
_TEXT_PARTS = ("+json", "+xml", "yaml", "toml", "ecmascript")


def scan(address: str, plane: DataPlane, bucket: str, knobs: Knobs, old: OldSide) -> Iterator[Finding | Tally]:
    """Look into the text objects of one bucket."""
    needles = sorted({text.encode().lower() for text in (*old.endpoints, *old.suffixes) if text})
    total = clean = said = large = 0
    with asyncio.Runner() as runner:
        for portion in _portions(listing.entries(plane, bucket, knobs, versions=False)):
            large += sum(entry.size > _LARGEST and not is_binary(entry) for entry in portion)
            small = [entry for entry in portion if 0 < entry.size <= _LARGEST and not is_binary(entry)]
            try:
                looked, found = runner.run(_look(plane, bucket, knobs, small, needles))
            except Fault as fault:
                raise as_error(fault) from fault
            total, clean = total + looked, clean + looked - len(found)
            for key, needle in sorted(found.items()):
                said += 1
                if said <= MOST:
                    yield _finding(address, key, needle)
    if said > MOST:
        yield Finding(address, "more", "dependent", f"{said - MOST:,} more objects name the old side")
    if large:
        text = f"{large:,} objects larger than 1 MiB were not looked into"
        yield Finding(address, "large", "note", text, severity="info")
    yield Tally(address, total, clean)


def _finding(address: str, key: bytes, needle: bytes) -> Finding:
    name = needle.decode("utf-8", "replace")
    return Finding(
        address,
        shown(key),
        "dependent",
        f"{shown(key)} names {name}, which belongs to the old side",
        "rewrite it at the target, or accept the finding with a reason",
        evidence={"string": name},
    )


def is_text(kind: str) -> bool:
    """Say whether a Content-Type is one of text that an app reads or serves."""
    kind = kind.lower()
    return kind.startswith(_TEXT) or any(part in kind for part in _TEXT_PARTS)


def is_binary(entry: Entry) -> bool:
    """Say whether a key's ending tells that it is surely no text."""
    return entry.key.lower().endswith(tuple(_BINARY))


def _portions(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    portion: list[Entry] = []
    for entry in entries:
        portion.append(entry)
        if len(portion) == _PORTION:
            yield portion
            portion = []
    yield portion


async def _look(
    plane: DataPlane, bucket: str, knobs: Knobs, entries: list[Entry], needles: list[bytes]
) -> tuple[int, dict[bytes, bytes]]:
    found: dict[bytes, bytes] = {}
    looked = 0
    items = iter(entries)
    async with session(knobs) as http:
        store = Store(plane, bucket, http, Gate(knobs.in_flight, knobs.in_flight), knobs)

        async def work() -> None:
            nonlocal looked
            for entry in items:
                body = await persist(lambda: _text(store, entry.key), store)  # noqa: B023 - awaited at once
                if body is None:
                    continue
                looked += 1
                lower = body.lower()
                needle = next((needle for needle in needles if needle in lower), None)
                if needle is not None:
                    found[entry.key] = needle

        async with asyncio.TaskGroup() as group:
            for _ in range(min(knobs.in_flight, max(1, len(entries)))):
                group.create_task(work())
    return looked, found


async def _text(store: Store, key: bytes) -> bytes | None:
    """Return the body of a text object, ``None`` for anything else."""
    try:
        async with store.call("GET", key) as answer:
            if is_text(answer.headers.get("Content-Type", "")):
                return await answer.read()
            answer.close()
            return None
    except Fault as fault:
        if fault.kind == "gone":
            return None
        raise
