"""One bucket, or a part of it, copied without a site: the storage family with a narrower view.

Enters: what a :class:`~toolkit.storage.family.StorageFamily` takes, and the scope in the facts of the
bucket resource (read by ``view.of``). Leaves: the same changes and verdicts as for a whole site, about
objects alone: what is configured at the bucket is not part of a copy (:meth:`CopyFamily.left_alone`
names it). Raises the public error tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from toolkit.model import Abilities, Endpoint, Json, Resource, Verdict
from toolkit.storage import names
from toolkit.storage.family import StorageFamily
from toolkit.storage.rounds import BUCKET, OBJECTS, tail

#: Features of the objects themselves, and what keeps a bucket from being made for them. Every other verdict
#: speaks of the bucket's configuration.
OF_OBJECTS = frozenset(
    {
        *("objects", "metadata", "multipart", "tags", "versioning", "version-ids", "versions-left-behind"),
        *("storage-class", "archived", "object-acl", "object-acl-unseen", "object-lock", "lock-too-late"),
        *("name-invalid", "name-taken", "bucket-limit", "space"),
    }
)


class CopyFamily(StorageFamily):
    """The storage family bound to one copy."""

    def assess(self, resource: Resource, abilities: Abilities) -> Iterator[Verdict]:
        """Judge what the objects have; the bucket's configuration stays where it is."""
        for verdict in super().assess(resource, abilities):
            if verdict.feature in OF_OBJECTS:
                yield verdict

    def left_alone(self, resource: Resource) -> list[str]:
        """Name what is configured at the source's bucket and no part of a copy."""
        abilities = self.probe("target")
        return sorted({v.feature for v in super().assess(resource, abilities)} - OF_OBJECTS)

    def translate(self, resource: Resource, moved: Mapping[str, Endpoint]) -> Iterator[Resource]:
        """Yield the bucket with nothing but its versioning, and the objects in scope.

        A bucket that is there keeps the versioning it has, unless versions come along and it keeps none.
        """
        del moved
        if not resource.address.startswith(BUCKET):
            yield resource
            return
        target = self._to()
        name = names.new_name(resource)
        versions = resource.body["versioning"] != "off" and "versioning" in target.ex_capabilities()
        exists = target.ex_exists(name)
        have = target.ex_versioning(name) if exists else "off"
        wanted: dict[str, Json] = {"name": name, "versioning": have}
        if versions and have == "off":
            wanted["versioning"] = resource.body["versioning"]
        dress = self._dress(resource)
        if dress["locks"] and not exists:
            wanted |= {"versioning": "enabled", "object_lock": True}
        elif dress["locks"]:
            dress["locks"] = False  # a bucket that is there keeps what it is; each lock left out is noted
        facts: dict[str, Json] = {**resource.facts, "source": str(resource.body["name"])}
        yield replace(resource, body=wanted, facts=facts)
        kept: dict[str, Json] = {key: facts[key] for key in ("source", "region", "scope") if key in facts}
        kept["dress"] = dress
        body: dict[str, Json] = {"bucket": name, "versions": versions}
        yield Resource(OBJECTS + tail(resource.address), body, resource.provider, name, kept)
