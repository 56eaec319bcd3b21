"""The lab: real daemons that answer, and that leave nothing behind however they end.

Everything marked ``lab`` runs inside a lab; labs of its own that a test starts are nested in that one,
which also shows that two run side by side on the same addresses.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import dns.exception
import dns.message
import dns.query
import pytest
from botocore.config import Config

from tests import lab_guest
from tests.lab_fixture import lab
from toolkit.errors import Conflict, NotFound, Refused
from toolkit.families import Progress
from toolkit.model import Json
from toolkit.rehearsal import lab as labs
from toolkit.rehearsal.lab import debian, guest_image, recipe
from toolkit.rehearsal.lab.info import S3, LabInfo, Libvirt, Process, Sshd, load, save

__all__ = ["lab"]
SMALL = frozenset({"powerdns", "sshd"})


def quiet(progress: Progress) -> None:
    assert progress.family == "lab"


def until(check: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
    return found


# without a lab -----------------------------------------------------------------------------


def sample(folder: Path) -> LabInfo:
    for name in ("key", "secret", "system_key", "system_secret"):
        (folder / name).write_text(f"{name}-value\n")
    s3 = S3(
        "http://10.77.0.2:9000", "default", *(str(folder / n) for n in ("key", "secret", "system_key", "system_secret"))
    )
    virt = Libvirt(
        "qemu:///system", "qemu", "lab0", "10.77.0.1", 24, "10.77.0.3", "10.77.0.16/28", "/i", "d", "k", "n", "c"
    )
    sshd = Sshd("10.77.0.1", 22, "root", "/key", "/known")
    init = Process(2**22 - 3, 77)
    return LabInfo(
        str(folder), ("s3", "libvirt", "sshd"), True, init, init, s3=s3, libvirt=virt, sshd=sshd, seconds={"s3": 1.5}
    )


def test_what_is_written_down_is_private_and_read_back_equal(tmp_path: Path) -> None:
    info = sample(tmp_path)
    save(info)
    assert (tmp_path / "lab.json").stat().st_mode & 0o777 == 0o600
    assert load(tmp_path) == info
    assert "value" not in (tmp_path / "lab.json").read_text(), "credentials stand in lab.json by reference only"


def test_the_environment_holds_the_values_behind_the_references(tmp_path: Path) -> None:
    values = sample(tmp_path).environment()
    assert values["REHOST_LAB_S3_SYSTEM_SECRET"] == "system_secret-value"
    assert json.loads(values["REHOST_LAB_LIBVIRT"])["images"]["default"]["kernel"] == "k"
    assert "REHOST_LAB_POWERDNS" not in values


def test_a_lab_whose_process_is_gone_is_no_lab(tmp_path: Path) -> None:
    save(sample(tmp_path))
    assert labs.status(tmp_path) is None
    assert labs.status(tmp_path / "nowhere") is None
    with pytest.raises(NotFound, match="no lab runs"):
        labs.enter(tmp_path, ["true"], {})


def test_a_foreign_lab_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lab.json").write_text('{"schema": "other"}')
    with pytest.raises(Refused, match="not written by this version"):
        labs.status(tmp_path)
    (tmp_path / "lab.json").write_text("{")
    with pytest.raises(Refused, match="cannot be read"):
        labs.status(tmp_path)


def test_down_removes_what_a_lab_made_and_nothing_else(tmp_path: Path) -> None:
    save(sample(tmp_path))
    for name in ("secrets", "ceph", "log"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    labs.down(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"log", "mine.txt"}
    assert not (tmp_path / "secrets").exists()
    assert not (tmp_path / "lab.json").exists()
    labs.down(tmp_path)
    labs.down(tmp_path / "nowhere")


@pytest.mark.parametrize("parts", [frozenset(), frozenset({"s3", "typo"})])
def test_bad_parts_are_refused(tmp_path: Path, parts: frozenset[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Refused, match="parts"):
        labs.up(tmp_path, parts=parts, tick=quiet)


def test_only_root_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="root"):
        labs.up(tmp_path, tick=quiet)
    with pytest.raises(Refused, match="root"):
        guest_image.image(tmp_path / "images", quiet)
    assert {finding.feature for finding in labs.doctor(tmp_path, SMALL)} >= {"root"}


def test_a_folder_that_would_be_covered_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Refused, match="covered"):
        labs.up(Path("/run/somewhere"), tick=quiet)


def test_nothing_is_installed_when_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "missing_packages", lambda *_: ())
    monkeypatch.setattr(debian, "_apt", lambda *words: pytest.fail("apt was run"))
    assert debian.install_packages(quiet) == ()


def test_packages_come_without_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = [("pdns-server", "radosgw"), ()]
    ran: list[tuple[tuple[str, ...], bool]] = []
    said: list[str] = []
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(debian, "POLICY", policy)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(debian, "missing_packages", lambda *_: lacking.pop(0))
    monkeypatch.setattr(debian, "_apt", lambda *words: ran.append((words, os.access(policy, os.X_OK))))
    assert debian.install_packages(lambda progress: said.append(progress.wait)) == ("pdns-server", "radosgw")
    assert [words[0] for words, _ in ran] == ["update", "install"]
    assert ran[1][0][-2:] == ("pdns-server", "radosgw")
    assert "--no-install-recommends" in ran[1][0]
    assert all(guarded for _, guarded in ran), "daemons would have been started"
    assert not policy.exists()
    assert "pdns-server" in said[0]


def test_the_name_of_an_image_follows_its_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe.digest()
    monkeypatch.setattr(recipe, "PACKAGES", (*recipe.PACKAGES, "sl"))
    assert recipe.digest() != before


def test_two_builders_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build(cache: Path, place: Path, tick: Any) -> None:
        time.sleep(0.2)
        built.append(place)
        place.mkdir()
        (place / "image.json").write_text("{}")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(guest_image, "_build", build)
    builders = [threading.Thread(target=guest_image.image, args=(tmp_path, quiet)) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(built) == 1


def test_images_are_cached_outside_of_any_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert labs.cache_folder() == Path("/somewhere/rehost/images")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert labs.cache_folder() == Path.home() / ".cache/rehost/images"


# inside: names -----------------------------------------------------------------------------


def call(lab: LabInfo, method: str, path: str, body: Json = None) -> bytes:
    assert lab.powerdns is not None
    request = urllib.request.Request(
        f"{lab.powerdns.api}/api/v1/servers/localhost/{path}",
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"X-API-Key": Path(lab.powerdns.key_file).read_text().strip(), "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def ask(server: str, name: str) -> tuple[int, list[str]]:
    host, port = server.rsplit(":", 1)
    try:
        answer = dns.query.udp(dns.message.make_query(name, "A"), host, port=int(port), timeout=2)
    except dns.exception.Timeout:
        return -1, []
    return int(answer.rcode()), [str(item) for rrset in answer.answer for item in rrset]


def rrset(name: str, address: str) -> Json:
    return {
        "name": name,
        "type": "A",
        "ttl": 2,
        "changetype": "REPLACE",
        "records": [{"content": address, "disabled": False}],
    }


@pytest.fixture
def zone(lab: LabInfo) -> Iterator[str]:
    name = f"t{os.getpid()}-{time.monotonic_ns()}.example."
    call(lab, "POST", "zones", {"name": name, "kind": "Master", "nameservers": [f"ns1.{name}", f"ns2.{name}"]})
    yield name
    call(lab, "DELETE", f"zones/{name}")


@pytest.mark.lab
def test_a_zone_and_its_changes_reach_both_servers_and_its_removal_too(lab: LabInfo) -> None:
    assert lab.powerdns is not None
    name = "travelling.example."
    body = {
        "name": name,
        "kind": "Master",
        "nameservers": [f"ns1.{name}"],
        "rrsets": [rrset(f"www.{name}", "10.77.0.16")],
    }
    call(lab, "POST", "zones", body)
    for server in lab.powerdns.nameservers:
        until(lambda at=server: ask(at, f"www.{name}") == (0, ["10.77.0.16"]))
    began = time.monotonic()
    call(lab, "PATCH", f"zones/{name}", {"rrsets": [rrset(f"www.{name}", "10.77.0.17")]})
    assert ask(lab.powerdns.nameservers[0], f"www.{name}") == (0, ["10.77.0.17"]), "a cache stood in between"
    until(lambda: ask(lab.powerdns.nameservers[1], f"www.{name}") == (0, ["10.77.0.17"]))  # type: ignore[union-attr]
    assert time.monotonic() - began < 10
    call(lab, "DELETE", f"zones/{name}")
    for server in lab.powerdns.nameservers:
        until(lambda at=server: ask(at, f"www.{name}")[0] == 5)  # refused: not ours any more


@pytest.mark.lab
def test_a_body_of_ten_megabytes_is_taken(lab: LabInfo, zone: str) -> None:
    rows = [rrset(f"host-{n:05}.{'x' * 40}.{'y' * 40}.{zone}", "10.1.2.3") for n in range(40_000)]
    body = {"rrsets": rows}
    assert len(json.dumps(body)) > 9_000_000
    call(lab, "PATCH", f"zones/{zone}", body)
    assert lab.powerdns is not None
    assert ask(lab.powerdns.nameservers[0], rows[-1]["name"]) == (0, ["10.1.2.3"])


# inside: store -----------------------------------------------------------------------------


def client(lab: LabInfo, *, system: bool = False) -> Any:
    assert lab.s3 is not None
    files = (lab.s3.system_key_file, lab.s3.system_secret_file) if system else (lab.s3.key_file, lab.s3.secret_file)
    key, secret = (Path(file).read_text().strip() for file in files)
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    session = boto3.Session(key, secret, region_name=lab.s3.region)
    return session.client("s3", endpoint_url=lab.s3.endpoint, config=config)


@pytest.mark.lab
def test_the_store_keeps_versions_and_the_system_user_sets_their_ids(lab: LabInfo) -> None:
    store, bucket = client(lab), f"lab-{time.monotonic_ns()}"
    store.create_bucket(Bucket=bucket)
    store.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = store.put_object(Bucket=bucket, Key="a", Body=b"one")["VersionId"]
    store.put_object(Bucket=bucket, Key="a", Body=b"two")
    assert store.get_object(Bucket=bucket, Key="a", VersionId=first)["Body"].read() == b"one"
    wanted = "A" * 32
    system = client(lab, system=True)

    def sign(request: Any, **_: Any) -> None:
        request.url += f"?rgwx-version-id={wanted}"

    system.meta.events.register("before-sign.s3.PutObject", sign)
    system.put_object(Bucket=bucket, Key="b", Body=b"three")
    listed = store.list_object_versions(Bucket=bucket, Prefix="b")["Versions"]
    assert [item["VersionId"] for item in listed] == [wanted]


@pytest.mark.lab
def test_small_parts_are_refused_unless_the_lab_was_asked_to_take_them(lab: LabInfo) -> None:
    store, bucket = client(lab), f"lab-{time.monotonic_ns()}"
    store.create_bucket(Bucket=bucket)
    upload = store.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    tags = [
        store.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=n, Body=b"x" * 1024)["ETag"]
        for n in (1, 2)
    ]
    parts = {"Parts": [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]}
    with pytest.raises(store.exceptions.ClientError, match="EntityTooSmall"):
        store.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload=parts)


# inside: hosts and guests ------------------------------------------------------------------


@pytest.mark.lab
def test_the_host_is_reached_with_its_known_key(lab: LabInfo) -> None:
    assert lab.sshd is not None
    assert ssh(lab.sshd, lab.sshd.host, Path(lab.sshd.known_hosts), "hostname; id -u").splitlines()[-1] == "0"


def ssh(sshd: Sshd, host: str, known: Path, command: str, *, strict: str = "yes") -> str:
    options = [f"UserKnownHostsFile={known}", f"StrictHostKeyChecking={strict}", "BatchMode=yes", "IdentitiesOnly=yes"]
    argv = ["ssh", "-i", sshd.key_file, *(word for option in options for word in ("-o", option))]
    done = subprocess.run(
        [*argv, f"{sshd.user}@{host}", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


USER_DATA = b"""#!/bin/sh
# byte-exact: \xc3\xa4 \x01 trailing blanks  \r
mkdir -p /srv/www && cd /srv/www || exit 1
ln -s /var/lib/cloud/instance/user-data.txt user-data.txt
cut -d' ' -f1 /proc/uptime >uptime
getent hosts www.%s >resolved
python3 -c 'import sqlite3, ssl; print(sqlite3.sqlite_version)' >sqlite
python3 -m http.server 8080 >/dev/null 2>&1 &
python3 -m http.server 8081 >/dev/null 2>&1 &
"""
FILTER = """<filter name='lab-test' chain='root'>
  <rule action='accept' direction='in' priority='100'><tcp dstportstart='8080'/></rule>
  <rule action='accept' direction='in' priority='100'><tcp dstportstart='22'/></rule>
  <rule action='accept' direction='out' priority='100'><udp dstportstart='53'/></rule>
  <rule action='accept' direction='inout' priority='100'><mac protocolid='arp'/></rule>
  <rule action='drop' direction='inout' priority='1000'><all/></rule>
</filter>
"""


def fetch(url: str, timeout: float = 2.0) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return bytes(answer.read())
    except OSError:
        return None


@pytest.mark.lab
@pytest.mark.timeout(600)
def test_a_guest_runs_its_user_data_unaltered_behind_its_filter(lab: LabInfo, zone: str, tmp_path: Path) -> None:
    machines = lab.libvirt
    assert machines is not None
    assert lab.sshd is not None
    call(lab, "PATCH", f"zones/{zone}", {"rrsets": [rrset(f"www.{zone}", "10.77.0.99")]})
    (tmp_path / "filter.xml").write_text(FILTER)
    lab_guest.virsh(machines, "nwfilter-define", str(tmp_path / "filter.xml"))
    user_data = USER_DATA.replace(b"%s", zone.rstrip(".").encode())
    public = Path(lab.sshd.key_file).with_suffix(".pub").read_text().strip()
    began = time.monotonic()
    console = lab_guest.boot(machines, "one", "10.77.0.14", user_data=user_data, keys=[public], nwfilter="lab-test")
    try:
        uptime = until(lambda: fetch("http://10.77.0.14:8080/uptime"), 400)
        print(f"user-data ran {time.monotonic() - began:.0f} s after the start, at guest uptime {float(uptime):.0f} s")
        assert fetch("http://10.77.0.14:8080/user-data.txt", 20) == user_data
        assert (fetch("http://10.77.0.14:8080/resolved", 20) or b"").split()[0] == b"10.77.0.99"
        assert fetch("http://10.77.0.14:8080/sqlite", 20)
        assert fetch("http://10.77.0.14:8081/uptime", 4) is None, "the filter lets a port through that no rule opens"
        said = ssh(
            lab.sshd, "10.77.0.14", tmp_path / "known", "cloud-init status --wait; hostname", strict="accept-new"
        )
        assert "status: done" in said
        assert said.split()[-1] == "one"
    except BaseException:
        print(console.read_text(errors="replace")[-3000:])
        raise
    finally:
        lab_guest.remove(machines, "one")
        lab_guest.virsh(machines, "nwfilter-undefine", "lab-test")


# labs in the lab ---------------------------------------------------------------------------


def traces(folder: Path) -> dict[str, Any]:
    """What of a lab can be seen from here: processes, mounts, interfaces, network namespaces."""
    processes = []
    spaces = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    processes.append(int(entry.name))
                spaces.add(os.readlink(entry / "ns/net"))
            except OSError:
                continue  # it ended while we looked
    return {
        "processes": processes,
        "mounts": [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line],
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "networks": spaces,
    }


@pytest.mark.lab
@pytest.mark.parametrize("victim", ["holder", "init"])
def test_a_killed_lab_leaves_nothing_behind(lab: LabInfo, tmp_path: Path, victim: str) -> None:
    before = traces(tmp_path)
    other = labs.up(tmp_path, parts=SMALL, tick=quiet)
    assert len(traces(tmp_path)["processes"]) >= 5
    assert len(traces(tmp_path)["networks"]) == len(before["networks"]) + 1
    os.kill(getattr(other, victim).pid, signal.SIGKILL)
    until(lambda: traces(tmp_path) == before)
    assert labs.status(tmp_path) is None
    labs.down(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "log"]


@pytest.mark.lab
def test_two_labs_have_the_same_addresses_and_know_nothing_of_each_other(lab: LabInfo, tmp_path: Path) -> None:
    other = labs.up(tmp_path, parts=SMALL, tick=quiet)
    try:
        assert labs.up(tmp_path, parts=SMALL, tick=quiet) == other, "up is not idempotent"
        with pytest.raises(Conflict, match="other parts"):
            labs.up(tmp_path, parts=frozenset({"sshd"}), tick=quiet)
        body = {"name": "only-here.example.", "kind": "Master", "nameservers": ["ns1.only-here.example."]}
        call(lab, "POST", "zones", body)
        script = (
            "import sys, dns.message, dns.query\n"
            "asked = dns.message.make_query('only-here.example', 'SOA')\n"
            "sys.exit(10 + dns.query.udp(asked, '10.77.0.3', timeout=5).rcode())"
        )
        assert labs.enter(tmp_path, [sys.executable, "-c", script], {}) == 15  # refused there
        assert ask("10.77.0.3:53", "only-here.example.")[0] == 0
        call(lab, "DELETE", "zones/only-here.example.")
    finally:
        labs.down(tmp_path)
    assert labs.status(tmp_path) is None


@pytest.mark.lab
def test_entering_keeps_folder_environment_and_exit_code(lab: LabInfo, tmp_path: Path) -> None:
    labs.up(tmp_path, parts=frozenset({"sshd"}), tick=quiet)
    try:
        script = f"import os, sys; sys.exit(41 + (os.environ['WHO'] == 'me') + (os.getcwd() != {os.getcwd()!r}))"
        assert labs.enter(tmp_path, [sys.executable, "-c", script], {"WHO": "me"}) == 42
        assert labs.enter(tmp_path, ["sh", "-c", "kill -9 $$"], {}) == 137
    finally:
        labs.down(tmp_path)


@pytest.mark.lab
def test_a_fallen_daemon_is_reported_and_the_lab_not_reused(lab: LabInfo, tmp_path: Path) -> None:
    labs.up(tmp_path, parts=frozenset({"sshd"}), tick=quiet)
    try:
        daemon = min(  # a child of it may still be busy with the probe of the start
            pid for pid in traces(tmp_path)["processes"] if b"sshd_config" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        os.kill(daemon, signal.SIGKILL)
        fallen = until(lambda: (labs.status(tmp_path) or lab).dead)
        assert fallen == ("sshd (-9)",)
        with pytest.raises(Conflict, match="fallen"):
            labs.up(tmp_path, parts=frozenset({"sshd"}), tick=quiet)
    finally:
        labs.down(tmp_path)


@pytest.mark.lab
def test_a_starter_that_is_killed_leaves_nothing_behind(lab: LabInfo, tmp_path: Path) -> None:
    before = traces(tmp_path)
    script = (
        "import sys; from pathlib import Path; from toolkit.rehearsal import lab\n"
        "lab.up(Path(sys.argv[1]), parts=frozenset({'s3'}), tick=lambda p: print(p.wait, flush=True))"
    )
    starter = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    until(lambda: "ceph-osd" in starter.stdout.readline())  # type: ignore[union-attr]
    starter.kill()
    starter.wait()
    starter.stdout.close()
    until(lambda: traces(tmp_path) == before, 60)


@pytest.mark.lab
def test_a_lab_can_run_here(lab: LabInfo, tmp_path: Path) -> None:
    found = list(labs.doctor(tmp_path, SMALL))
    assert [finding for finding in found if finding.severity == "error"] == []
