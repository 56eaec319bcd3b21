"""What we are about to write and what we wrote, durable before anybody relies on it.

One append-only file per shard and attempt, ``log/<shard>.epoch-N.log``: each line is a CRC and a
JSON object, so a torn tail is recognised and dropped. ``intent`` lines name the manifest rows about
to be written, ``wrote`` lines what the target then holds, ``upload`` lines an open multipart upload,
``part`` lines the MD5 of a part of it, ``ended`` lines its end, ``followed`` lines the ETag of an object
that changed since it was listed.
When a shard is done its lines are sealed into ``result/<shard>.parquet``.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.files import sync_folder
from toolkit.storage.engine import manifest
from toolkit.storage.model import Written


class ShardLog:
    """The log of one attempt at one shard. Every line is on disk when ``sync`` returns."""

    def __init__(self, run: Path, shard: str) -> None:
        folder = run / "log"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = -1
        while descriptor < 0:
            epoch = 1 + max((int(path.suffixes[-2].removeprefix(".epoch-")) for path in paths(run, shard)), default=0)
            # Somebody who lost the lease may still be alive and take the same number.
            with suppress(FileExistsError):
                descriptor = os.open(folder / f"{shard}.epoch-{epoch}.log", flags, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        sync_folder(folder)

    def intent(self, start: int, stop: int) -> None:
        """Say that rows ``[start, stop)`` are about to be written."""
        self._line({"do": "intent", "start": start, "stop": stop})

    def upload(self, key: bytes, upload: str, of: str) -> None:
        """Remember an open multipart upload, so that a crash leaves no orphan. ``of``: what is uploaded."""
        self._line({"do": "upload", "key": _b64(key), "upload": upload, "of": of})

    def part(self, upload: str, number: int, digest: bytes) -> None:
        """Remember the MD5 of the source's bytes that stand at the target as a part (the first is 1)."""
        self._line({"do": "part", "upload": upload, "number": number, "md5": digest.hex()})

    def ended(self, upload: str) -> None:
        """Say that an upload is completed or aborted."""
        self._line({"do": "ended", "upload": upload})

    def followed(self, key: bytes, etag: str) -> None:
        """Remember that newer content than was listed is about to be written."""
        self._line({"do": "followed", "key": _b64(key), "etag": etag})

    def wrote(self, row: int, done: Written) -> None:
        """Say what row ``row`` became at the target."""
        self._line({"do": "wrote", "row": row, "as": [_b64(done.key), *done[1:]]})

    def sync(self) -> None:
        """Return when everything said so far is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()

    def _line(self, value: dict[str, Any]) -> None:
        data = json.dumps(value, separators=(",", ":")).encode()
        self._file.write(b"%08x %b\n" % (zlib.crc32(data), data))


@dataclass(frozen=True, slots=True)
class Left:
    """A multipart upload whose end no log tells, with the MD5 (hex) of the parts that stand at the target."""

    key: bytes
    upload: str
    of: str = ""
    parts: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Story:
    """Everything the logs of one shard say. Bounded by the size of a shard."""

    intents: set[int] = field(default_factory=set)
    wrote: dict[int, Written] = field(default_factory=dict)
    uploads: dict[str, Left] = field(default_factory=dict)
    followed: dict[bytes, list[str]] = field(default_factory=dict)


def paths(run: Path, shard: str) -> list[Path]:
    """Return the logs of one shard, oldest first."""
    found = (run / "log").glob(f"{_literal(shard)}.epoch-*.log")
    return sorted(found, key=lambda path: int(path.suffixes[-2].removeprefix(".epoch-")))


def story(run: Path, shard: str) -> Story:
    """Read the logs of one shard together."""
    told = Story()
    for path in paths(run, shard):
        for line in _lines(path):
            match line["do"]:
                case "intent":
                    told.intents.update(range(line["start"], line["stop"]))
                case "upload":
                    name = line["upload"]
                    told.uploads[name] = Left(base64.b64decode(line["key"]), name, line.get("of", ""))
                case "part" if line["upload"] in told.uploads:
                    told.uploads[line["upload"]].parts[line["number"]] = line["md5"]
                case "ended":
                    told.uploads.pop(line["upload"], None)
                case "followed":
                    told.followed.setdefault(base64.b64decode(line["key"]), []).append(line["etag"])
                case "wrote":
                    told.wrote[line["row"]] = Written(base64.b64decode(line["as"][0]), *line["as"][1:])
    return told


def seal(run: Path, shard: str) -> None:
    """Turn the logs of a finished shard into its result file and drop them."""
    told = story(run, shard)
    ordered = (told.wrote[row] for row in sorted(told.wrote))
    manifest.write(run / "result" / f"{shard}.parquet", ordered, manifest.WRITTEN)
    for path in paths(run, shard):
        path.unlink()
    sync_folder(run / "log")


def unsealed(run: Path, slug: str) -> list[str]:
    """Return the shards of ``slug`` that have logs but no end."""
    names = {path.name.split(".epoch-")[0] for path in (run / "log").glob(f"{_literal(slug)}-*.epoch-*.log")}
    return sorted(name for name in names if belongs(name, slug))


def belongs(shard: str, slug: str) -> bool:
    """Say whether ``shard`` is one of ``slug`` (``media-old-001-0001`` is none of ``media``)."""
    rest = shard.removeprefix(f"{slug}-").split("-")
    return len(rest) == 2 and all(part.isdigit() for part in rest)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            crc, _, data = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or f"{zlib.crc32(data):08x}".encode() != crc:
                return  # a torn tail: nothing behind it was ever relied on
            yield json.loads(data)


def _b64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _literal(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
