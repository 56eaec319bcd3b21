"""How the kinds of stores differ, as far as it is assumed before a probe has shown it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_COMMON = frozenset({"objects", "metadata", "metadata-large", "multipart", "versioning", "tags"})
#: Storage classes of AWS beside STANDARD; what another store has is shown by a probe only.
CLASSES = ("STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of store differs. Abilities are assumptions until a probe has shown them."""

    abilities: frozenset[str]
    region: str = "us-east-1"
    #: Configuration that this kind of store does not know.
    unknown: frozenset[str] = frozenset()


KINDS: Mapping[str, Kind] = {
    "aws": Kind(
        _COMMON
        | {
            "accelerate",
            "acl",
            "bucket-tags",
            *(f"class:{name}" for name in CLASSES),
            "conditional-put",
            "cors",
            "encryption",
            "lifecycle",
            "logging",
            "notification",
            "object-lock",
            "ownership",
            "policy",
            "public-access-block",
            "replication",
            "storage-classes",
            "website",
        }
    ),
    "ceph": Kind(
        _COMMON
        | {
            "acl",
            "bucket-tags",
            "cors",
            "lifecycle",
            "notification",
            "object-lock",
            "policy",
            "public-access-block",
            "website",
        },
        unknown=frozenset({"ownership", "accelerate", "replication"}),
    ),
    "s3": Kind(_COMMON),
}
