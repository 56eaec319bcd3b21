"""What a store really does: the probe, what is remembered of it, and what verdicts make of it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.storage.ends import End, Ends, Move, fresh
from toolkit.cli.main import run as run_command
from toolkit.rehearsal import net
from toolkit.rehearsal.lab.info import load as lab_info
from toolkit.storage.config.scene import Maps


def buckets(end: End) -> set[str]:
    return {bucket["Name"] for bucket in end.client.list_buckets()["Buckets"] if "rehost-probe" in bucket["Name"]}


def outcomes(move: Move) -> dict[str, tuple[str, bool]]:
    resource = next(item for item in move.desired().values() if "/bucket/" in item.address)
    family = move.family
    found = family.assess(replace(resource, facts={"to": {"name": move.target_bucket}}), family.probe("target"))
    return {verdict.feature: (verdict.outcome, verdict.assumed) for verdict in found}


def test_probe_measures_and_is_remembered(mocked: Ends, run: Path) -> None:
    name = fresh()
    mocked.source.client.create_bucket(Bucket=name)
    move = Move(mocked, run, name, to=name)
    assert outcomes(move)["metadata"] == ("kept", True)
    assert move.family.probe("target").have == frozenset()
    measured = move.family.measure()
    assert buckets(mocked.target) == set()
    assert {"cors", "policy", "object-lock", "metadata", "metadata-large", "tags", "versioning"} <= measured.have
    assert {"multipart", "class:GLACIER_IR", "conditional-put", "checksum-trailers"} <= measured.have
    assert move.family.probe("target") == measured
    assert outcomes(move)["metadata"] == ("kept", False)
    move.maps = Maps(classes={"GLACIER_IR": "COLD"})
    move.family.measure()
    told = json.loads((run / "abilities.json").read_text())
    assert "class:COLD" in (*told["have"], *told["lack"])  # the classes of the site are tried too
    other = Move(Ends(mocked.target, mocked.source), run, name)
    assert other.family.probe("target").have == frozenset()  # of another store nothing was measured


def test_probe_leaves_nothing_behind_when_it_fails(mocked: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = mocked.target.driver
    monkeypatch.setattr("toolkit.storage.drivers.probe._tagged", lambda client, bucket: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        driver.ex_probe()
    assert buckets(mocked.target) == set()


def test_the_verb_probes_with_consent_only(
    mocked: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = fresh()
    mocked.source.client.create_bucket(Bucket=name)
    lines = ["rehost: 1\nname: x\nmove: {storage: {from: old, to: new}}\nproviders:"]
    for word, end in (("old", mocked.source), ("new", mocked.target)):
        monkeypatch.setenv(f"{word}_key", end.key)
        monkeypatch.setenv(f"{word}_secret", end.secret)
        keys = f"{{key: 'env:{word}_key', secret: 'env:{word}_secret'}}"
        lines.append(f"  {word}: {{kind: {end.kind}, endpoint: '{end.endpoint}', credentials: {keys}}}")
    lines.append(f"buckets:\n  x: {{provider: old, name: {name}, to: {{name: {fresh('to')}}}}}\n")
    (tmp_path / "site.yaml").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    before = signal.getsignal(signal.SIGTERM)

    def rehost(*argv: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["rehost", *argv])
        with pytest.raises(SystemExit) as left:
            run_command()
        return left.value.code, capsys.readouterr().out

    try:
        assert rehost("assess", "--probe")[0] == 20
        assert rehost("assess", "--probe", "--dry-run")[0] == 0
        assert "kept      (assumed)" in rehost("assess")[1]
        code, told = rehost("assess", "--probe", "--yes")
        assert (code, "(assumed)" in told, "kept     " in told) == (0, False, True)
        assert "(assumed)" not in rehost("assess")[1]  # remembered for the run
    finally:
        signal.signal(signal.SIGTERM, before)
    assert buckets(mocked.target) == set()


@pytest.mark.lab
def test_probe_of_rgw_16(mocked: Ends, rgw: End, run: Path) -> None:
    before = buckets(rgw)
    name = fresh()
    mocked.source.client.create_bucket(Bucket=name)
    measured = Move(Ends(mocked.source, rgw), run, name).family.measure()
    assert buckets(rgw) == before
    have = {"acl", "bucket-tags", "conditional-put", "cors", "lifecycle", "metadata", "metadata-large", "multipart"}
    have |= {"object-lock", "policy", "public-access-block", "tags", "versioning", "website"}
    assert have <= measured.have
    lack = {"encryption", "ownership", "checksum-trailers", "class:GLACIER_IR", "class:STANDARD_IA", "list-5000"}
    assert not lack & (measured.have | measured.assumed)


@pytest.fixture
def small(rgw: End, tmp_path: Path) -> Iterator[End]:
    """A second gateway of the lab that takes attributes of 1,024 bytes, as some deployments do."""
    info = lab_info(Path(os.environ["REHOST_LAB_INFO"]).parent)
    assert info is not None
    with net.claim() as pair:
        address = pair.new_ip(9)
        conf = tmp_path / "ceph.conf"
        text = (Path(info.folder) / "ceph" / "ceph.conf").read_text()
        lines = [line for line in text.splitlines() if not line.startswith(("rgw frontends", "log file", "rgw data"))]
        more = [f"rgw frontends = beast endpoint={address}:9000", "rgw max attr size = 1024", f"rgw data = {tmp_path}"]
        conf.write_text("\n".join([*lines, *more, f"log file = {tmp_path}/rgw.log", "admin socket =", ""]))
        argv = ["radosgw", "--conf", str(conf), "-n", "client.rgw.a", "-f"]
        gateway = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(f"http://{address}:9000", gateway)
            yield replace(rgw, endpoint=f"http://{address}:9000")
        finally:
            gateway.terminate()  # killed, it would leave a watch that the lab's own gateway waits for
            gateway.wait(60)


def _wait(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the second gateway ended"
        try:
            urllib.request.urlopen(endpoint, timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the second gateway does not answer")


@pytest.mark.lab
def test_small_attributes_are_a_preflight_failure(mocked: Ends, small: End, run: Path) -> None:
    """T4: an RGW with rgw_max_attr_size=1024 is found out before the first object, not in mid-run."""
    name = fresh()
    mocked.source.client.create_bucket(Bucket=name)
    move = Move(Ends(mocked.source, small), run, name)
    measured = move.family.measure()
    assert not measured.can("metadata-large")
    assert measured.can("metadata")
    assert outcomes(move)["metadata"] == ("degraded", False)
    assert buckets(small) == set()
