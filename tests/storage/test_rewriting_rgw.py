"""Rewriting on a real Ceph RGW."""

from __future__ import annotations

import pytest

from tests.storage.ends import End, Ends
from tests.storage.rewriting import RewritingCases

pytestmark = pytest.mark.lab


class TestRewriting(RewritingCases):
    @pytest.fixture
    def ends(self, mocked: Ends, rgw: End) -> Ends:
        return Ends(mocked.source, rgw)
