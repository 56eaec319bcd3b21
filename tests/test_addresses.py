"""Old addresses in every spelling, replaced in the spelling of the place."""

from __future__ import annotations

import pytest

from toolkit.addresses import Addresses, Form
from toolkit.model import Resource
from toolkit.storage.forms import forms

MEDIA = Resource(
    "storage/bucket/media",
    {"name": "agora-media", "versioning": "off"},
    facts={"region": "eu-west-1", "to": {"name": "media"}, "x-aws": {"cloudfront": ["d111.cloudfront.net"]}},
)
LOGS = Resource("storage/bucket/logs", {"name": "logs", "versioning": "off"})
ALL = [form for item in (MEDIA, LOGS) for form in forms(item, "https://s3.agora.example", (), aws=True)]
ADDRESSES = Addresses(ALL)
NEW = "https://s3.agora.example/media"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://agora-media.s3.amazonaws.com/a.png", f"{NEW}/a.png"),
        ("https://agora-media.s3.eu-west-1.amazonaws.com/a", f"{NEW}/a"),
        ("https://agora-media.s3-eu-west-1.amazonaws.com/a", f"{NEW}/a"),
        ("https://agora-media.s3.dualstack.eu-west-1.amazonaws.com", NEW),
        ("https://agora-media.s3-accelerate.amazonaws.com/a", f"{NEW}/a"),
        ("https://agora-media.s3-accelerate.dualstack.amazonaws.com/a", f"{NEW}/a"),
        ("http://agora-media.s3-website-eu-west-1.amazonaws.com/a", f"{NEW}/a"),
        ("http://agora-media.s3-website.eu-west-1.amazonaws.com/a", f"{NEW}/a"),
        ("https://s3.amazonaws.com/agora-media/a", f"{NEW}/a"),
        ("https://s3.eu-west-1.amazonaws.com/agora-media/a", f"{NEW}/a"),
        ("https://s3-eu-west-1.amazonaws.com/agora-media", NEW),
        ("https://s3.dualstack.eu-west-1.amazonaws.com/agora-media?x=1", f"{NEW}?x=1"),
        ("https://d111.cloudfront.net/a", f"{NEW}/a"),
        ("HTTPS://AGORA-MEDIA.S3.AMAZONAWS.COM/a", f"{NEW}/a"),
        ("https://agora-media.s3.amazonaws.com:443/a", f"{NEW}/a"),
        ("//agora-media.s3.amazonaws.com/a", "//s3.agora.example/media/a"),
        ("agora-media.s3.amazonaws.com", "s3.agora.example/media"),
        (r"https:\/\/agora-media.s3.amazonaws.com\/a", r"https:\/\/s3.agora.example\/media\/a"),
        (r"https:\/\/s3.amazonaws.com\/agora-media\/a", r"https:\/\/s3.agora.example\/media\/a"),
        ("u=https%3A%2F%2Fagora-media.s3.amazonaws.com%2Fa", "u=https%3A%2F%2Fs3.agora.example%2Fmedia%2Fa"),
        ("s3://agora-media/a", "s3://media/a"),
        ("arn:aws:s3:::agora-media/*", "arn:aws:s3:::media/*"),
        ("endpoint=https://s3.eu-west-1.amazonaws.com", "endpoint=https://s3.agora.example"),
        ("'https://s3.eu-west-1.amazonaws.com/'", "'https://s3.agora.example/'"),
        ("https://logs.s3.amazonaws.com/", "https://s3.agora.example/logs/"),
    ],
)
def test_every_old_form_becomes_the_new_address(old: str, new: str) -> None:
    for text in (old, f'<a href="{old}">', f"x {old} y", f"({old})", f"{old}\n"):
        found = ADDRESSES.replace(text.encode())
        assert found.data.decode() == text.replace(old, new)
        assert sum(found.counts.values()) == 1
        assert ADDRESSES.count(found.data) == {}, "what was replaced holds no old address"


@pytest.mark.parametrize(
    "text",
    [
        "https://not-agora-media.s3.amazonaws.com/a",
        "https://agora-media-2.s3.amazonaws.com/a",
        "https://s3.amazonaws.com/agora-media-2/a",
        "https://s3.amazonaws.com/agora-media.bak/a",
        "https://s3.amazonaws.com/another/a",
        "https://agora-media.s3.amazonaws.com.evil.example/a",
        "https://agora-media.s3.amazonaws.com:8443/a",
        "s3://agora-media-2/a",
        "arn:aws:s3:::logs/*",  # it keeps its name
        "agora-media",
        "",
    ],
)
def test_other_addresses_stay(text: str) -> None:
    found = ADDRESSES.replace(text.encode())
    assert (found.data, found.counts, found.presigned) == (text.encode(), {}, 0)


def test_presigned_urls_are_counted_and_left() -> None:
    signed = b"https://agora-media.s3.amazonaws.com/a?X-Amz-Credential=x&amp;X-Amz-Signature=0123 "
    older = b"https://agora-media.s3.amazonaws.com/a?AWSAccessKeyId=x&Signature=0123 "
    plain = b"https://agora-media.s3.amazonaws.com/a"
    found = ADDRESSES.replace(signed + older + plain)
    assert found.data == signed + older + NEW.encode() + b"/a"
    assert found.presigned == 2
    assert ADDRESSES.count(signed) == {"presigned": 1}


def test_bytes_that_are_no_text_pass() -> None:
    data = bytes(range(256)) + b"\xffhttps://agora-media.s3.amazonaws.com/a\xff\x00"
    assert ADDRESSES.replace(data).data == data.replace(b"https://agora-media.s3.amazonaws.com", NEW.encode())


def test_a_public_address_and_an_old_store_with_hosts_of_its_own() -> None:
    item = Resource("storage/bucket/m", {"name": "m", "versioning": "off"}, facts={"x-public": "https://cdn.example"})
    found = Addresses(forms(item, "http://127.0.0.9:9000", ("127.0.0.1:9000",), aws=False))
    assert found.replace(b"http://127.0.0.1:9000/m/k").data == b"https://cdn.example/k"
    assert found.replace(b"http://127.0.0.1:9000").data == b"http://127.0.0.9:9000"
    assert Addresses(()).replace(b"x").data == b"x"
    assert not Form("a", "uri", "s3://m", "s3://m").changes
