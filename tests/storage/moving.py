"""A moving target and its oracle: writers that log every write, and a comparison by boto3 alone."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.storage.ends import End

_KINDS = ("new", "overwrite", "overwrite", "delete", "recreate", "metadata", "parts")


@dataclass(frozen=True)
class Want:
    """What a key must hold: digest of its bytes, size, user metadata."""

    md5: str
    size: int
    meta: tuple[tuple[str, str], ...] = ()


@dataclass
class Oracle:
    """What every key must hold, by the answers that the writers got; each write is a line of ``log``."""

    log: Path
    state: dict[str, Want] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    writes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, end: End, bucket: str) -> None:
        for item in objects(end, bucket):
            self.state[item["Key"]] = Want(item["ETag"].strip('"'), item["Size"])

    def wrote(self, side: str, what: str, key: str, want: Want | None) -> None:
        with self.lock, self.log.open("a") as file:
            self.writes += 1
            self.touched.add(key)
            if want is None:
                self.state.pop(key, None)
            else:
                self.state[key] = want
            file.write(json.dumps([time.time(), side, what, key, want and [want.md5, want.size, want.meta]]) + "\n")

    def differences(self, end: End, bucket: str) -> list[str]:
        """Compare one side with what it must hold. Touched keys are read whole, all others listed."""
        found = {item["Key"]: item for item in objects(end, bucket)}
        wrong = [f"lost: {key}" for key in self.state.keys() - found.keys()]
        wrong += [f"stale, it was deleted: {key}" for key in found.keys() - self.state.keys()]
        both = self.state.keys() & found.keys()
        for key in both - self.touched:
            if found[key]["ETag"].strip('"') != self.state[key].md5 or found[key]["Size"] != self.state[key].size:
                wrong.append(f"stale: {key}")
        with ThreadPoolExecutor(8) as pool:
            read = pool.map(lambda key: self._read(end, bucket, key), sorted(both & self.touched))
            return wrong + [text for text in read if text]

    def _read(self, end: End, bucket: str, key: str) -> str:
        want = self.state[key]
        answer = end.client.get_object(Bucket=bucket, Key=key)
        body = answer["Body"].read()
        if hashlib.md5(body).hexdigest() != want.md5:
            return f"stale: {key} holds {body[:30]!r}"
        if tuple(sorted(answer["Metadata"].items())) != want.meta:
            return f"stale metadata: {key} has {answer['Metadata']}, wanted {want.meta}"
        return ""


def objects(end: End, bucket: str) -> Iterator[Any]:
    for page in end.client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        yield from page.get("Contents", [])


class Denied(Exception):
    """Writing was stopped."""


class Writer:
    """One thread of a steady stream of writes of every kind. Each thread owns its keys."""

    def __init__(self, oracle: Oracle, end: End, bucket: str, *, side: str, number: int, of: int) -> None:
        self.oracle, self.end, self.bucket, self.side = oracle, end, bucket, side
        self.name = f"{side}{number}"
        self.mine = sorted(oracle.state)[number::of]
        self.dice = random.Random(number)
        self.count = 0
        self.denied = False

    def run(self, stop: threading.Event, rate: float) -> None:
        """Write at a rate (per second) until told to stop, or until nobody may write any more."""
        start = time.monotonic()
        begun = 0
        while not stop.is_set():
            begun += 1
            try:
                self.write()
            except Denied:
                self.denied = True
                return
            time.sleep(max(0.0, start + begun / rate - time.monotonic()))

    def write(self) -> None:
        """Make one write and tell the oracle what it did."""
        what, body = self.dice.choice(_KINDS), b"%s %08d" % (self.name.encode(), self.count)
        self.count += 1
        key = self.dice.choice(self.mine)
        present = key in self.oracle.state
        if what == "new" or (what in ("overwrite", "metadata", "recreate") and not present):
            key = f"{self.dice.choice('abcxyz')}/{self.name}-{self.count:06d}"
            self.put("new", key, body)
            self.mine.append(key)
        elif what == "overwrite":
            size = self.oracle.state[key].size
            self.put(what, key, (body * (size // len(body) + 1))[:size] if size else b"")
        elif what == "delete":
            self.delete(key)
        elif what == "recreate":
            self.delete(key)
            self.put(what, key, body)
        elif what == "metadata":
            want = self.oracle.state[key]
            if "-" in want.md5:
                return
            meta = {"turn": str(self.count)}
            source = {"Bucket": self.bucket, "Key": key}
            self.call("copy_object", Key=key, CopySource=source, MetadataDirective="REPLACE", Metadata=meta)
            self.oracle.wrote(self.side, what, key, Want(want.md5, want.size, tuple(meta.items())))
        else:
            self.parts(key, [body * 40, body])

    def put(self, what: str, key: str, body: bytes) -> None:
        meta = {"by": self.name}
        self.call("put_object", Key=key, Body=body, Metadata=meta)
        self.oracle.wrote(self.side, what, key, Want(hashlib.md5(body).hexdigest(), len(body), tuple(meta.items())))

    def delete(self, key: str) -> None:
        self.call("delete_object", Key=key)
        self.oracle.wrote(self.side, "delete", key, None)

    def parts(self, key: str, bodies: list[bytes]) -> None:
        upload = self.call("create_multipart_upload", Key=key)["UploadId"]
        done = []
        for number, body in enumerate(bodies, 1):
            answer = self.call("upload_part", Key=key, UploadId=upload, PartNumber=number, Body=body)
            done.append({"ETag": answer["ETag"], "PartNumber": number})
        self.call("complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": done})
        whole = b"".join(bodies)
        self.oracle.wrote(self.side, "parts", key, Want(hashlib.md5(whole).hexdigest(), len(whole)))

    def call(self, method: str, **what: Any) -> Any:
        """Insist until the store has answered: then it is known what it holds."""
        for _ in range(200):
            try:
                return getattr(self.end.client, method)(Bucket=self.bucket, **what)
            except ClientError as exc:
                code = exc.response["Error"]["Code"]
                if code == "AccessDenied":
                    raise Denied from exc
                if exc.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    raise
            except BotoCoreError:
                pass
            time.sleep(0.05)
        raise AssertionError("the store never answered")


@dataclass
class Stream:
    """Several writers at once."""

    writers: list[Writer]
    rate: float
    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)
    broken: list[BaseException] = field(default_factory=list)

    def _run(self, writer: Writer) -> None:
        try:
            writer.run(self.stop, self.rate / len(self.writers))
        except BaseException as exc:
            self.broken.append(exc)

    def __enter__(self) -> Stream:
        self.threads = [threading.Thread(target=self._run, args=(writer,), daemon=True) for writer in self.writers]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(120)
        assert not self.broken, self.broken


@dataclass
class Site:
    """A site of one bucket, and ``rehost`` as people type it."""

    folder: Path
    source: End
    target: End
    bucket: str
    to: str

    def __post_init__(self) -> None:
        ends = "\n".join(
            f"  {name}: {{kind: {end.kind}, endpoint: '{end.endpoint}', regions: [us-east-1], insecure: true,"
            f" credentials: {{key: 'env:{name.upper()}_KEY', secret: 'env:{name.upper()}_SECRET'}}}}"
            for name, end in (("old", self.source), ("new", self.target))
        )
        (self.folder / "site.yaml").write_text(
            f"rehost: 1\nname: moving\nproviders:\n{ends}\nmove:\n  storage: {{from: old, to: new}}\n"
            f"buckets:\n  media: {{name: {self.bucket}, versioning: 'off', to: {{name: {self.to}}}}}\n"
            "objectives: {freeze: 10m}\n"
        )

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        names = {"OLD": self.source, "NEW": self.target}
        keys = {f"{name}_KEY": end.key for name, end in names.items()}
        keys |= {f"{name}_SECRET": end.secret for name, end in names.items()}
        return subprocess.Popen(
            [sys.executable, "-m", "toolkit.cli", *argv, "--site", str(self.folder), "--run", str(self.folder / "run")],
            env={**os.environ, **keys, "NO_COLOR": "1", "COLUMNS": "250"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def do(self, *argv: str, code: int = 0) -> str:
        process = self.start(*argv)
        output = process.communicate()[0].decode()
        assert process.returncode == code, f"rehost {' '.join(argv)}: {process.returncode}\n{output[-3000:]}"
        return output
