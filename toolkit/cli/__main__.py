"""``python -m toolkit.cli`` is the same as ``rehost``."""

from toolkit.cli.main import run

run()
