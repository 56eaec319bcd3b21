"""One-node Ceph: a monitor, one OSD on a sparse file and an S3 gateway, all in one folder.

Enters: the lab's folder. Leaves: the daemons (through ``spawn``) and an :class:`S3` record.
May raise: ``Unreachable``, ``NotFound``.

There is no manager daemon: pools, placement groups and the gateway work without it, and it is the
slowest and largest of the daemons. ``auth ... = none`` makes the gateway hang for ever, so cephx is on.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import Popen

from toolkit.rehearsal.lab.info import S3, S3_ADDRESS
from toolkit.rehearsal.lab.process import private, run, wait_until

Spawn = Callable[[str, Sequence[str]], "Popen[bytes]"]
PORT = 9000
DISK = 20 * 1024**3  # sparse: takes what is written, not this much

CONF = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:3300,v1:127.0.0.1:6789]
public network = 127.0.0.0/8
ms bind ipv6 = false
keyring = {folder}/keyring
run dir = /run/ceph
admin socket = /run/ceph/$name.asok
pid file =
crash dir = {folder}/crash
log file = {logs}/$name.log
log to stderr = false
mon cluster log file = {logs}/cluster.log
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
mon data = {folder}/mon
mon allow pool size one = true
mon allow pool delete = true
mon max pg per osd = 1000
mon data avail crit = 1
mon warn on pool no redundancy = false
mon osd min in ratio = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush update on start = true
osd data = {folder}/osd
osd objectstore = bluestore
osd memory target = 939524096
bluestore block size = {disk}
bluestore block db create = false
bluestore block wal create = false

[client.rgw.a]
rgw frontends = beast endpoint={address}:{port}
rgw data = {folder}/rgw
rgw enable static website = true
rgw enable apis = s3, s3website, admin, iam, notifications
rgw enable usage log = false
rgw thread pool size = 64
rgw multipart min part size = {min_part}
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw dynamic resharding = false
"""
CAPS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mds": "allow *", "mgr": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
    "client.rgw.a": {"mon": "allow rw", "osd": "allow rwx"},
}


def start(folder: Path, *, min_part: int, spawn: Spawn, step: Callable[[str], None]) -> S3:
    """Make the cluster in ``folder``/ceph and return how to reach its gateway."""
    home = folder / "ceph"
    for name in ("mon", "osd", "rgw", "crash"):
        (home / name).mkdir(parents=True)
    logs = folder / "log" / "ceph"
    logs.mkdir(parents=True, exist_ok=True)
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    conf = home / "ceph.conf"
    conf.write_text(
        CONF.format(fsid=fsid, folder=home, logs=logs, disk=DISK, address=S3_ADDRESS, port=PORT, min_part=min_part)
    )
    common = ["--conf", str(conf)]
    step("ceph-mon")
    _keyring(home / "keyring")
    _monitor(home, fsid, common, spawn)
    step("ceph-osd")
    run(["ceph", *common, "osd", "new", osd], limit=60)
    run(["ceph-osd", *common, "-i", "0", "--mkfs", "--osd-uuid", osd], limit=60)
    spawn("ceph-osd", ["ceph-osd", *common, "-i", "0", "-f"])
    step("radosgw")
    gateway = spawn("radosgw", ["radosgw", *common, "-n", "client.rgw.a", "-f"])
    endpoint = f"http://{S3_ADDRESS}:{PORT}"
    wait_until(lambda: _answers(endpoint), what="radosgw", limit=120, process=gateway, log=logs / "client.rgw.a.log")
    step("users")
    user = _user(folder / "secrets", common, "rehost", [])
    system = _user(folder / "secrets", common, "rehost-system", ["--system"])
    admin = _user(folder / "secrets", common, "rehost-admin", ["--caps", "users=*;user-policy=*;buckets=read"])
    return S3(endpoint, "default", *user, *system, *admin)


def _keyring(path: Path) -> None:
    run(["ceph-authtool", "--create-keyring", str(path)])
    for name, caps in CAPS.items():
        grants = [word for service, grant in caps.items() for word in ("--cap", service, grant)]
        run(["ceph-authtool", str(path), "--gen-key", "-n", name, *grants])


def _monitor(home: Path, fsid: str, common: list[str], spawn: Spawn) -> None:
    """Create the monitor's store and start it."""
    where = "[v2:127.0.0.1:3300,v1:127.0.0.1:6789]"
    monmap = str(home / "monmap")
    run(["monmaptool", "--create", "--addv", "a", where, "--fsid", fsid, "--set-min-mon-release", "pacific", monmap])
    run(["ceph-mon", *common, "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", str(home / "keyring")])
    spawn("ceph-mon", ["ceph-mon", *common, "-i", "a", "-f"])


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(endpoint, timeout=2) as answer:  # noqa: S310 - an address of the lab
            return int(answer.status) == 200
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _user(secrets: Path, common: list[str], name: str, more: list[str]) -> tuple[str, str]:
    """Create a user; the gateway invents the keys, so that they never stand in an argument list."""
    argv = ["radosgw-admin", *common, "-n", "client.rgw.a", "user", "create", "--uid", name, "--display-name", name]
    keys = json.loads(run([*argv, "--max-buckets", "100000", *more]))["keys"][0]
    key = private(secrets / f"s3-{name}.key", keys["access_key"] + "\n")
    secret = private(secrets / f"s3-{name}.secret", keys["secret_key"] + "\n")
    return str(key), str(secret)
