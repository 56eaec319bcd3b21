"""Azurite, Microsoft's own emulator of Azure Blob Storage: an object store that speaks no S3.

The npm package is installed once into a cache folder outside the repository; each test session starts its own
process on loopback, on a port of the system's choice, and keeps everything in memory.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

VERSION = "3.37.0"
ACCOUNT = "devstoreaccount1"
#: The key of every Azurite, printed in its documentation: no secret.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_LISTENING = re.compile(r"successfully listen\w* (?:at|on) http://127\.0\.0\.1:([0-9]+)")


def installed() -> Path:
    """Return the program, installing it first; skip, loudly, only where there is no npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is missing: the generic path is not tested against Azurite (install nodejs and npm)")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rehost-tests" / f"azurite-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    program = cache / "node_modules" / ".bin" / "azurite-blob"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other test processes wait for the one that installs
        if not (cache / "done").exists():
            argv = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(cache), f"azurite@{VERSION}"]
            done = subprocess.run(argv, cwd=cache, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            (cache / "done").touch()
    return program


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """Start Azurite and yield its port."""
    argv = [str(installed()), "--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence"]
    argv += ["--skipApiVersionCheck", "--disableTelemetry"]
    log = folder / "azurite.log"
    with log.open("wb") as output:  # a file, not a pipe: it tells of every request
        process = subprocess.Popen(argv, cwd=folder, stdout=output, stderr=output)
    try:
        while not (found := _LISTENING.search(log.read_text())):
            assert process.poll() is None, f"Azurite did not start: {log.read_text()}"
            time.sleep(0.1)
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()
