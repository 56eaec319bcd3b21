"""Source principals and whom they become."""

from __future__ import annotations

import pytest

from toolkit.model import Resource
from toolkit.storage.identity.map import identity_map, user_arn

RESOURCES = (
    Resource(
        "storage/identity/writer", {"kind": "user", "name": "writer"}, id="arn:aws:iam::123456789012:user/app/writer"
    ),
    Resource("storage/identity/web", {"kind": "role", "name": "web"}, id="arn:aws:iam::123456789012:role/web"),
    Resource("storage/identity/old", {"kind": "user", "name": "old"}, facts={"to": {"name": "new"}}),
    Resource("storage/identity/gone", {"kind": "user", "name": "gone"}, facts={"ignore": "nobody uses it"}),
    Resource("storage/identity/us", {"kind": "account", "name": "123456789012", "own": True, "canonical_id": "c0ffee"}),
    Resource(
        "storage/identity/partner",
        {"kind": "account", "name": "210987654321", "canonical_id": "abcdef"},
        facts={"to": {"name": "tenant$partner"}},
    ),
    Resource("storage/identity/stranger", {"kind": "account", "name": "333333333333", "canonical_id": "fedcba"}),
    Resource("storage/bucket/media", {"name": "media", "versioning": "off"}),
)


@pytest.mark.parametrize(
    ("principal", "user"),
    [
        ("*", "*"),
        ("arn:aws:iam::123456789012:user/app/writer", "writer"),
        ("arn:aws:iam::123456789012:user/writer", "writer"),
        ("arn:aws:iam::123456789012:role/web", "role.web"),
        ("arn:aws:sts::123456789012:assumed-role/web/i-0abc", "role.web"),
        ("arn:aws:iam::123456789012:user/old", "new"),
        ("arn:aws:iam::123456789012:user/gone", None),
        ("arn:aws:iam::123456789012:root", "mover"),
        ("123456789012", "mover"),
        ("c0ffee", "mover"),
        ("210987654321", "tenant$partner"),
        ("abcdef", "tenant$partner"),
        ("arn:aws:iam::210987654321:user/writer", None),  # another account's user of the same name
        ("arn:aws:iam::333333333333:root", None),
        ("333333333333", None),
        ("fedcba", None),
        ("arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E1", None),
        ("cloudfront.amazonaws.com", None),
        ("", None),
    ],
)
def test_a_principal_is_who_the_site_says_or_nobody(principal: str, user: str | None) -> None:
    found = identity_map(RESOURCES, owner="mover")
    assert found.target(principal) == user
    assert found.canonical_id(principal) == (None if user == "*" else user)


def test_arns_of_the_target() -> None:
    found = identity_map(RESOURCES, owner="mover")
    assert found.arn("arn:aws:iam::123456789012:role/web") == "arn:aws:iam:::user/role.web"
    assert found.arn("abcdef") == "arn:aws:iam::tenant:user/partner"
    assert found.arn("*") == "*"
    assert found.arn("fedcba") is None
    assert user_arn("writer", "aws", "123456789012") == "arn:aws:iam::123456789012:user/writer"


def test_without_an_owner_or_an_account_nobody_is_guessed() -> None:
    assert identity_map(()).target("arn:aws:iam::123456789012:root") is None
    assert identity_map((), owner="mover").target("arn:aws:iam::123456789012:root") is None
