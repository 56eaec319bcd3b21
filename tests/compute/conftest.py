"""Providers for the compute tests: EC2 played by moto, the embedded hypervisor, libvirt's test driver."""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from toolkit.compute.drivers.ec2 import LosslessEC2
from toolkit.compute.drivers.embedded import EmbeddedNodeDriver
from toolkit.rehearsal.hypervisor import Handle, serve
from toolkit.secrets import Credentials, Secret

AMIS = Path(__file__).with_name("amis.json")


@dataclass
class Bench:
    """One provider under the contract: its driver, and what a test must know of it."""

    kind: str
    driver: Any
    image: str
    size: dict[str, Any] = field(default_factory=lambda: {"vcpus": 2, "memory_mib": 1024, "arch": "x86_64"})
    addresses: list[str] = field(default_factory=list)
    own: bool = True  # nothing but our servers can be there


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    before = {name: os.environ.get(name) for name in ("MOTO_AMIS_PATH", "MOTO_EC2_LOAD_DEFAULT_AMIS")}
    os.environ["MOTO_AMIS_PATH"] = str(AMIS)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture
def ec2(moto_url: str) -> LosslessEC2:
    request = urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST")
    urllib.request.urlopen(request, timeout=60).close()
    credentials = Credentials("keys", Secret("AKIAEXAMPLE"), Secret("secret"))
    return LosslessEC2(credentials, endpoint=moto_url, images={"default": {"id": "ami-debian"}})


@pytest.fixture
def hypervisor(tmp_path: Path) -> Iterator[Handle]:
    handle = serve(("127.0.0.1", 0), tmp_path / "hypervisor")
    yield handle
    handle.close()


@pytest.fixture
def embedded(hypervisor: Handle) -> EmbeddedNodeDriver:
    return EmbeddedNodeDriver(hypervisor.url, Secret(hypervisor.token))


@pytest.fixture
def libvirt_test(tmp_path: Path) -> Any:
    pytest.importorskip("libvirt", reason="the libvirt binding is not installed (extra `lab`)")
    from toolkit.compute.drivers.libvirt import LosslessLibvirt

    network = {"bridge": "br0", "prefix": 24, "gateway": "10.77.0.1", "nameserver": "10.77.0.3"}
    return LosslessLibvirt("test:///default", folder=tmp_path / "libvirt", images={"default": {}}, network=network)


@pytest.fixture
def libvirt_lab(tmp_path: Path) -> Any:
    """The lab's libvirt, described by JSON in REHOST_LAB_LIBVIRT: uri, folder, images, network, access, address."""
    described = os.environ.get("REHOST_LAB_LIBVIRT")
    if not described:
        pytest.skip("REHOST_LAB_LIBVIRT does not describe a lab")
    from toolkit.compute.drivers.libvirt import LosslessLibvirt

    lab = json.loads(described)
    access = dict(lab.get("access") or {})
    if "key_file" in access:
        access["key"] = Secret(Path(access.pop("key_file")).read_text())
    folder = Path(lab.get("folder") or tmp_path / "libvirt")
    return LosslessLibvirt(lab["uri"], folder=folder, images=lab["images"], network=lab["network"], access=access)


@pytest.fixture(params=["ec2", "embedded", "libvirt-test", pytest.param("libvirt-lab", marks=pytest.mark.lab)])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Every provider that must fulfil the contract."""
    if request.param == "ec2":
        size = {"name": "t3.micro", "vcpus": 2, "memory_mib": 1024, "arch": "x86_64"}
        return Bench("aws", request.getfixturevalue("ec2"), "default", size)
    if request.param == "embedded":
        return Bench("embedded", request.getfixturevalue("embedded"), "default", addresses=["127.0.0.1"])
    if request.param == "libvirt-test":
        return Bench("libvirt", request.getfixturevalue("libvirt_test"), "default", addresses=["10.77.0.40"], own=False)
    lab = request.getfixturevalue("libvirt_lab")
    size = {"vcpus": 1, "memory_mib": 384, "arch": "x86_64"}
    return Bench("libvirt", lab, "default", size, addresses=["10.77.0.40"], own=False)
