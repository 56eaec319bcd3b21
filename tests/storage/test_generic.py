"""The generic path: an in-memory libcloud driver and liars of its kind, and Azurite, both ways.

What lies in the other store is looked at through libcloud's stock driver alone, never through our own code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from libcloud.common.types import InvalidCredsError
from libcloud.storage.base import Container, Object, StorageDriver
from libcloud.storage.drivers.azure_blobs import AzureBlobsStorageDriver
from libcloud.storage.types import ContainerDoesNotExistError, ObjectDoesNotExistError

from tests.storage import azurite
from tests.storage.ends import End, Ends, Move, contents, fresh
from toolkit import wiring
from toolkit.errors import NotFound, Paused, Unsupported
from toolkit.secrets import Credentials, Secret
from toolkit.site import Provider
from toolkit.storage.drivers.generic import GenericStorage, libcloud_driver
from toolkit.storage.model import Knobs, shown

Shelf = dict[str, dict[str, tuple[bytes, dict[str, Any]]]]


class Memory(StorageDriver):  # type: ignore[misc]
    """An honest libcloud driver that keeps objects in a dictionary and tells no hash."""

    name = "Memory"
    hash_type = "md5"

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(key="", secret="")
        self.shelf = shelf

    def iterate_containers(self) -> Iterator[Container]:
        yield from (Container(name, {}, self) for name in self.shelf)

    def get_container(self, container_name: str) -> Container:
        if container_name not in self.shelf:
            raise ContainerDoesNotExistError("", self, container_name)
        return Container(container_name, {}, self)

    def create_container(self, container_name: str) -> Container:
        self.shelf[container_name] = {}
        return self.get_container(container_name)

    def delete_container(self, container: Container) -> bool:
        return self.shelf.pop(container.name) is not None

    def iterate_container_objects(self, container: Container, prefix: str | None = None, **_: Any) -> Iterator[Object]:
        names = [name for name in self.shelf[container.name] if name.startswith(prefix or "")]
        yield from (self.get_object(container.name, name) for name in reversed(names))

    def get_object(self, container_name: str, object_name: str) -> Object:
        if object_name not in self.shelf[container_name]:
            raise ObjectDoesNotExistError("", self, object_name)
        body, extra = self.shelf[container_name][object_name]
        told = {"content_type": extra.get("content_type"), "last_modified": extra["at"]}
        container = Container(container_name, {}, self)
        return Object(object_name, len(body), "", told, extra.get("meta_data"), container, self)

    def download_object_as_stream(self, obj: Object, chunk_size: int | None = None) -> Iterator[bytes]:
        body = self.shelf[obj.container.name][obj.name][0]
        yield from (body[start : start + 1000] for start in range(0, len(body), 1000))

    def upload_object_via_stream(
        self, iterator: Iterator[bytes], container: Container, object_name: str, extra: Any = None, headers: Any = None
    ) -> Object:
        body = b"".join(iterator)
        at = str(sum(len(shelf) for shelf in self.shelf.values()))
        self.shelf[container.name][object_name] = (body, {**extra, "at": f"{at}-{hashlib.md5(body).hexdigest()[:4]}"})
        return self.get_object(container.name, object_name)

    def delete_object(self, obj: Object) -> bool:
        return self.shelf[obj.container.name].pop(obj.name) is not None


class Truncating(Memory):
    """Loses the last byte, and says that all went well."""

    def upload_object_via_stream(self, iterator: Any, container: Any, object_name: str, extra: Any = None) -> Object:
        return super().upload_object_via_stream(iter([b"".join(iterator)[:-1]]), container, object_name, extra)


class Forgetful(Memory):
    """Drops user metadata and guesses the type from the name, as several drivers do."""

    def upload_object_via_stream(self, iterator: Any, container: Any, object_name: str, extra: Any = None) -> Object:
        return super().upload_object_via_stream(iterator, container, object_name, {"content_type": "text/guess"})


class Locked(Memory):
    """Refuses everything."""

    def upload_object_via_stream(self, *_: Any, **__: Any) -> Object:
        raise InvalidCredsError("wrong key", driver=self)


@dataclass(frozen=True)
class Other:
    """An end behind libcloud, in the shape that :class:`Move` wants."""

    driver: GenericStorage
    stock: StorageDriver
    wrong: frozenset[str] = frozenset()

    def without(self, abilities: frozenset[str]) -> GenericStorage:
        assert not abilities
        return self.driver

    def look(self, bucket: str) -> dict[str, tuple[bytes, Any, dict[str, str]]]:
        """Return what lies there, by the stock driver."""
        found = {}
        for listed in self.stock.iterate_container_objects(self.stock.get_container(bucket)):
            item = self.stock.get_object(bucket, listed.name)
            body = b"".join(self.stock.download_object_as_stream(item))
            found[listed.name] = (body, item.extra["content_type"], dict(item.meta_data or {}))
        return found


def memory(kind: Callable[[Shelf], StorageDriver] = Memory) -> Other:
    shelf: Shelf = {}
    return Other(GenericStorage(lambda: kind(shelf)), Memory(shelf))


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Other]:
    with azurite.running(tmp_path_factory.mktemp("azurite")) as port:
        args = {"secure": False, "host": "127.0.0.1", "port": port}
        keys = Credentials("keys", Secret(azurite.ACCOUNT), Secret(azurite.KEY))
        stock = AzureBlobsStorageDriver(azurite.ACCOUNT, azurite.KEY, **args)
        yield Other(GenericStorage(libcloud_driver("AZURE_BLOBS", keys, args)), stock)


@pytest.fixture(params=["memory", "azurite"])
def other(request: pytest.FixtureRequest) -> Other:
    return memory() if request.param == "memory" else request.getfixturevalue("azure")


def toward(mocked: Ends, other: Other, run: Path, knobs: Knobs | None = None) -> Move:
    name = fresh()
    mocked.source.client.create_bucket(Bucket=name)
    ends: Any = Ends(mocked.source, other)  # type: ignore[arg-type]
    return Move(ends, run, name, to=fresh("to"), knobs=knobs or Knobs(in_flight=4, attempts=2))


def refused(move: Move) -> dict[str, str]:
    return {finding.feature: finding.text for finding in move.exceptions if finding.severity == "error"}


def plain(client: Any, bucket: str, *keys: str) -> None:
    for key in keys:
        client.put_object(
            Bucket=bucket, Key=key, Body=f"body of {key}".encode(), ContentType="text/x-y", Metadata={"ab": "v w"}
        )


def test_there_and_back(mocked: Ends, other: Other, run: Path, tmp_path: Path) -> None:
    move = toward(mocked, other, run)
    client = mocked.source.client
    plain(client, move.bucket, "a", "b/c.txt", "b/d", "zz-~_.x")
    client.put_object(Bucket=move.bucket, Key="empty", Body=b"", ContentType="text/x-y")
    client.put_object(Bucket=move.bucket, Key="large", Body=b"0112056789" * 900_000, ContentType="text/x-y")
    move.apply()
    assert refused(move) == {}
    there = {key: told[0] for key, told in other.look(move.target_bucket).items()}
    assert there == {key: told["body"] for key, told in contents(mocked.source, move.bucket).items()}
    assert other.look(move.target_bucket)["a"][1:] == ("text/x-y", {"ab": "v w"})
    for tier in ("list", "meta", "bytes"):
        findings, tally = move.verify(tier)
        assert (findings, tally.total, tally.verified) == ([], 6, 6), tier
    assert move.plan() == []
    (tmp_path / "back").mkdir(mode=0o700)
    ends: Any = Ends(other, mocked.target)  # type: ignore[arg-type]
    back = Move(ends, tmp_path / "back", move.target_bucket, to=fresh("back"), knobs=move.knobs)
    back.apply()
    assert refused(back) == {}
    assert contents(mocked.target, back.target_bucket) == contents(mocked.source, move.bucket)
    assert back.verify("bytes")[0] == []
    assert back.plan() == []


@pytest.mark.lab
def test_real_ceph_there_and_back(azure: Other, rgw: End, run: Path, tmp_path: Path) -> None:
    move = toward(Ends(rgw, rgw), azure, run)
    plain(rgw.client, move.bucket, "a", "b/é ü", "c&d?e#f%20+")
    move.apply()
    (tmp_path / "back").mkdir(mode=0o700)
    ends: Any = Ends(azure, rgw)  # type: ignore[arg-type]
    back = Move(ends, tmp_path / "back", move.target_bucket, to=fresh("back"), knobs=move.knobs)
    back.apply()
    assert (refused(move), refused(back)) == ({}, {})
    assert contents(rgw, back.target_bucket) == contents(rgw, move.bucket)


DANGEROUS = ("a//b", "/lead", "x/../y", "x/./y", ".", "..", "back\\slash", "\x01", "new\nline")
ODD = ("é", "e\u0301", "a b", "q?x", "h#x", "p%20x", "pl+us", "&;=", "emoji-😀", "trail/")


def test_keys_that_cannot_be_addressed_are_refused(mocked: Ends, other: Other, run: Path) -> None:
    move = toward(mocked, other, run)
    plain(mocked.source.client, move.bucket, "fine", "x/y", "y", "a/b", *DANGEROUS, *ODD)
    move.apply()
    known = other.driver.ex_data_plane().label.endswith("(blobs)")
    refusals = DANGEROUS if known else (*DANGEROUS, *ODD)
    assert set(refused(move)) == {shown(key.encode()) for key in refusals}
    assert all("is not known to address this key" in text for text in refused(move).values())
    kept = {"fine", "x/y", "y", "a/b", *(ODD if known else ())}
    assert {key: told[0] for key, told in other.look(move.target_bucket).items()} == {
        key: f"body of {key}".encode() for key in kept
    }
    findings, tally = move.verify("list")
    assert {finding.feature for finding in findings} == {shown(key.encode()) for key in refusals}
    assert tally.total - tally.verified == len(refusals)


HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "cache": ({"CacheControl": "no-store"}, "Cache-Control"),
    "packed": ({"ContentEncoding": "gzip"}, "Content-Encoding"),
    "language": ({"ContentLanguage": "de"}, "Content-Language"),
    "disposition": ({"ContentDisposition": "attachment"}, "Content-Disposition"),
    "expires": ({"Expires": "Wed, 21 Oct 2026 07:28:00 GMT"}, "Expires"),
    "redirect": ({"WebsiteRedirectLocation": "/x"}, "a website redirect"),
    "tagged": ({"Tagging": "t=1"}, "tags"),
    "empty-value": ({"Metadata": {"a": ""}}, "the metadata a"),
}


def test_headers_that_cannot_be_kept_are_refused(mocked: Ends, other: Other, run: Path) -> None:
    move = toward(mocked, other, run)
    for key, (headers, _) in HEADERS.items():
        mocked.source.client.put_object(Bucket=move.bucket, Key=key, Body=b"x", ContentType="text/x-y", **headers)
    plain(mocked.source.client, move.bucket, "fine")
    move.apply()
    told = refused(move)
    assert set(told) == set(HEADERS)
    for key, (_, what) in HEADERS.items():
        assert f"cannot keep {what}" in told[key], told[key]
    assert set(other.look(move.target_bucket)) == {"fine"}


def test_azure_names_of_metadata(mocked: Ends, azure: Other, run: Path) -> None:
    move = toward(mocked, azure, run)
    mocked.source.client.put_object(Bucket=move.bucket, Key="k", Body=b"x", Metadata={"with-dash": "1"})
    move.apply()
    assert "cannot keep the metadata with-dash" in refused(move)["k"]
    assert azure.look(move.target_bucket) == {}


def test_parts_become_one_piece(mocked: Ends, other: Other, run: Path) -> None:
    move = toward(mocked, other, run, Knobs(in_flight=4, attempts=2, small=6 << 20))
    client = mocked.source.client
    for key, sizes in (("small", [5 << 20, 7]), ("large", [5 << 20, 5 << 20, 9])):
        upload = client.create_multipart_upload(Bucket=move.bucket, Key=key, ContentType="text/x-y")["UploadId"]
        parts = [
            {
                "PartNumber": n,
                "ETag": client.upload_part(
                    Bucket=move.bucket, Key=key, UploadId=upload, PartNumber=n, Body=bytes([n]) * size
                )["ETag"],
            }
            for n, size in enumerate(sizes, 1)
        ]
        client.complete_multipart_upload(Bucket=move.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    move.apply()
    assert refused(move) == {}
    assert {finding.evidence["reason"] for finding in move.exceptions} == {"double-read"}
    there = {key: told[0] for key, told in other.look(move.target_bucket).items()}
    assert there == {key: told["body"] for key, told in contents(mocked.source, move.bucket).items()}
    assert move.plan() == []


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Truncating, "other bytes|read back"), (Forgetful, "cannot keep Content-Type")],
    ids=["truncating", "forgetful"],
)
def test_a_lying_driver_is_caught(mocked: Ends, run: Path, kind: type[Memory], why: str) -> None:
    other = memory(kind)
    move = toward(mocked, other, run)
    plain(mocked.source.client, move.bucket, "k")
    move.apply()
    assert any(word in refused(move)["k"] for word in why.split("|")), refused(move)
    assert other.look(move.target_bucket) == {}, "what was written wrongly was taken away again"


def test_wrong_credentials_stop_the_run(mocked: Ends, run: Path) -> None:
    move = toward(mocked, memory(Locked), run, Knobs(in_flight=4, attempts=2, patience=0.0))
    plain(mocked.source.client, move.bucket, "k")
    with pytest.raises(Paused, match="wrong key"):
        move.apply()


def test_a_changed_object_is_refreshed_and_a_foreign_one_left_alone(mocked: Ends, other: Other, run: Path) -> None:
    move = toward(mocked, other, run)
    plain(mocked.source.client, move.bucket, "a", "b")
    move.apply()
    mocked.source.client.put_object(Bucket=move.bucket, Key="a", Body=b"newer", ContentType="text/x-y")
    mocked.source.client.put_object(Bucket=move.bucket, Key="b", Body=b"newer", ContentType="text/x-y")
    box = other.stock.get_container(move.target_bucket)
    other.stock.upload_object_via_stream(iter([b"theirs"]), box, "b", extra={"content_type": "a/b", "meta_data": {}})
    move.apply()
    there = {key: told[0] for key, told in other.look(move.target_bucket).items()}
    assert there == {"a": b"newer", "b": b"theirs"}


def test_purge_takes_back_exactly_ours(mocked: Ends, other: Other, run: Path) -> None:
    move = toward(mocked, other, run)
    plain(mocked.source.client, move.bucket, "a", "b")
    changes = move.apply()
    box = other.stock.get_container(move.target_bucket)
    other.stock.upload_object_via_stream(iter([b"theirs"]), box, "c", extra={"content_type": "a/b", "meta_data": {}})
    move.undo(changes, purge=True)
    assert set(other.look(move.target_bucket)) == {"c"}


def test_many_pages_in_byte_order(mocked: Ends, run: Path) -> None:
    other = memory()
    other.stock.create_container("box")
    box = other.stock.get_container("box")
    for number in range(1205):
        extra = {"content_type": "a/b", "meta_data": {}}
        other.stock.upload_object_via_stream(iter([b"%d" % number]), box, f"k{number * 7919 % 1205:04d}", extra=extra)
    ends: Any = Ends(other, mocked.target)  # type: ignore[arg-type]
    move = Move(ends, run, "box", to=fresh("to"))
    move.apply()
    assert len(contents(mocked.target, move.target_bucket)) == 1205
    assert move.verify("list")[0] == []


def test_verdicts_of_the_generic_path(mocked: Ends, run: Path) -> None:
    move = toward(mocked, memory(), run)
    mocked.source.client.put_bucket_versioning(Bucket=move.bucket, VersioningConfiguration={"Status": "Enabled"})
    resource = move.desired()[f"storage/bucket/{move.bucket}"]
    found = {v.feature: v.outcome for v in move.family.assess(resource, move.family.probe("target"))}
    assert {feature: found[feature] for feature in ("objects", "metadata", "multipart", "tags")} == {
        "objects": "converted",
        "metadata": "degraded",
        "multipart": "converted",
        "tags": "degraded",
    }


def test_behaviour_is_unproven(mocked: Ends, run: Path) -> None:
    move = toward(mocked, memory(), run)
    plain(mocked.source.client, move.bucket, "a")
    move.apply()
    assert [(item.feature, item.verdict) for item in move.verify("behaviour")[0]] == [("behaviour", "unproven")]


def test_the_control_plane_refuses_what_it_cannot_do() -> None:
    driver = memory().driver
    driver.ex_create_bucket("b")
    driver.ex_create_bucket("b")
    assert [item.name for item in driver.iterate_containers()] == ["b"]
    assert (driver.ex_versioning("b"), driver.ex_capabilities()) == ("off", frozenset({"objects"}))
    for call in (lambda: driver.ex_versioning("b", "enabled"), lambda: driver.ex_create_bucket("c", object_lock=True)):
        with pytest.raises(Unsupported):
            call()
    with pytest.raises(NotFound):
        driver.get_container("none")
    with pytest.raises(Unsupported, match="no storage driver"):
        libcloud_driver("NO_SUCH", Credentials("default"), {})
    with pytest.raises(Unsupported, match="AZURE_BLOBS"):
        libcloud_driver("AZURE_BLOBS", Credentials("default"), {})()


def test_a_site_names_both_ends_by_wiring(tmp_path: Path) -> None:
    keys = Credentials("keys", Secret(azurite.ACCOUNT), Secret(azurite.KEY))
    extra: dict[str, Any] = {"family": "storage", "driver": "AZURE_BLOBS", "args": {"secure": False, "host": "x"}}
    provider = Provider("az", "libcloud", extra=extra)
    driver = wiring._storage_driver(provider, lambda _: keys)
    assert isinstance(driver, GenericStorage)
    assert driver.ex_data_plane().endpoint == "libcloud://x"
    zones = Provider("d", "libcloud", extra={"family": "dns", "driver": "DUMMY", "x-expresses": ["ttl"]})
    names = wiring._dns_driver(zones, lambda _: Credentials("keys", Secret("k"), Secret("s")))
    assert names is not None
    assert names.ex_capabilities() == frozenset({"type:A", "ttl"})
    with pytest.raises(Unsupported, match="no provider of storage"):
        wiring._storage_driver(zones, lambda _: keys)
