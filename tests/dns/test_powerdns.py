"""The PowerDNS driver and the embedded server's API: refusals, batches, disabled records, keys."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.dns.conftest import Keys, NewSide
from toolkit.dns.drivers import powerdns as module
from toolkit.dns.drivers.powerdns import LosslessPowerDNS
from toolkit.dns.model import RRSet, plain
from toolkit.errors import AuthError, Conflict, Unreachable, Unsupported
from toolkit.secrets import Secret

ZONE = "pdns.example"


class Cases:
    """Run against the embedded server and the real one."""

    @pytest.fixture
    def driver(self, side: NewSide) -> LosslessPowerDNS:
        side.driver.ex_create_zone(ZONE, nameservers=["ns1.agora.example"])
        return side.driver

    @pytest.fixture
    def zone_id(self, driver: LosslessPowerDNS) -> str:
        return f"{ZONE}."

    def test_probe(self, driver: LosslessPowerDNS) -> None:
        assert driver.ex_probe().startswith("PowerDNS 4.")

    def test_a_wrong_key(self, side: NewSide) -> None:
        connection = side.driver.connection
        wrong = LosslessPowerDNS(endpoint=f"http://{connection.host}:{connection.port}", credentials=Keys(Secret("no")))
        with pytest.raises(AuthError):
            wrong.ex_probe()

    def test_a_zone_twice(self, driver: LosslessPowerDNS) -> None:
        with pytest.raises(Conflict):
            driver.ex_create_zone(ZONE, nameservers=["ns1.agora.example"])

    @pytest.mark.parametrize("owner", ["a b", "a\\@b", "a\\.b", "a.*.x", "a+b", "a\\228b", "a~b", "a$b", "a:b"])
    def test_owner_names_the_api_refuses(self, driver: LosslessPowerDNS, zone_id: str, owner: str) -> None:
        with pytest.raises(Unsupported, match="unsupported characters"):
            driver.ex_write_rrsets(zone_id, [plain(f"{owner}.{ZONE}", "A", 60, ["192.0.2.1"])])

    @pytest.mark.parametrize(
        ("name", "rdtype", "contents", "text"),
        [
            (f"x.{ZONE}.", "A", ["nonsense"], "Parsing record content"),
            (f"x.{ZONE}.", "CNAME", ["a.b.", "c.d."], "more than one record"),
            (f"x.{ZONE}.", "CNAME", ["a.b"], "Not in expected format"),
            (f"x.{ZONE}.", "TXT", ["bare"], "Not in expected format"),
            (f"x.{ZONE}.", "TXT", ['"a""b"'], "Not in expected format"),
            (f"x.{ZONE}.", "HTTPS", ['1 . alpn="h2"'], "Not in expected format"),
            (f"x.{ZONE}.", "TXT", ['"a"', '"a"'], "Duplicate record"),
            (f"x.{ZONE}.", "NONSENSE", ["a"], "unknown type"),
            ("x.other.example.", "A", ["192.0.2.1"], "out of zone"),
            (f"x.{ZONE}", "A", ["192.0.2.1"], "not canonical"),
        ],
    )
    def test_what_the_api_refuses(
        self, driver: LosslessPowerDNS, zone_id: str, name: str, rdtype: str, contents: list[str], text: str
    ) -> None:
        records = [{"content": content, "disabled": False} for content in contents]
        raw = {"name": name, "type": rdtype, "ttl": 60, "changetype": "REPLACE", "records": records}
        with pytest.raises(Unsupported, match=text):
            driver.ex_patch_rrsets(zone_id, [raw])

    def test_disabled_records_are_facts(self, driver: LosslessPowerDNS, zone_id: str) -> None:
        records = [{"content": f"192.0.2.{n}", "disabled": n == 2} for n in (1, 2)]
        raw = {"name": f"x.{ZONE}.", "type": "A", "ttl": 60, "changetype": "REPLACE", "records": records}
        driver.ex_patch_rrsets(zone_id, [raw])
        found = {rrset.key(ZONE): rrset for rrset in driver.ex_read_zone(zone_id)[1]}["x/A"]
        assert found.values == ("192.0.2.1",)
        assert found.facts == {"disabled": ["192.0.2.2"]}

    def test_serials_go_up_and_rectify_and_notify_answer(self, driver: LosslessPowerDNS, zone_id: str) -> None:
        def serial() -> int:
            return int(driver.ex_read_zone(zone_id)[0].soa.split()[2])

        before = serial()
        driver.ex_write_rrsets(zone_id, [plain(f"x.{ZONE}", "A", 60, ["192.0.2.1"])])
        assert serial() > before
        driver.ex_notify(zone_id)
        driver.ex_rectify(zone_id)
        assert driver.ex_list_rrsets(zone_id)

    def test_a_zone_without_secondaries_is_written_all_the_same(self, side: NewSide) -> None:
        side.driver.ex_create_zone("native.example", nameservers=["ns1.agora.example"], kind="Native")
        side.driver.ex_write_rrsets("native.example.", [plain("x.native.example", "A", 60, ["192.0.2.1"])])
        assert len(side.driver.ex_read_zone("native.example.")[1]) == 3

    def test_a_body_over_two_megabytes_is_refused_so_we_send_less(
        self, driver: LosslessPowerDNS, zone_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rrsets = [plain(f"n{n}.{ZONE}", "TXT", 60, [f'"{"x" * 250}" "{"y" * 250}"']) for n in range(4000)]
        with monkeypatch.context() as patch:
            patch.setattr(module, "MAX_BODY", 100_000_000)
            with pytest.raises((Unsupported, Unreachable)):
                driver.ex_patch_rrsets(zone_id, [module._raw(rrset) for rrset in rrsets])
        assert driver.ex_patch_rrsets(zone_id, [module._raw(rrset) for rrset in rrsets]) == 2
        assert len(driver.ex_read_zone(zone_id)[1]) == 4002


class TestEmbedded(Cases):
    @pytest.fixture
    def side(self, embedded: NewSide) -> NewSide:
        return embedded

    def test_serials_are_the_same_in_every_run(self, driver: LosslessPowerDNS, zone_id: str) -> None:
        driver.ex_write_rrsets(zone_id, [plain(f"x.{ZONE}", "A", 60, ["192.0.2.1"])])
        assert driver.ex_read_zone(zone_id)[0].soa.split()[2] == "2"

    def test_pages_that_do_not_exist(self, embedded: NewSide) -> None:
        connection = embedded.driver.connection
        request = urllib.request.Request(
            f"http://{connection.host}:{connection.port}/api/v1/servers/localhost/nonsense", headers={"X-API-Key": "k"}
        )
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(request, timeout=10)


@pytest.mark.lab
class TestReal(Cases):
    @pytest.fixture
    def side(self, powerdns: NewSide) -> NewSide:
        return powerdns


def test_nobody_there() -> None:
    nobody = LosslessPowerDNS(endpoint="http://127.0.0.1:9", credentials=Keys(Secret("k")))
    with pytest.raises(Unreachable):
        nobody.ex_probe()


def test_one_name_travels_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 200)
    sets = [{"name": name, "type": kind} for name in ("a.", "b.") for kind in ("CNAME", "A", "TXT", "MX")]
    batches = list(module._batches([*sets[:2], *sets[4:], *sets[2:4]]))
    assert [{item["name"] for item in batch} for batch in batches] == [{"a."}, {"b."}]


def test_an_rrset_becomes_one_replace() -> None:
    raw = module._raw(RRSet("x.y.", "TXT", 5, ('"a"', '"b"')))
    assert (raw["changetype"], raw["ttl"], len(raw["records"])) == ("REPLACE", 5, 2)
