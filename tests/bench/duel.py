"""Our `rehost copy` and rclone against the same stores, alternately: wall time, CPU, and their ratios."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RCLONE = Path(sys.executable).parent / "rclone"
#: The flags of facts/performance.md: two remotes, so nothing is copied inside the store.
FLAGS = ("--fast-list", "--disable", "copy")


class Used(NamedTuple):
    """What a client took: wall seconds, CPU seconds of all its processes, MiB of its largest process."""

    wall: float
    cpu: float
    peak: float


def used(argv: Sequence[str], env: Mapping[str, str], log: Path) -> Used:
    """Run a command to its end."""
    started = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(argv, env=dict(env), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        # wait4 counts the children that the process has waited for, too
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    assert process.returncode == 0, f"{' '.join(argv)}\n{log.read_text(errors='replace')[-3000:]}"
    return Used(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


@dataclass(frozen=True)
class Lane:
    """From one endpoint to another, with one pair of keys for both."""

    source: str
    target: str
    key: str
    secret: str
    folder: Path
    region: str = "us-east-1"

    @property
    def env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        env = {**kept, "PYTHONPATH": str(ROOT), "BENCH_KEY": self.key, "BENCH_SECRET": self.secret}
        for name, endpoint in (("SRC", self.source), ("DST", self.target)):
            env |= {
                f"RCLONE_CONFIG_{name}_TYPE": "s3",
                f"RCLONE_CONFIG_{name}_PROVIDER": "Ceph",
                f"RCLONE_CONFIG_{name}_ENDPOINT": endpoint,
                f"RCLONE_CONFIG_{name}_ACCESS_KEY_ID": self.key,
                f"RCLONE_CONFIG_{name}_SECRET_ACCESS_KEY": self.secret,
            }
        return env

    def site(self) -> Path:
        path = self.folder / "site.yaml"
        keys = 'credentials: {key: "env:BENCH_KEY", secret: "env:BENCH_SECRET"}'
        ends = "".join(
            f"  {name}: {{kind: ceph, endpoint: {endpoint!r}, insecure: true, {keys}}}\n"
            for name, endpoint in (("src", self.source), ("dst", self.target))
        )
        path.write_text(f"rehost: 1\nname: bench\nproviders:\n{ends}")
        return path

    def ours(self, bucket: str, to: str, *flags: str) -> Used:
        """Copy with our tool, from a fresh run folder."""
        argv = [sys.executable, "-m", "toolkit.cli", "copy", f"src:{bucket}", f"dst:{to}", "--yes", "--json"]
        argv += ["--site", str(self.site()), "--run", str(self.folder / f"run-{to}"), *flags]
        return used(argv, self.env, self.folder / f"{to}.log")

    def rclone(self, bucket: str, to: str, *flags: str) -> Used:
        """Copy with rclone."""
        argv = [str(RCLONE), "copy", f"src:{bucket}", f"dst:{to}", "--config", os.devnull, *FLAGS, *flags]
        return used(argv, self.env, self.folder / f"{to}.log")


class Ratio(NamedTuple):
    """Ours over theirs, medians of several turns."""

    wall: float
    cpu: float


def told(what: str, ours: list[Used], theirs: list[Used], rival: str) -> Ratio:
    """Print both and their ratios; return the ratios."""
    mine, other = (
        Used(*(statistics.median(column) for column in zip(*turns, strict=True))) for turns in (ours, theirs)
    )
    ratio = Ratio(mine.wall / other.wall, mine.cpu / other.cpu)
    print(
        f"\nbench: {what}: ours {mine.wall:.2f} s wall, {mine.cpu:.2f} s CPU, {mine.peak:.0f} MiB;"
        f" {rival} {other.wall:.2f} s wall, {other.cpu:.2f} s CPU, {other.peak:.0f} MiB;"
        f" ratios {ratio.wall:.2f} wall, {ratio.cpu:.2f} CPU"
    )
    return ratio
