"""Addresses of the copy changes of one bucket, and the versioning state under which each writes."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.errors import Unsupported
from toolkit.model import Change, Resource, split
from toolkit.storage.model import ROUNDS, Round
from toolkit.storage.protocol import Versioning

BUCKET = "storage/bucket/"
OBJECTS = "storage/objects/"
BACK = "storage/back/"
STATE: Mapping[Round, Versioning] = {
    "null-first": "suspended",
    "main": "enabled",
    "null-last": "suspended",
    "after-null": "enabled",
}


def tail(addr: str) -> str:
    """Return the slug as it stands in the address (escaped)."""
    return addr.split("/")[2]


def slug(addr: str) -> str:
    """Return the slug as it may stand in a file name."""
    return split(addr)[2].replace("/", "%2F")


def round_of(addr: str) -> Round:
    """Return the round that a copy change writes."""
    parts = addr.split("/")
    return next((lane for lane in ROUNDS if len(parts) > 3 and lane == parts[3]), "main")


def lane_address(addr: str, lane: Round) -> str:
    """Return the address of the copy change of one round."""
    base = OBJECTS + tail(addr)
    return base if lane == "main" else f"{base}/{lane}"


def back_address(addr: str, lane: Round) -> str:
    """Return the address of the change that brings one round back to the source."""
    return BACK + lane_address(addr, lane).removeprefix(OBJECTS)


def after(change: Change) -> Resource:
    """Return what a change is to bring about."""
    if change.after is None:
        raise Unsupported(f"{change.id}: storage never deletes a resource", "remove it by hand if it should go")
    return change.after
