"""Which headers of an object travel, and how.

Enters: the response headers of the source's GET or HEAD. Leaves: the request headers that make the
target show the same. What cannot be written as a header is a Fault, not a silent change.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.header import decode_header, make_header

from toolkit.storage.engine.faults import Fault

STANDARD = ("Content-Type", "Cache-Control", "Content-Disposition", "Content-Language", "Expires")
REDIRECT = "x-amz-website-redirect-location"
META = "x-amz-meta-"


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what travels of an object's headers; the same function reads both sides in verify."""
    found = {name: headers[name] for name in (*STANDARD, REDIRECT) if headers.get(name)}
    encoding = _encoding(headers.get("Content-Encoding", ""))
    if encoding:
        found["Content-Encoding"] = encoding
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(META):
            # Several headers of one name are one value with commas (RFC 9110).
            found[lower] = f"{found[lower]},{value}" if lower in found else value
    return found


def sendable(headers: Mapping[str, str], where: str) -> dict[str, str]:
    """Return :func:`kept` checked for bytes that cannot be sent again as they are."""
    found = kept(headers)
    for name, value in found.items():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise Fault("refused", where, f"the header {name} is not UTF-8 and cannot be sent as it is") from exc
    return found


def spelled(value: str) -> str:
    """Return a header's value with its encoded words read: AWS sends ``=?UTF-8?B?w6k=?=`` where RGW sends ``é``."""
    if "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value)))
    except (ValueError, LookupError):
        return value  # no encoded word after all


def tags(headers: Mapping[str, str]) -> int:
    """Return how many tags the object has, as the store says without being asked."""
    count = headers.get("x-amz-tagging-count", "0")
    return int(count) if count.isdigit() else 0


def digest_is_md5(headers: Mapping[str, str]) -> bool:
    """Say whether a single-part ETag of this object is the MD5 of its bytes."""
    kms = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    return not kms and "x-amz-server-side-encryption-customer-algorithm" not in headers


def _encoding(value: str) -> str:
    if "aws-chunked" not in value:
        return value
    # aws-chunked is framing of an upload that some stores keep by mistake.
    return ", ".join(word.strip() for word in value.split(",") if word.strip() and word.strip() != "aws-chunked")
