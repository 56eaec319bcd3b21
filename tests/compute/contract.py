"""What every compute driver must do, whoever plays the provider. Imported by ``test_contract.py``."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from toolkit.compute.model import Definition, Found, Peer, differences, digest
from toolkit.errors import RehostError

from .conftest import Bench

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM7udWetwe3kyUAP9U62vrJ+gbthtCntCmZwyCgxaVYy"
MIME = (
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="==b=="\r\n\r\n--==b==\r\n'
    b"Content-Type: text/cloud-config\r\n\r\n#cloud-config\nruncmd: [[true]]\n\r\n--==b==\r\n"
    b"Content-Type: text/x-shellscript\r\n\r\n#!/bin/sh\necho hello\n\r\n--==b==--\r\n"
)
USER_DATA = {
    "plain": b"#!/bin/sh\necho hello\n",
    "gzip": gzip.compress(b"#cloud-config\nruncmd: [[true]]\n", mtime=0),
    "mime": MIME,
    "empty": b"",
    "16 KiB": bytes(range(256)) * 64,
    "not UTF-8": b"#!/bin/sh\n# caf\xe9 \xff\xfe\n",
    "CRLF": b"#!/bin/sh\r\necho hello\r\n",
    "base64 of base64": b"SXlFdlltbHVMM05vQ21WamFHOGdhR1ZzYkc4Sw==\n",
    "leading and trailing space": b"\n \x00 #!/bin/sh\n\n\x00",
}


def body(bench: Bench, name: str = "web-1", **changes: Any) -> dict[str, Any]:
    made = {
        "name": name,
        "size": bench.size,
        "image": {"name": bench.image},
        "user_data": None,
        "keypair": None,
        "firewalls": [],
        "disks": [],
        "addresses": {"private": list(bench.addresses), "public": []},
        "tags": {"team": "core", "odd": "<&\"'; $(id)"},
        "app": None,
    }
    return {**made, **changes}


def definition(
    bench: Bench, name: str = "web-1", data: bytes | None = None, token: str = "t1", **more: Any
) -> Definition:
    return Definition(f"compute/server/{name}", body(bench, name), data, token=f"{token}-{name}", **more)


def rule(protocol: str, ports: list[int] | None, *peers: str, description: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"direction": "ingress", "protocol": protocol, "ports": ports, "peers": list(peers)}
    return {**made, "description": description}


def servers(bench: Bench, name: str = "web-1") -> list[Found]:
    found = [item for item in bench.driver.ex_read("server") if isinstance(item, Found)]
    return [item for item in found if item.name == name and item.facts.get("state") != "terminated"]


class ComputeContract:
    """The suite; subclasses give it a ``bench``."""

    def test_nothing_of_ours_at_first(self, bench: Bench) -> None:
        for kind in ("keypair", "firewall", "server", "load_balancer"):
            found = list(bench.driver.ex_read(kind))
            assert not [item for item in found if isinstance(item, Found) and item.provenance]
            assert not found or not bench.own

    def test_key_pair(self, bench: Bench) -> None:
        wanted = {"name": "operations", "type": "ed25519", "public_key": f"{KEY} someone@example"}
        for _ in range(2):
            bench.driver.ex_write_keypair("compute/keypair/operations", wanted)
        [found] = bench.driver.ex_read("keypair")
        assert differences("keypair", wanted, found.body) == []
        assert found.provenance["address"] == "compute/keypair/operations"
        bench.driver.ex_remove("keypair", found.id)
        bench.driver.ex_remove("keypair", found.id)
        assert list(bench.driver.ex_read("keypair")) == []

    def test_firewall_is_kept_rule_by_rule(self, bench: Bench) -> None:
        rules = [
            rule("tcp", [443, 443], "0.0.0.0/0", "::/0", description="web"),
            rule("tcp", [9100, 9109], "firewall:web"),
            rule("icmp", [8, -1], "10.0.0.0/8"),
            {**rule("udp", [53, 53], "10.0.0.2/32", description="names"), "direction": "egress"},
        ]
        wanted = {"name": "web", "description": "what visitors reach", "rules": rules}
        peers = {"web": Peer("web", "what visitors reach", ("10.77.0.40",))}
        for _ in range(2):
            ident = bench.driver.ex_write_firewall("compute/firewall/web", wanted, peers)
        found = next(item for item in bench.driver.ex_read("firewall") if item.id == ident)
        seen = {**found.body, "rules": [_own_slug(rule, ident) for rule in found.body["rules"]]}
        assert differences("firewall", wanted, seen) == []
        assert found.provenance["digest"] == digest(wanted)
        narrower = {**wanted, "rules": rules[:1]}
        bench.driver.ex_write_firewall("compute/firewall/web", narrower, peers)
        found = next(item for item in bench.driver.ex_read("firewall") if item.id == ident)
        assert differences("firewall", narrower, found.body) == []
        bench.driver.ex_remove("firewall", ident)
        bench.driver.ex_remove("firewall", ident)
        assert not [item for item in bench.driver.ex_read("firewall") if item.id == ident]

    @pytest.mark.parametrize("case", USER_DATA)
    def test_user_data_is_byte_exact(self, bench: Bench, case: str) -> None:
        bench.driver.ex_write_server(definition(bench, data=USER_DATA[case]))
        [found] = servers(bench)
        assert (found.user_data or b"") == USER_DATA[case]
        bench.driver.ex_remove("server", found.id)
        assert servers(bench) == []

    def test_server_is_made_once_and_known_again(self, bench: Bench) -> None:
        wanted = definition(bench, data=b"#!/bin/sh\n")
        first = bench.driver.ex_write_server(wanted)
        assert bench.driver.ex_write_server(wanted) == first
        [found] = servers(bench)
        assert (found.id, found.provenance["address"]) == (first, "compute/server/web-1")
        assert found.provenance["digest"] == digest(wanted.body)
        ignored = {"user_data": None, "disks": []} if bench.kind == "aws" else {"user_data": None}
        keep = {name: value for name, value in wanted.body.items() if name not in ignored}
        assert differences("server", keep, found.body) == []
        bench.driver.ex_remove("server", first)
        bench.driver.ex_remove("server", first)
        assert servers(bench) == []

    def test_two_servers_of_one_definition_stay_two(self, bench: Bench) -> None:
        if bench.addresses:
            bench.addresses = []
        idents = {bench.driver.ex_write_server(definition(bench, name)) for name in ("web-1", "web-2")}
        assert len(idents) == 2
        for ident in idents:
            bench.driver.ex_remove("server", ident)

    def test_start_and_stop_can_be_repeated(self, bench: Bench) -> None:
        ident = bench.driver.ex_write_server(definition(bench))
        for _ in range(2):
            bench.driver.ex_start(ident, {})
        assert servers(bench)[0].facts["state"] in ("running", "defined, not run")
        for _ in range(2):
            bench.driver.ex_stop(ident)
        assert servers(bench)[0].facts["state"] in ("stopped", "shut off", "defined, not run")
        bench.driver.ex_remove("server", ident)

    def test_libcloud_methods_work(self, bench: Bench) -> None:
        ident = bench.driver.ex_write_server(definition(bench))
        node = next(node for node in bench.driver.list_nodes() if node.id == ident)
        assert node.name == "web-1"
        assert len(set(node.public_ips)) == len(node.public_ips)
        bench.driver.ex_remove("server", ident)

    def test_errors_are_of_our_tree(self, bench: Bench) -> None:
        with pytest.raises(RehostError) as caught:
            bench.driver.ex_start("11111111-2222-3333-4444-555555555555", {})
        assert caught.value.text
        assert caught.value.remedy

    def test_capabilities_are_declared(self, bench: Bench) -> None:
        have = bench.driver.ex_capabilities()
        assert {"keypair", "firewall", "user-data", "create"} <= have


def _own_slug(rule: dict[str, Any], ident: str) -> dict[str, Any]:
    """A driver names itself by its own id; the family makes that a slug."""
    return {**rule, "peers": ["firewall:web" if peer == f"firewall:{ident}" else peer for peer in rule["peers"]]}
