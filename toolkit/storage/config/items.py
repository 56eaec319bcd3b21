"""All items of a bucket in the order in which they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from toolkit.model import Json
from toolkit.storage.config import access, encryption, lifecycle, notification, plain_items, policy
from toolkit.storage.config.scene import Note, Scene, Translated

_TRANSLATE: Mapping[str, Callable[[Any, Scene], Translated | None]] = {
    "ownership": access.ownership,
    "encryption": encryption.translate,
    "public-access-block": access.public_access,
    "cors": plain_items.cors,
    "website": plain_items.website,
    "bucket-tags": plain_items.tags,
    "logging": plain_items.logging,
    "acl": access.acl,
    "accelerate": plain_items.accelerate,
    "replication": plain_items.replication,
    "policy": policy.translate,
    "notification": notification.translate,
    "object-lock": plain_items.object_lock,
    "lifecycle": lifecycle.translate,
}
#: Items that may have to be written although the source says nothing about them.
_SILENT = ("ownership", "public-access-block")
ITEMS: tuple[str, ...] = tuple(_TRANSLATE)


def translate(scene: Scene) -> Iterator[Translated]:
    """Yield every item of the source's bucket in the words of the target, in the order of writing."""
    for item, translated in _TRANSLATE.items():
        value: Json = scene.config.get(item)
        if value is None and item not in _SILENT:
            continue
        found = translated(value, scene)
        if found is not None:
            yield found


def notes(scene: Scene) -> Iterator[Note]:
    """Yield what becomes of each item and of each part that is not carried as it is."""
    for found in translate(scene):
        yield from found.notes
