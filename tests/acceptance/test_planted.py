"""Each of the seven checks of prove fails when its fault is planted into a real (small) finished move."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from toolkit.model import Json
from toolkit.rehearsal import net, overlay, rehearse
from toolkit.rehearsal.rehearse import Play

SEEDS = Path(__file__).parents[2] / "seeds" / "february-2021"
ZONE = "agora.example."


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    folder = tmp_path_factory.mktemp("planted") / "rehearsal"
    with rehearse.playing(SEEDS, folder, info=None, scale=0.02, say=print) as made:
        rehearse.define(made)
        rehearse.record(made)
        rehearse.build(made)
        rehearse.cut_over(made)
        rehearse.cut_off(made)
        proof = rehearse.prove(made)
        assert proof["verdict"] == "independent", proof
        yield made


def failed(play: Play) -> set[str]:
    proof = rehearse.prove(play, codes=(1,))
    assert proof["verdict"] == "dependent"
    return {check["name"] for check in proof["checks"] if check["status"] == "failed"}


def provider(play: Play, name: str) -> dict[str, Json]:
    return overlay.load(play.site / "site.yaml")["providers"][name]


def patch_names(play: Play, *rrsets: dict[str, Json]) -> None:
    url = f"{provider(play, 'names')['endpoint']}/api/v1/servers/localhost/zones/{ZONE}"
    net.call_json(url, method="PATCH", body={"rrsets": list(rrsets)}, headers={"X-API-Key": play.env["NAMES_KEY"]})


def machines(play: Play, path: str, body: Json = None) -> Json:
    url = f"{provider(play, 'machines')['endpoint']}/{path}"
    headers = {"X-Rehost-Token": play.env["MACHINES_KEY"]}
    return net.call_json(url, method="GET" if body is None else "POST", body=body, headers=headers)


def server(play: Play, name: str) -> str:
    return next(str(item["id"]) for item in machines(play, "servers")["servers"] if item["name"] == name)


def run_sql(play: Play, sql: str) -> None:
    code = f"import sqlite3; db = sqlite3.connect('agora.db'); db.execute({sql!r}); db.commit()"
    done = machines(
        play,
        f"servers/{server(play, 'web-1')}/exec",
        {"argv": ["python3", "-c", code], "stdin": "", "timeout": 30},
    )
    assert done["rc"] == 0, base64.b64decode(done["err"])


def store(play: Play) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=provider(play, "store")["endpoint"],
        aws_access_key_id=play.env["STORE_KEY"],
        aws_secret_access_key=play.env["STORE_SECRET"],
        region_name="us-east-1",
    )


def record(name: str, kind: str, *contents: str, change: str = "REPLACE") -> dict[str, Json]:
    rows = [{"content": content, "disabled": False} for content in contents]
    return {"name": name, "type": kind, "ttl": 60, "changetype": change, "records": rows}


def test_2_a_name_that_leads_to_the_old_provider(play: Play) -> None:
    patch_names(play, record(f"shop.{ZONE}", "CNAME", "d111111abcdef8.cloudfront.net."))
    assert "resolution" in failed(play)
    patch_names(play, {**record(f"shop.{ZONE}", "CNAME", "agora.shops.example."), "ttl": 3600})


@pytest.mark.parametrize("back", ["nameservers", "registrar"])
def test_3_the_delegation_or_the_registration_goes_back(play: Play, back: str) -> None:
    url = f"{play.aws.registry_url}/domains/agora.example"
    now = net.call_json(url)
    planted = {
        "nameservers": {"nameservers": {"ns-1.awsdns-01.com": play.aws.loopback.old_ip(3)}},
        "registrar": {"registrar": "aws"},
    }
    net.call_json(url, method="PUT", body={**now, **planted[back]})
    try:
        assert "delegation" in failed(play)
    finally:
        net.call_json(url, method="PUT", body=now)


def test_4_a_certificate_issued_by_the_old_provider(play: Play, tmp_path: Path) -> None:
    site = play.site / "site.yaml"
    before = site.read_bytes()
    doc = overlay.load(site)
    name = "secure.preview.agora.example"
    doc["certificates"] = {"planted": {"served": [f"{name}:8443"]}}
    doc["outside"]["tls"] = {"ca": "ca.pem"}
    overlay.dump(site, doc)
    web = next(item for item in machines(play, "servers")["servers"] if item["name"] == "web-1")
    address = web["body"]["addresses"]["private"][0]
    try:
        for issuer, bad in (("Amazon", True), ("Agora Test CA", False)):
            with tls_server(address, name, issuer, play.site / "ca.pem", tmp_path):
                if bad:
                    assert failed(play) == {"certificates"}
                else:
                    assert rehearse.prove(play)["verdict"] == "independent"
    finally:
        site.write_bytes(before)


def test_5_an_old_endpoint_in_a_text_object(play: Play) -> None:
    body = b"upload to https://agora-media.s3.us-east-1.amazonaws.com/ as always"
    store(play).put_object(Bucket="agora-static", Key="how-to.txt", Body=body, ContentType="text/plain")
    assert "endpoints" in failed(play)
    store(play).delete_object(Bucket="agora-static", Key="how-to.txt")


def test_6_a_server_of_the_app_is_down(play: Play) -> None:
    ident = server(play, "status-1")
    machines(play, f"servers/{ident}/stop", {})
    assert "journeys" in failed(play)
    play_env = {"AGORA_STATUS_WATCH": ""}
    machines(play, f"servers/{ident}/start", {"env": play_env})


def test_7_one_lost_row_one_changed_object_one_account(play: Play) -> None:
    run_sql(play, "CREATE TABLE kept AS SELECT * FROM posts ORDER BY id DESC LIMIT 1")
    run_sql(play, "DELETE FROM posts WHERE id = (SELECT MAX(id) FROM posts)")
    assert "contents" in failed(play)
    run_sql(play, "INSERT INTO posts SELECT * FROM kept")
    run_sql(play, "DROP TABLE kept")


def test_7_one_byte_of_one_object(play: Play) -> None:
    client = store(play)
    listed = client.list_objects_v2(Bucket="agora-static")["Contents"]
    key = next(item["Key"] for item in listed if item["Size"] > 10)
    good = client.get_object(Bucket="agora-static", Key=key)
    body = good["Body"].read()
    client.put_object(Bucket="agora-static", Key=key, Body=bytes([body[0] ^ 1]) + body[1:])
    assert "contents" in failed(play)


def test_9_last_a_call_to_the_old_provider(play: Play) -> None:
    client = boto3.client("s3", **{"endpoint_url": play.aws.endpoint, "region_name": "us-east-1"},
                          aws_access_key_id=play.aws.store.access_key,
                          aws_secret_access_key=play.aws.store.secret_key.reveal())  # fmt: skip
    with contextlib.suppress(client.exceptions.ClientError):
        client.list_buckets()
    assert "calls" in failed(play)


@contextlib.contextmanager
def tls_server(address: str, name: str, issuer: str, ca_file: Path, folder: Path) -> Iterator[None]:
    """Serve one page over TLS with a certificate that `issuer` signed."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)

    def made(subject: str, signer: Any, signer_name: x509.Name, key: Any, *, ca: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(signer_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(signer, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_file.write_bytes(made(issuer, ca_key, named(issuer), ca_key, ca=True).public_bytes(serialization.Encoding.PEM))
    leaf = made(name, ca_key, named(issuer), key, ca=False)
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem", folder / "key.pem")
    listener = http.server.ThreadingHTTPServer((address, 8443), http.server.SimpleHTTPRequestHandler)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown()
        listener.server_close()


def named(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )
