"""Domain names in one spelling, whatever a provider's escapes look like.

Enters: names as Route 53 (octal ``\\052``), PowerDNS and zone files (decimal ``\\042``) write them.
Leaves: dnspython's text, absolute, lower case, with the final dot; owners relative to their zone,
``@`` at the apex. Raises ``Unsupported`` for what is not a domain name.
"""

from __future__ import annotations

import re
from functools import lru_cache

import dns.exception
import dns.name

from toolkit.errors import Unsupported

#: A backslash takes three octal digits or one character; read left to right, so ``\\344`` after an
#: escaped backslash stays what it is.
_OCTAL = re.compile(r"\\(?:([0-3][0-7]{2})|(.))", re.DOTALL)
_DECIMAL = re.compile(r"\\(?:([0-2][0-9]{2})|(.))", re.DOTALL)
#: The bytes Route 53 shows as they are; every other one comes back as an octal escape.
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")


def octal_to_decimal(text: str) -> str:
    """Turn Route 53's ``\\OOO`` into the ``\\DDD`` that everybody else means."""
    return _OCTAL.sub(lambda found: f"\\{int(found[1], 8):03d}" if found[1] else found[0], text)


def decimal_to_octal(text: str) -> str:
    """Turn ``\\DDD`` into Route 53's ``\\OOO``."""
    return _DECIMAL.sub(lambda found: f"\\{int(found[1]):03o}" if found[1] else found[0], text)


@lru_cache(maxsize=65536)
def parse(text: str) -> dns.name.Name:
    """Read an absolute name; a missing final dot is added."""
    try:
        return dns.name.from_text(text, dns.name.root, dns.name.IDNA_2008_Practical).canonicalize()
    except (dns.exception.DNSException, UnicodeError) as exc:
        raise Unsupported(f"{text!r} is not a domain name: {exc}", "correct the name") from exc


def canonical(text: str) -> str:
    """Return the one spelling of a name: absolute, lower case, with the final dot."""
    return parse(text).to_text()


def bare(text: str) -> str:
    """Return a name as hosts write it: lower case, no final dot."""
    return canonical(text).rstrip(".") or "."


def from_route53(text: str) -> str:
    """Read a name as Route 53 writes it."""
    return canonical(octal_to_decimal(text))


def to_route53(text: str) -> str:
    """Write a name as Route 53 does: every unusual byte in octal, a leading ``*`` too."""
    labels = parse(text).labels
    return ".".join("".join(chr(b) if b in _PLAIN else f"\\{b:03o}" for b in label) for label in labels)


def owner(name: str, zone: str) -> str:
    """Return ``name`` relative to ``zone``, ``@`` at the apex."""
    absolute, origin = parse(name), parse(zone)
    if not absolute.is_subdomain(origin):
        raise Unsupported(f"{name} does not lie in zone {zone}", "correct the name")
    return "@" if absolute == origin else absolute.relativize(origin).to_text()


def absolute(relative: str, zone: str) -> str:
    """Return the absolute name of an owner relative to ``zone``."""
    origin = parse(zone)
    if relative in ("@", ""):
        return origin.to_text()
    try:
        # Relative owners come from our own output or from a human; both mean "below the zone".
        return dns.name.from_text(relative, origin, dns.name.IDNA_2008_Practical).canonicalize().to_text()
    except (dns.exception.DNSException, UnicodeError) as exc:
        raise Unsupported(f"{relative!r} is not a name below {zone}: {exc}", "correct the name") from exc


def below(name: str, suffix: str) -> bool:
    """Say whether ``name`` is ``suffix`` or ends below it."""
    return parse(name).is_subdomain(parse(suffix))
