"""Names of buckets: slugs for the definition, and every host name under which a bucket was known."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from toolkit.model import Endpoint, Resource

_OTHER = re.compile(r"[^a-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Hosts:
    """What names stood for the old store, and what they become."""

    source: tuple[str, ...] = ()  # host names or addresses of the old endpoint
    target: tuple[str, ...] = ()  # addresses of the new store


def slugs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield ``(slug, name)``; a second resource of one slug gets ``~2``."""
    seen: dict[str, int] = {}
    for name in sorted(names):
        slug = _OTHER.sub("-", name.lower())
        seen[slug] = seen.get(slug, 0) + 1
        yield (slug if seen[slug] == 1 else f"{slug}~{seen[slug]}"), name


def aws_hosts(bucket: str, region: str) -> Iterator[str]:
    """Yield the host names that AWS gives a bucket, old spellings included."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    yield f"{bucket}.s3.{region}.{suffix}"
    yield f"{bucket}.s3.{suffix}"
    yield f"{bucket}.s3-{region}.{suffix}"
    yield f"{bucket}.s3.dualstack.{region}.{suffix}"
    yield f"{bucket}.s3-website-{region}.{suffix}"
    yield f"{bucket}.s3-website.{region}.{suffix}"


def aws_service_hosts(region: str) -> Iterator[str]:
    """Yield the host names of the S3 service itself."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    yield f"s3.{region}.{suffix}"
    yield f"s3.{suffix}"
    yield f"s3-{region}.{suffix}"
    yield f"s3.dualstack.{region}.{suffix}"


def endpoints(resource: Resource, hosts: tuple[str, ...], new: tuple[str, ...], *, aws: bool) -> Iterator[Endpoint]:
    """Yield every name under which a bucket, or the old service, was reached. ``hosts``: of the old endpoint."""
    bucket, region = source_name(resource), str(resource.facts.get("region") or "us-east-1")
    old: list[str] = [*aws_hosts(bucket, region), *aws_service_hosts(region)] if aws else []
    for host in hosts:
        link = as_endpoint(resource.address, host, new)
        old += [host] if link.kind != "hostname" else [host, f"{bucket}.{host}"]
    for host in dict.fromkeys(old):
        yield as_endpoint(resource.address, host, new)


def as_endpoint(address: str, old: str, new: tuple[str, ...]) -> Endpoint:
    """Return the link from one old name or address to the new ones."""
    kind: Literal["ipv4", "ipv6", "hostname"] = "hostname"
    try:
        kind = "ipv6" if ipaddress.ip_address(old).version == 6 else "ipv4"
    except ValueError:
        old = old.rstrip(".").lower()
    return Endpoint(address, kind, old, new)


def source_name(resource: Resource) -> str:
    """Return the bucket's name at the source, for a desired resource of the target."""
    return str(resource.facts.get("source") or resource.body.get("name") or resource.body.get("bucket"))


def new_name(resource: Resource) -> str:
    """Return the bucket's name at the target: ``to`` may carry another one."""
    to = resource.facts.get("to")
    if isinstance(to, dict) and to.get("name"):
        return str(to["name"])
    if isinstance(to, list | tuple) and len(to) == 2 and to[1]:
        return str(to[1])
    return str(resource.body["name"])
