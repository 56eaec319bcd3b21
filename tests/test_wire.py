"""The wire: resolution from the parents down, and one HTTP request to what a name is now."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit import wire
from toolkit.errors import Unreachable, UsageError
from toolkit.rehearsal import embedded_dns, twin
from toolkit.wire import Hints


class World:
    """A parent, a zone on two servers of which one is dead, and a second zone elsewhere."""

    def __init__(self) -> None:
        self.one = embedded_dns.serve(dns=[("127.0.0.1", 0)], api=("127.0.0.1", 0), key="k")
        self.two = embedded_dns.serve(dns=[("127.0.0.2", 0)], api=("127.0.0.1", 0), key="k")
        self.parent = twin.Parent([("127.0.0.1", 0)], ("127.0.0.1", 0))
        self.parents = tuple(f"{ip}:{port}" for ip, port in self.parent.dns)
        records = {
            "www": ("A", "127.0.0.1"),
            "cdn": ("CNAME", "www.friend.example."),
            "lost": ("CNAME", "nobody.example."),
            "six": ("AAAA", "::1"),
        }
        self._zone(self.one, "agora.example.", records)
        self._zone(self.two, "friend.example.", {"www": ("A", "127.0.0.3"), "ns": ("A", "127.0.0.2")})
        self.parent.put("agora.example", {"nameservers": {"ns1.agora.example": "127.0.0.1"}})
        self.parent.put("friend.example", {"nameservers": {"ns.friend.example": "127.0.0.2"}})

    def _zone(self, handle: embedded_dns.Handle, name: str, records: dict[str, tuple[str, str]]) -> None:
        rrsets = [
            {"name": f"{owner}.{name}", "type": kind, "ttl": 5, "records": [{"content": value}]}
            for owner, (kind, value) in records.items()
        ]
        body = {"name": name, "kind": "Master", "nameservers": [f"ns1.{name}"], "rrsets": rrsets}
        embedded_dns.call(handle.store, "POST", "/api/v1/servers/localhost/zones", body)

    @property
    def hints(self) -> Hints:
        (_, one), (_, two) = self.one.dns[0], self.two.dns[0]
        return Hints(self.parents, {"ns1.agora.example": f"127.0.0.1:{one}", "127.0.0.2": f"127.0.0.2:{two}"})

    def close(self) -> None:
        for part in (self.one, self.two, self.parent):
            part.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_every_step_is_recorded(world: World) -> None:
    found = wire.chain("www.agora.example", "A", world.hints)
    assert (found.rcode, found.answers, found.cnames) == ("NOERROR", ("127.0.0.1",), ())
    first, last = found.steps
    assert (first.zone, first.referral, first.aa) == (".", ("ns1.agora.example.",), False)
    assert (last.zone, last.server, last.aa) == ("agora.example.", "ns1.agora.example.", True)
    assert last.address == world.hints.hosts["ns1.agora.example"]
    assert last.answers == ("127.0.0.1",)


def test_cnames_are_followed_through_other_zones_by_glue(world: World) -> None:
    found = wire.chain("cdn.agora.example", "A", world.hints)
    assert found.cnames == ("www.friend.example.",)
    assert found.answers == ("127.0.0.3",)
    assert found.steps[-1].address == world.hints.hosts["127.0.0.2"], "the port comes from the hints, the IP from glue"


def test_names_that_are_not_there(world: World) -> None:
    assert wire.chain("nothing.agora.example", "A", world.hints).rcode == "NXDOMAIN"
    assert wire.chain("www.agora.example", "TXT", world.hints).rcode == "NOERROR"
    lost = wire.chain("lost.agora.example", "A", world.hints)
    assert (lost.rcode, lost.cnames, lost.answers) == ("NXDOMAIN", ("nobody.example.",), ())
    assert wire.addresses("lost.agora.example", world.hints) == ()


def test_addresses(world: World) -> None:
    assert wire.addresses("www.agora.example", world.hints) == ("127.0.0.1",)
    assert wire.addresses("six.agora.example", world.hints) == ("::1",)
    assert wire.addresses("192.0.2.1", world.hints) == ("192.0.2.1",)
    assert wire.addresses("NS1.agora.example.", world.hints) == ("127.0.0.1",), "a hinted host needs no question"


def test_a_cache_saves_questions_but_not_steps(world: World) -> None:
    cache: wire.Cache = {}
    first = wire.chain("www.agora.example", "A", world.hints, cache)
    second = wire.chain("six.agora.example", "AAAA", world.hints, cache)
    assert [step.zone for step in second.steps] == [step.zone for step in first.steps]
    assert second.steps[0] == first.steps[0], "the referral found before is shown again"


def test_a_dead_server_is_passed_over_and_all_dead_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.query, "__kwdefaults__", {"timeout": 0.3, "tries": 1})
    alive = Hints(("127.0.0.1:9", *world.parents), world.hints.hosts)
    assert wire.chain("www.agora.example", "A", alive).answers == ("127.0.0.1",)
    with pytest.raises(Unreachable, match="no server of"):
        wire.chain("www.agora.example", "A", Hints(("127.0.0.1:9",)))
    dead = Hints(world.parents, {"ns1.agora.example": "127.0.0.1:9"})
    with pytest.raises(Unreachable, match=r"ns1\.agora\.example"):
        wire.chain("www.agora.example", "A", dead)


def test_truncated_answers_are_asked_again_over_tcp(world: World) -> None:
    records = [{"content": f'"{number:03d}{"x" * 200}"'} for number in range(20)]
    change = {"name": "big.agora.example.", "type": "TXT", "ttl": 5, "changetype": "REPLACE", "records": records}
    embedded_dns.call(world.one.store, "PATCH", "/api/v1/servers/localhost/zones/agora.example.", {"rrsets": [change]})
    assert len(wire.chain("big.agora.example", "TXT", world.hints).answers) == 20


def test_spelling_of_addresses() -> None:
    assert wire.split_address("192.0.2.1") == ("192.0.2.1", 53)
    assert wire.split_address("192.0.2.1:5300") == ("192.0.2.1", 5300)
    assert wire.split_address("[2001:db8::1]:5300") == ("2001:db8::1", 5300)
    assert wire.split_address("2001:db8::1") == ("2001:db8::1", 53)
    assert wire.with_port("2001:db8::1") == "[2001:db8::1]:53"
    assert wire.with_port("192.0.2.1", 5300) == "192.0.2.1:5300"


class Handler(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "http://elsewhere.example/")
        self.send_header("X-Host", self.headers["Host"])
        self.end_headers()
        self.wfile.write(b"%s %s %s" % (self.command.encode(), self.path.encode(), body))

    do_GET = do_POST = _answer  # noqa: N815 (http.server looks for these)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def site() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_http_goes_to_what_the_name_is_now(world: World, site: http.server.ThreadingHTTPServer) -> None:
    port = site.server_address[1]
    answer = wire.http_request("POST", f"http://www.agora.example:{port}/a?b=c", body=b"hello", hints=world.hints)
    assert (answer.status, answer.body, answer.peer, answer.issuer) == (200, b"POST /a?b=c hello", "127.0.0.1", "")
    assert answer.headers["x-host"] == f"www.agora.example:{port}"
    assert wire.http_request("GET", f"http://www.agora.example:{port}/moved", hints=world.hints).status == 302


def test_http_errors_have_a_remedy(world: World, site: http.server.ThreadingHTTPServer) -> None:
    with pytest.raises(Unreachable, match="no address") as none:
        wire.http_request("GET", "http://nothing.agora.example/", hints=world.hints)
    assert none.value.remedy
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        wire.http_request("GET", "http://www.agora.example:9/", hints=world.hints, timeout=2)
    with pytest.raises(UsageError):
        wire.http_request("GET", "ftp://www.agora.example/", hints=world.hints)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Authority"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    cert, secret = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, secret


def test_https_checks_the_name_and_says_who_issued(
    world: World, site: http.server.ThreadingHTTPServer, tmp_path: Path
) -> None:
    cert, key = certificate(tmp_path, "www.agora.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    site.socket = context.wrap_socket(site.socket, server_side=True)
    port = site.server_address[1]
    answer = wire.http_request("GET", f"https://www.agora.example:{port}/", hints=world.hints, ca=str(cert))
    assert answer.status == 200
    assert "Test Authority" in answer.issuer
    with pytest.raises(Unreachable, match="certificate"):
        wire.http_request("GET", f"https://www.agora.example:{port}/", hints=world.hints)
    hints = Hints(world.parents, {**world.hints.hosts, "other.agora.example": "127.0.0.1"})
    with pytest.raises(Unreachable, match="certificate"):
        wire.http_request("GET", f"https://other.agora.example:{port}/", hints=hints, ca=str(cert))
