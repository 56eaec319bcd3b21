"""Check servers: is each there as defined, does it answer, does it still hang on the old side?

Enters: desired and existing resources, environments, an :class:`OldSide`. Leaves: findings and tallies;
a difference is data, never an exception.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from toolkit.compute.model import DEFINED, KINDS, RUNNING, differences
from toolkit.families import OldSide
from toolkit.model import Finding, Json, Resource, State, Tally
from toolkit.secrets import Secret
from toolkit.traces import traces, within

_HEALTH_SECONDS = 10.0
_BOUND = 1000


def health(server: Resource, *, timeout: float = 5.0) -> str:
    """Ask a server's health path once; return why it is not well, or an empty string."""
    app: Mapping[str, Any] = server.body.get("app") or {}
    addresses: Mapping[str, Any] = server.body.get("addresses") or {}
    found = [*addresses.get("private", ()), *addresses.get("public", ())]
    if not app.get("health") or not found:
        return ""
    host = f"[{found[0]}]" if ":" in found[0] else found[0]
    url = f"http://{host}:{app.get('port') or 8080}{app['health']}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout) as answer:
            return "" if answer.status == 200 else f"{url} answers {answer.status}"
    except urllib.error.HTTPError as exc:
        return f"{url} answers {exc.code}"
    except (OSError, ValueError) as exc:
        return f"{url}: {exc}"


def verify(want: Resource, have: Resource | None, *, runs_apps: bool) -> Iterator[Finding | Tally]:
    """Yield what is wrong with one resource, and the tally of a server."""
    kind = next(k for k in KINDS if k == want.address.split("/")[1])
    errors = list(_wrong(want, have, kind, runs_apps=runs_apps))
    yield from errors
    if kind == "server":
        yield Tally(want.address, 1, 0 if any(finding.severity == "error" for finding in errors) else 1)


def _wrong(want: Resource, have: Resource | None, kind: Any, *, runs_apps: bool) -> Iterator[Finding]:
    where, name = want.address, want.body["name"]
    if have is None:
        yield Finding(where, kind, "missing", f"the target has no {kind} {name}", "run `rehost apply`")
        return
    for field in differences(kind, want.body, have.body):
        yield Finding(
            where,
            field,
            "different",
            f"{field} of {kind} {name} at the target is not as planned",
            "run `rehost plan` and look at the change",
            evidence={"desired": _shown(want.body.get(field)), "existing": _shown(have.body.get(field))},
        )
    if kind != "server":
        return
    state = have.facts.get("state")
    if state == DEFINED:
        text = f"{name} is defined, not run: it has no app, and user-data is never run here"
        remedy = "give it an `app` in site.yaml, or rehearse it with --target lab"
        yield Finding(where, "run", "unproven", text, remedy, "warning")
    elif state != RUNNING:
        text = f"{name} is {state}, not running"
        yield Finding(where, "run", "different", text, "look at its console, then run `rehost apply`")
    elif runs_apps and (why := _unwell(have, want)):
        text = f"{name} runs but does not answer: {why}"
        yield Finding(where, "health", "unreachable", text, "look at its console and its app")


def _unwell(have: Resource, want: Resource) -> str:
    """Ask for a while, because an app that has just been started may need a moment."""
    probed = Resource(have.address, {**have.body, "app": want.body.get("app")})
    deadline = time.monotonic() + _HEALTH_SECONDS
    while (why := health(probed)) and time.monotonic() < deadline:
        time.sleep(0.25)
    return why


def _shown(value: Json) -> Json:
    """Keep evidence small, and the app's environment out of it."""
    if isinstance(value, Mapping) and "env" in value:
        return {**value, "env": sorted(value["env"])}
    return value


def dependence(
    want: Resource, env: Mapping[str, Secret], files: Mapping[str, bytes], user_data: bytes | None, old: OldSide
) -> Iterator[Finding | Tally]:
    """Yield where one server's definition names the old side; values are never repeated, only the trace."""
    app: Mapping[str, Any] = want.body.get("app") or {}
    texts: dict[str, str | bytes] = {f"env/{name}": secret.reveal() for name, secret in env.items()}
    texts |= {f"env/{n}": str(value) for n, value in (app.get("env") or {}).items() if n not in env}
    texts |= {f"file/{name}": data for name, data in files.items()}
    texts["argv"] = " ".join(app.get("argv") or ())
    clean = 0
    for feature, text in texts.items():
        found = list(traces(text, old))[:20]
        clean += not found
        if found:
            yield Finding(
                want.address,
                feature,
                "dependent",
                f"{feature} of {want.body['name']} names {', '.join(found)}, which belongs to the old side",
                "change it in site.yaml and apply again",
                evidence={"traces": list(found)},
            )
    if user_data:
        texts["user-data"] = user_data
        found = list(traces(user_data, old))[:20]
        clean += not found
        if found:
            yield Finding(
                want.address,
                "user-data",
                "dependent",
                f"user-data of {want.body['name']} names {', '.join(found)}; it is carried as it is, never altered",
                "change it where it is written, if it still matters after the first boot",
                "warning",
                {"traces": list(found)},
            )
    yield Tally(want.address, len(texts), clean)


def refused(desired: State, refusals: Iterable[Mapping[str, Any]], old: OldSide) -> Iterator[Finding]:
    """Yield the connections that guests tried: to the old side is a dependence, elsewhere worth a look."""
    names = {r.body["name"]: where for where, r in desired.items() if where.split("/")[1] == "server"}
    counts: dict[tuple[str, str, str], int] = {}
    for entry in refusals:
        key = (str(entry.get("server")), str(entry.get("host")), str(entry.get("port")))
        counts[key] = counts.get(key, 0) + 1
    for (server, host, port), count in sorted(counts.items())[:_BOUND]:
        theirs = within(host, old)
        yield Finding(
            names.get(server, f"compute/server/{server}"),
            f"connection/{host}:{port}",
            "dependent" if theirs else "refused",
            f"{server} tried to reach {host}:{port} {count} times and was refused"
            + (": that is the old side" if theirs else ""),
            "find the call in the app and point it at the new side",
            "error" if theirs else "warning",
            {"count": count},
        )
    if len(counts) > _BOUND:
        yield Finding("compute/server", "connections", "refused", f"{len(counts) - _BOUND} more refused connections")
