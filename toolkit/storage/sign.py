"""AWS Signature Version 4 for S3, thirty lines of it, with keys signed byte for byte.

Enters: method, host, the path and query exactly as they go on the wire. Leaves: the headers to
send. S3 signs the path as it is: no dot segment is removed, no slash merged, nothing encoded twice.
The body is not signed (``UNSIGNED-PAYLOAD``): its integrity is checked by digests end to end.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, quote_from_bytes

UNSIGNED = "UNSIGNED-PAYLOAD"
#: What a signature folds: blanks of ASCII alone. Other spaces (U+3000 in a user's metadata) are text.
_BLANKS = re.compile(r"[ \t]+")


class Keys(NamedTuple):
    """Revealed credentials; lives only between a call of the provider and the signature."""

    access: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return "***"


class Signer:
    """Signs requests for one region. ``keys`` is asked at each request, so that it can renew them."""

    def __init__(
        self, keys: Callable[[], Keys], region: str, *, service: str = "s3", clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._service = service
        self._clock = clock
        self._derived: tuple[str, str, bytes] = ("", "", b"")
        self.region = region

    def headers(self, method: str, host: str, path: str, query: str, extra: Mapping[str, str]) -> dict[str, str]:
        """Return ``extra`` plus the headers that make the request authentic."""
        keys = self._keys()
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        day = moment[:8]
        headers = {**extra, "Host": host, "x-amz-date": moment, "x-amz-content-sha256": UNSIGNED}
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        signed = sorted(
            (name.lower(), _BLANKS.sub(" ", value).strip(" "))
            for name, value in headers.items()
            if name.lower().startswith("x-amz-") or name.lower() in ("host", "content-md5")
        )
        names = ";".join(name for name, _ in signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed)
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{UNSIGNED}".encode("utf-8", "surrogateescape")
        scope = f"{day}/{self.region}/{self._service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request).hexdigest()}"
        signature = hmac.new(self._key(keys.secret, day), text.encode(), hashlib.sha256).hexdigest()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope},SignedHeaders={names},Signature={signature}"
        )
        return headers

    def presigned(self, method: str, host: str, path: str, *, seconds: int = 300) -> str:
        """Return the query that lets anybody send this one request, without headers, for some time."""
        keys = self._keys()
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        scope = f"{moment[:8]}/{self.region}/{self._service}/aws4_request"
        pairs = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", f"{keys.access}/{scope}"),
            ("X-Amz-Date", moment),
            ("X-Amz-Expires", str(seconds)),
            ("X-Amz-SignedHeaders", "host"),
            *([("X-Amz-Security-Token", keys.token)] if keys.token else []),
        ]
        query = query_of(pairs)
        request = f"{method}\n{path}\n{query}\nhost:{host}\n\nhost\n{UNSIGNED}".encode("utf-8", "surrogateescape")
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request).hexdigest()}"
        signature = hmac.new(self._key(keys.secret, moment[:8]), text.encode(), hashlib.sha256).hexdigest()
        return f"{query}&X-Amz-Signature={signature}"

    def _key(self, secret: str, day: str) -> bytes:
        # The derived key is good for one day: four HMACs fewer per request.
        if self._derived[:2] != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self.region, self._service, "aws4_request"):
                key = hmac.new(key, part.encode(), hashlib.sha256).digest()
            self._derived = (secret, day, key)
        return self._derived[2]


def path_of(key: bytes) -> str:
    """Return the key as the path on the wire: every byte that is not unreserved is escaped."""
    return quote_from_bytes(key, safe="/~")


def query_of(pairs: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the one query string that is both canonical for the signature and sent."""
    encoded = (
        (
            quote(name, safe="~"),
            quote_from_bytes(value, safe="~") if isinstance(value, bytes) else quote(value, safe="~"),
        )
        for name, value in pairs
    )
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))
