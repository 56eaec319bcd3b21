"""The storage contract on the corrected mock of the rehearsals, and the core of it on stock moto."""

from __future__ import annotations

import pytest

from tests.storage.contract import StorageContract
from tests.storage.ends import Ends


class TestMocked(StorageContract):
    """AWS (mocked) to a store that plays Ceph (mocked)."""

    @pytest.fixture
    def ends(self, mocked: Ends) -> Ends:
        return mocked


class TestMockedBack:
    """The other direction: what differs by the kind of target."""

    move = StorageContract.move
    upload = StorageContract.upload
    open_uploads = StorageContract.open_uploads
    put, delete, versioning, fill = (
        StorageContract.put,
        StorageContract.delete,
        StorageContract.versioning,
        StorageContract.fill,
    )
    test_keys = StorageContract.test_keys
    test_headers = StorageContract.test_headers
    test_multipart_even = StorageContract.test_multipart_even
    test_versions = StorageContract.test_versions
    test_versions_suspended = StorageContract.test_versions_suspended
    test_existing_object_is_never_overwritten = StorageContract.test_existing_object_is_never_overwritten

    @pytest.fixture
    def ends(self, mocked: Ends) -> Ends:
        return Ends(mocked.target, mocked.source)


class TestStockMoto:
    """moto as it comes. Its version listings tell no order, so versions are left to the corrected mock."""

    move = StorageContract.move
    upload = StorageContract.upload
    open_uploads = StorageContract.open_uploads
    test_keys = StorageContract.test_keys
    test_headers = StorageContract.test_headers
    test_tags = StorageContract.test_tags
    test_multipart_even = StorageContract.test_multipart_even
    test_multipart_uneven = StorageContract.test_multipart_uneven

    @pytest.fixture
    def ends(self, stock: Ends) -> Ends:
        return stock
