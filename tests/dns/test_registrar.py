"""Registrars: the rehearsal's registry, Amazon's own, and a human."""

from __future__ import annotations

import pytest

from tests.dns import world
from tests.dns.conftest import Aws, Keys
from toolkit.dns.drivers.registrar import Registration, RegistryRegistrar, Route53Registrar
from toolkit.errors import NotFound, Refused, Unreachable, UsageError
from toolkit.secrets import Secret

DS = "12345 13 2 " + "ab" * 32


def test_the_registry(aws: Aws) -> None:
    world.register(aws, {"ns1.agora.example": "127.0.0.9", "ns.other.example": None}, ds=[DS])
    registry = aws.registrar()
    before = registry.get(world.ZONE)
    assert before == Registration(
        "a registrar", ("ns.other.example.", "ns1.agora.example."), (DS,), {"ns1.agora.example.": "127.0.0.9"}
    )
    registry.set_nameservers(
        world.ZONE, ["ns2.agora.example.", "ns3.agora.example"], {"ns2.agora.example": "127.0.0.8"}
    )
    assert registry.get(world.ZONE) == Registration(
        "a registrar", ("ns2.agora.example.", "ns3.agora.example."), (DS,), {"ns2.agora.example.": "127.0.0.8"}
    ), "DS and registrar stay"
    registry.set_nameservers(world.ZONE, before.nameservers, before.glue)
    assert registry.get(world.ZONE) == before


def test_a_domain_nobody_registered(aws: Aws) -> None:
    with pytest.raises(NotFound):
        aws.registrar().get("nobody.example")
    with pytest.raises(Refused):
        aws.registrar()._ask("PUT", "nobody.example", {"nameservers": {}})


def test_a_registry_that_is_not_there() -> None:
    with pytest.raises(Unreachable):
        RegistryRegistrar("http://127.0.0.1:9", timeout=1).get("x.example")
    with pytest.raises(UsageError):
        RegistryRegistrar("file:///etc/passwd").get("x.example")


@pytest.mark.parametrize(
    ("registrar", "held"), [("Amazon Registrar, Inc.", True), ("aws", True), ("Another One", False), ("", False)]
)
def test_who_holds_a_domain(registrar: str, held: bool) -> None:
    assert Registration(registrar, ()).held_by("aws") is held
    assert Registration(registrar, ()).held_by("powerdns") is False


def test_amazon_s_registrar(aws: Aws) -> None:
    registrar = Route53Registrar(endpoint=aws.endpoint, credentials=_keys())
    client = registrar._client
    contact = {
        "FirstName": "A", "LastName": "B", "ContactType": "PERSON", "AddressLine1": "x", "City": "y",
        "CountryCode": "DE", "ZipCode": "1", "PhoneNumber": "+49.1", "Email": "a@example.org",
    }  # fmt: skip
    client.register_domain(
        DomainName="agora-example.com",
        DurationInYears=2,
        AdminContact=contact,
        RegistrantContact=contact,
        TechContact=contact,
    )
    before = registrar.get("agora-example.com")
    assert before.nameservers
    registrar.set_nameservers("agora-example.com", ["ns1.agora.example", "ns2.agora.example"], {})
    assert registrar.get("agora-example.com").nameservers == ("ns1.agora.example.", "ns2.agora.example.")
    registrar.set_nameservers("agora-example.com", before.nameservers, before.glue)
    assert registrar.get("agora-example.com").nameservers == before.nameservers
    with pytest.raises(NotFound):
        registrar.get("nobody-has-this.com")


def _keys() -> Keys:
    from tests.dns.aws_process import KEY, SECRET

    return Keys(Secret(KEY), Secret(SECRET))
