"""Rewriting against the corrected mock."""

from __future__ import annotations

import pytest

from tests.storage.ends import Ends
from tests.storage.rewriting import RewritingCases


class TestRewriting(RewritingCases):
    @pytest.fixture
    def ends(self, mocked: Ends) -> Ends:
        return mocked
