"""T10, the moving target: nothing lost, nothing stale, through crashes, throttling, the switch and the way back."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.storage.ends import End, fresh
from tests.storage.moving import Oracle, Site, Stream, Writer, objects
from toolkit.rehearsal.mockaws import Store
from toolkit.storage import freeze


def as_user(store: Store, user: str) -> End:
    key = store.keys[user]
    return End("aws", store.endpoint, key.id, key.secret.reveal())


@contextmanager
def bursts(store: Store) -> Iterator[None]:
    """Every now and then a fifth of all calls is answered 503 SlowDown."""
    done = threading.Event()

    def play() -> None:
        while not done.wait(4):
            store.inject({"kind": "slowdown", "service": "s3", "rate": 0.2})
            done.wait(0.3)
            store.inject()

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        store.inject()


def killed(site: Site, bucket: str, wanted: int) -> None:
    """Start an apply and kill all its processes when the target holds so many objects."""
    process = site.start("apply", "--yes")
    deadline = time.monotonic() + 240
    try:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if sum(1 for _ in objects(site.target, bucket)) >= wanted:
                    break
            except site.target.client.exceptions.NoSuchBucket:
                pass
            time.sleep(0.5)
        assert process.poll() is None, f"it ended before it could be killed: {process.communicate()[0][-2000:]!r}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def play(stores: tuple[Store, Store], app: End, us: End, folder: Path, *, count: int, rate: float, back: int) -> None:
    """Move a bucket that is being written; ``us`` and ``app`` are users of the new side."""
    old_app, old_us = as_user(stores[0], "app"), as_user(stores[0], "rehost")
    bucket, to = fresh("t10"), fresh("t10-to")
    old_app.client.create_bucket(Bucket=bucket)
    stores[0].bulk(bucket=bucket, count=count, size=100)
    oracle = Oracle(folder / "writes.jsonl")
    oracle.start(old_app, bucket)
    if us.kind == "ceph":  # there a bucket has one user for its owner, and a system user makes none
        app.client.create_bucket(Bucket=to)
        grant(app, to)  # and of an object whoever wrote it
    site = Site(folder, old_us, us, bucket, to)
    site.do("plan")
    writers = [Writer(oracle, old_app, bucket, side="old", number=n, of=4) for n in range(4)]
    with Stream(writers, rate):
        with bursts(stores[0]):
            for share in (0.2, 0.6):
                killed(site, to, int(count * share))
            site.do("apply", "--yes")
        assert "it fits" in site.do("apply", "--yes", "--until-fits")
        left_open = old_app.client.create_multipart_upload(Bucket=bucket, Key="left/open")["UploadId"]
        told = site.do("cutover", "traffic", "--yes")
        deadline = time.monotonic() + 60
        while not all(writer.denied for writer in writers) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert all(writer.denied for writer in writers), "the freeze holds for everybody but us"
    assert "left/open" in told
    assert oracle.writes > 10
    assert oracle.differences(us, to) == []
    assert oracle.differences(old_us, bucket) == []

    new = Writer(oracle, app, to, side="new", number=9, of=10)
    for _ in range(back):
        new.write()
    shown = site.do("rollback", "--to", "applied", "--dry-run")
    assert "comes back to the source" in shown
    site.do("rollback", "--to", "applied", "--yes")
    assert oracle.differences(old_us, bucket) == []
    assert oracle.differences(us, to) == []
    assert not freeze.frozen(old_us.driver, bucket)
    assert freeze.frozen(us.driver, to), "nobody writes to the side that was left"
    old_app.client.abort_multipart_upload(Bucket=bucket, Key="left/open", UploadId=left_open)

    # And over again: what came back is known to both sides.
    again = Writer(oracle, old_app, bucket, side="again", number=3, of=4)
    for _ in range(back // 5):
        again.write()
    site.do("apply", "--yes")
    site.do("cutover", "traffic", "--yes")
    assert oracle.differences(us, to) == []
    assert not freeze.frozen(us.driver, to)
    app.client.put_object(Bucket=to, Key="the app writes", Body=b"x")


def grant(app: End, bucket: str) -> None:
    """Let the owner of a bucket read and change the objects in it that somebody else wrote."""
    uid = app.client.list_buckets()["Owner"]["ID"]
    statement = {
        "Sid": "App",
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam:::user/{uid}"]},
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    app.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


@pytest.mark.accept
@pytest.mark.timeout(900)
def test_t10_small(stores: tuple[Store, Store], tmp_path: Path) -> None:
    app, us = as_user(stores[1], "app"), as_user(stores[1], "rehost")
    play(stores, app, us, tmp_path, count=600, rate=20, back=60)


@pytest.fixture
def users(rgw: End) -> tuple[End, End]:
    """An app and us at a real Ceph: a user, and the one that may set version ids."""
    us = replace(rgw, key=os.environ["REHOST_LAB_S3_SYSTEM_KEY"], secret=os.environ["REHOST_LAB_S3_SYSTEM_SECRET"])
    return rgw, us


@pytest.mark.lab
@pytest.mark.accept
@pytest.mark.timeout(900)
def test_t10_small_on_ceph(stores: tuple[Store, Store], users: tuple[End, End], tmp_path: Path) -> None:
    play(stores, *users, tmp_path, count=600, rate=20, back=60)


@pytest.mark.lab
@pytest.mark.accept
@pytest.mark.timeout(1_800)
def test_t10_on_ceph(stores: tuple[Store, Store], users: tuple[End, End], tmp_path: Path) -> None:
    play(stores, *users, tmp_path, count=20_000, rate=50, back=1_000)
