"""Everything ``make test`` does after set-up: lint, types, tests and, where possible, the lab's tests.

With the argument ``accept`` (``make accept``) the long acceptance runs instead, without lint and types.

The lab (real Ceph, PowerDNS, libvirt and sshd) needs root on Debian and installs packages there.
``LAB=1`` forces it, ``LAB=0`` leaves it out; what does not run is said loudly. Outside the lab two tests
run at a time. A test that fails is run once more, by itself: if it passes then, it is named as unsteady
(docs/decisions/0006-unsteady-tests.md); if it fails again, so does the whole. The last line of output is a
summary in pytest's form; the exit code is 0 only if nothing failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from toolkit.errors import RehostError
from toolkit.families import Progress
from toolkit.rehearsal import lab

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTEST = (sys.executable, "-m", "pytest")
#: What the tests need beside the packages that the lab itself asks for: building the libvirt binding, and the
#: browser in which pages are looked at.
BUILD = ("libvirt-dev", "gcc", "libc6-dev", "pkg-config", "chromium")
#: Two tests at a time, those of one file one after another: a file shares its daemons.
TWO = ("-n", "2", "--dist", "loadfile")
#: More failures than this are no unsteadiness.
FEW = 10

#: Runs pytest with the words given, writes its JUnit file to the path, returns its exit code.
Runner = Callable[[list[str], Path], int]


@dataclass
class Score:
    """What passed and what did not. A linter counts as one test."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broken: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)

    def one(self, name: str, *, good: bool) -> None:
        self.passed += good
        self.failed += not good
        if not good:
            self.broken.append(name)

    def part(self, name: str, runner: Runner, folder: Path) -> None:
        """Run one part, those that failed once more by themselves, and count."""
        cache = ["-o", f"cache_dir={folder / name}"]
        first = outcome(name, folder / f"{name}.xml", lambda file: runner(cache, file))
        failed, unsteady = first.failed, frozenset[str]()
        if first.code == 1 and 0 < len(failed) <= FEW:
            say(f"\n== {len(failed)} of the {name} failed and are run once more, by themselves")
            again = outcome(name, folder / f"{name}-again.xml", lambda file: runner([*cache, "--lf", "-n0"], file))
            if again.total >= len(failed) and again.failed <= failed:
                unsteady = failed - again.failed
        self.passed += first.total - first.skipped - len(failed) + len(unsteady)
        self.failed += len(failed - unsteady)
        self.skipped += first.skipped
        self.unsteady += sorted(unsteady)
        if failed - unsteady:
            self.broken.append(name)


class Outcome(NamedTuple):
    """What one run of pytest came to."""

    code: int
    total: int
    skipped: int
    failed: frozenset[str]


def outcome(name: str, file: Path, run: Callable[[Path], int]) -> Outcome:
    """Run and read the JUnit file; a pytest that ends badly without a failed test counts as one failure."""
    code = run(file)
    cases = list(ElementTree.parse(file).iter("testcase")) if file.exists() else []
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    failed = frozenset(f"{case.get('classname')}::{case.get('name')}" for case in bad)
    skipped = sum(case.find("skipped") is not None for case in cases)
    if code != 0 and not failed:
        return Outcome(code, len(cases) + 1, skipped, frozenset((f"{name} ended with {code}",)))
    return Outcome(code, len(cases), skipped, failed)


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
        score.part("tests", lambda words, file: tests(here, [*(() if long else TWO), *words], file), Path(folder))
        if wanted and not ready:
            score.part("lab tests", lambda words, file: lab_tests(inside, words, file), Path(folder))
    score.one("packages of the lab", good=ready == 0)
    if not wanted:
        shout(f"{collected(inside)} lab tests did NOT run: {why}.", "LAB=1 (as root on Debian) runs them.")
    if not long:
        say(f"{collected('accept')} acceptance tests are not part of this; run them with: make accept")
    if score.unsteady:
        shout("UNSTEADY: failed at first, passed when run again by themselves:", *score.unsteady)
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


def tests(marks: str, words: list[str], results: Path) -> int:
    """Run the tests that need no lab."""
    return call("tests", [*PYTEST, "-m", marks, f"--junitxml={results}", *words])


def lab_tests(marks: str, words: list[str], results: Path) -> int:
    """Bring a lab up, run its tests inside it, take it down."""
    argv = [sys.executable, "-m", "toolkit.rehearsal.lab.run_tests", "-m", marks, f"--junitxml={results}", *words]
    return call("lab tests", argv)


def prepare_lab() -> int:
    """Install all that the lab and its tests need before the first test, and say so.

    Tests outside the lab use these packages too where they are there (sshd, qemu-img, libvirt's binding,
    which is built against Debian's library).
    """
    build = [*BUILD]
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        build.append("python3-dev")
    missing = lab.missing_packages(extra=tuple(build))
    if missing:
        shout(f"Installing Debian packages for the lab: {' '.join(missing)}", "LAB=0 make test leaves the lab out.")
        try:
            lab.install_packages(tick, extra=tuple(build))
        except RehostError as error:
            say(f"{error.text} {error.remedy}")
            return error.code
    lock = [str(BIN / "pip"), "install", "--quiet", "--use-pep517", "--require-hashes", "--no-deps"]
    return call("libvirt binding", [*lock, "-r", "requirements-lab.lock"])


def tick(progress: Progress) -> None:
    """Say what the installation waits for."""
    say(f"lab: {progress.wait or 'packages installed'}")


def collected(mark: str) -> int:
    """Count the tests of one mark without running them."""
    argv = [*PYTEST, "-m", mark, "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)(?:/\d+)? tests? collected", done.stdout)
    return int(found.group(1)) if found else 0


def call(name: str, argv: list[str]) -> int:
    """Run one part, its output where ours goes."""
    say(f"\n== {name}: {' '.join(argv[:1] and [Path(argv[0]).name, *argv[1:]])}")
    return subprocess.run(argv, check=False).returncode


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
