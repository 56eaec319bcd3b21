"""Where the shipped folders (``playbooks``, ``terraform``, ``seeds``) lie: in a checkout or in the wheel."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from toolkit.errors import NotFound


def shipped(name: str) -> Path:
    """Return the folder ``name`` of this installation."""
    package = Path(str(resources.files("toolkit")))
    for folder in (package / "_shipped" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise NotFound(f"the folder {name} is not part of this installation", "install rehost again")
