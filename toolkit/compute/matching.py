"""Find out which found thing is which resource, and say in slugs what a provider says in its own ids.

Enters: what a driver found, the wanted state. Leaves: addresses by index. Raises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from toolkit.compute.model import KINDS, Found, Kind, slugs
from toolkit.model import Json, Resource, State, address


def addresses(found: Sequence[Found], wanted: State | None) -> dict[int, str]:
    """Return the address of each found thing, by its index.

    With nothing wanted, slugs come from names. With a wanted state each address takes the thing that
    carries its mark, else the one with its id, else the first of its name; the rest has no address.
    """
    if wanted is None:
        return {index: where for kind in KINDS for index, where in _from_names(found, kind)}
    result: dict[int, str] = {}
    tests: tuple[Callable[[Found, Resource], bool], ...] = (
        lambda thing, want: thing.provenance.get("address") == want.address,
        lambda thing, want: bool(want.id) and thing.id == want.id and thing.name == want.body.get("name"),
        lambda thing, want: (
            thing.name == want.body.get("name") and thing.provenance.get("address") in (None, want.address)
        ),
    )
    for test in tests:
        for where, resource in wanted.items():
            if where in result.values():
                continue
            for index, thing in enumerate(found):
                if index not in result and thing.kind == where.split("/")[1] and test(thing, resource):
                    result[index] = where
                    break
    # what servers refer to may not be wanted itself; its mark or its name still says which slug it is
    referred: tuple[Kind, ...] = ("keypair", "firewall")
    for kind in referred:
        taken = set(result.values())
        for index, where in _from_names(found, kind):
            mark = str(found[index].provenance.get("address") or "")
            if index not in result and (mark or where) not in taken:
                result[index] = mark or where
    return result


def _from_names(found: Sequence[Found], kind: Kind) -> list[tuple[int, str]]:
    mine = [index for index, thing in enumerate(found) if thing.kind == kind]
    made = slugs(found[index].name for index in mine)
    return [(index, address("compute", kind, slug)) for index, slug in zip(mine, made, strict=True)]


def in_slugs(kind: Kind, body: Mapping[str, Any], by_id: Mapping[str, str]) -> dict[str, Json]:
    """Return ``body`` with native ids replaced by slugs; an id that nobody knows stays, to be judged."""
    result = dict(body)
    if kind == "server":
        result["firewalls"] = [by_id.get(item, item) for item in body.get("firewalls") or ()]
        keypair = body.get("keypair")
        result["keypair"] = by_id.get(keypair, keypair) if keypair else None
    elif kind == "firewall":
        result["rules"] = [
            {**rule, "peers": [_peer(str(peer), by_id) for peer in rule["peers"]]} for rule in body["rules"]
        ]
    elif kind == "load_balancer":
        result["targets"] = sorted(by_id.get(item, item) for item in body.get("targets") or ())
    return result


def _peer(peer: str, by_id: Mapping[str, str]) -> str:
    name = peer.removeprefix("firewall:")
    return f"firewall:{by_id.get(name, name)}" if name != peer else peer


def kind_of(where: str) -> Kind:
    """Return the kind in an address."""
    return next(kind for kind in KINDS if kind == where.split("/")[1])


def needs_of(want: Resource) -> Iterator[str]:
    """Yield the addresses of what must be there before a server."""
    if want.body.get("keypair"):
        yield address("compute", "keypair", want.body["keypair"])
    for slug in want.body.get("firewalls") or ():
        yield address("compute", "firewall", slug)
