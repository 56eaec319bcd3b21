"""Measurements, with floors low enough for a busy two-core machine. ``make bench`` prints the figures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.world import World, s3, world
from tests.report.sample import bad
from toolkit.journal import Journal
from toolkit.model import Change, Resource
from toolkit.report import render_html, render_junit, render_markdown
from toolkit.site import load

pytestmark = [pytest.mark.accept, pytest.mark.timeout(1200)]

SITE = """
move: {storage: {from: aws, to: store}}
buckets:
  box: {provider: aws, name: world-box, versioning: "off"}
"""


def timed(what: str, count: int, unit: str, action: Callable[[], Any]) -> float:
    """Run ``action``, print and return the rate."""
    started = time.monotonic()
    action()
    seconds = time.monotonic() - started
    print(f"\nbench: {what}: {count / seconds:,.0f} {unit}/s ({count:,} in {seconds:.2f} s)")
    return count / seconds


def fill(at: World, objects: int) -> None:
    client: Any = s3(at.aws.store)
    client.create_bucket(Bucket="world-box")
    at.aws.store.bulk(bucket="world-box", count=objects, size=1024)
    at.write(SITE)
    at.rehost("plan")


def peak(at: World, *argv: str) -> int:
    """Run a verb in a process of its own and return its peak memory in MiB."""
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "toolkit.cli", *argv, "--site", str(at.folder / "site.yaml"), "--json"],
        {**at.env, "PYTHONPATH": str(Path(__file__).parents[2])},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return int(usage.ru_maxrss) // 1024


def test_bench_copy(tmp_path: Path) -> None:
    """Objects of 1 KiB from the mocked AWS to the embedded store: both ends are Python on this machine."""
    with world(tmp_path) as at:
        fill(at, 5_000)
        assert timed("copy", 5_000, "objects", lambda: at.rehost("apply", "--yes")) > 20
        assert timed("second apply", 5_000, "objects", lambda: at.rehost("apply", "--yes")) > 200
        assert timed("verify", 5_000, "objects", lambda: at.rehost("verify")) > 200


def test_p6_memory_does_not_grow_with_the_number_of_objects(tmp_path: Path) -> None:
    figures = {}
    for objects in (1_000, 20_000):
        folder = tmp_path / str(objects)
        folder.mkdir()
        with world(folder) as at:
            fill(at, objects)
            run = ("--run", str(at.folder / ".rehost" / "world"))
            figures[objects] = {
                "apply": peak(at, "apply", "--yes", *run),
                "verify": peak(at, "verify", *run),
            }
    print(f"\nbench: peak memory in MiB: {figures}")
    for verb in ("apply", "verify"):
        assert figures[20_000][verb] - figures[1_000][verb] < 48, f"{verb}: {figures}"


def test_bench_journal(tmp_path: Path) -> None:
    """An intention and its settlement, each durable on disk."""
    changes = [
        Change(address, "create", None, Resource(address, {"name": str(number)}))
        for number in range(500)
        if (address := f"compute/server/{number}")
    ]
    with Journal(tmp_path / "journal.db") as journal:

        def steps() -> None:
            for change in changes:
                journal.intend(change)
                journal.settle(change, "done")

        assert timed("journal", 500, "changes", steps) > 5
        assert timed("chain of events", 1_000, "events", journal.broken_link) > 1_000


def test_bench_site_of_ten_thousand_records(tmp_path: Path) -> None:
    records = "".join(f"      host-{n}/A: {{ttl: 300, values: [192.0.2.{n % 250 + 1}]}}\n" for n in range(10_000))
    file = tmp_path / "site.yaml"
    file.write_text(
        "rehost: 1\nname: large\nproviders:\n  aws: {kind: aws, regions: [us-east-1], credentials: aws-default}\n"
        "zones:\n  agora:\n    provider: aws\n    name: agora.example\n    records:\n" + records
    )
    assert timed("load site.yaml", 10_000, "records", lambda: load(file).resources()) > 300


def test_bench_report() -> None:
    report = bad()
    one = report["findings"][0]
    report["findings"] = [{**one, "id": f"{one['id']}-{number}"} for number in range(20_000)]
    for name, render in (("html", render_html), ("junit", render_junit), ("markdown", render_markdown)):
        assert timed(f"render {name}", 20_000, "findings", lambda render=render: render(report)) > 1_000
