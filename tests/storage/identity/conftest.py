"""An account with IAM (mocked) and the directories of both sides."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from toolkit.model import Json
from toolkit.rehearsal import net
from toolkit.rehearsal.mockaws import Store, start_store
from toolkit.secrets import Credentials, Secret
from toolkit.storage.drivers.iam import Iam


@dataclass(frozen=True)
class Account:
    """A mocked AWS account."""

    endpoint: str
    key: str
    secret: str

    @property
    def credentials(self) -> Credentials:
        return Credentials("keys", Secret(self.key), Secret(self.secret))

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )

    @property
    def directory(self) -> Iam:
        return Iam(credentials=self.credentials, endpoint=self.endpoint)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with net.claim() as pair:
        store: Store = start_store(pair.old_ip(2), tmp_path_factory.mktemp("iam"))
        try:
            yield Account(store.endpoint, store.access_key, store.secret_key.reveal())
        finally:
            store.stop()


def document(*statements: Mapping[str, Json]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def lab_keys(name: str) -> Credentials:
    """Credentials of the lab's gateway: ``""`` the owner's, ``"ADMIN_"`` the administrator's."""
    return Credentials(
        "keys", Secret(os.environ[f"REHOST_LAB_S3_{name}KEY"]), Secret(os.environ[f"REHOST_LAB_S3_{name}SECRET"])
    )
