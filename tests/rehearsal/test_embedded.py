"""The embedded target comes up whole, keeps its secrets, and ends with whoever started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import pytest
from botocore.exceptions import ClientError

from tests.rehearsal.conftest import client
from toolkit.errors import Unreachable
from toolkit.rehearsal import embedded, mockaws, net


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embedded")


@pytest.fixture(scope="module")
def target(folder: Path) -> Iterator[embedded.Embedded]:
    with net.claim() as loopback:
        running = embedded.start(loopback, folder)
        yield running
        running.stop()


def api(target: embedded.Embedded, path: str, body: Any = None, *, method: str = "", key: str = "") -> Any:
    return net.call_json(
        f"{target.dns_api}/api/v1/servers/localhost{path}",
        method=method or ("GET" if body is None else "POST"),
        body=body,
        headers={"X-API-Key": key or target.dns_key.reveal()},
    )


def test_the_store_serves_s3_and_nothing_else(target: embedded.Embedded) -> None:
    s3 = client(target.s3, "s3")
    s3.create_bucket(Bucket="media")
    s3.put_object(Bucket="media", Key="a//b", Body=b"x")
    assert s3.get_object(Bucket="media", Key="a//b")["Body"].read() == b"x"
    with pytest.raises(ClientError, match="NotImplemented"):
        client(target.s3, "ec2").describe_instances()


def test_both_name_servers_answer_what_the_api_was_given(target: embedded.Embedded) -> None:
    rrset = {"name": "www.agora.example.", "type": "A", "ttl": 60, "changetype": "REPLACE"}
    zone = {"name": "agora.example.", "kind": "Master", "nameservers": ["ns1.agora.example.", "ns2.agora.example."]}
    api(target, "/zones", zone)
    change = {"rrsets": [{**rrset, "records": [{"content": "127.0.0.1", "disabled": False}]}]}
    api(target, "/zones/agora.example.", change, method="PATCH")
    for server in target.nameservers:
        address, port = server.split(":")
        for ask in (dns.query.udp, dns.query.tcp):
            answer = ask(dns.message.make_query("www.agora.example", "A"), address, port=int(port), timeout=20)
            assert (answer.rcode(), [item.to_text() for item in answer.answer[0]]) == (dns.rcode.NOERROR, ["127.0.0.1"])
    with pytest.raises(Unreachable, match="401"):
        api(target, "/zones", key="wrong")


def test_the_hypervisor_runs_an_app(target: embedded.Embedded) -> None:
    headers = {"X-Rehost-Token": target.hypervisor_token.reveal()}

    def call(path: str, body: Any = None) -> Any:
        method = "GET" if body is None else "POST"
        return net.call_json(f"{target.hypervisor_url}/{path}", method=method, body=body, headers=headers)

    serve = "import http.server as h, os; h.test(h.SimpleHTTPRequestHandler, port=8080, bind=os.environ['REHOST_BIND'])"
    app = {
        "argv": ["python3", "-c", serve],
        "files": {},
        "env": {},
        "health": "/",
        "port": 8080,
    }
    address = target.loopback.new_ip(16)
    body = {"name": "web-1", "addresses": {"private": [address], "public": []}, "app": app}
    ident = call("servers", {"name": "web-1", "body": body})["id"]
    call(f"servers/{ident}/start", {"env": {}})
    net.wait_ready(lambda: call(f"servers/{ident}/health")["ok"], "the app", seconds=60)
    call(f"servers/{ident}/stop", {})
    assert not net.tcp_open(address, 8080)


def test_no_secret_is_in_a_file_or_on_a_command_line(target: embedded.Embedded, folder: Path) -> None:
    values = [
        target.dns_key,
        target.hypervisor_token,
        target.s3.token,
        *(key.secret for key in target.s3.keys.values()),
    ]
    texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for child in (target.s3.child, target.dns, target.hypervisor):
        texts.append(Path(f"/proc/{child.pid}/cmdline").read_bytes())
    for value in values:
        assert not any(value.reveal().encode() in text for text in texts)
        assert value.reveal() not in repr(target)


def test_two_targets_side_by_side(target: embedded.Embedded, tmp_path: Path) -> None:
    with net.claim() as loopback:
        other = embedded.start(loopback, tmp_path)
        try:
            assert client(other.s3, "s3").list_buckets()["Buckets"] == []
            assert other.dns_api != target.dns_api
        finally:
            other.stop()
        assert not other.dns.alive
        assert not other.s3.child.alive
        assert not other.hypervisor.alive


def test_a_part_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    with net.claim() as loopback:
        taken = mockaws.start_store(loopback.new_ip(2), tmp_path / "other", services=["s3"])
        try:
            with pytest.raises(Unreachable, match="did not start"):
                embedded.start(loopback, tmp_path / "target")
            assert not net.tcp_open(loopback.new_ip(3), 5300)
        finally:
            taken.stop()


@pytest.mark.parametrize("module", ["embedded", "mockaws"])
def test_by_hand(module: str, tmp_path: Path) -> None:
    """``python -m toolkit.rehearsal.<module>`` says where everything is, and ends on SIGTERM with all its children."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"toolkit.rehearsal.{module}", "--folder", str(tmp_path)],
        stdout=subprocess.PIPE,
        env=os.environ.copy(),
    )
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        endpoint = ready["s3"]["AWS_ENDPOINT_URL"] if module == "embedded" else ready["endpoint"]
        address, port = endpoint.removeprefix("http://").split(":")
        assert net.tcp_open(address, int(port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not net.tcp_open(address, int(port))
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
