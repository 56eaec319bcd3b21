"""What all tests share: no cloud credential in the environment, and marks that mean what they say.

Lab and acceptance tests run only when asked for with ``-m``; a plain ``pytest`` leaves them out and says so.
"""

from __future__ import annotations

import os

import pytest

from toolkit.guard import strip_credentials

_ASKED_FOR = ("lab", "accept")


def pytest_configure(config: pytest.Config) -> None:
    """Take every cloud credential out of the environment before a test can use one."""
    kept = strip_credentials(os.environ)
    for name in set(os.environ) - set(kept):
        del os.environ[name]
    os.environ.update(kept)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what nobody asked for; tests named by hand (``path::name``) always run."""
    if config.option.markexpr or any("::" in word for word in config.args):
        return
    left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in _ASKED_FOR)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
