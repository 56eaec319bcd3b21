"""What is special about libvirt: disks, seeds, host keys, and what its test driver cannot do."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from toolkit.compute.drivers import accelerator, iso9660
from toolkit.compute.drivers.libvirt_store import public_line
from toolkit.compute.model import Definition, Found
from toolkit.errors import ApplyError, Conflict, NotFound, Refused, Unreachable
from toolkit.secrets import Secret

pytest.importorskip("libvirt", reason="the libvirt binding is not installed (extra `lab`)")

from toolkit.compute.drivers.libvirt import LosslessLibvirt

needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-utils is not installed")


def definition(name: str = "web-1", data: bytes | None = b"#!/bin/sh\n", **changes: Any) -> Definition:
    body = {
        "name": name,
        "size": {"vcpus": 2, "memory_mib": 1024, "arch": "x86_64"},
        "image": {"name": "default"},
        "user_data": None,
        "keypair": None,
        "firewalls": [],
        "disks": [],
        "addresses": {"private": ["10.77.0.16"], "public": []},
        "tags": {},
        "app": None,
        **changes,
    }
    return Definition(f"compute/server/{name}", body, data, token=f"t-{name}")


def found(driver: Any, name: str = "web-1") -> Found:
    return next(item for item in driver.ex_read("server") if isinstance(item, Found) and item.name == name)


def test_nodes_are_keyed_by_uuid_even_when_off(libvirt_test: Any) -> None:
    idents = [libvirt_test.ex_write_server(definition(name)) for name in ("web-1", "web-2")]
    nodes = {node.name: node for node in libvirt_test.list_nodes()}
    assert [nodes["web-1"].id, nodes["web-2"].id] == idents  # stock libcloud calls both -1
    assert nodes["web-1"].private_ips == ["10.77.0.16"]


def test_domains_of_others_are_seen_and_left_alone(libvirt_test: Any) -> None:
    stranger = found(libvirt_test, "test")
    assert stranger.provenance == {}
    with pytest.raises(Conflict):
        libvirt_test.ex_write_server(definition("test"))


def test_a_new_definition_keeps_uuid_disk_and_host_key(libvirt_test: Any, tmp_path: Path) -> None:
    ident = libvirt_test.ex_write_server(definition(data=b"one"))
    home = tmp_path / "libvirt" / ident
    key, seed = (home / "host_key").read_bytes(), (home / "seed.iso").read_bytes()
    assert libvirt_test.ex_write_server(definition(data=b"two", tags={"a": "b"})) == ident
    assert (home / "host_key").read_bytes() == key
    assert found(libvirt_test).user_data == b"two"
    first, second = (
        json.loads(iso9660.read(image)["meta-data"])["instance-id"]
        for image in (seed, (home / "seed.iso").read_bytes())
    )
    assert first != second  # cloud-init takes it for a new instance and reads the seed again


def test_secrets_lie_in_files_that_only_we_read(libvirt_test: Any, tmp_path: Path) -> None:
    app = {"argv": ["x"], "env": {"K": "env:K"}, "env_file": "/etc/app.env", "port": 1}
    made = definition(app=app)
    made = Definition(made.address, made.body, made.user_data, env={"K": Secret("s3cr3t")}, token="t")
    ident = libvirt_test.ex_write_server(made)
    home = tmp_path / "libvirt" / ident
    for path in home.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    xml = libvirt_test.connection.lookupByUUIDString(ident).XMLDesc()
    assert "s3cr3t" not in xml
    assert "s3cr3t" not in str(found(libvirt_test))


def test_a_damaged_seed_is_said_and_is_no_empty_user_data(libvirt_test: Any, tmp_path: Path) -> None:
    ident = libvirt_test.ex_write_server(definition(data=b"one"))
    (tmp_path / "libvirt" / ident / "seed.iso").write_bytes(b"\0" * 70000)
    assert "unreadable" in found(libvirt_test).facts["seed"]
    assert found(libvirt_test).body["user_data"] is None


def test_undefine_can_keep_the_disks(libvirt_test: Any, tmp_path: Path) -> None:
    ident = libvirt_test.ex_write_server(definition())
    libvirt_test.ex_undefine(ident, delete_disks=False)
    assert (tmp_path / "libvirt" / ident / "seed.iso").exists()
    libvirt_test.ex_undefine(ident, delete_disks=True)
    assert not (tmp_path / "libvirt" / ident).exists()


def test_create_node_of_libcloud(libvirt_test: Any) -> None:
    node = libvirt_test.create_node("made", ex_userdata=b"\xff\r\n", ex_addresses=["10.77.0.20"])
    assert node.name == "made"
    assert found(libvirt_test, "made").user_data == b"\xff\r\n"
    assert libvirt_test.stop_node(node) in (True, False)


def test_commands_need_a_way_in(libvirt_test: Any) -> None:
    ident = libvirt_test.ex_write_server(definition())
    with pytest.raises(Refused):
        libvirt_test.ex_exec(ident, ["true"], b"", 5)


def test_capabilities_follow_what_the_connection_can(libvirt_test: Any) -> None:
    have = libvirt_test.ex_capabilities()
    assert "firewall-enforced" not in have  # the test driver has no network filters
    assert "arch:x86_64" in have


def test_no_such_connection(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        LosslessLibvirt("qemu+unix:///system?socket=/no/such/socket", folder=tmp_path)


def test_odd_names_are_refused(libvirt_test: Any) -> None:
    for name in ("", "a b", "a/../b", "-x", "a\nb", "x" * 70):
        with pytest.raises(Refused):
            libvirt_test.ex_write_server(definition(name))


@pytest.fixture
def with_disks(libvirt_test: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The test driver told to make disks as a real host would."""
    base = tmp_path / "base.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(base), "64M"], check=True, timeout=60)
    libvirt_test._images = {"default": {"disk": str(base)}}
    monkeypatch.setattr(libvirt_test, "_test", False)
    return libvirt_test


@needs_qemu_img
def test_disks_are_made_once_and_kept(with_disks: Any, tmp_path: Path) -> None:
    disks = [{"device": "/dev/xvda", "gib": 1, "type": "gp3"}, {"device": "/dev/sdb", "gib": 2, "type": "gp3"}]
    ident = with_disks.ex_write_server(definition(disks=disks))
    home = tmp_path / "libvirt" / ident

    def info(name: str) -> Any:
        done = subprocess.run(["qemu-img", "info", "--output=json", str(home / name)], capture_output=True, timeout=60)
        return json.loads(done.stdout)

    assert info("disk.qcow2")["virtual-size"] == 1 << 30
    assert info("disk.qcow2")["backing-filename"].endswith("base.qcow2")
    assert info("disk-1.qcow2")["virtual-size"] == 2 << 30
    before = {path.name: path.stat().st_ino for path in home.glob("disk*")}
    with_disks.ex_write_server(definition(data=b"changed", disks=disks))
    assert {path.name: path.stat().st_ino for path in home.glob("disk*")} == before
    hardware = with_disks.connection.lookupByUUIDString(ident).XMLDesc()
    assert hardware.count("<disk ") == 3
    with_disks.ex_remove("server", ident)
    assert not home.exists()


@needs_qemu_img
def test_unknown_and_missing_images(with_disks: Any) -> None:
    with pytest.raises(NotFound):
        with_disks.ex_write_server(definition(image={"name": "windows"}))
    with_disks._images = {"default": {"disk": "/no/such/image.qcow2"}}
    with pytest.raises(ApplyError, match="qemu-img"):
        with_disks.ex_write_server(definition())


def test_public_line_of_a_private_key(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True, timeout=60)
    line = public_line(Secret((tmp_path / "k").read_text()))
    assert line.split()[:2] == (tmp_path / "k.pub").read_text().split()[:2]
    with pytest.raises(Refused):
        public_line(Secret("nonsense"))


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="qemu-system-x86 is not installed")
def test_the_probe_boots_something() -> None:
    assert accelerator.boots("tcg", seconds=60)
    assert not accelerator.boots("no-such-accelerator", seconds=20)
    assert accelerator.probe() in ("kvm", "qemu")


def test_the_probe_without_an_emulator() -> None:
    assert not accelerator.boots("tcg", emulator="/no/such/qemu")
