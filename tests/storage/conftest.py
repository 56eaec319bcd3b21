"""Stores to test against: stock moto, the corrected mock of the rehearsals, and a real Ceph RGW."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.storage.ends import End, Ends, fresh
from tests.storage.matrix import World
from toolkit import leases
from toolkit.rehearsal import net
from toolkit.rehearsal.faultproxy import FaultProxy, running
from toolkit.rehearsal.mockaws import Store, start_store
from toolkit.storage.engine import http
from toolkit.storage.sign import Keys

_MOTO = """
import logging, sys, threading
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
#: What stock moto gets wrong (the mock of the rehearsals puts these right).
_STOCK = frozenset({"newline", "versions-xml", "versions-order", "suspended", "content-md5", "small-parts"})


#: Users of the lab's gateway beside the one that owns the buckets: grants go to users that exist.
OTHERS = ("rehost-system", "rehost-admin")


def _end(store: Store, kind: str) -> End:
    return End(kind, store.endpoint, store.access_key, store.secret_key.reveal())


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    """Two processes of the corrected mock."""
    with net.claim() as pair:
        started = []
        try:
            for address in (pair.old_ip(2), pair.new_ip(2)):
                started.append(start_store(address, tmp_path_factory.mktemp("store"), services=["s3"]))
            yield started[0], started[1]
        finally:
            for store in started:
                store.stop()


@pytest.fixture(scope="session")
def mocked(stores: tuple[Store, Store]) -> Ends:
    """AWS towards a store that plays Ceph."""
    return Ends(_end(stores[0], "aws"), _end(stores[1], "ceph"))


@pytest.fixture(scope="session")
def stock() -> Iterator[Ends]:
    """Two processes of moto as it is."""
    environment = {**os.environ, "S3_UPLOAD_PART_MIN_SIZE": "1"}
    argv = [sys.executable, "-c", _MOTO]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=environment) for _ in range(2)]
    try:
        ports = []
        for process in running:
            assert process.stdout is not None
            ports.append(int(process.stdout.readline().split()[-1]))
        ends = [
            End(kind, f"http://127.0.0.1:{port}", "AK", "sk", _STOCK)
            for kind, port in zip(("aws", "s3"), ports, strict=True)
        ]
        yield Ends(*ends)
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def rgw() -> End:
    """A real Ceph RGW: of the lab, or one named in the environment."""
    # RGW 16 tells no part boundaries; name what a newer one gets wrong (or nothing) to test that.
    wrong = frozenset(os.environ.get("REHOST_LAB_S3_WRONG", "part-numbers").split())
    endpoint = os.environ.get("REHOST_LAB_S3")
    if not endpoint:
        pytest.skip("REHOST_LAB_S3 names no RGW")
    return End(
        "ceph", endpoint, os.environ["REHOST_LAB_S3_KEY"], os.environ["REHOST_LAB_S3_SECRET"], wrong, None, OTHERS
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="session")
def proxies(mocked: Ends) -> Iterator[tuple[FaultProxy, FaultProxy]]:
    """A fault proxy before each mocked store."""
    made = [
        FaultProxy(end.endpoint, side=side, keys=Keys(end.key, end.secret))
        for side, end in (("source", mocked.source), ("target", mocked.target))
    ]
    with running(*made):
        yield made[0], made[1]


@pytest.fixture
def world(mocked: Ends, proxies: tuple[FaultProxy, FaultProxy], run: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An empty bucket at the source, honest proxies, retries without their pauses."""
    monkeypatch.setattr(http, "_BASE", 0.001)
    for proxy in proxies:
        proxy.forget()
        proxy.inject()
    behind = [
        End(end.kind, proxy.endpoint, end.key, end.secret, end.wrong)
        for end, proxy in zip((mocked.source, mocked.target), proxies, strict=True)
    ]
    bucket = fresh("matrix")
    mocked.source.client.create_bucket(Bucket=bucket)
    made = World(mocked, Ends(*behind), *proxies, bucket, run, fresh("to"))
    add = leases.add

    def between(*arguments: Any) -> None:
        happens, made.meanwhile = made.meanwhile, None
        if happens is not None:
            happens()
        add(*arguments)

    monkeypatch.setattr(leases, "add", between)
    return made
