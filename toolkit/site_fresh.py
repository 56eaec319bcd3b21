"""The first site.yaml: a header that teaches, and the sections in the order a person reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from toolkit.model import Json
from toolkit.site_emit import entry
from toolkit.site_yaml import Loc

ORDER: tuple[str, ...] = (
    "rehost",
    "name",
    "providers",
    "move",
    "groups",
    "buckets",
    "keypairs",
    "firewalls",
    "servers",
    "load_balancers",
    "networks",
    "databases",
    "zones",
)
_HEADER = """\
# What this site consists of, where it goes, and what proves that it works.
#
# `rehost discover` wrote this file and writes into it again: values that it observes are brought up to
# date; your own keys, comments and order stay. Any resource may carry `to:` (another provider or name),
# `wave:` (a number), `ignore:` (the reason why it stays behind) and keys that begin with `x-`.
#
# What to do next:
#   1. Add the providers to move to, and say what moves:
#        providers:
#          store: {kind: ceph, endpoint: "https://s3.example.org", credentials: {key: "env:KEY", secret: "env:SECRET"}}
#        move:
#          storage: {from: aws, to: store}
#      Secrets are references: env:NAME, file:PATH (mode 0600), keyring:SERVICE/USER or cmd:PROGRAM ARGS.
#   2. Add `journeys:`, a few requests that show that the app works. Without them nothing is proven.
#   3. Run `rehost assess`: what would change its meaning on the way?
"""
_COMMENTS: Mapping[str, str] = {
    "providers": "accounts and installations, by kind",
    "buckets": "object storage; the objects themselves are listed when they are moved",
    "keypairs": "who may log in to the servers",
    "firewalls": "what may reach what",
    "servers": "machines; `app:` says what runs on one where servers are plain processes",
    "load_balancers": "names in front of servers",
    "databases": "what must be dumped and restored",
    "zones": "names; SOA and NS of the apex belong to whoever serves the zone",
}


def forced(loc: Loc) -> bool:
    """Say which mappings are always written as blocks, however short."""
    if len(loc) == 1:
        return loc[0] not in ("objectives", "accept", "journeys", "logins")
    return loc[0] == "zones" and (len(loc) == 2 or (len(loc) == 3 and loc[2] == "records"))


def fresh(doc: Mapping[str, Json]) -> str:
    """Return the text of a new site.yaml."""
    found = [_HEADER.rstrip("\n"), ""]
    for key in [*(key for key in ORDER if key in doc), *(key for key in doc if key not in ORDER)]:
        if isinstance(doc[key], dict):
            found.append("")
            if key in _COMMENTS:
                found.append(f"# {_COMMENTS[key]}")
        found += entry(key, doc[key], 0, (key,), forced)
    return "\n".join(found) + "\n"


def site_name(path: Path) -> str:
    """Return the name of a new site: that of its folder, as a slug."""
    name = re.sub(r"[^a-z0-9._-]+", "-", path.resolve().parent.name.lower()).strip("-.")
    return name or "site"
