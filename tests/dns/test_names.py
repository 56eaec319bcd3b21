"""Names: one spelling out of octal, decimal and plain escapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.dns import names
from toolkit.errors import Unsupported


@pytest.mark.parametrize(
    ("route53", "canonical"),
    [
        ("\\052.x.example.", "*.x.example."),
        ("a.\\052.x.example", "a.*.x.example."),
        ("a\\100b.example.", "a\\@b.example."),
        ("a\\040b.example.", "a\\032b.example."),
        ("a\\057b.example.", "a/b.example."),
        ("a\\056b.example.", "a\\.b.example."),
        ("\\344.example.", "\\228.example."),
        ("WWW.Example.", "www.example."),
        ("_dmarc.example", "_dmarc.example."),
        ("xn--caf-dma.example.", "xn--caf-dma.example."),
    ],
)
def test_route53_names(route53: str, canonical: str) -> None:
    assert names.from_route53(route53) == canonical
    assert names.from_route53(names.to_route53(canonical)) == canonical


def test_route53_sees_every_unusual_byte_in_octal() -> None:
    assert names.to_route53("*.x.example.") == "\\052.x.example."
    assert names.to_route53("a/b.example.") == "a\\057b.example."
    assert names.to_route53("a\\.b.example.") == "a\\056b.example."


def test_octal_and_decimal_are_read_from_the_left() -> None:
    assert names.octal_to_decimal('\\344\\\\344\\"') == '\\228\\\\344\\"'
    assert names.decimal_to_octal("\\228\\\\228") == "\\344\\\\228"


def test_owners() -> None:
    assert names.owner("www.agora.example.", "agora.example") == "www"
    assert names.owner("agora.example", "agora.example.") == "@"
    assert names.absolute("@", "agora.example") == "agora.example."
    assert names.absolute("*.x", "agora.example") == "*.x.agora.example."
    assert names.bare("WWW.agora.example.") == "www.agora.example"
    with pytest.raises(Unsupported):
        names.owner("www.other.example", "agora.example")


@pytest.mark.parametrize("wrong", ["a..b", "x" * 64 + ".example", ".".join(["y" * 63] * 5)])
def test_what_is_not_a_name(wrong: str) -> None:
    with pytest.raises(Unsupported):
        names.canonical(wrong)


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4))
def test_any_label_survives_route53(labels: list[bytes]) -> None:
    import dns.name

    name = dns.name.Name([*labels, b""]).canonicalize().to_text()
    assert names.from_route53(names.to_route53(name)) == name
