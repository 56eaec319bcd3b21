"""A mocked AWS, an embedded target and the command line, for tests that type what users type."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config

from toolkit import guard
from toolkit.rehearsal import embedded, mockaws, net


@dataclass(frozen=True)
class World:
    folder: Path
    aws: mockaws.MockAws
    target: embedded.Embedded
    env: Mapping[str, str]

    def rehost(self, *argv: str, code: int | None = 0, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "toolkit.cli", *argv],
            env=dict(self.env),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        if code is not None:
            assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "toolkit.cli", *argv],
            env=dict(self.env),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def write(self, text: str) -> None:
        loop = self.aws.loopback
        (self.folder / "site.yaml").write_text(
            f"""rehost: 1
name: world
providers:
  aws:
    kind: aws
    endpoint: {self.aws.endpoint}
    regions: [us-east-1]
    credentials: {{key: "env:AWS_KEY", secret: "env:AWS_SECRET"}}
  store:
    kind: s3
    endpoint: {self.target.s3.endpoint}
    credentials: {{key: "env:STORE_KEY", secret: "env:STORE_SECRET"}}
  names:
    kind: powerdns
    endpoint: {self.target.dns_api}
    credentials: {{key: "env:NAMES_KEY"}}
    nameservers: {{ns1.agora.example: "{loop.new_ip(3)}:5300", ns2.agora.example: "{loop.new_ip(4)}:5300"}}
  machines:
    kind: embedded
    endpoint: {self.target.hypervisor_url}
    credentials: {{key: "env:MACHINES_KEY"}}
    pool: {loop.new_ip(16)}/28
outside:
  dns: {{parents: ["{self.aws.parent_dns}"], hosts: {{"{loop.old_ip(3)}": "{self.aws.dns}"}}}}
  registrar: {{kind: registry, endpoint: "{self.aws.registry_url}"}}
{text}
"""
        )


def s3(store: mockaws.Store) -> object:
    """A boto3 client of one of the stores: the oracle, not our own code."""
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key.reveal(),
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    with net.claim() as loopback, contextlib.ExitStack() as stack:
        aws = mockaws.start(loopback, folder / "aws")
        stack.callback(aws.stop)
        target = embedded.start(loopback, folder / "target")
        stack.callback(target.stop)
        env = {
            **guard.strip_credentials(os.environ),
            guard.ALLOW: "127.0.0.0/8",
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "AWS_KEY": aws.store.access_key,
            "AWS_SECRET": aws.store.secret_key.reveal(),
            "STORE_KEY": target.s3.access_key,
            "STORE_SECRET": target.s3.secret_key.reveal(),
            "NAMES_KEY": target.dns_key.reveal(),
            "MACHINES_KEY": target.hypervisor_token.reveal(),
        }
        (folder / "work").mkdir()
        yield World(folder / "work", aws, target, env)
