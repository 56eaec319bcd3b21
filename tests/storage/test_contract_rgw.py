"""The storage contract on a real Ceph RGW, in both directions."""

from __future__ import annotations

import pytest

from tests.storage.contract import StorageContract
from tests.storage.ends import End, Ends

pytestmark = pytest.mark.lab


class TestMockToCeph(StorageContract):
    """AWS (mocked) to Ceph."""

    @pytest.fixture
    def ends(self, mocked: Ends, rgw: End) -> Ends:
        return Ends(mocked.source, rgw)


class TestCephToMock(StorageContract):
    """Ceph to AWS (mocked)."""

    @pytest.fixture
    def ends(self, mocked: Ends, rgw: End) -> Ends:
        return Ends(rgw, mocked.source)
