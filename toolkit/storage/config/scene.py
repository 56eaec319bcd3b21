"""The nouns of a translation: what is known of both sides, and what one item becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from toolkit.model import Abilities, Json
from toolkit.storage.identity.map import IdentityMap

#: ``first`` before any object is copied, ``build`` after the copies, ``last`` at the cut-over, after a clean verify.
Stage = Literal["first", "build", "last"]


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one item, or of one part of it: ``row`` names a line of ``verdicts.yaml``."""

    part: str  # the feature that the verdict shall name: ``policy``, ``policy/<statement>``, ``lifecycle/<rule>``
    row: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Translated:
    """One item in the words of the target.

    ``value`` is in the normal form of :mod:`toolkit.storage.config.normal`; ``None`` means that nothing is
    written. ``until`` is what stands there until the ``last`` stage (only used by items of that stage).
    """

    item: str
    value: Json
    notes: tuple[Note, ...]
    stage: Stage = "build"
    until: Json = None


@dataclass(frozen=True, slots=True)
class Maps:
    """What people said about names of the old side.

    ``people`` answers for who is named there (ARN, account, canonical id, distribution): the user id of an
    RGW, or an ARN at AWS. ``topics`` maps queues and topics (ARN to ARN), ``classes`` storage classes.
    """

    people: IdentityMap = field(default_factory=IdentityMap)
    topics: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a translation may look at. ``config`` is the whole configuration of the source's bucket."""

    source: str  # kinds: aws, ceph, s3
    target: Abilities
    bucket: str  # name at the source
    name: str  # name at the target
    config: Mapping[str, Json] = field(default_factory=dict)
    maps: Maps = field(default_factory=Maps)
    owner: str = ""  # canonical id of the bucket's owner at the source
    new_owner: str = ""  # and of the one who will own it at the target

    @property
    def to_aws(self) -> bool:
        """Say whether the target speaks the whole of S3's configuration."""
        return self.target.kind == "aws"

    def blocks(self, what: str) -> bool:
        """Say whether the source's public access block has the setting ``what`` on."""
        return bool((self.config.get("public-access-block") or {}).get(what))
