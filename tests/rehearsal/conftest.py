"""Fixtures of the rehearsal's tests: a corrected mock, and stock moto to compare it with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from toolkit.rehearsal import mockaws, net


def client_of(service: str, endpoint: str, access_key: str, secret: str) -> Any:
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        signature_version="s3v4" if service == "s3" else None,
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client(
        service,
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=config,
    )


def client(store: mockaws.Store, service: str) -> Any:
    return client_of(service, store.endpoint, store.access_key, store.secret_key.reveal())


@pytest.fixture(scope="session")
def loopback() -> Iterator[net.Loopback]:
    with net.claim() as pair:
        yield pair


@pytest.fixture(scope="session")
def store(loopback: net.Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[mockaws.Store]:
    """A mocked AWS, corrected, all services, without machines and DNS."""
    running = mockaws.start_store(loopback.old_ip(2), tmp_path_factory.mktemp("mockaws"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Moto's own server, as it is: the endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("stock")
    log = folder / "moto.log"
    settings = {
        "S3_UPLOAD_PART_MIN_SIZE": "1",
        "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "1000000",
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
        "MOTO_AMIS_PATH": str(mockaws.write_images(folder)),
    }
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=sink,
            stderr=sink,
            env={**os.environ, **settings},
        )
    try:
        net.wait_ready(lambda: net.tcp_open("127.0.0.1", port), "stock moto", seconds=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
