"""Servers for the DNS tests: embedded, real PowerDNS, mocked Route 53 with its twin."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.dns import pdns
from tests.dns.aws_process import KEY, SECRET
from toolkit.dns.drivers.powerdns import LosslessPowerDNS
from toolkit.dns.drivers.registrar import RegistryRegistrar
from toolkit.dns.drivers.route53 import LosslessRoute53
from toolkit.rehearsal import embedded_dns
from toolkit.secrets import Secret
from toolkit.wire import Hints


@dataclass(frozen=True)
class Keys:
    key: Secret
    secret: Secret | None = None


@dataclass
class Aws:
    process: subprocess.Popen[str]
    endpoint: str
    twin: list[str]
    parents: list[str]
    registry: str

    def driver(self) -> LosslessRoute53:
        return LosslessRoute53(endpoint=self.endpoint, credentials=Keys(Secret(KEY), Secret(SECRET)))

    def boto(self) -> Any:
        import boto3

        return boto3.client(
            "route53",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def hints(self, **hosts: str) -> Hints:
        return Hints(tuple(self.parents), {"127.0.0.1": self.twin[0], **hosts})

    def registrar(self) -> RegistryRegistrar:
        return RegistryRegistrar(self.registry)

    def kill_checks(self, *checks: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"dead": list(checks)}) + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


@contextlib.contextmanager
def aws_process(flavour: str, folder: Path) -> Iterator[Aws]:
    with (folder / f"{flavour}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.dns.aws_process", flavour],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError((folder / f"{flavour}.log").read_text()[-3000:])
            said = json.loads(line)
            yield Aws(process, said["endpoint"], said["twin"], said["parents"], said["registry"])
        finally:
            process.kill()
            process.wait(30)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """The corrected mock, as rehearsals use it."""
    with aws_process("corrected", tmp_path_factory.mktemp("aws")) as found:
        yield found


@pytest.fixture(scope="module")
def stock_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """moto as it comes; new for each file, as some leave zones behind that others would find."""
    with aws_process("stock", tmp_path_factory.mktemp("stock")) as found:
        yield found


@dataclass
class NewSide:
    driver: LosslessPowerDNS
    servers: dict[str, str]
    store: embedded_dns.Store | None = None


@pytest.fixture
def embedded() -> Iterator[NewSide]:
    """The embedded name server: a primary and a secondary address."""
    handle = embedded_dns.serve(dns=[("127.0.0.1", 0), ("127.0.0.1", 0)], api=("127.0.0.1", 0), key=Secret("k"))
    names = ("ns1.agora.example", "ns2.agora.example")
    servers = {name: f"{ip}:{port}" for name, (ip, port) in zip(names, handle.dns, strict=True)}
    try:
        yield NewSide(LosslessPowerDNS(endpoint=handle.api, credentials=Keys(Secret("k"))), servers, handle.store)
    finally:
        handle.close()


@pytest.fixture(scope="session")
def powerdns_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pdns.Pdns]:
    if not pdns.available():
        pytest.skip("pdns_server is not installed")
    with pdns.running(tmp_path_factory.mktemp("pdns")) as found:
        yield found


@pytest.fixture
def powerdns(powerdns_server: pdns.Pdns) -> NewSide:
    """A real PowerDNS with one address."""
    driver = LosslessPowerDNS(endpoint=powerdns_server.api, credentials=Keys(Secret(powerdns_server.key)))
    for zone in driver.ex_zones():
        driver.ex_delete_zone(zone.id)
    return NewSide(driver, {"ns1.agora.example": powerdns_server.dns})
