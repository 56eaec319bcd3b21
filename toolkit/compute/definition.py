"""Put together what a driver needs to create one server: payload, keys, native ids, resolved secrets.

Enters: a desired server, the target's driver, the payload store. Leaves: a :class:`Definition`. Raises
:class:`NotFound` for a key pair or firewall that is not at the target yet, and what secrets raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolkit.blobs import Blobs
from toolkit.compute.model import ComputeDriver, Definition, Found, Kind, digest
from toolkit.errors import NotFound
from toolkit.model import Json, Resource, address, sha256_hex
from toolkit.secrets import Secret, is_reference, resolve


def define(want: Resource, driver: ComputeDriver, blobs: Blobs, *, workspace: Path, base: Path | None) -> Definition:
    """Return the definition of one server; repeated calls of one run have the same token."""
    body, app = want.body, want.body.get("app") or {}
    data = body.get("user_data")
    pair = marked(driver, "keypair", body["keypair"]) if body.get("keypair") else None
    return Definition(
        want.address,
        body,
        blobs.get(data["sha256"]) if data else None,
        files={name: blobs.get(entry["sha256"]) for name, entry in (app.get("files") or {}).items()},
        env=environment(app, base) if "app-env" in driver.ex_capabilities() else {},
        public_keys=(str(pair.body["public_key"]),) if pair else (),
        keypair=pair.name if pair else "",
        firewalls=tuple(marked(driver, "firewall", slug).id for slug in body.get("firewalls") or ()),
        # repeated calls of one run mean one server; another run may make its own
        token=sha256_hex(f"{workspace.resolve()}|{want.address}|{digest(body)}".encode())[:40],
    )


def keep_payload(found: Found, blobs: Blobs) -> dict[str, Json]:
    """Put a found server's user-data and app files into the payload store, and name them by digest.

    A driver that does not keep the app's files (a guest gets them from user-data) has none to give.
    """
    data, app = found.user_data, found.body.get("app")
    named: dict[str, Json] = {"user_data": {"sha256": blobs.put(data)} if data else None}
    if app:
        named["app"] = {**app, "files": {n: {"sha256": blobs.put(content)} for n, content in found.files.items()}}
    return named


def environment(app: Mapping[str, Any], base: Path | None) -> dict[str, Secret]:
    """Resolve the environment of an app; a plain text is treated as carefully as a secret."""
    return {
        name: resolve(value, base=base) if is_reference(value) else Secret(str(value))
        for name, value in (app.get("env") or {}).items()
    }


def marked(driver: ComputeDriver, kind: Kind, slug: str) -> Found:
    """Return what stands for a slug at the target: what carries our mark, else what has its name.

    Raises:
        NotFound: neither is there.
    """
    where = address("compute", kind, slug)
    things = [item for item in driver.ex_read(kind) if isinstance(item, Found)]
    tests: tuple[Callable[[Found], bool], ...] = (
        lambda thing: thing.provenance.get("address") == where,
        lambda thing: thing.name == slug,
    )
    for test in tests:
        found = next(filter(test, things), None)
        if found is not None:
            return found
    raise NotFound(f"the target has no {kind} {slug}", "apply it first (do not exclude it with --only/--except)")
