"""The kinds of value in a site definition: slugs, CIDRs, TTLs, durations, references, digests.

Each is a type with its check, its JSON Schema and a message for a person. A check raises
``PydanticCustomError`` with ``text`` and ``remedy``; nothing here looks beyond the one value.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from fnmatch import translate
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from toolkit.families import FAMILIES, SECTIONS
from toolkit.model import Json
from toolkit.providers import KINDS
from toolkit.secrets import HOW, SCHEMES, is_reference

SLUG = r"[a-z0-9_-][a-z0-9._-]*(~[0-9]+)?"
MAX_TTL = 2**31 - 1
_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_RECORD_KEY = re.compile(r"(?P<owner>.+?)/(?P<type>[A-Z][A-Z0-9-]*)(?:#(?P<set>.+))?")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def wrong(text: str, remedy: str) -> PydanticCustomError:
    """Return the error that carries a message and its remedy, with braces kept as they are."""
    return PydanticCustomError("rehost", "{text}", {"text": text, "remedy": remedy})


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a remedy that names the closest known word, or all of them when there are few."""
    words = sorted(known)
    lower = {each.lower(): each for each in words}
    close = get_close_matches(word.lower(), lower, 1, 0.6)
    if close:
        return f"did you mean {lower[close[0]]!r}?"
    return otherwise or (f"known: {', '.join(words)}" if words else "remove it")


def show(value: Json) -> str:
    """Return a value as a message may show it: short, on one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise wrong(f"must be text, not {noun(value)}", "put it in quotes")
    return value


def noun(value: object) -> str:
    """Name the type of a value in the words of YAML."""
    if value is None:
        return "empty"
    names: Mapping[type, str] = {bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "a mapping")


def cidr(value: str) -> str:
    """Check a network such as 10.0.0.0/16; the length must be written and no host bit be set."""
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError as exc:
        raise wrong(f"{show(value)} is no CIDR", "write it like 10.0.0.0/16 or 2001:db8::/32") from exc
    first, slash, length = value.partition("/")
    if not slash or not length.isdigit():
        raise wrong(f"{show(value)} is no CIDR: its length is missing", f"did you mean {str(network)!r}?")
    if ipaddress.ip_address(first) != network.network_address:
        raise wrong(f"{show(value)} is no CIDR: it has host bits set", f"did you mean {str(network)!r}?")
    return value


def _peer(value: str) -> str:
    if value.startswith("firewall:"):
        return value
    return cidr(value)


def ip(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError as exc:
        raise wrong(f"{show(value)} is no IP address", "write it like 192.0.2.7 or 2001:db8::7") from exc
    return value


def _protocol(value: object) -> object:
    if isinstance(value, str) and value in ("tcp", "udp", "icmp", "icmpv6", "all"):
        return value
    number = value if isinstance(value, int) else int(value) if isinstance(value, str) and value.isdigit() else -1
    if isinstance(value, bool) or not 0 <= number <= 255:
        raise wrong(f"{show(value)} is no protocol", "use tcp, udp, icmp, icmpv6, all or a number from 0 to 255")
    return value


def _ttl(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(f"TTL {show(value)} is not a whole number of seconds", "write it like 300")
    if not 0 <= value <= MAX_TTL:
        raise wrong(f"TTL {value} is out of range", f"use 0 to {MAX_TTL} seconds; 300 is usual")
    return value


def _reference(value: object) -> object:
    # The value may be the secret itself: messages never repeat it.
    if not is_reference(value):
        raise wrong("a literal stands where a reference to a secret must stand", HOW)
    return value


def _sink(value: object) -> object:
    # What stands here by mistake may be the key itself: messages never repeat it.
    scheme, colon, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
    if scheme not in ("file", "cmd") or not colon or not rest.strip():
        raise wrong(
            "this is no place that new keys could go to", "use file:PATH (written with mode 0600) or cmd:PROGRAM ARGS"
        )
    return value


def _credentials(value: str) -> str:
    if value == "aws-default" or (value.startswith("aws-profile:") and value != "aws-profile:"):
        return value
    raise wrong(
        "credentials are neither references nor a profile", "use aws-default, aws-profile:NAME or {key, secret}"
    )


def _kind(value: str) -> str:
    if value not in KINDS:
        raise wrong(f"unknown provider kind {show(value)}", did_you_mean(value, KINDS))
    return value


def _endpoint(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as exc:
        raise wrong(f"endpoint {show(value)} is no URL", "write it like https://s3.example.org") from exc
    if "://" not in value or not parts.scheme:
        raise wrong(f"endpoint {show(value)} is no URL", f"did you mean 'https://{value}'?")
    if parts.password is not None:
        raise wrong("the endpoint holds a password", f"move it to credentials: {HOW}")
    if parts.scheme in ("http", "https") and not parts.hostname:
        raise wrong(f"endpoint {show(value)} names no host", "write it like https://s3.example.org")
    return value


def _url(value: str) -> str:
    if not re.match(r"https?://[^/?#\s]+", value):
        raise wrong(f"{show(value)} is no absolute URL", "write it like https://www.example.org/path")
    return value


def _method(value: str) -> str:
    if value not in _METHODS:
        raise wrong(
            f"{show(value)} is no HTTP method", did_you_mean(value.upper(), _METHODS, f"use {', '.join(_METHODS)}")
        )
    return value


def duration(text: str) -> datetime.timedelta:
    """Parse ``29h``, ``15m``, ``2d12h``; raises ``ValueError`` for anything else."""
    match = _DURATION.fullmatch(text)
    if not text or not match:
        raise ValueError(text)
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return datetime.timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def _duration(value: object) -> object:
    try:
        duration(_text(value))
    except (ValueError, OverflowError) as exc:
        raise wrong(f"{show(value)} is no duration", "write it like 15m, 29h or 2d12h") from exc
    return value


def _share(value: str) -> str:
    if not re.fullmatch(r"(100|[0-9]{1,2})%", value):
        raise wrong(f"{show(value)} is no share", "write it like 10%")
    return value


def moment(text: str) -> datetime.date:
    """Parse an ISO date (or the date of an ISO timestamp); raises ``ValueError`` for anything else."""
    return (
        datetime.date.fromisoformat(text[:10])
        if len(text) > 10 and text[10] in "T "
        else datetime.date.fromisoformat(text)
    )


def _date(value: object) -> object:
    try:
        moment(_text(value))
    except ValueError as exc:
        raise wrong(f"{show(value)} is no date", "write it like 2031-12-31") from exc
    return value


def is_glob(text: str) -> bool:
    return any(c in text for c in "*?[")


def address_trouble(pattern: str) -> tuple[str, str] | None:
    """Say what is wrong with an address pattern such as ``dns/rrset/agora/*``, as (what, remedy)."""
    family, slash, rest = pattern.partition("/")
    if not pattern or any(c.isspace() for c in pattern):
        return f"bad address {show(pattern)}", "write it like storage/bucket/media"
    try:
        re.compile(translate(pattern))
    except re.error:
        return f"bad address {show(pattern)}: its globs cannot be read", "write * or ?, or escape [ as %5B"
    if not is_glob(family) and family not in FAMILIES:
        if family in SECTIONS:
            family_kind = "/".join(SECTIONS[family])
            return f"bad address {show(pattern)}", f"did you mean {f'{family_kind}/{rest}'!r}?"
        return f"bad address {show(pattern)}: no family is called {family!r}", did_you_mean(family, FAMILIES)
    if not is_glob(pattern) and (not slash or not rest or "//" in pattern or rest.endswith("/")):
        return f"bad address {show(pattern)}", "write family/kind/slug, like storage/bucket/media"
    return None


def record_key(key: str) -> tuple[str, str, str] | None:
    """Split ``www/A#blue`` into owner, type and set id; ``None`` if it is no record key."""
    match = _RECORD_KEY.fullmatch(key)
    if not match:
        return None
    return match["owner"], match["type"], match["set"] or ""


def _record_key(value: str) -> str:
    if record_key(value) is None:
        raise wrong(f"{show(value)} is no record key", "write owner/TYPE, like www/A, @/MX or www/A#blue")
    return value


def _slug(value: str) -> str:
    if not re.fullmatch(SLUG, value):
        fixed = re.sub(r"[^a-z0-9._-]+", "-", value.lower()).strip(".-") or "web-1"
        raise wrong(f"bad slug {show(value)}: only a-z, 0-9, dot, dash and underscore", f"did you mean {fixed!r}?")
    return value


def _digest(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise wrong(f"{show(value)} is no SHA-256", "write 64 hex digits in lower case, as sha256sum prints them")
    return value


def _words(value: object, check: Callable[[str], str]) -> str:
    return check(_text(value))


def _checked(check: Callable[[str], str], **schema: Any) -> Any:
    return Annotated[
        str, BeforeValidator(lambda value: _words(value, check)), WithJsonSchema({"type": "string", **schema})
    ]


def _version(value: object) -> object:
    if type(value) is not int or value != 1:
        raise wrong(f"must be the number 1, not {show(value)}", "write `rehost: 1`; other formats are not known here")
    return value


Version = Annotated[Any, BeforeValidator(_version), WithJsonSchema({"const": 1})]
Text = Annotated[str, Field(min_length=1)]
Slug = _checked(_slug, pattern=f"^{SLUG}$")
Cidr = _checked(cidr)
Ip = _checked(ip)
Peer = _checked(_peer, description="a CIDR or firewall:SLUG")
Kind = _checked(_kind, enum=sorted(KINDS))
Endpoint = _checked(_endpoint, format="uri")
Url = _checked(_url, pattern="^https?://")
Method = _checked(_method, enum=list(_METHODS))
RECORD_PATTERN = "^" + re.sub(r"\?P<\w+>", "", _RECORD_KEY.pattern) + "$"
RecordKey = Annotated[str, AfterValidator(_record_key), WithJsonSchema({"type": "string", "pattern": RECORD_PATTERN})]
Protocol = Annotated[
    Any,
    BeforeValidator(_protocol),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["tcp", "udp", "icmp", "icmpv6", "all"]},
                {"type": "string", "pattern": "^[0-9]{1,3}$"},
                {"type": "integer", "minimum": 0, "maximum": 255},
            ]
        }
    ),
]
Ttl = Annotated[Any, BeforeValidator(_ttl), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_TTL})]
Reference = Annotated[
    Any, BeforeValidator(_reference), WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(SCHEMES)}):."})
]
Sink = Annotated[Any, BeforeValidator(_sink), WithJsonSchema({"type": "string", "pattern": "^(file|cmd):."})]
Duration = Annotated[
    Any,
    BeforeValidator(_duration),
    WithJsonSchema(
        {"type": "string", "pattern": "^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "minLength": 2}
    ),
]
Share = _checked(_share, pattern="^(100|[0-9]{1,2})%$")
Date = Annotated[
    Any, BeforeValidator(_date), WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}"})
]
Sha256 = Annotated[Any, BeforeValidator(_digest), WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{64}$"})]
CredentialsWord = _checked(_credentials, pattern="^aws-(default$|profile:.)")
FamilyName = Literal["storage", "dns", "compute", "database"]
