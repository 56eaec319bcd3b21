"""Run the tests marked ``lab`` inside a lab of their own: ``python -m toolkit.rehearsal.lab.run_tests``.

Enters: arguments for pytest. Leaves: pytest's exit code; installed packages; nothing else (the lab is
taken down, its logs are kept only if something failed). Says on standard error what it does.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from toolkit.errors import RehostError
from toolkit.families import Progress
from toolkit.rehearsal import lab

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Install, bring up, test, take down."""
    logging.basicConfig(level=logging.INFO, format="lab: %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that "finally" runs
    folder = Path(tempfile.mkdtemp(prefix="rehost-lab-"))
    code = 1
    try:
        lab.install_packages(_tick)
        info = lab.up(folder, tick=_tick)
        log.info("up after %s", " ".join(f"{part} {spent} s" for part, spent in (info.seconds or {}).items()))
        command = [sys.executable, "-m", "pytest", "-m", "lab and not accept", *argv]
        code = lab.enter(folder, command, info.environment())
        if after := lab.status(folder):
            for fallen in after.dead:
                log.warning("a daemon fell during the tests: %s", fallen)
    except RehostError as error:
        log.error("%s %s", error.text, error.remedy)  # noqa: TRY400 - the text is the message, not a traceback
        code = error.code
    finally:
        lab.down(folder)
        if code == 0:
            shutil.rmtree(folder)
        else:
            log.warning("the logs are in %s", folder / "log")
    return code


def _tick(progress: Progress) -> None:
    log.info("%s", progress.wait or f"{progress.address} done")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
