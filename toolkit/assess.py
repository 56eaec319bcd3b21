"""Assess: give every feature of every resource a verdict before anything is written.

Enters: the site's resources, the target's abilities, the site's ``accept`` entries. Leaves: verdicts,
the accepted ones marked. Raises ``DefinitionError`` when an ``accept`` entry does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Protocol

from toolkit.errors import DefinitionError, Problem
from toolkit.families import Family
from toolkit.model import Abilities, State, Verdict


class Accept(Protocol):
    """An accepted degradation, as the site definition holds it."""

    @property
    def what(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def who(self) -> str: ...
    @property
    def expect(self) -> int | None: ...


_NOWHERE = (
    "nothing says where it moves",
    "add its family under `move:`, or leave the resource out with `ignore: <reason>`",
)


def assess(
    resources: State, families: Mapping[str, Family], abilities: Mapping[str, Abilities], accepts: Sequence[Accept] = ()
) -> tuple[Verdict, ...]:
    """Return all verdicts, in address order within each family; what no family moves is blocked."""
    verdicts = [
        Verdict(addr, "move", "blocked", *_NOWHERE)
        for addr, resource in resources.items()
        if addr.split("/", 1)[0] not in families and not ignored(resource)
    ]
    verdicts += [
        verdict
        for name, family in families.items()
        for addr, resource in resources.items()
        if addr.split("/", 1)[0] == name and not ignored(resource)
        for verdict in family.assess(resource, abilities[name])
    ]
    return accepted(verdicts, accepts)


def ignored(resource: object) -> str:
    """Return the reason why a human left this resource out, or an empty string."""
    facts = getattr(resource, "facts", {})
    return str(facts.get("ignore") or "")


def accepted(verdicts: Sequence[Verdict], accepts: Sequence[Accept]) -> tuple[Verdict, ...]:
    """Mark what the site accepts. A glob must say how many verdicts it expects to cover.

    A blocked verdict cannot be accepted: only ignoring the resource takes it out of the way.
    """
    problems: list[Problem] = []
    result = list(verdicts)
    for entry in accepts:
        hits = [
            index
            for index, verdict in enumerate(result)
            if verdict.outcome == "degraded" and (verdict.id == entry.what or fnmatchcase(verdict.id, entry.what))
        ]
        if entry.expect is not None and len(hits) != entry.expect:
            problems.append(
                Problem(
                    "site.yaml",
                    getattr(entry, "line", 1),
                    f"accept {entry.what!r} expects {entry.expect} verdicts and meets {len(hits)}",
                    "read the verdicts with `rehost assess`, then correct `expect` or the pattern",
                )
            )
        for index in hits:
            result[index] = replace(result[index], accepted=f"{entry.who}: {entry.why}")
    if problems:
        raise DefinitionError(problems)
    return tuple(result)
