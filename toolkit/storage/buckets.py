"""The bucket itself: is it there as wanted, may it be taken away, may its name be had at the target."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from toolkit.errors import AuthError, Conflict, NotFound
from toolkit.model import Finding, Resource
from toolkit.storage.config.scene import Scene
from toolkit.storage.protocol import Driver

#: How many buckets a user may have unless the provider was asked for more.
LIMITS: Mapping[str, int] = {"aws": 10_000, "ceph": 1_000}
_NAME = re.compile(r"(?=.{3,63}$)[a-z0-9][a-z0-9-]*[a-z0-9](\.[a-z0-9][a-z0-9-]*[a-z0-9]|\.[a-z0-9])*")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


def verify(target: Driver, want: Resource) -> Iterator[Finding]:
    """Compare a bucket with what was wanted of it."""
    name = str(want.body["name"])
    if not target.ex_exists(name):
        yield Finding(want.address, "bucket", "missing", f"{name} is missing at the target", "run `rehost apply`")
        return
    have, wanted = target.ex_versioning(name), want.body["versioning"]
    if have != wanted and (have, wanted) != ("suspended", "off"):
        text = f"versioning of {name} is {have}, wanted {wanted}"
        yield Finding(want.address, "versioning", "different", text, "run `rehost apply`")


def delete_if_empty(target: Driver, name: str) -> None:
    """Delete a bucket that we made, unless somebody else's objects are in it."""
    try:
        target.delete_container(target.get_container(name))
    except (Conflict, NotFound):
        return


def judged(target: Driver | None, scene: Scene, names: set[str]) -> Iterator[tuple[str, str]]:
    """Yield (row of the verdict table, detail) for everything that keeps the new name from the target.

    ``names``: the buckets that the user has there; filled when empty. Each new one is added, so that a
    site of many buckets is counted against the limit as a whole.
    """
    name = scene.name
    if target is None:
        return
    if not _NAME.fullmatch(name) or _ADDRESS.fullmatch(name):
        yield "name-invalid", name
        return
    if not names:
        names |= {container.name for container in target.iterate_containers()}
    try:
        exists = target.ex_exists(name)
    except (AuthError, Conflict) as exc:
        yield "name-taken", f"{name}: {exc.text}"
        return
    if exists and "object-lock" in scene.config and target.ex_config(name, "object-lock") is None:
        yield "lock-too-late", name
    limit = LIMITS.get(target.kind)
    if name not in names and limit is not None and len(names) >= limit:
        yield "bucket-limit", f"it would be bucket {len(names) + 1:,}, {limit:,} are usual"
    names.add(name)
    if not exists and target.kind != "aws":
        yield "space", ""
    if "." in name and target.ex_data_plane().endpoint.startswith("https:"):
        yield "name-dots", name
