"""Signature version 4, checked: a wrong secret or a wrong clock is refused as AWS refuses it.

Enters: one request and the secrets by access key id. Leaves: ``None``, or the code of the refusal.
Older signatures (version 2, AWS3) are accepted unchecked; their key id has been looked at before.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes

_HEADER = re.compile(r"AWS4-HMAC-SHA256\s+Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]+)")
_SKEW_SECONDS = 900
_UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request says about its signature."""

    key: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str
    when: str
    payload: str
    presigned: bool
    expires: int = 0


def claim(uri: str, headers: Mapping[str, str], body: bytes) -> Signed | None:
    """Read the version 4 signature of a request; ``None`` if it has another or none."""
    found = _HEADER.match(headers.get("authorization", ""))
    if found:
        key, date, region, service = _scope(found[1])
        when = headers.get("x-amz-date") or headers.get("date", "")
        payload = headers.get("x-amz-content-sha256") or hashlib.sha256(body).hexdigest()
        return Signed(key, date, region, service, tuple(found[2].split(";")), found[3], when, payload, False)
    query = dict(parse_qsl(uri.partition("?")[2], keep_blank_values=True))
    if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
        return None
    key, date, region, service = _scope(query.get("X-Amz-Credential", ""))
    names = tuple(query.get("X-Amz-SignedHeaders", "").split(";"))
    payload = headers.get("x-amz-content-sha256") or _UNSIGNED
    when, expires = query.get("X-Amz-Date", ""), int(query.get("X-Amz-Expires", "0") or 0)
    return Signed(key, date, region, service, names, query.get("X-Amz-Signature", ""), when, payload, True, expires)


def _scope(credential: str) -> tuple[str, str, str, str]:
    parts = [*credential.split("/"), "", "", "", ""]
    return parts[0], parts[1], parts[2], parts[3]


def refusal(
    method: str, uri: str, raw_headers: Iterable[tuple[bytes, bytes]], signed: Signed, secret: str, *, now: datetime
) -> str | None:
    """Return the code of the refusal, or ``None`` when signature and clock are right."""
    try:
        when = datetime.strptime(signed.when, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return "AccessDenied"
    age = (now - when).total_seconds()
    if age < -_SKEW_SECONDS or age > (signed.expires if signed.presigned else _SKEW_SECONDS):
        return "AccessDenied" if signed.presigned else "RequestTimeTooSkewed"
    path, _, query = uri.partition("?")
    values = _values(raw_headers, signed.headers)
    for spelled in _paths(path, signed.service):
        text = b"\n".join(
            [
                method.encode(),
                spelled.encode(),
                _query(query).encode(),
                b"".join(name.encode() + b":" + values.get(name, b"") + b"\n" for name in signed.headers),
                ";".join(signed.headers).encode(),
                signed.payload.encode(),
            ]
        )
        scope = f"{signed.date}/{signed.region}/{signed.service}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{signed.when}\n{scope}\n{hashlib.sha256(text).hexdigest()}"
        key = signing_key(secret, signed.date, signed.region, signed.service)
        made = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        if hmac.compare_digest(made, signed.signature):
            return None
    return "SignatureDoesNotMatch"


def _paths(path: str, service: str) -> Sequence[str]:
    """Return the ways in which a client may have spelled the path it signed."""
    if service == "s3":
        return tuple(dict.fromkeys((path, quote(unquote_to_bytes(path), safe="/~"))))
    return tuple(dict.fromkeys((quote(path, safe="/~"), path, quote(unquote(path), safe="/~"))))


def _query(query: str) -> str:
    """Spell a query canonically, without the signature itself."""
    pairs = []
    for item in query.split("&") if query else ():
        name, _, value = item.partition("=")
        if name != "X-Amz-Signature":
            pairs.append((quote(unquote_to_bytes(name), safe="~"), quote(unquote_to_bytes(value), safe="~")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _values(raw_headers: Iterable[tuple[bytes, bytes]], names: Sequence[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for raw, value in raw_headers:
        name = raw.decode("latin-1").lower()
        if name in names:
            trimmed = b" ".join(value.split())
            found[name] = found[name] + b"," + trimmed if name in found else trimmed
    return found


@lru_cache(maxsize=64)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """Derive the signing key of one day, region and service."""
    key = b"AWS4" + secret.encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
