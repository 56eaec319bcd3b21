"""Everything ``make test`` does after set-up: lint, types, tests and, where possible, the lab's tests.

With the argument ``accept`` (``make accept``) the long acceptance runs instead, without lint and types.

The lab (real Ceph, PowerDNS, libvirt and sshd) needs root on Debian and installs packages there.
``LAB=1`` forces it, ``LAB=0`` leaves it out; what does not run is said loudly. The last line of output
is a summary in pytest's form; the exit code is 0 only if nothing failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTEST = (sys.executable, "-m", "pytest")
#: What building the libvirt binding needs beside the packages that the lab itself asks for.
BUILD = ("libvirt-dev", "gcc", "libc6-dev", "pkg-config")


@dataclass
class Score:
    """What passed and what did not. A linter counts as one test."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broken: list[str] = field(default_factory=list)

    def one(self, name: str, *, good: bool) -> None:
        self.passed += good
        self.failed += not good
        if not good:
            self.broken.append(name)

    def junit(self, name: str, file: Path, code: int) -> None:
        """Add the counts pytest wrote; a pytest that ends badly without a failed test counts as one failure."""
        total = failures = skipped = 0
        if file.exists():
            for suite in ElementTree.parse(file).iter("testsuite"):
                total += int(suite.get("tests", 0))
                failures += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
                skipped += int(suite.get("skipped", 0))
        if code != 0 and failures == 0:
            total, failures = total + 1, 1
        self.passed += total - failures - skipped
        self.failed += failures
        self.skipped += skipped
        if code != 0:
            self.broken.append(name)


def main(argv: list[str]) -> int:
    """Run all parts, the quick ones first, and never stop at the first failure."""
    os.chdir(ROOT)
    started, score = time.monotonic(), Score()
    wanted, why = lab_wanted(os.environ.get("LAB", ""), os.geteuid() == 0, Path("/etc/debian_version").exists())
    long = argv == ["accept"]
    if not long:
        for name, words in (("ruff check", ["check", "."]), ("ruff format", ["format", "--check", "."])):
            score.one(name, good=call(name, [str(BIN / "ruff"), *words]) == 0)
        score.one("mypy", good=call("mypy", [str(BIN / "mypy")]) == 0)
    ready = prepare_lab() if wanted else 0  # first: other tests use the binding of libvirt where it is there
    here, inside = (
        ("accept and not lab", "lab and accept") if long else ("not lab and not accept", "lab and not accept")
    )
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "rest.xml"
        code = call("tests", [*PYTEST, "-m", here, f"--junitxml={results}"])
        score.junit("tests", results, code)
        if wanted:
            results = Path(folder) / "lab.xml"
            score.junit("lab tests", results, ready or lab_tests(inside, results))
    if not wanted:
        shout(f"{collected(inside)} lab tests did NOT run: {why}.", "LAB=1 (as root on Debian) runs them.")
    if not long:
        say(f"{collected('accept')} acceptance tests are not part of this; run them with: make accept")
    if score.broken:
        say("failed: " + ", ".join(score.broken))
    say(summary(score, time.monotonic() - started))
    return 1 if score.failed or score.broken else 0


def lab_wanted(asked: str, root: bool, debian: bool) -> tuple[bool, str]:
    """Decide whether the lab's tests run, and if not, say why."""
    if asked == "1":
        return True, ""
    if asked == "0":
        return False, "LAB=0 was asked for"
    if asked:
        return False, f"LAB={asked} means nothing (0 or 1 do)"
    if not root:
        return False, "the lab needs root, and this is not root"
    return (True, "") if debian else (False, "the lab needs Debian, and this is another system")


def lab_tests(marks: str, results: Path) -> int:
    """Bring a lab up, run its tests inside it, take it down."""
    argv = [sys.executable, "-m", "toolkit.rehearsal.lab.run_tests", "-m", marks, f"--junitxml={results}"]
    return call("lab tests", argv)


def prepare_lab() -> int:
    """Install what the lab's tests need, and say so: the binding of libvirt is built against Debian's library."""
    needed = [*BUILD]
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        needed.append("python3-dev")
    missing = [name for name in needed if not installed(name)]
    if missing:
        shout(f"Installing Debian packages for the lab: {' '.join(missing)}", "LAB=0 make test leaves the lab out.")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for argv in (
            ["apt-get", "update", "-q"],
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing],
        ):
            if (code := call(argv[1], argv, env=quiet)) != 0:
                return code
    lock = [str(BIN / "pip"), "install", "--quiet", "--use-pep517", "--require-hashes", "--no-deps"]
    return call("libvirt binding", [*lock, "-r", "requirements-lab.lock"])


def installed(package: str) -> bool:
    """Say whether a Debian package is installed."""
    argv = ["dpkg-query", "-W", "-f=${db:Status-Status}", package]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout == "installed"


def collected(mark: str) -> int:
    """Count the tests of one mark without running them."""
    argv = [*PYTEST, "-m", mark, "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)(?:/\d+)? tests? collected", done.stdout)
    return int(found.group(1)) if found else 0


def call(name: str, argv: list[str], env: dict[str, str] | None = None) -> int:
    """Run one part, its output where ours goes."""
    say(f"\n== {name}: {' '.join(argv[:1] and [Path(argv[0]).name, *argv[1:]])}")
    return subprocess.run(argv, env=env, check=False).returncode


def say(text: str) -> None:
    print(text, flush=True)


def shout(*lines: str) -> None:
    """Print lines that nobody overlooks."""
    width = max(len(line) for line in lines) + 4
    say("\n" + "!" * width)
    for line in lines:
        say(f"! {line.ljust(width - 4)} !")
    say("!" * width)


def summary(score: Score, seconds: float) -> str:
    """Write the last line in pytest's form."""
    parts = [f"{score.passed} passed", f"{score.failed} failed"]
    if score.skipped:
        parts.append(f"{score.skipped} skipped")
    return f"===== {', '.join(parts)} in {seconds:.2f}s ====="


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
