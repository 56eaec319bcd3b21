"""Principal × action × bucket: what the source's policies say, and whether the target answers so.

Enters: the policies as the source has them, a key pair and a way to try. Leaves: cells. The expectation is
computed from the source alone, never from our translation of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from toolkit.storage.identity.policy import ARN, Decision, Statement, decide, rests, statements
from toolkit.storage.identity.protocol import Document

#: Actions that can be tried without changing anything, and whether they are asked of an object.
HARMLESS: Mapping[str, bool] = {
    "s3:ListBucket": False,
    "s3:GetBucketLocation": False,
    "s3:GetBucketPolicy": False,
    "s3:GetObject": True,
    "s3:GetObjectTagging": True,
    "s3:PutObject": True,
}


_LITERAL = re.compile(r"[*?]")
_FREE = "rehost-trial"
_MOST = 8  # parts of one bucket


class Cell(NamedTuple):
    """One expectation: may this action be done on this bucket (at ``key``, for actions on objects)?"""

    action: str
    bucket: str  # its name at the source
    key: str
    expected: Decision


@dataclass(frozen=True, slots=True)
class Places:
    """Keys of one bucket to ask about: those that are there, to be read, and those that may be written."""

    there: tuple[str, ...]
    free: tuple[str, ...]


def places(policies: Iterable[Document], bucket: str, user: str, sample: Callable[[str], str]) -> Places:
    """Choose a key of each part of a bucket that the policies tell apart. ``sample``: an object under a prefix.

    A store answers "forbidden" for an object that is not there to who may not list, so reads need real ones.
    """
    starts = {""}
    for document in policies:
        for item in statements(document):
            for pattern in filled(item, user).resources:
                starts |= {_LITERAL.split(rest)[0] for rest in rests(pattern, f"{ARN}{bucket}/")}
    chosen = sorted(starts)[:_MOST]
    there = dict.fromkeys(found for start in chosen if (found := sample(start)))
    return Places(tuple(there), tuple(f"{start}{_FREE}" for start in chosen))


def cells(policies: Iterable[Document], asked: Mapping[str, Places], user: str) -> Iterator[Cell]:
    """Yield what the policies say of each harmless action in each bucket."""
    found = [filled(item, user) for document in policies for item in statements(document)]
    for bucket, keys in asked.items():
        for action, of_object in HARMLESS.items():
            for key in (keys.free if action == "s3:PutObject" else keys.there) if of_object else ("",):
                resource = f"{ARN}{bucket}/{key}" if of_object else f"{ARN}{bucket}"
                yield Cell(action, bucket, key, decide(found, action, resource))


def filled(item: Statement, user: str) -> Statement:
    """Return a statement with the user's own name in its resources, as IAM fills it in."""
    return replace(item, resources=tuple(text.replace("${aws:username}", user) for text in item.resources))
