"""Traces of the old side: found where they stand, and only there."""

from __future__ import annotations

import pytest

from toolkit.families import OldSide
from toolkit.traces import traces, within

OLD = OldSide("aws", ("amazonaws.com", "cloudfront.net"), ("198.51.100.0/24", "2001:db8::/32"), endpoints=("arn:aws:",))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://u:p@s3.us-east-1.amazonaws.com:443/x?y", ["s3.us-east-1.amazonaws.com"]),
        ("S3.AMAZONAWS.COM", ["s3.amazonaws.com"]),
        ("amazonaws.com amazonaws.com", ["amazonaws.com"]),
        ("notamazonaws.com amazonaws.com.example", []),
        ("http://198.51.100.7/", ["198.51.100.7"]),
        ("198.51.100.7.", ["198.51.100.7"]),
        ("1.198.51.100.7 198.51.101.7 198.51.100.7.9", []),
        ("[2001:db8::9]:443 fe80::1", ["2001:db8::9"]),
        ("role=arn:aws:iam::1:role/x", ["arn:aws:"]),
        (b"\xff\x00d111.cloudfront.net\x00", ["d111.cloudfront.net"]),
        ("http://s3.agora.example/", []),
        ("", []),
    ],
)
def test_traces(text: str | bytes, found: list[str]) -> None:
    assert list(traces(text, OLD)) == found


def test_within() -> None:
    assert within("198.51.100.200", OLD)
    assert within("x.amazonaws.com", OLD)
    assert not within("203.0.113.1", OLD)


def test_nothing_is_old_when_nothing_is_named() -> None:
    assert list(traces("amazonaws.com 198.51.100.1", OldSide("aws"))) == []
