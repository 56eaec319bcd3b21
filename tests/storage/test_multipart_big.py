"""T5 and T6 at their full size: 10,000 uneven parts and a kill in the middle, 50 GiB, 5,000 versions of a key.

What was sent is counted by the target: its call log, or the time of each part in ListParts. Figures are printed.
"""

from __future__ import annotations

import hashlib
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.bench import simulator, synthetic
from tests.bench.simulator import Simulator
from tests.storage.ends import End, Ends, Move, fresh, listed
from toolkit.rehearsal.mockaws import Store
from toolkit.storage.engine.digest import composite

COUNT = 10_000
GIB = 1 << 30

_RUN = """
import sys
from pathlib import Path
from tests.storage.ends import End, Ends, Move
from toolkit import leases
from toolkit.apply import one
from toolkit.journal import Journal
source, target, bucket, to, run = sys.argv[1:]
ends = [End(*text.split(" ")) for text in (source, target)]
move = Move(Ends(*ends), Path(run), bucket, to)
with Journal(Path(run) / "journal.db") as journal:
    leases.release_dead(journal)
    for change in move.plan():
        one(change, move.family, journal)
"""


def start(move: Move) -> subprocess.Popen[bytes]:
    ends = [f"{end.kind} {end.endpoint} {end.key} {end.secret}" for end in (move.ends.source, move.ends.target)]
    return subprocess.Popen([sys.executable, "-c", _RUN, *ends, move.bucket, move.target_bucket, str(move.run)])


def kill_when(move: Move, reached: Callable[[], bool]) -> None:
    process = start(move)
    try:
        deadline = time.monotonic() + 1200
        while process.poll() is None and not reached():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        process.kill()
        process.wait()


def upload(end: End, bucket: str, key: str, count: int) -> str:
    """Upload ``count`` parts of 1 byte to 64 KiB and return the ETag that they make."""
    client, draw = end.client, random.Random(7)
    name = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    sizes = [draw.randint(1 << 10, 1 << 16) for _ in range(count)]

    def put(number: int) -> bytes:
        body = random.Random(number).randbytes(sizes[number - 1])
        client.upload_part(Bucket=bucket, Key=key, UploadId=name, PartNumber=number, Body=body)
        return hashlib.md5(body).digest()

    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(put, range(1, count + 1)))
    parts = [{"PartNumber": n, "ETag": f'"{digest.hex()}"'} for n, digest in enumerate(digests, 1)]
    client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=name, MultipartUpload={"Parts": parts})
    return composite(digests)


def uploads(end: End, bucket: str) -> list[Any]:
    try:
        return list(end.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))
    except end.client.exceptions.NoSuchBucket:
        return []


def holds_part(move: Move, number: int) -> bool:
    """Say whether the target holds a part of this number or a later one."""
    client, found = move.ends.target.client, uploads(move.ends.target, move.target_bucket)
    if not found:
        return False
    name = {"Bucket": move.target_bucket, "Key": found[0]["Key"], "UploadId": found[0]["UploadId"]}
    return bool(client.list_parts(**name, PartNumberMarker=number - 1, MaxParts=1).get("Parts"))


def parts(move: Move) -> dict[int, tuple[str, Any]]:
    """Return ETag and time of each part that stands at the target, of its one open upload."""
    (found,) = uploads(move.ends.target, move.target_bucket)
    pages = move.ends.target.client.get_paginator("list_parts").paginate(
        Bucket=move.target_bucket, Key=found["Key"], UploadId=found["UploadId"]
    )
    return {part["PartNumber"]: (part["ETag"], part["LastModified"]) for page in pages for part in page["Parts"]}


def etag_there(move: Move, key: str) -> str:
    return str(move.ends.target.client.head_object(Bucket=move.target_bucket, Key=key)["ETag"]).strip('"')


def sent(store: Store, bucket: str) -> int:
    """Return how many parts the target says it was sent."""
    return len(store.calls(class_="write", bucket=bucket, operation="UploadPart"))


@pytest.fixture
def move(mocked: Ends, run: Path) -> Move:
    name = fresh()
    mocked.source.client.create_bucket(Bucket=name)
    return Move(mocked, run, name, to=fresh("to"))


def test_a_killed_upload_goes_on_where_it_was(move: Move, stores: tuple[Store, Store]) -> None:
    """The same as below, small: 300 parts, killed at 150."""
    etag = upload(move.ends.source, move.bucket, "big", 300)
    kill_when(move, lambda: holds_part(move, 150))
    (before,) = uploads(move.ends.target, move.target_bucket)
    assert start(move).wait(300) == 0
    assert etag_there(move, "big") == etag
    assert len(stores[1].calls(class_="write", bucket=move.target_bucket, operation="CreateMultipartUpload")) == 1
    assert 300 <= sent(stores[1], move.target_bucket) <= 301
    assert uploads(move.ends.target, move.target_bucket) == []
    assert before["Key"] == "big"


def test_an_upload_of_what_has_changed_since_is_not_taken_up(move: Move, stores: tuple[Store, Store]) -> None:
    upload(move.ends.source, move.bucket, "big", 200)
    kill_when(move, lambda: holds_part(move, 50))
    etag = upload(move.ends.source, move.bucket, "big", 100)
    assert start(move).wait(300) == 0
    assert etag_there(move, "big") == etag
    assert uploads(move.ends.target, move.target_bucket) == []


def test_a_part_that_is_not_the_sources_is_sent_again(move: Move, stores: tuple[Store, Store]) -> None:
    """Somebody put other bytes in the place of a part: neither the log nor its size makes it count."""
    etag = upload(move.ends.source, move.bucket, "big", 200)
    kill_when(move, lambda: holds_part(move, 100))
    (found,) = uploads(move.ends.target, move.target_bucket)
    name = {"Bucket": move.target_bucket, "Key": "big", "UploadId": found["UploadId"]}
    size = move.ends.target.client.list_parts(**name, MaxParts=1)["Parts"][0]["Size"]
    move.ends.target.client.upload_part(**name, PartNumber=1, Body=b"\0" * size)
    assert start(move).wait(300) == 0
    assert etag_there(move, "big") == etag
    assert uploads(move.ends.target, move.target_bucket) == []


@pytest.mark.accept
@pytest.mark.timeout(1800)
def test_t5_ten_thousand_parts_killed_on_the_mock(move: Move, stores: tuple[Store, Store]) -> None:
    etag = upload(move.ends.source, move.bucket, "big", COUNT)
    kill_when(move, lambda: holds_part(move, 7_000))
    there, began = len(parts(move)), time.monotonic()
    assert start(move).wait(900) == 0
    seconds = time.monotonic() - began
    twice = sent(stores[1], move.target_bucket) - COUNT
    print(f"T5 mock: {there:,} parts at the kill, {twice} sent again; second run {seconds:.0f} s")
    assert etag_there(move, "big") == etag
    assert 0 <= twice <= 1
    assert uploads(move.ends.target, move.target_bucket) == []


@pytest.mark.accept
@pytest.mark.lab
@pytest.mark.timeout(1800)
def test_t5_ten_thousand_parts_killed_on_rgw(mocked: Ends, rgw: End, run: Path) -> None:
    """Killed at 7,000 and again at 9,000: by then ListParts tells which parts were written anew."""
    name = fresh()
    mocked.source.client.create_bucket(Bucket=name)
    move = Move(Ends(mocked.source, rgw), run, name, to=fresh("to"))
    etag = upload(mocked.source, name, "big", COUNT)
    kill_when(move, lambda: holds_part(move, 7_000))
    first = parts(move)
    kill_when(move, lambda: holds_part(move, 9_000))
    second = parts(move)
    again = [number for number in first if second[number] != first[number]]
    assert start(move).wait(900) == 0
    print(f"T5 RGW: {len(first):,} parts at the first kill, {len(second):,} at the second, {len(again)} sent again")
    assert etag_there(move, "big") == etag
    assert len(again) <= 1
    assert uploads(rgw, move.target_bucket) == []


@pytest.fixture
def sims() -> Iterator[tuple[Simulator, Simulator]]:
    with simulator.running() as source, simulator.running() as target:
        yield source, target


_MEASURED = _RUN + "\nimport resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"


@pytest.mark.accept
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("size", "part"),
    [
        (5 * GIB - 1, 0),
        (5 * GIB, 0),
        (5 * GIB + 1, 0),
        (5 * GIB - 1, 17 << 20),
        (5 * GIB, 8 << 20),
        (5 * GIB + 1, 5 * GIB),
        (50 * GIB, 0),
        (50 * GIB, 64 << 20),
    ],
    ids=lambda value: f"{value:,}",
)
def test_t5_large(sims: tuple[Simulator, Simulator], run: Path, size: int, part: int) -> None:
    source, target = sims
    cut = tuple(min(part, size - at) for at in range(0, size, part)) if part else ()
    source.fill("src", 1, size, "k", cut)
    ends = Ends(End("aws", source.endpoint, "a", "b"), End("s3", target.endpoint, "a", "b"))
    move = Move(ends, run, "src", to="dst")
    argv = [f"{end.kind} {end.endpoint} {end.key} {end.secret}" for end in (ends.source, ends.target)]
    began = time.monotonic()
    made = subprocess.run(
        [sys.executable, "-c", _MEASURED, *argv, "src", "dst", str(run)], stdout=subprocess.PIPE, check=True, text=True
    )
    seconds, peak = time.monotonic() - began, int(made.stdout.split()[-1]) >> 10
    print(f"T5 {size:,} bytes, {len(cut)} parts: {seconds:.0f} s, {size / seconds / 1e6:.0f} MB/s, peak {peak} MiB")
    assert etag_there(move, "k000000000") == synthetic.etag(synthetic.numbered(0, size), cut)
    assert peak < 300
    assert target.tell()["uploads"] == []


@pytest.mark.accept
@pytest.mark.lab
@pytest.mark.timeout(1800)
def test_t6_five_thousand_versions_of_one_key(mocked: Ends, rgw: End, run: Path) -> None:
    name, client = fresh(), mocked.source.client
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for number in range(5_000):
        if number % 10 == 9:
            client.delete_object(Bucket=name, Key="k")
        else:
            client.put_object(Bucket=name, Key="k", Body=str(number).encode())
    move = Move(Ends(mocked.source, rgw), run, name, to=fresh("to"))
    began = time.monotonic()
    move.apply()
    seconds = time.monotonic() - began
    here, there = [order(end, bucket) for end, bucket in ((mocked.source, name), (rgw, move.target_bucket))]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"T6: {len(there):,} versions and markers in {seconds:.0f} s, peak of the whole test {peak} MiB")
    assert len(here) == 5_000
    assert there == here
    assert move.plan() == []


def order(end: End, bucket: str) -> list[str]:
    """Return ETags of versions and ``-`` for markers, newest first, as the pages of a listing give them."""
    found: list[str] = []

    def keep(parsed: Any, http_response: Any, **_: Any) -> None:
        for marker, body in re.findall(rb"<(Version|DeleteMarker)>(.*?)</\1>", http_response.content, re.DOTALL):
            etag = re.search(rb"<ETag>(?:&quot;|&#34;|\")?([0-9a-f]+)", body)
            found.append("-" if marker == b"DeleteMarker" or etag is None else etag.group(1).decode())

    client = end.client
    client.meta.events.register("after-call.s3.ListObjectVersions", keep)
    try:
        list(listed(client, "list_object_versions", "Versions", bucket))
    finally:
        client.meta.events.unregister("after-call.s3.ListObjectVersions", keep)
    return found
