"""Record data: canonical text, and the dialects of the providers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.dns import rdata
from toolkit.errors import Unsupported


def test_txt_keeps_boundaries_and_bytes() -> None:
    assert rdata.from_route53("TXT", '"a""b"') == '"a" "b"'
    assert rdata.from_route53("TXT", '"\\344 and \\"quoted\\" \\\\ ; end" ""') == (
        '"\\228 and \\"quoted\\" \\\\ ; end" ""'
    )
    assert rdata.to_route53("TXT", '"\\228 \\\\228"') == '"\\344 \\\\228"'
    long = '"' + "x" * 255 + '" "' + "y" * 120 + '"'
    assert rdata.canonical("TXT", long) == long
    with pytest.raises(Unsupported):
        rdata.canonical("TXT", '"not closed')


def test_text_without_quotes_would_lose_its_spaces() -> None:
    assert rdata.canonical("TXT", "token") == '"token"'
    with pytest.raises(Unsupported, match="without quotes"):
        rdata.canonical("TXT", "v=spf1 -all")


def test_a_long_string_is_cut_as_on_the_wire() -> None:
    assert rdata.canonical("TXT", '"' + "x" * 300 + '" "y"') == '"' + "x" * 255 + '" "' + "x" * 45 + '" "y"'
    cut = rdata.parse("TXT", '"' + "\\228" * 200 + '\\"' * 60 + '"')
    assert [len(part) for part in cut.strings] == [255, 5]  # type: ignore[attr-defined]
    cut = rdata.parse("TXT", '"' + "é" * 200 + '"')
    assert [len(part) for part in cut.strings] == [254, 146]  # type: ignore[attr-defined]


def test_names_in_data_become_absolute() -> None:
    assert rdata.from_route53("MX", "10 mail.agora.example") == "10 mail.agora.example."
    assert rdata.from_route53("CNAME", "\\052.agora.example") == "*.agora.example."
    assert rdata.canonical("NAPTR", '100 10 "S" "SIP+D2U" "!^.*$!sip:\\\\1@x!" _sip._udp.x') == (
        '100 10 "S" "SIP+D2U" "!^.*$!sip:\\\\1@x!" _sip._udp.x.'
    )


def test_service_parameters_for_powerdns() -> None:
    text = '1 . alpn="h2,h3" port="8443" ipv4hint="192.0.2.1" ech="AAT+DQAA" key65400="abc"'
    assert rdata.to_powerdns("HTTPS", text) == (
        '1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.1 ech="AAT+DQAA" key65400="abc"'
    )
    assert rdata.to_powerdns("TXT", '"alpn="') == '"alpn="'
    assert rdata.canonical("HTTPS", "1 . alpn=h2,h3") == '1 . alpn="h2,h3"'


def test_sets_compare_as_on_the_wire() -> None:
    assert rdata.same("MX", ["10 Mail.Agora.example"], ["10 mail.agora.example."])
    assert rdata.same("AAAA", ["2001:DB8::0:1"], ["2001:db8::1"])
    assert not rdata.same("TXT", ['"a" "b"'], ['"ab"'])
    assert not rdata.same("TXT", ['"A"'], ['"a"'])
    assert not rdata.same("A", ["nonsense"], ["192.0.2.1"])
    assert rdata.same("A", ["nonsense"], ["nonsense"])


def test_references_pass_untouched() -> None:
    reference = "@{compute/server/web-1:ipv4}"
    assert rdata.canonical("A", reference) == reference
    assert rdata.address_type(reference) == "A"
    assert rdata.address_type("@{compute/server/web-1:public_ipv6}") == "AAAA"
    assert rdata.target("CNAME", reference) is None


def test_targets() -> None:
    assert rdata.target("SRV", "0 1 993 mail.x.") == "mail.x."
    assert rdata.target("A", "192.0.2.1") is None
    assert rdata.with_target("SRV", "0 1 993 mail.x.", "other.y") == "0 1 993 other.y."
    assert rdata.with_target("HTTPS", '1 a.x. alpn="h2"', "b.y") == '1 b.y. alpn="h2"'


@given(st.lists(st.binary(max_size=255), min_size=1, max_size=4))
def test_any_txt_survives_both_dialects(strings: list[bytes]) -> None:
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype
    import dns.rdtypes.ANY.TXT

    text = dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, strings).to_text()
    assert rdata.canonical("TXT", text) == text
    assert rdata.from_route53("TXT", rdata.to_route53("TXT", text)) == text
    assert rdata.canonical("TXT", rdata.to_powerdns("TXT", text)) == text
