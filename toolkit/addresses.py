"""Addresses that moved: every way in which an old one is written, counted and replaced in bytes.

Enters: :class:`Form` pairs (old spelling, new address). Leaves: counts, and bytes with the new addresses in the
spelling of the place (``\\/`` of JSON, ``%2F`` of a query). Does no input or output. A presigned URL is counted
and left as it is: its signature holds for the old host only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from toolkit.model import Json

_SCHEME = rb"(?P<scheme>https?(?::|%3[Aa]))?(?P<slashes>(?:/|\\/|%2[Ff]){2})"
_SIGNED = re.compile(rb"(?:X-Amz-Signature|[?&](?:amp;)?Signature)(?:=|%3[Dd])", re.IGNORECASE)
#: How far a URL goes, as far as it matters here.
_URL = re.compile(rb"[^\s\"'<>`]{0,4096}")
#: Bytes of a longer text that must be seen together: a URL, signature included.
OVERLAP = 8192


@dataclass(frozen=True, slots=True)
class Form:
    """One old spelling of one address. ``old`` and ``new`` have neither scheme nor trailing slash.

    ``kind``: ``host`` (``name.s3.amazonaws.com``), ``path`` (``s3.amazonaws.com/name``), ``website``, ``cdn``,
    ``service`` (the store itself) or ``uri`` (``s3://name``, ``arn:aws:s3:::name``: no host, said whole).
    """

    address: str
    kind: str
    old: str
    new: str
    scheme: str = "https"

    @property
    def changes(self) -> bool:
        """Say whether old and new differ at all: an ARN of a bucket that keeps its name does not."""
        return self.old != self.new

    def to_json(self) -> dict[str, Json]:
        if self.kind == "uri":
            return {"form": self.kind, "old": self.old, "new": self.new}
        return {"form": self.kind, "old": f"https://{self.old}", "new": f"{self.scheme}://{self.new}"}


@dataclass(frozen=True, slots=True)
class Replaced:
    """Bytes with new addresses, what was replaced (old spelling → times), and presigned URLs left alone."""

    data: bytes
    counts: Mapping[str, int]
    presigned: int


class Addresses:
    """All forms of a move as one pattern."""

    def __init__(self, forms: Iterable[Form]) -> None:
        self.forms = tuple(dict.fromkeys(form for form in forms if form.changes))
        self._by_old = {form.old.lower().encode(): form for form in self.forms}
        self._hosts = _compiled([form for form in self.forms if form.kind != "uri"])
        self._uris = _uris([form for form in self.forms if form.kind == "uri"])

    def replace(self, data: bytes) -> Replaced:
        """Return ``data`` with every old address replaced by its new one."""
        counts: Counter[str] = Counter()
        presigned = 0

        def new(match: re.Match[bytes]) -> bytes:
            nonlocal presigned
            form = self._by_old[_plain(match["old"]).lower()]
            if _SIGNED.search(_URL.match(data, match.end())[0]):  # type: ignore[index]
                presigned += 1
                return match[0]
            counts[form.old] += 1
            return _spelled(form, match)

        def uri(match: re.Match[bytes]) -> bytes:
            form = self._by_old[match[0].lower()]
            counts[form.old] += 1
            return form.new.encode()

        made = self._hosts.sub(new, data) if self._hosts else data
        made = self._uris.sub(uri, made) if self._uris else made
        return Replaced(made, dict(counts), presigned)

    def count(self, data: bytes) -> dict[str, int]:
        """Return how often each old spelling stands in ``data``, presigned ones under ``presigned``."""
        found = self.replace(data)
        return {**found.counts, **({"presigned": found.presigned} if found.presigned else {})}


def _slash(text: str) -> bytes:
    """Return a pattern for an address whose slashes may be spelled in three ways."""
    return rb"(?:/|\\/|%2[Ff])".join(re.escape(part.encode()) for part in text.split("/"))


def _compiled(forms: list[Form]) -> re.Pattern[bytes] | None:
    if not forms:
        return None
    longest = sorted(forms, key=lambda form: (-form.old.count("/"), -len(form.old), form.old))
    whole = b"|".join(_slash(form.old) for form in longest if form.kind != "service")
    # The service alone: with a path behind it, it is the address of some other bucket.
    bare = b"|".join(
        _slash(form.old) + rb"(?!(?::\d+)?(?:/|\\/|%2[Ff])[A-Za-z0-9])" for form in longest if form.kind == "service"
    )
    either = b"|".join(part for part in (whole, bare) if part)
    return re.compile(
        rb"(?:"
        + _SCHEME
        + rb"|(?<![A-Za-z0-9._-]))(?P<old>"
        + either
        + rb")(?P<port>:443|:80)?(?![A-Za-z0-9_-]|\.[A-Za-z0-9]|:\d)",
        re.IGNORECASE,
    )


def _uris(forms: list[Form]) -> re.Pattern[bytes] | None:
    if not forms:
        return None
    either = b"|".join(re.escape(form.old.encode()) for form in sorted(forms, key=lambda form: -len(form.old)))
    return re.compile(rb"(?<![A-Za-z0-9])(?:" + either + rb")(?![A-Za-z0-9_-]|\.[A-Za-z0-9])", re.IGNORECASE)


def _plain(old: bytes) -> bytes:
    return re.sub(rb"\\/|%2[Ff]", b"/", old)


def _spelled(form: Form, match: re.Match[bytes]) -> bytes:
    """Return the new address in the spelling of the old one: same slashes, scheme only where one stood."""
    slashes = match["slashes"] or b""
    around = slashes[: len(slashes) // 2] or (b"\\/" if b"\\/" in match["old"] else b"/")
    scheme = b""
    if match["scheme"]:
        scheme = form.scheme.encode() + match["scheme"][len(match["scheme"].rstrip(b":%3Aa")) :]
    return scheme + slashes + form.new.encode().replace(b"/", around)
