"""What travels in an S3 request: chunk framing, digests that must match, metadata beyond ASCII.

Enters: headers and the raw body. Leaves: the payload. Raises :class:`S3Failure` for a body that is not
what its headers say; moto stores such a body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping

from toolkit.rehearsal.mockaws_s3_list import S3Failure

_CHECKSUMS: Mapping[str, Callable[[bytes], bytes]] = {
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
}
_SHA256 = re.compile("[0-9a-f]{64}")


def encode_metadata(value: str) -> str:
    """Return a metadata value as S3 sends it: RFC 2047 when it is not plain ASCII.

    ``value`` is the WSGI spelling: one character per byte received.
    """
    if value.isascii():
        return value
    raw = value.encode("latin-1", "replace")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        raw = value.encode("utf-8")
    return f"=?UTF-8?B?{base64.b64encode(raw).decode()}?="


def decode_body(headers: Mapping[str, str], raw: bytes) -> tuple[bytes, dict[str, str]]:
    """Undo ``aws-chunked`` framing; return the payload and the trailing headers."""
    if not (headers.get("x-amz-content-sha256") or "").startswith("STREAMING-"):
        return raw, {}
    payload, place = bytearray(), 0
    while True:
        end = raw.find(b"\r\n", place)
        if end < 0:
            raise S3Failure(400, "IncompleteBody", "The request body ended before its last chunk")
        try:
            size = int(raw[place:end].split(b";", 1)[0], 16)
        except ValueError as exc:
            raise S3Failure(400, "InvalidRequest", "A chunk of the body has no size") from exc
        place = end + 2
        if size == 0:
            break
        payload += raw[place : place + size]
        place += size + 2
    lines = [line.split(b":", 1) for line in raw[place:].split(b"\r\n") if b":" in line]
    trailer = {name.decode("latin-1").strip().lower(): value.decode("latin-1").strip() for name, value in lines}
    expected = headers.get("x-amz-decoded-content-length")
    if expected is not None and int(expected) != len(payload):
        raise S3Failure(400, "IncompleteBody", "The payload is not as long as x-amz-decoded-content-length says")
    return bytes(payload), trailer


def check_digests(headers: Mapping[str, str], body: bytes, trailer: Mapping[str, str]) -> None:
    """Refuse a body that is not what its headers say: Content-MD5, content-sha256, checksums."""
    given = headers.get("Content-MD5")
    if given is not None:
        try:
            wanted = base64.b64decode(given, validate=True)
        except binascii.Error:
            wanted = b""
        if len(wanted) != 16:
            raise S3Failure(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        if wanted != hashlib.md5(body, usedforsecurity=False).digest():
            raise S3Failure(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    sha = headers.get("x-amz-content-sha256") or ""
    if _SHA256.fullmatch(sha) and sha != hashlib.sha256(body).hexdigest():
        raise S3Failure(
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    for name, digest in _CHECKSUMS.items():
        claimed = headers.get(name) or trailer.get(name)
        if claimed and base64.b64encode(digest(body)).decode() != claimed:
            raise S3Failure(400, "BadDigest", f"The {name[15:].upper()} you specified did not match what we received.")
