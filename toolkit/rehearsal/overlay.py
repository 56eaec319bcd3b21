"""Turn a sample site into the definition that a rehearsal works with.

A sample site speaks of documentation networks (198.51.100.0/24 old, 203.0.113.0/24 new) and of real
kinds of provider. A rehearsal puts its own networks and providers in their place. What discovery can
find is left out of the starting file (it is discovered from the mock, as it would be from an account);
what only people know (journeys, vendors, how each server runs the app, the database) is added after,
as people would.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from toolkit.files import write_atomic
from toolkit.model import Json
from toolkit.rehearsal.net import Loopback

OLD_NETWORK, NEW_NETWORK = "198.51.100.", "203.0.113."
#: Found by discovery, so not part of the starting definition.
DISCOVERED = ("buckets", "keypairs", "firewalls", "servers", "load_balancers", "zones")
#: Known to people alone, and in need of what discovery finds.
ADDED_AFTER = ("databases", "accept", "groups")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the providers of one rehearsal answer; credentials are references."""

    providers: Mapping[str, Json]
    move: Mapping[str, Json]
    outside: Mapping[str, Json]


def read(site_dir: Path, loopback: Loopback) -> dict[str, Json]:
    """Read the sample site with its documentation networks replaced by the rehearsal's."""
    text = (site_dir / "site.yaml").read_text("utf-8")
    text = text.replace(OLD_NETWORK, f"{loopback.old}.").replace(NEW_NETWORK, f"{loopback.new}.")
    found: dict[str, Json] = YAML(typ="safe", pure=True).load(text)
    return found


def starting(doc: Mapping[str, Json], stage: Stage, accounts: Mapping[str, Json] | None) -> dict[str, Json]:
    """The definition before discovery: providers, the move, and what people know about the whole site."""
    made = {
        key: deepcopy(value)
        for key, value in doc.items()
        if key not in (*DISCOVERED, *ADDED_AFTER, "providers", "move")
    }
    made["providers"] = deepcopy(dict(stage.providers))
    made["move"] = deepcopy(dict(stage.move))
    made["outside"] = {**(made.get("outside") or {}), **deepcopy(dict(stage.outside))}
    if accounts is not None and made.get("logins"):
        made["logins"]["accounts"] = dict(accounts)
    return made


def people_add(found: dict[str, Json], doc: Mapping[str, Json]) -> None:
    """Add to a discovered definition what only people know: how servers run the app, databases, consents."""
    for slug, server in (doc.get("servers") or {}).items():
        if slug in found.get("servers", {}):
            for key in ("app", "wave"):
                if server.get(key) is not None:
                    found["servers"][slug][key] = deepcopy(server[key])
    for key in ADDED_AFTER:
        if doc.get(key):
            found[key] = deepcopy(doc[key])


def load(path: Path) -> dict[str, Json]:
    """Load a definition with its comments."""
    found: dict[str, Json] = _yaml().load(path.read_text("utf-8"))
    return found


def dump(path: Path, doc: Mapping[str, Json]) -> None:
    """Write a definition."""
    text = io.StringIO()
    _yaml().dump(doc, text)
    write_atomic(path, text.getvalue().encode())


def _yaml() -> YAML:
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 120
    yaml.preserve_quotes = True
    return yaml
