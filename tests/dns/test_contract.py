"""The contract suite against every driver, unchanged."""

from __future__ import annotations

import pytest

from tests.dns.conftest import Aws, NewSide
from tests.dns.contract import DnsContract
from toolkit.dns.drivers.route53 import LosslessRoute53


class TestEmbedded(DnsContract):
    @pytest.fixture
    def side(self, embedded: NewSide) -> NewSide:
        return embedded


@pytest.mark.lab
class TestPowerDns(DnsContract):
    @pytest.fixture
    def side(self, powerdns: NewSide) -> NewSide:
        return powerdns


class Route53Side:
    def __init__(self, aws: Aws) -> None:
        self.driver: LosslessRoute53 = aws.driver()
        self.servers = {"ns.twin.example": aws.twin[0]}


class TestRoute53(DnsContract):
    @pytest.fixture
    def side(self, aws: Aws) -> Route53Side:
        return Route53Side(aws)
