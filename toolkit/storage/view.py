"""A part of a bucket, under names of its own: what ``copy`` sees of each side.

The engine works with the names that objects have at the target. A view of the source renames: a key
``old/a`` behind ``View(prefix=b"old/", shown_as=b"new/")`` is ``new/a`` to everything above the HTTP
border. Stripping one prefix and adding another keeps the byte order, so listings still join.
Raises ``Unsupported`` for an object that would have no name left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import unquote_to_bytes

from toolkit.errors import Unsupported
from toolkit.model import Json


@dataclass(frozen=True, slots=True)
class View:
    """Which keys of a bucket are seen, and under which names.

    ``prefix``: what keys begin with in the store; ``shown_as``: what they begin with here. ``include``
    and ``exclude`` are globs over the bytes behind the prefix (``*`` also stands for ``/``): a key is
    seen if it fits one of ``include`` (or there is none) and none of ``exclude``.
    """

    prefix: bytes = b""
    shown_as: bytes = b""
    include: tuple[bytes, ...] = ()
    exclude: tuple[bytes, ...] = ()

    def there(self, key: bytes) -> bytes:
        """Return a key of ours, or the beginning of one, as the store knows it."""
        return self.prefix + key.removeprefix(self.shown_as)

    def here(self, key: bytes) -> bytes:
        """Return a key of the store as we know it."""
        name = self.shown_as + key.removeprefix(self.prefix)
        if not name:
            raise Unsupported(
                f"the object {key.decode(errors='replace')} would have no name at the target",
                "give the target a prefix, or leave this object out with --exclude ''",
            )
        return name

    def sees(self, key: bytes) -> bool:
        """Say whether a key of the store belongs to the view."""
        if not key.startswith(self.prefix):
            return False
        rest = key.removeprefix(self.prefix)
        wanted = not self.include or any(fnmatchcase(rest, glob) for glob in self.include)
        return wanted and not any(fnmatchcase(rest, glob) for glob in self.exclude)


WHOLE = View()


def of(facts: Mapping[str, Json]) -> tuple[View, View]:
    """Return the views of source and target that a resource's facts ask for; the whole bucket by default."""
    scope = facts.get("scope")
    if not scope:
        return WHOLE, WHOLE
    prefix, to = unquote_to_bytes(scope["from"]), unquote_to_bytes(scope["to"])
    include, exclude = (tuple(unquote_to_bytes(glob) for glob in scope[name]) for name in ("include", "exclude"))
    return View(prefix, to, include, exclude), View(to, to, include, exclude)
