"""The storage contract on a real Ceph RGW, in both directions."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.storage.contract import StorageContract
from tests.storage.ends import End, Ends

pytestmark = pytest.mark.lab


class TestMockToCeph(StorageContract):
    """AWS (mocked) to Ceph, with a loader that keeps version ids."""

    @pytest.fixture
    def ends(self, mocked: Ends, rgw: End) -> Ends:
        system = (os.environ["REHOST_LAB_S3_SYSTEM_KEY"], os.environ["REHOST_LAB_S3_SYSTEM_SECRET"])
        return Ends(mocked.source, replace(rgw, loader=system))


class TestCephToMock(StorageContract):
    """Ceph to AWS (mocked)."""

    @pytest.fixture
    def ends(self, mocked: Ends, rgw: End) -> Ends:
        return Ends(rgw, mocked.source)
