"""Ten thousand record sets: read, judge, plan and apply in ten seconds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.dns.conftest import Keys, NewSide
from toolkit.dns.drivers.powerdns import LosslessPowerDNS
from toolkit.dns.family import DnsFamily
from toolkit.dns.model import RRSet, plain
from toolkit.model import Resource, Tally, state
from toolkit.plan import ordered
from toolkit.rehearsal import embedded_dns
from toolkit.secrets import Secret
from toolkit.wire import Hints

ZONE = "big.example"
COUNT = 10_000


def rrset(number: int) -> RRSet:
    name = f"h{number}.{ZONE}"
    if number % 5 < 3:
        return plain(name, "A", 300, [f"10.0.{number >> 8 & 255}.{number & 255}", f"10.9.{number >> 8 & 255}.1"])
    if number % 5 == 3:
        return plain(name, "TXT", 300, [f'"value {number}"'])
    return plain(name, "CNAME", 300, [f"h{number - 1}.{ZONE}."])


def move(target: NewSide, folder: Path) -> float:
    """Read, plan and apply; return the seconds it took."""
    source = embedded_dns.serve(dns=[("127.0.0.1", 0)], api=("127.0.0.1", 0), key="k")
    try:
        old = LosslessPowerDNS(endpoint=source.api, credentials=Keys(Secret("k")))
        zone = old.ex_create_zone(ZONE, nameservers=["ns1.agora.example"])
        old.ex_write_rrsets(zone.id, [rrset(number) for number in range(COUNT)])
        made = DnsFamily(
            source=old,
            target=target.driver,
            workspace=folder,
            tick=lambda _progress: None,
            hints=Hints(),
            target_nameservers=target.servers,
        )
        start = time.monotonic()
        resources = [item for item in made.read("source", None) if isinstance(item, Resource)]
        abilities = made.probe("target")
        outcomes = {verdict.outcome for item in resources for verdict in made.assess(item, abilities)}
        want = state(found for item in resources for found in made.translate(item, {}))
        changes = ordered(made.diff(want, state(i for i in made.read("target", want) if isinstance(i, Resource))))
        for change in changes:
            assert made.observe(change) == "before"
            made.do(change, None)
            assert made.observe(change) == "after"
        seconds = time.monotonic() - start
        assert outcomes == {"kept"}
        assert list(made.verify(want, "list")) == [Tally("dns/zone/big.example", COUNT, COUNT)]
        return seconds
    finally:
        source.close()


def limit() -> float:
    """Ten seconds on a machine that has nothing else to do."""
    return 10.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.mark.accept
def test_ten_thousand_to_the_embedded_server(embedded: NewSide, tmp_path: Path) -> None:
    assert move(embedded, tmp_path) < limit()


@pytest.mark.accept
@pytest.mark.lab
def test_ten_thousand_to_powerdns(powerdns: NewSide, tmp_path: Path) -> None:
    assert move(powerdns, tmp_path) < limit()
