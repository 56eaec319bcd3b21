"""Policies taken apart, narrowed, translated and decided."""

from __future__ import annotations

import pytest

from toolkit.model import Json
from toolkit.storage.identity.policy import covers, decide, rests, statements
from toolkit.storage.identity.translate import Setting, document_for, narrowed

BUCKETS = {"agora-media": "media", "agora-logs": "agora-logs"}
SETTING = Setting("writer", BUCKETS)
S3 = "arn:aws:s3:::"


def allow(**more: Json) -> dict[str, Json]:
    return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{S3}agora-media/*", **more}


def deny(**more: Json) -> dict[str, Json]:
    return allow(Effect="Deny", **more)


def translated(*found: dict[str, Json]) -> tuple[list[Json], list[tuple[str, str]]]:
    made, losses = document_for({"Version": "2012-10-17", "Statement": list(found)}, SETTING)
    return (made["Statement"] if made else []), [tuple(loss) for loss in losses]


@pytest.mark.parametrize(
    ("pattern", "start", "found"),
    [
        ("*", "abc/", {"*"}),
        ("abc/*", "abc/", {"*"}),
        ("abc/x", "abc/", {"x"}),
        ("ab*/x", "abc/", {"*/x", "x"}),
        ("a?c/x*", "abc/", {"x*"}),
        ("abd/*", "abc/", set()),
        ("ab", "abc/", set()),
        ("abc*", "abc/", {"*"}),
    ],
)
def test_what_is_left_of_a_pattern(pattern: str, start: str, found: set[str]) -> None:
    assert rests(pattern, start) == found


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", {f"{S3}media", f"{S3}media/*", f"{S3}agora-logs", f"{S3}agora-logs/*"}),
        (f"{S3}agora-*", {f"{S3}media", f"{S3}media/*", f"{S3}agora-logs", f"{S3}agora-logs/*"}),
        (f"{S3}agora-media", {f"{S3}media"}),
        (f"{S3}agora-media/a/*", {f"{S3}media/a/*"}),
        (f"{S3}*/a", {f"{S3}media/a", f"{S3}media/*/a", f"{S3}agora-logs/a", f"{S3}agora-logs/*/a"}),
        (f"{S3}another/*", set()),
        (f"{S3}media/*", set()),  # the new name of one bucket, and no bucket of the source
        ("arn:aws:sqs:us-east-1:1:q", set()),
    ],
)
def test_resources_are_narrowed_to_the_moved_buckets(pattern: str, found: set[str]) -> None:
    assert set(narrowed(pattern, BUCKETS)) == found


def test_a_narrowed_pattern_covers_what_the_source_covered() -> None:
    """Against brute force: a pattern and its narrowing agree on every key."""
    keys = ["", "a", "a/b", "b/a", "x*", "aXa"]
    for pattern in ("*", f"{S3}agora-media/a*", f"{S3}a*a/*a", f"{S3}agora-m?dia/?", f"{S3}*b", f"{S3}agora-media*"):
        said = list(narrowed(pattern, BUCKETS))
        for old, new in BUCKETS.items():
            for key in keys:
                at, there = (f"{S3}{old}/{key}", f"{S3}{new}/{key}") if key else (f"{S3}{old}", f"{S3}{new}")
                assert covers(pattern, at) == any(covers(one, there) for one in said), (pattern, at)


def test_what_can_be_said_is_said() -> None:
    made, losses = translated(
        allow(Sid="one", Action=["s3:getobject", "s3:Put*", "ec2:RunInstances"]),
        deny(Action="s3:Delete*", Resource="*"),
        allow(
            Action="s3:ListBucket",
            Resource=f"{S3}agora-media",
            Condition={"StringLike": {"s3:prefix": "home/${aws:username}/*"}},
        ),
        allow(Action="ec2:*", Resource="*"),
        allow(Resource=f"{S3}agora-media/home/${{aws:username}}/*"),
    )
    assert losses == []
    assert made == [
        {"Sid": "one", "Effect": "Allow", "Action": ["s3:GetObject", "s3:Put*"], "Resource": [f"{S3}media/*"]},
        {
            "Effect": "Deny",
            "Action": ["s3:Delete*"],
            "Resource": [f"{S3}media", f"{S3}media/*", f"{S3}agora-logs", f"{S3}agora-logs/*"],
        },
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [f"{S3}media"],
            "Condition": {"StringLike": {"s3:prefix": ["home/writer/*"]}},
        },
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{S3}media/home/writer/*"]},
    ]


def test_everything_but() -> None:
    made, losses = translated(
        allow(NotResource=f"{S3}agora-media*", Action="s3:GetObject", Resource=None) | {"Resource": None},
        {
            "Effect": "Allow",
            "NotAction": ["s3:Get*", "s3:List*", "s3:Put*", "s3:Delete*", "s3:Bypass*"],
            "Resource": "*",
        },
        {"Effect": "Deny", "Action": "s3:*", "NotResource": [f"{S3}agora-media", f"{S3}agora-media/pub/*"]},
    )
    assert losses == []
    assert made[0]["Resource"] == [f"{S3}agora-logs", f"{S3}agora-logs/*"]
    assert made[1]["Action"] == ["s3:AbortMultipartUpload", "s3:CreateBucket", "s3:RestoreObject"]
    assert made[2]["NotResource"] == [f"{S3}media", f"{S3}media/pub/*"]


@pytest.mark.parametrize(
    ("statement", "feature", "left"),
    [
        (allow(Action="s3:GetObjectAttributes"), "identity-action", 0),
        (allow(Action=["s3:GetObject", "s3:GetObjectAttributes"]), "identity-action", 1),
        (allow(Condition={"StringEquals": {"aws:SourceVpce": "vpce-1"}}), "identity-condition", 0),
        (allow(Condition={"StringEqualsIfExists": {"s3:prefix": "a"}}), "identity-condition", 0),
        (allow(Condition={"Bool": {"aws:MultiFactorAuthPresent": True}}), "identity-condition", 0),
        (deny(Condition={"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}), "identity-condition", 1),
        (allow(Resource=f"{S3}agora-media/${{aws:PrincipalTag/team}}/*"), "identity-variable", 0),
        (deny(Resource=f"{S3}agora-media/${{aws:PrincipalTag/team}}/*"), "identity-variable", 1),
        (
            {"Effect": "Allow", "Action": "s3:*Object", "NotResource": f"{S3}agora-media/secret/*"},
            "identity-not-resource",
            0,
        ),
        (
            deny(Action="s3:*", Resource="*", Condition={"Bool": {"aws:SecureTransport": "false"}}),
            "identity-secure-transport",
            0,
        ),
        (allow(Action="s3:*"), "identity-list-buckets", 1),
    ],
)
def test_what_cannot_be_said_is_a_loss_and_never_a_right(statement: dict[str, Json], feature: str, left: int) -> None:
    made, losses = translated(statement)
    assert [name for name, _ in losses] == [feature]
    assert len(made) == left
    if left and statement["Effect"] == "Deny":
        assert "Condition" not in made[0]
        assert "${" not in str(made[0])


@pytest.mark.parametrize(
    ("action", "resource", "said"),
    [
        ("s3:GetObject", f"{S3}b/k", "allow"),
        ("s3:getobject", f"{S3}b/k", "allow"),
        ("s3:GetObject", f"{S3}b/secret/k", "deny"),
        ("s3:PutObject", f"{S3}b/k", "deny"),
        ("s3:ListBucket", f"{S3}b", "depends"),
        ("s3:DeleteObject", f"{S3}b/k", "deny"),
        ("s3:GetObject", f"{S3}B/k", "deny"),
    ],
)
def test_decisions(action: str, resource: str, said: str) -> None:
    found = list(
        statements(
            {
                "Statement": [
                    {"Effect": "Allow", "Action": "s3:Get*", "Resource": f"{S3}b/*"},
                    {"Effect": "Deny", "Action": "*", "Resource": f"{S3}b/secret/*"},
                    {
                        "Effect": "Allow",
                        "Action": "s3:ListBucket",
                        "Resource": f"{S3}b",
                        "Condition": {"Bool": {"x": "true"}},
                    },
                    {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"},
                ]
            }
        )
    )
    assert decide(found, action, resource) == said
