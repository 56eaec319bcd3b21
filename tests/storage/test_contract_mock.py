"""The storage contract on the corrected mock of the rehearsals, and on stock moto."""

from __future__ import annotations

import pytest

from tests.storage.contract import StorageContract
from tests.storage.ends import Ends


class TestMocked(StorageContract):
    """AWS (mocked) to a store that plays Ceph (mocked)."""

    @pytest.fixture
    def ends(self, mocked: Ends) -> Ends:
        return mocked


class TestMockedBack(StorageContract):
    """The other direction."""

    @pytest.fixture
    def ends(self, mocked: Ends) -> Ends:
        return Ends(mocked.target, mocked.source)


class TestStockMoto(StorageContract):
    """moto as it comes; what it cannot show is named in ``conftest``."""

    @pytest.fixture
    def ends(self, stock: Ends) -> Ends:
        return stock
