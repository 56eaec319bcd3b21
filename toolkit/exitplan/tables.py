"""The YAML that ships in this package and the YAML of people, read with positions.

Enters: a file of the package or a path. Leaves: plain JSON values, or :class:`Located`, which also knows the
line of every value. Raises ``DefinitionError`` with every mistake of a person's file at once.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from toolkit.errors import DefinitionError, NotFound, Problem
from toolkit.exitplan.cost import PriceList, price_list
from toolkit.model import Json
from toolkit.site_words import duration
from toolkit.site_yaml import Loc, Node, line_of, parse, plain


@dataclass(frozen=True, slots=True)
class Located:
    """A document and where its parts stand."""

    file: str
    text: str
    root: Node
    doc: Mapping[str, Json]

    def problem(self, loc: Loc, text: str, remedy: str) -> Problem:
        """Name a mistake at the place of a value."""
        return Problem(self.file, line_of(self.root, loc), text, remedy)


def read(path: Path, *, missing: str) -> Located:
    """Read a person's file; ``missing`` is what to do when it is not there."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file {path}", missing) from exc
    except OSError as exc:
        raise NotFound(f"{path} cannot be read: {exc.strerror}", missing) from exc
    return located(data.decode("utf-8", "replace"), str(path))


def located(text: str, file: str) -> Located:
    """Parse a text that must be one mapping."""
    parsed = parse(text, file)[0]
    if parsed.problems or parsed.root is None:
        raise DefinitionError(list(parsed.problems) or [Problem(file, 1, "it cannot be read", "write YAML")])
    doc = plain(parsed.root)
    if not isinstance(doc, dict):
        raise DefinitionError([Problem(file, parsed.root.line, "it is not a mapping", "write `key: value` lines")])
    return Located(file, text, parsed.root, doc)


def shipped(name: str) -> Located:
    """Read a file of this package."""
    text = resources.files("toolkit.exitplan").joinpath(name).read_text("utf-8")
    return located(text, f"toolkit/exitplan/{name}")


def prices() -> dict[str, PriceList]:
    """Return the shipped price lists by name."""
    return {name: price_list(name, row) for name, row in shipped("prices.yaml").doc.items()}


def hours(text: Json) -> float:
    """Turn ``29h``, ``2d12h`` or a number of hours into hours; raises ``ValueError`` for anything else."""
    if isinstance(text, bool):
        raise ValueError(text)  # noqa: TRY004 - one error for every value that is no duration
    if isinstance(text, int | float):
        return float(text)
    return duration(str(text)).total_seconds() / 3600


def moment(text: Json) -> datetime.datetime:
    """Turn an ISO date or time into a moment in UTC; raises ``ValueError`` for anything else."""
    found = datetime.datetime.fromisoformat(str(text))
    return found.replace(tzinfo=datetime.UTC) if found.tzinfo is None else found.astimezone(datetime.UTC)


def unknown_keys(doc: Mapping[str, Json], known: Iterable[str]) -> list[str]:
    """Return the keys that mean nothing here."""
    return [key for key in doc if key not in set(known) and not key.startswith("x-")]


def checked(value: Json, convert: Callable[[Json], object]) -> bool:
    """Say whether a value can be converted."""
    try:
        convert(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True
