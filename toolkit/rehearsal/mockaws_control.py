"""The control interface of the mocks (``/_rehost/...``): cut off, count, break, seed, reset.

Enters: method, path, JSON body; the server has already checked the token. Leaves: JSON. Raises
nothing: mistakes become 4xx answers with ``{"error": text}``.

    GET  /_rehost/health                     GET  /_rehost/counts
    POST /_rehost/cutoff {dns: true}         POST /_rehost/restore
    POST /_rehost/phase {phase}              (every call logged from then on carries it)
    GET  /_rehost/calls?service=&class=&operation=&bucket=&status=&after_cutoff=&since=&until=&limit=
    GET  /_rehost/digest                     POST /_rehost/reset
    GET|PUT /_rehost/faults [rules]          POST /_rehost/bulk {...}
    POST /_rehost/public-ip {instance, ip}   POST /_rehost/health-checks {failing: [id]}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

from toolkit.errors import RehostError
from toolkit.model import Json, canonical, sha256_hex
from toolkit.rehearsal import faults
from toolkit.rehearsal.mockaws_errors import Answer
from toolkit.rehearsal.mockaws_server import Mock

Route = Callable[[Mock, dict[str, str], Json], Json]
Extra = Mapping[str, Route]
_LIMIT = 10_000


def _health(mock: Mock, _query: dict[str, str], _body: Json) -> Json:
    return {"ok": True, "cut_off": mock.cut_off}


def _cutoff(mock: Mock, _query: dict[str, str], body: Json) -> Json:
    mock.cut_off = True
    mock.dns_off = bool((body or {}).get("dns", True))
    return {"cut_off": True, "dns_off": mock.dns_off}


def _restore(mock: Mock, _query: dict[str, str], _body: Json) -> Json:
    mock.cut_off = mock.dns_off = False
    return {"cut_off": False}


def _health_checks(mock: Mock, _query: dict[str, str], body: Json) -> Json:
    mock.unhealthy = {str(ident) for ident in body["failing"]}
    return {"failing": sorted(mock.unhealthy)}


def _phase(mock: Mock, _query: dict[str, str], body: Json) -> Json:
    mock.phase = str(body["phase"])
    return {"phase": mock.phase}


def _calls(mock: Mock, query: dict[str, str], _body: Json) -> Json:
    limit = int(query.get("limit", _LIMIT))
    rows = mock.log.rows(query)
    shown = list(islice(rows, limit))
    return {"total": len(shown) + sum(1 for _ in rows), "calls": shown}


def _counts(mock: Mock, _query: dict[str, str], _body: Json) -> Json:
    return dict(mock.log.counts)


def _faults(mock: Mock, _query: dict[str, str], body: Json) -> Json:
    if body is not None:
        mock.rules = faults.Rules(faults.parse(body))
    return {
        "rules": len(mock.rules.faults),
        "struck": [mock.rules.struck.get(n, 0) for n in range(len(mock.rules.faults))],
    }


def _digest(_mock: Mock, _query: dict[str, str], _body: Json) -> Json:
    return s3_digest()


def s3_digest() -> dict[str, Json]:
    """Digest every bucket: settings, keys, versions in order, ETags, sizes, times, metadata, tags."""
    from moto.s3.models import s3_backends

    buckets: dict[str, Json] = {}
    for _, _, backend in list(s3_backends.iter_backends()):
        for name, bucket in sorted(backend.buckets.items()):
            lines = hashlib.sha256(
                canonical([name, bucket.versioning_status, str(bucket.policy), len(bucket.multiparts)])
            )
            versions = size = 0
            for key in bucket.keys.order():
                for version in bucket.keys.getlist(key):
                    versions += 1
                    size += getattr(version, "contentsize", 0)
                    lines.update(canonical(_version_row(backend, key, version)))
            buckets[name] = {"digest": lines.hexdigest(), "versions": versions, "bytes": size}
    return {"digest": sha256_hex(canonical(buckets)), "buckets": buckets}


def _version_row(backend: Any, key: str, version: Any) -> list[Json]:
    row: list[Json] = [key, version.version_id, version.last_modified.isoformat()]
    if hasattr(version, "contentsize"):
        tags = backend.tagger.get_tag_dict_for_resource(version.arn)
        row += [
            version.etag,
            version.size,
            sorted(version.metadata.items()),
            sorted(tags.items()),
            version.storage_class,
        ]
    return row


ROUTES: Mapping[str, Route] = {
    "health": _health,
    "cutoff": _cutoff,
    "restore": _restore,
    "phase": _phase,
    "health-checks": _health_checks,
    "calls": _calls,
    "counts": _counts,
    "faults": _faults,
    "digest": _digest,
}


def control(mock: Mock, extra: Extra) -> Callable[[str, str, bytes], Awaitable[Answer]]:
    """Return the coroutine function that answers control requests."""
    routes = {**ROUTES, **extra}

    async def answer(method: str, uri: str, body: bytes) -> Answer:
        path, _, query = uri.partition("?")
        route = routes.get(path.removeprefix("/_rehost/"))
        if route is None:
            return _json(404, {"error": f"no such control call; there are {', '.join(sorted(routes))}"})
        try:
            return _json(200, route(mock, dict(parse_qsl(query)), json.loads(body) if body else None))
        except RehostError as exc:
            return _json(400, {"error": f"{method} {path}: {exc.text}; {exc.remedy}"})
        except (ValueError, KeyError, TypeError, LookupError) as exc:
            return _json(400, {"error": f"{method} {path}: {type(exc).__name__}: {exc}"})

    return answer


def _json(status: int, value: Json) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(value).encode())
