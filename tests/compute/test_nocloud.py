"""The seed of a guest: user-data untouched, everything of ours in vendor-data, nothing breaks out."""

from __future__ import annotations

import base64
import email
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.compute.drivers import iso9660, nocloud
from toolkit.compute.model import Definition
from toolkit.errors import Refused
from toolkit.secrets import Secret

from .contract import KEY, USER_DATA

LOGIN = nocloud.Login("root", (KEY,), Secret("-----BEGIN KEY-----\nx\n-----END KEY-----\n"), "ssh-ed25519 HOST")
NETWORK = nocloud.Network("br0", 24, "10.77.0.1", "10.77.0.3", {"s3.agora.example": "10.77.0.2"})


def definition(data: bytes | None = None, **more: Any) -> Definition:
    body = {"name": "web_1", "addresses": {"private": ["10.77.0.16"], "public": []}, "app": more.pop("app", None)}
    return Definition("compute/server/web-1", body, data, **more)


def parts(vendor: bytes) -> dict[str, Any]:
    message = email.message_from_bytes(vendor)
    found: Any = message.get_payload()
    return {part.get_content_subtype(): part.get_payload(decode=True).decode() for part in found}


def work(vendor: bytes) -> dict[str, tuple[bytes, int]]:
    match = re.search(r'b64decode\("([A-Za-z0-9+/=]*)"\)', parts(vendor)["x-shellscript"])
    assert match
    items = json.loads(base64.b64decode(match[1]))
    return {item["path"]: (base64.b64decode(item["content"]), item["mode"]) for item in items}


@pytest.mark.parametrize("case", USER_DATA)
def test_user_data_is_the_file(case: str) -> None:
    seed = nocloud.seed(definition(USER_DATA[case]), instance="i", mac="m", network=NETWORK, login=LOGIN)
    image = iso9660.build("cidata", seed)
    assert iso9660.read(image)["user-data"] == USER_DATA[case]
    assert iso9660.read(image) == seed
    assert iso9660.build("cidata", seed) == image


def test_vendor_data_holds_ours() -> None:
    app = {"argv": ["x"], "env_file": "/etc/agora.env", "port": 8080}
    made = definition(b"", app=app, env={"S3_SECRET": Secret('a"b$c`d\\e')}, public_keys=("ssh-rsa OTHER",))
    seed = nocloud.seed(made, instance="i-1", mac="52:54:00:00:00:01", network=NETWORK, login=LOGIN)
    config = json.loads(parts(seed["vendor-data"])["cloud-config"].removeprefix("#cloud-config\n"))
    assert config["ssh_keys"]["ed25519_public"] == "ssh-ed25519 HOST"
    assert config["disable_root"] is False
    files = work(seed["vendor-data"])
    assert files["/etc/resolv.conf"] == (b"nameserver 10.77.0.3\n", 0o644)
    assert b"10.77.0.2 s3.agora.example" in files["/etc/hosts"][0]
    text, mode = files["/etc/agora.env"]
    assert mode == 0o600
    assert text == b'PORT="8080"\nREHOST_BIND="0.0.0.0"\nS3_SECRET="a\\"b\\$c\\`d\\\\e"\n'
    meta = json.loads(seed["meta-data"])
    assert meta == {"instance-id": "i-1", "local-hostname": "web-1", "public-keys": ["ssh-rsa OTHER", KEY]}
    network = json.loads(seed["network-config"])["config"][0]
    assert network["mac_address"] == "52:54:00:00:00:01"
    assert network["subnets"] == [
        {"type": "static", "address": "10.77.0.16/24", "gateway": "10.77.0.1", "dns_nameservers": ["10.77.0.3"]}
    ]


def test_the_script_writes_the_files(tmp_path: Path) -> None:
    app = {"argv": ["x"], "env_file": str(tmp_path / "deep" / "app.env"), "port": 1}
    made = definition(b"", app=app, env={"A": Secret("b")})
    vendor = nocloud.vendor_data(made, nocloud.Network(), LOGIN)
    script = parts(vendor)["x-shellscript"]
    subprocess.run(["python3", "-c", script], check=True, timeout=60)
    path = tmp_path / "deep" / "app.env"
    assert path.stat().st_mode & 0o777 == 0o600
    done = subprocess.run(["sh", "-c", f'. {path}; printf %s "$A"'], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"b"


@given(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"])))
def test_env_file_means_the_same_to_a_shell(value: str) -> None:
    line = nocloud.env_file({"A": Secret(value)})
    done = subprocess.run(
        ["sh", "-c", 'eval "$1"; printf %s "$A"', "sh", line], capture_output=True, check=True, timeout=60
    )
    assert done.stdout == value.encode()


@pytest.mark.parametrize(("name", "value"), [("A B", "x"), ("A", "x\ny"), ("", "x"), ("A;B", "x")])
def test_env_that_no_file_can_hold_is_refused(name: str, value: str) -> None:
    with pytest.raises(Refused):
        nocloud.env_file({name: Secret(value)})


@pytest.mark.parametrize("path", ["relative", "/etc/../etc/shadow", "/etc/\0x"])
def test_odd_paths_in_the_guest_are_refused(path: str) -> None:
    with pytest.raises(Refused):
        nocloud.files(definition(app={"argv": ["x"], "env_file": path}), nocloud.Network())


@pytest.mark.parametrize(
    ("name", "expected"), [("Web_1", "web-1"), ("-x-", "x"), ("é", "guest"), ("a" * 80, "a" * 63), ("a.b", "a-b")]
)
def test_hostname(name: str, expected: str) -> None:
    assert nocloud.hostname(name) == expected


def test_without_app_there_is_no_script() -> None:
    assert "x-shellscript" not in parts(nocloud.vendor_data(definition(), nocloud.Network(), LOGIN))


def test_damaged_images_are_refused() -> None:
    image = iso9660.build("cidata", {"user-data": b"x" * 5000})
    for broken in (b"", image[:1000], image[: 25 * 2048 + 10], b"\0" * len(image)):
        with pytest.raises(Refused):
            iso9660.read(broken)


@pytest.mark.skipif(not shutil.which("isoinfo"), reason="genisoimage is not installed")
def test_another_reader_reads_the_same(tmp_path: Path) -> None:
    files = {"user-data": USER_DATA["16 KiB"], "meta-data": b"{}", "network-config": b"", "vendor-data": b"x" * 2048}
    path = tmp_path / "seed.iso"
    path.write_bytes(iso9660.build("cidata", files))
    for name, data in files.items():
        done = subprocess.run(["isoinfo", "-J", "-x", f"/{name}", "-i", str(path)], capture_output=True, timeout=60)
        assert done.stdout == data
