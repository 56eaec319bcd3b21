"""The lab for tests marked ``lab``: they run inside it, started by ``toolkit.rehearsal.lab.run_tests``.

Use: ``from tests.lab_fixture import lab`` in a test module, then ask for ``lab``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit.rehearsal.lab.info import LabInfo, load


@pytest.fixture(scope="session")
def lab() -> LabInfo:
    """What the running lab offers; skipped, with the reason, outside of one."""
    file = os.environ.get("REHOST_LAB_INFO")
    if not file:
        pytest.skip("not inside a lab: run python -m toolkit.rehearsal.lab.run_tests as root on Debian")
    info = load(Path(file).parent)
    assert info is not None, f"{file} is gone"
    return info
