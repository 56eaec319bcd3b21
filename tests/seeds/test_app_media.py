"""Objects through the app: byte for byte, with their headers, from any S3-compatible store."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .conftest import App, load

NASTY = [*load("generate").NASTY, "tab\there", "new\nline", "ünï/cödé + 1"]


@pytest.fixture(scope="module")
def media(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(tmp_path_factory.mktemp("media"), "media", {"AGORA_S3_ENDPOINT": store}).start()
    yield app
    app.stop()


def test_every_object_is_served_byte_for_byte_with_its_headers(media: App, generate: ModuleType) -> None:
    served = 0
    with closing(http.client.HTTPConnection("127.0.0.1", media.port, timeout=60)) as connection:
        for item in generate.expected_media(0.1):
            connection.request("GET", item.path)
            answer = connection.getresponse()
            body = answer.read()
            assert (answer.status, hashlib.sha256(body).hexdigest()) == (200, item.sha256), item.path
            assert {name: answer.getheader(name) for name in item.headers} == dict(item.headers), item.path
            served += 1
    assert served > 250


def test_deleted_objects_backups_and_strangers_are_not_served(media: App, generate: ModuleType) -> None:
    hidden = [item for item in generate.objects(0.1) if item.newest is None]
    assert hidden
    for path in (f"/media/{quote(hidden[0].key)}", "/media/no/such", "/media/", "/avatars/a//b"):
        answer = media.call("GET", path)
        assert (answer.status, answer.json) == (404, {"error": "no such object"})
    assert media.call("GET", "/backups/2021/01/01/agora-0000.sql.gz").status == 404
    assert media.call("GET", "/posts").status == 404
    assert media.call("POST", "/media/a//b", b"x").status == 405


def test_ranges_conditions_and_head_are_the_stores_business(media: App) -> None:
    whole = media.call("GET", "/media/a//b")
    part = media.call("GET", "/media/a//b", Range="bytes=2-5")
    assert (part.status, part.body) == (206, whole.body[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{len(whole.body)}"
    same = media.call("GET", "/media/a//b", If_None_Match=whole.headers["etag"])
    assert (same.status, same.body) == (304, b"")
    head = media.call("HEAD", "/media/a//b")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.body))
    assert whole.headers["x-amz-meta-owner"] == "tomas.0009"


def test_an_upload_is_stored_recorded_and_can_be_posted(store: str, tmp_path: Path, data: Path) -> None:
    (tmp_path / "agora.db").write_bytes(data.read_bytes())
    web = App(tmp_path, "web", {"AGORA_S3_ENDPOINT": store, "AGORA_MEDIA_URL": "http://media.agora.example"}).start()
    try:
        token, picture = web.token(), b"\x89PNG" + bytes(range(256)) * 400
        made = web.call("POST", "/media", picture, token, Content_Type="image/png")
        assert made.status == 201
        assert made.json["sha256"] == hashlib.sha256(picture).hexdigest()
        assert made.json["url"] == f"http://media.agora.example/media/{made.json['key']}"
        assert web.call("POST", "/media", picture, token, Content_Type="image/png").json == made.json
        seen = web.call("GET", f"/media/{made.json['key']}")
        assert seen.body == picture
        assert seen.headers["content-type"] == "image/png"
        assert web.call("POST", "/posts", {"text": "look", "media": made.json["key"]}, token).status == 201
        assert web.call("POST", "/media", picture, Content_Type="image/png").status == 401
    finally:
        web.stop()


def test_a_store_that_is_gone_is_a_502_and_the_rest_goes_on(shared: App) -> None:
    token = shared.token()
    before = shared.call("GET", "/stats").json
    assert shared.call("GET", "/media/a//b").status == 502
    assert shared.call("POST", "/media", b"\x89PNG", token, Content_Type="image/png").status == 502
    assert shared.call("GET", "/stats").json == before
    assert shared.call("GET", "/posts/7").status == 200


class _Recorder:
    """Stands where ``http.client.HTTPConnection`` stands and keeps the one request."""

    sent: tuple[str, str, bytes | None, dict[str, str]]

    def __init__(self, host: str, timeout: float) -> None:
        self.host = host

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        _Recorder.sent = (method, path, body, headers)

    def getresponse(self) -> None:
        return None


@pytest.mark.parametrize("key", NASTY)
def test_signatures_are_those_of_botocore(monkeypatch: pytest.MonkeyPatch, generate: ModuleType, key: str) -> None:
    generate.load_app()
    s3: Any = __import__("agora_http")
    for name, value in {"ENDPOINT": "http://s3.agora.example:9000", "KEY": "AKIDEXAMPLE", "SECRET": "wJalr/+="}.items():
        monkeypatch.setenv(f"AGORA_S3_{name}", value)
    monkeypatch.setattr(s3.http.client, "HTTPConnection", _Recorder)
    s3.s3("PUT", "agora-media", key, {"content-type": "text/plain", "x-amz-meta-note": ' a  "b" '}, b"body")
    method, path, body, headers = _Recorder.sent
    given = headers.pop("authorization")
    request = AWSRequest(method, f"http://s3.agora.example:9000{path}", headers, body)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = S3SigV4Auth(Credentials("AKIDEXAMPLE", "wJalr/+="), "s3", "us-east-1")
    wanted = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert given.endswith(f"Signature={wanted}")
