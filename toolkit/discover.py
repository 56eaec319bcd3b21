"""Discover: read what a provider holds, completely or loudly not.

Enters: families bound to the provider. Leaves: resources, and a ``NotSeen`` for everything that could
not be read. Raises the first error only when nothing at all could be read: an empty answer must never
look like an empty account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toolkit.errors import RehostError
from toolkit.families import Family
from toolkit.model import NotSeen, Resource


def discover(families: Mapping[str, Family]) -> Iterator[Resource | NotSeen]:
    """Yield every resource on the source side of each family."""
    seen, first = False, None
    for name, family in families.items():
        try:
            for item in family.read("source", None):
                seen = seen or isinstance(item, Resource)
                yield item
        except RehostError as exc:
            first = first or exc
            yield NotSeen(name, exc.text)
    if first is not None and not seen:
        raise first
