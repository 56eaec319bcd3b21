"""Say what a compute resource must look like at the target.

Enters: a resource in the words of the source, the target's sizes and images, planned addresses. Leaves:
bodies in the words of the target. Raises :class:`Unsupported` for a size the target does not sell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from toolkit.compute.model import Size, slug_of
from toolkit.errors import Unsupported
from toolkit.model import Endpoint, Json, Resource

_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def server_body(
    resource: Resource, *, address: str | None, sizes: Sequence[Size], images: Sequence[str]
) -> dict[str, Json]:
    """Return the target's body of one server; ``address=None`` leaves addresses to the provider."""
    body = resource.body
    data = body.get("user_data")
    app = body.get("app")
    return {
        "name": target_name(resource),
        "size": size_for(body["size"], sizes),
        "image": {"name": image_for(str(body["image"]["name"]), images)},
        "user_data": {"sha256": data["sha256"]} if data and data["sha256"] != _EMPTY else None,
        "keypair": body.get("keypair"),
        "firewalls": list(body.get("firewalls") or ()),
        "disks": [dict(disk) for disk in body.get("disks") or ()],
        "addresses": {"private": [address] if address else [], "public": []},
        "tags": dict(body.get("tags") or {}),
        "app": None if app is None else app_body(app),
    }


def app_body(app: Mapping[str, Any]) -> dict[str, Json]:
    """Return the app with its files named by digest alone."""
    files = {name: {"sha256": entry["sha256"]} for name, entry in (app.get("files") or {}).items()}
    return {**app, "files": files, "env": dict(app.get("env") or {})}


def target_name(resource: Resource) -> str:
    """Return the name at the target: what a person chose, else the old one, made unique where it was not."""
    chosen = (resource.facts.get("to") or {}).get("name")
    if chosen:
        return str(chosen)
    slug = slug_of(resource.address)
    return slug.replace("~", "-") if "~" in slug else str(resource.body["name"])


def size_for(size: Mapping[str, Any], sizes: Sequence[Size]) -> dict[str, Json]:
    """Return vCPUs, memory and architecture, with the smallest fitting name where sizes have names.

    Raises:
        Unsupported: nothing on sale is large enough.
    """
    plain: dict[str, Json] = {"vcpus": size["vcpus"], "memory_mib": size["memory_mib"], "arch": size.get("arch")}
    if not sizes:
        return plain
    same = [item for item in sizes if item.name == size.get("name")]
    fits = same or [
        item
        for item in sizes
        if item.vcpus >= size["vcpus"]
        and item.memory_mib >= size["memory_mib"]
        and item.arch == (size.get("arch") or "x86_64")
    ]
    if not fits:
        raise Unsupported(
            f"the target sells nothing with {size['vcpus']} vCPU, {size['memory_mib']} MiB, {size.get('arch')}",
            "choose another target, or correct the size in site.yaml",
        )
    best = fits[0]
    return {"name": best.name, "vcpus": best.vcpus, "memory_mib": best.memory_mib, "arch": best.arch}


def image_for(name: str, images: Sequence[str]) -> str:
    """Return the target's image: one of the same name, else its ``default``, else its first."""
    if not images or name in images:
        return name
    return "default" if "default" in images else images[0]


def firewall_body(resource: Resource) -> dict[str, Json]:
    body = resource.body
    return {
        "name": target_name(resource),
        "description": body.get("description") or "",
        "rules": [dict(rule) for rule in body.get("rules") or ()],
    }


def keypair_body(resource: Resource) -> dict[str, Json]:
    body = resource.body
    return {"name": target_name(resource), "type": body["type"], "public_key": body["public_key"]}


def server_endpoints(resource: Resource, new: str) -> Iterator[Endpoint]:
    """Tie every old address and name of a server to its new address."""
    addresses: Mapping[str, Any] = resource.body.get("addresses") or {}
    for old in (*addresses.get("private", ()), *addresses.get("public", ())):
        kind: Literal["ipv4", "ipv6"] = "ipv6" if ":" in old else "ipv4"
        if kind == ("ipv6" if ":" in new and not new.startswith("@{") else "ipv4"):
            yield Endpoint(resource.address, kind, old, (new,))
    extras: Mapping[str, Any] = resource.facts.get("x-aws") or {}
    for key in ("private_dns", "public_dns"):
        if extras.get(key):
            yield Endpoint(resource.address, "hostname", str(extras[key]), (new,))


def balancer_endpoint(resource: Resource, new: Sequence[str]) -> Iterator[Endpoint]:
    """Tie a load balancer's name to the addresses of its servers; there is none at the target."""
    extras: Mapping[str, Any] = resource.facts.get("x-aws") or {}
    name = resource.facts.get("dns_name") or extras.get("dns_name")
    if name and new:
        yield Endpoint(resource.address, "hostname", str(name), tuple(new))
