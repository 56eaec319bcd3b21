"""A real guest: booted from its definition, its user-data exact inside, its firewall closed, its disk kept."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolkit.blobs import Blobs
from toolkit.compute.family import ComputeFamily
from toolkit.model import Finding, Resource, Tally, state

from .contract import KEY, rule

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

ADDRESS = "10.77.0.28"
USER_DATA = b"""#!/bin/sh
# a comment that ends in a carriage return\r
mkdir -p /srv/app
cd /srv/app
. /etc/app.env
printf %s "$GREETING" > health
python3 -m http.server 8080 &
python3 -m http.server 9999 &
"""


def until(probe: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := probe()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def connects(port: int) -> bool:
    try:
        socket.create_connection((ADDRESS, port), timeout=3).close()
    except OSError:
        return False
    return True


def fetched(path: str) -> bytes:
    try:
        with urllib.request.urlopen(f"http://{ADDRESS}:8080/{path}", timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


def resources(blobs: Blobs) -> dict[str, Resource]:
    everywhere = rule("all", None, "0.0.0.0/0") | {"direction": "egress"}
    rules = [rule("tcp", [8080, 8080], "0.0.0.0/0"), rule("tcp", [22, 22], "firewall:web", "0.0.0.0/0"), everywhere]
    firewall = {"name": "web", "description": "visitors", "rules": rules}
    keypair = {"name": "operations", "type": "ed25519", "public_key": KEY}
    server = {
        "name": "lab-web",
        "size": {"name": "t3.nano", "vcpus": 1, "memory_mib": 384, "arch": "x86_64"},
        "image": {"name": "debian-12-amd64"},
        "user_data": {"sha256": blobs.put(USER_DATA)},
        "keypair": "operations",
        "firewalls": ["web"],
        "disks": [{"device": "/dev/xvda", "gib": 3, "type": "gp3"}],
        "addresses": {"private": ["172.31.0.5"], "public": ["203.0.113.5"]},
        "tags": {"team": "core"},
        "app": {
            "argv": ["python3", "-m", "http.server", "8080"],
            "files": {},
            "env": {"GREETING": "it's $alive"},
            "env_file": "/etc/app.env",
            "workdir": "/srv/app",
            "health": "/health",
            "port": 8080,
        },
    }
    return state(
        [
            Resource("compute/keypair/operations", keypair),
            Resource("compute/firewall/web", firewall),
            Resource("compute/server/lab-web", server),
        ]
    )


def test_a_server_moves_into_a_booted_guest(libvirt_lab: Any, tmp_path: Path) -> None:
    if not json.loads(os.environ["REHOST_LAB_LIBVIRT"]).get("access"):
        pytest.skip("this lab has no key to log in with")
    told: list[Any] = []
    blobs = Blobs(tmp_path / "blobs")
    family = ComputeFamily(
        source=None,
        target=libvirt_lab,
        workspace=tmp_path,
        tick=told.append,
        blobs=blobs,
        source_kind="aws",
        target_kind="libvirt",
        pool=f"{ADDRESS}/32",
        patience=180.0,
    )
    wanted = resources(blobs)
    for resource in wanted.values():
        assert [end.new for end in family.endpoints(resource)] in ([], [(ADDRESS,)] * 2)
    verdicts = [v for r in wanted.values() for v in family.assess(r, family.probe("target"))]
    assert not [verdict for verdict in verdicts if verdict.stands_in_the_way]
    desired = state(found for r in wanted.values() for found in family.translate(r, {}))
    changes = list(family.diff(desired, {}))
    try:
        for change in changes:
            assert family.observe(change) == "before"
            family.do(change, None)
            assert family.observe(change) == "after"
        console = libvirt_lab.ex_console(next(iter(libvirt_lab.list_nodes())).id)
        assert fetched("health") == b"it's $alive", console[-2000:]
        results = list(family.verify(desired, "list"))
        assert [item for item in results if isinstance(item, Finding)] == []
        assert [item for item in results if isinstance(item, Tally)] == [Tally("compute/server/lab-web", 1, 1)]
        server = desired["compute/server/lab-web"]
        look = "pwd; sha256sum < /var/lib/cloud/instance/user-data.txt; stat -c %a /etc/app.env; \
            blockdev --getsize64 /dev/vda; ss -ltn | grep -c :9999; wc -c"
        done = family.run_at("target", server, ["sh", "-c", look], b"\0\xff" * 100_000, 120)
        folder, digest, mode, size, listening, received = done.out.decode().splitlines()
        assert (folder, mode, int(size)) == ("/srv/app", "600", 3 << 30)
        assert digest.split()[0] == hashlib.sha256(USER_DATA).hexdigest()
        assert (listening, received) == ("1", "200000")
        assert connects(8080)
        assert not connects(9999)  # nothing allows it, so the host's filter drops it
        family.run_at("target", server, ["sh", "-c", "echo kept > /srv/app/kept; sync"], b"", 60)
        for change in reversed(changes):
            family.undo(change, purge=False)
        assert until(lambda: not connects(8080), 30)
        assert next(f for f in libvirt_lab.ex_read("server") if f.name == "lab-web").facts["state"] == "shut off"
        start = next(change for change in changes if change.address == server.address)
        assert family.observe(start) == "before"
        family._patience = 0.0  # user-data runs once in a machine's life, so nobody answers after this start
        family.do(start, None)
        assert family.run_at("target", server, ["cat", "/srv/app/kept"], b"", 60).out == b"kept\n"
    finally:
        for change in reversed(changes):
            family.undo(change, purge=True)
    assert [found for found in libvirt_lab.ex_read("server") if found.name == "lab-web"] == []
    assert list(libvirt_lab.ex_read("firewall")) == []
