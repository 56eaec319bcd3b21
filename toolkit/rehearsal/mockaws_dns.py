"""DNS around the mocked AWS: the twin of its Route 53, AWS's own names, the parent and its registry.

Enters: the addresses from the process's configuration and the mock. Leaves: running name servers that
answer from moto's data in this process. Raises ``Unreachable`` when an address cannot be bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.model import Json
from toolkit.rehearsal import twin
from toolkit.rehearsal.mockaws_domains import Changed, CorrectedDomains
from toolkit.rehearsal.mockaws_server import Mock

PORT, REGISTRY_PORT = 5300, 8053
_BALANCER = re.compile(r"(?:dualstack\.)?([a-z0-9.-]+\.elb\.amazonaws\.com)")
_MACHINE = re.compile(r"ec2-(\d+)-(\d+)-(\d+)-(\d+)\.[a-z0-9.-]+\.amazonaws\.com")
_SERVICE = re.compile(
    r"(?:[a-z0-9.-]+\.)?(?:s3|ec2|route53|route53domains|elasticloadbalancing|sts|iam|acm)[a-z0-9.-]*"
)


@dataclass(frozen=True, slots=True)
class Names:
    """The name servers of the old side."""

    answering: twin.Handle
    parent: twin.Parent

    def close(self) -> None:
        self.answering.close()
        self.parent.close()


def start(mock: Mock, config: dict[str, Json]) -> Names:
    """Start twin and parent; from the cut-off on the twin serves nothing."""
    addresses = config["endpoint"], config["dns"], config["parent"]

    def zones() -> Iterable[Any]:
        return () if mock.dns_off else twin.moto_zones()

    def healthy(check: str) -> bool:
        return check not in mock.unhealthy

    answering = twin.serve([(addresses[1], PORT)], zones, elsewhere=elsewhere(mock, addresses[0]), healthy=healthy)
    parent = twin.Parent(
        [(addresses[2], PORT)],
        (addresses[2], REGISTRY_PORT),
        suffixes=config.get("suffixes", ["example"]),
        fixed=twin.aws_delegations(addresses[1]),
        ns_ttl=config.get("ns_ttl", 6),
        ds_ttl=config.get("ds_ttl", 4),
    )
    CorrectedDomains.changed = staticmethod(publish(parent))
    return Names(answering, parent)


def publish(parent: twin.Parent) -> Changed:
    """Return what carries a change at the mocked registrar into the parent's registry."""

    def changed(domain: str, servers: Sequence[str] | None, ds: Sequence[str] | None) -> None:
        before = parent.get(domain)
        if before is None and not servers:
            return  # never delegated: there is nothing to sign
        parent.put(
            domain,
            {
                "registrar": before.registrar if before else "route53domains",
                "nameservers": dict.fromkeys(servers) if servers else dict(before.nameservers) if before else {},
                "ds": list(ds) if ds is not None else list(before.ds) if before else [],
            },
        )

    return changed


def elsewhere(mock: Mock, endpoint: str) -> Callable[[str], Sequence[str]]:
    """Return what resolves AWS's own names: services, load balancers, machines."""

    def resolve(host: str) -> Sequence[str]:
        if mock.dns_off:
            return ()
        host = host.lower().rstrip(".")
        if found := _BALANCER.fullmatch(host):
            return balancer_addresses(found[1])
        if found := _MACHINE.fullmatch(host):
            return (".".join(found.groups()),)
        if _SERVICE.fullmatch(host.removesuffix(".amazonaws.com")):
            return (endpoint,)
        return ()

    return resolve


def balancer_addresses(host: str) -> list[str]:
    """Return where a load balancer is reached: the machines behind it, which answer on the same port."""
    from moto.ec2.models import ec2_backends
    from moto.elbv2.models import elbv2_backends

    found: list[str] = []
    for account, region, backend in list(elbv2_backends.iter_backends()):
        arns = [balancer.arn for balancer in list(backend.load_balancers.values()) if balancer.dns_name == host]
        instances = {one.id: one for one in ec2_backends[account][region].all_instances()} if arns else {}
        for group in list(backend.target_groups.values()):
            if set(arns) & set(group.load_balancer_arns):
                for ident in list(group.targets):
                    address = instances[ident].public_ip if ident in instances else ident
                    if address and address not in found:
                        found.append(address)
    return sorted(found)
