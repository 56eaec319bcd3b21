"""The targets of a rehearsal, and the providers of its site definition.

``embedded`` starts our own servers (corrected moto as object store, a name server with PowerDNS'
interface, the hypervisor); ``lab`` uses real daemons that already run. Both give the same
:class:`Target`, so that the rest of a rehearsal does not know which one it plays on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import NotFound
from toolkit.model import Json
from toolkit.rehearsal import embedded as embedded_target
from toolkit.rehearsal.lab.info import LabInfo
from toolkit.rehearsal.mockaws import MockAws
from toolkit.rehearsal.net import Loopback
from toolkit.rehearsal.overlay import Stage


@dataclass(frozen=True, slots=True)
class Target:
    """The new side: its providers in site.yaml, the environment that resolves their credentials."""

    providers: Mapping[str, Json]
    env: Mapping[str, str]
    network: str = ""


def embedded(stack: contextlib.ExitStack, loopback: Loopback, folder: Path) -> Target:
    """Start the embedded target; it ends with ``stack``."""
    target = embedded_target.start(loopback, folder)
    stack.callback(target.stop)
    servers = {
        name: f"{loopback.new_ip(host)}:5300" for name, host in (("ns1.agora.example", 3), ("ns2.agora.example", 4))
    }
    return Target(
        {
            "store": {
                "kind": "s3",
                "endpoint": target.s3.endpoint,
                "credentials": {"key": "env:STORE_KEY", "secret": "env:STORE_SECRET"},
            },
            "names": {
                "kind": "powerdns",
                "endpoint": target.dns_api,
                "credentials": {"key": "env:NAMES_KEY"},
                "nameservers": servers,
            },
            "machines": {
                "kind": "embedded",
                "endpoint": target.hypervisor_url,
                "credentials": {"key": "env:MACHINES_KEY"},
                "pool": f"{loopback.new_ip(16)}/28",
            },
        },
        {
            "STORE_KEY": target.s3.access_key,
            "STORE_SECRET": target.s3.secret_key.reveal(),
            "NAMES_KEY": target.dns_key.reveal(),
            "MACHINES_KEY": target.hypervisor_token.reveal(),
        },
    )


def lab(info: LabInfo) -> Target:
    """The providers of a running lab, which must have all parts."""
    s3, names, machines, sshd = info.s3, info.powerdns, info.libvirt, info.sshd
    if s3 is None or names is None or machines is None or sshd is None:
        raise NotFound("the lab lacks parts that the rehearsal needs", "start it again with: rehost lab up")
    image = {name: getattr(machines, name) for name in ("disk", "kernel", "initrd", "cmdline")}
    providers = {
        "store": {
            "kind": "ceph",
            "endpoint": s3.endpoint,
            "insecure": True,
            "credentials": {"key": "env:STORE_KEY", "secret": "env:STORE_SECRET"},
        },
        "names": {
            "kind": "powerdns",
            "endpoint": names.api,
            "insecure": True,
            "credentials": {"key": "env:NAMES_KEY"},
            "nameservers": {f"ns{n}.agora.example": ip for n, ip in enumerate(names.nameservers, 1)},
        },
        "machines": {
            "kind": "libvirt",
            "endpoint": machines.uri,
            "pool": machines.pool,
            "images": {"default": image},
            "network": {name: getattr(machines, name) for name in ("bridge", "prefix", "gateway", "nameserver")},
            "access": {"user": "root", "key": "env:MACHINES_KEY"},
            "x-folder": machines.images,
            "x-accelerator": machines.domain_type,
        },
    }
    env = {
        name: Path(file).read_text("utf-8").strip()
        for name, file in (
            ("STORE_KEY", s3.key_file),
            ("STORE_SECRET", s3.secret_file),
            ("NAMES_KEY", names.key_file),
        )
    }
    return Target(providers, {**env, "MACHINES_KEY": Path(sshd.key_file).read_text("utf-8")}, network="10.77.0.0/24")


def stage(aws: MockAws, target: Target, *, source: str) -> Stage:
    """Fold both sides into what the site definition says about providers, the move and the outside.

    ``source``: the endpoint under which rehost reaches mocked AWS.
    """
    loopback = aws.loopback
    providers = {
        "aws": {
            "kind": "aws",
            "endpoint": source,
            "regions": ["us-east-1"],
            "credentials": {"key": "env:REHEARSAL_AWS_KEY", "secret": "env:REHEARSAL_AWS_SECRET"},
            "x-machines": {"endpoint": aws.hypervisor_url, "credentials": {"key": "env:REHEARSAL_MACHINES_KEY"}},
        },
        **target.providers,
    }
    move = {
        "storage": {"from": "aws", "to": "store"},
        "dns": {"from": "aws", "to": "names"},
        "compute": {"from": "aws", "to": "machines"},
        "database": {"from": "aws", "to": "machines"},
    }
    outside = {
        "dns": {"parents": [aws.parent_dns], "hosts": {loopback.old_ip(3): aws.dns}},
        "registrar": {"kind": "registry", "endpoint": aws.registry_url},
        "old": {"addresses": [f"{loopback.old_ip(2)}/32", f"{loopback.old_ip(3)}/32", f"{loopback.old}.16/28"]},
    }
    return Stage(providers, move, outside)
