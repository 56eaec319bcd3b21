"""Run the sample site's app on the old machines, with its data, until it answers.

Enters: the site definition, its generator, the mocked AWS with its hypervisor. Leaves: running
machines. Raises ``Conflict`` when one does not become healthy or its database cannot be restored.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from toolkit.errors import Conflict
from toolkit.model import Json
from toolkit.rehearsal import net
from toolkit.rehearsal.mockaws import MockAws

_HEALTH_SECONDS = 60.0


def payload(site_dir: Path, user_data: Mapping[str, Json]) -> bytes:
    """Read a server's user-data, byte for byte."""
    return (site_dir / str(user_data["file"])).read_bytes()


def run(
    doc: Mapping[str, Json],
    generator: ModuleType,
    aws: MockAws,
    *,
    site_dir: Path,
    scale: float,
    env: Mapping[str, str],
) -> None:
    """Start every server's app on the old machines, give it its database, wait until it is healthy."""
    key = aws.store.keys["app"]
    known = {**env, "STORE_KEY": key.id, "STORE_SECRET": key.secret.reveal()}
    idents: dict[str, str] = {}
    for slug, server in (doc.get("servers") or {}).items():
        if server.get("app"):
            idents[slug] = start_machine(aws, server, known, site_dir=site_dir)
    for database in (doc.get("databases") or {}).values():
        plant_database(aws, database, idents, generator, scale=scale)
    for slug, ident in idents.items():
        wait_healthy(aws, slug, ident)


def start_machine(aws: MockAws, server: Mapping[str, Json], known: Mapping[str, str], *, site_dir: Path) -> str:
    """Define and power on one old machine; return its id. It answers at its public address."""
    spec = server["app"]
    files = {name: _encoded((site_dir / str(ref["file"])).read_bytes()) for name, ref in spec["files"].items()}
    body = {
        **{key: server[key] for key in ("name", "size", "image", "tags", "keypair", "firewalls", "disks")},
        "user_data": None,
        "addresses": {"private": [], "public": server["addresses"]["public"]},
        "app": spec,
    }
    user_data = _encoded(payload(site_dir, server["user_data"])) if server.get("user_data") else None
    request = {"name": server["name"], "body": body, "payload": {"files": files, "user_data": user_data}}
    ident = str(aws.machines("servers", request)["id"])
    aws.machines(f"servers/{ident}/start", {"env": resolve(spec.get("env") or {}, known)})
    return ident


def resolve(env: Mapping[str, Json], known: Mapping[str, str]) -> dict[str, str]:
    """Replace ``env:NAME`` by what ``known`` holds; other values stand as they are."""
    found: dict[str, str] = {}
    for name, value in env.items():
        text = str(value)
        if text.startswith("env:"):
            if text[4:] not in known:
                raise Conflict(f"the app's {name} refers to {text}, which is not set", f"export {text[4:]}")
            text = known[text[4:]]
        found[name] = text
    return found


def plant_database(
    aws: MockAws, database: Mapping[str, Json], idents: Mapping[str, str], generator: ModuleType, *, scale: float
) -> None:
    """Generate the app's data and restore it on its machine, the way the app itself restores."""
    ident = idents[str(database["at"]).rpartition("/")[2]]
    with tempfile.TemporaryDirectory(prefix="rehost-seed-") as folder:
        path = Path(folder) / "database"
        generator.database(path, scale)
        body = {"argv": database["restore"], "stdin": _encoded(path.read_bytes()), "timeout": 300}
    done = aws.machines(f"servers/{ident}/exec", body)
    if done["rc"] != 0:
        text = base64.b64decode(done["err"]).decode(errors="replace")
        raise Conflict(
            f"the seed's database could not be restored: {text[-500:]}", "run the seed's generate.py by hand"
        )


def wait_healthy(aws: MockAws, slug: str, ident: str) -> None:
    """Wait until a machine's app answers; its console is in the error if it does not."""

    def healthy() -> bool:
        return aws.machines(f"servers/{ident}/health")["ok"] in (True, None)

    try:
        net.wait_ready(healthy, f"server {slug} of the old side", seconds=_HEALTH_SECONDS)
    except Exception as exc:
        console = str(aws.machines(f"servers/{ident}/console")["console"])[-1500:]
        raise Conflict(f"server {slug} of the old side is not healthy:\n{console}", "look at its console") from exc


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
