"""Whole objects through one libcloud driver: listed, read, written and read back, or refused.

Enters: keys as bytes, headers as S3 names them. Leaves: headers as S3 would answer. Raises
:class:`Refusal`, which says what an S3 store would have answered; network errors pass as they are.

Keys: libcloud drivers put keys into URLs in their own ways (its S3 driver reads ``a/b`` when asked for
``a//b``), and a key that is spelled wrongly would overwrite another object. So a key is only touched if
:data:`PLAIN`, or what is known of the driver (:data:`KNOWN`), says that it can be addressed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.types import InvalidCredsError, LibcloudError
from libcloud.storage.base import Container, Object, StorageDriver
from libcloud.storage.types import (
    ContainerDoesNotExistError,
    InvalidContainerNameError,
    ObjectDoesNotExistError,
    ObjectHashMismatchError,
)

#: Keys that every driver can be trusted with: unreserved characters, in parts that are not empty, "." or "..".
PLAIN = re.compile(r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
_MD5 = re.compile(r"[0-9a-f]{32}")
_META = "x-amz-meta-"
#: Headers that only carry the request, not the object.
_OF_REQUEST = frozenset(
    ("host", "authorization", "content-length", "content-md5", "content-type", "x-amz-date", "x-amz-content-sha256")
)
_CHUNK = 1 << 20


class Refusal(Exception):
    """An error answer: HTTP status, S3 code, text."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


class Listed(NamedTuple):
    """One object of a listing."""

    key: bytes
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Traits:
    """What tests have shown of one driver."""

    keys: re.Pattern[str] = PLAIN
    names: re.Pattern[str] = re.compile(r"[a-z0-9_-]+")  # of user metadata


_PART = r"(?!\.{1,2}(?:/|$))[^/\x00-\x1f\x7f\\]+"
#: By libcloud's name of the driver. Azure, shown by Azurite: a key with an empty or dotted part or a backslash is
#: stored under another one, a control character breaks its listings; names of metadata are C# identifiers. A dot at
#: the end is taken off by Azure itself.
KNOWN: Mapping[str, Traits] = {
    "Microsoft Azure (blobs)": Traits(
        re.compile(rf"{_PART}(?:/{_PART})*/?(?<!\.)"),
        re.compile(r"[a-z_][a-z0-9_]*"),
    ),
}


class Whole:
    """One driver, for one thread at a time."""

    def __init__(self, driver: StorageDriver) -> None:
        self._driver = driver
        self._name = str(driver.name)
        self._traits = KNOWN.get(self._name, Traits())

    def listing(self, bucket: str, prefix: bytes) -> list[Listed]:
        """Return all objects that begin with ``prefix``, in the order of bytes."""
        try:
            wanted: str | None = prefix.decode() or None
        except UnicodeDecodeError:
            wanted = None
        with judged():
            found = [
                Listed(item.name.encode(), int(item.size), self._etag(item))
                for item in self._driver.iterate_container_objects(self._container(bucket), prefix=wanted)
            ]
        return sorted(item for item in found if item.key.startswith(prefix))

    def exists(self, bucket: str) -> None:
        """Do nothing if there is such a bucket."""
        with judged():
            self._driver.get_container(bucket)

    def head(self, bucket: str, key: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of one object; ``If-Match`` is honoured."""
        with judged():
            item = self._object(bucket, key)
        asked = headers.get("If-Match", "").strip('"')
        if asked and asked != self._etag(item):
            raise Refusal(412, "PreconditionFailed", "another object is there now")
        return self._headers(item)

    def read(self, bucket: str, key: bytes, headers: Mapping[str, str]) -> tuple[dict[str, str], Iterator[bytes]]:
        """Return the bytes of one object, and what a Range adds to its headers."""
        with judged():
            item = self._object(bucket, key)
        span = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", headers.get("Range", ""))
        if span is None:
            return {}, self._bytes(item)
        start, stop = int(span[1]), min(int(span[2]) + 1, int(item.size))
        told = {"Content-Range": f"bytes {start}-{stop - 1}/{item.size}", "Content-Length": str(max(0, stop - start))}
        return told, _cut(self._bytes(item), start, stop)

    def write(self, bucket: str, key: bytes, headers: Mapping[str, str], chunks: Iterator[bytes]) -> dict[str, str]:
        """Write one object, read it back, and take it away again if it is not what was sent."""
        name = self._address(key)
        extra = self._expressed(headers)
        digest, size = hashlib.md5(usedforsecurity=False), 0

        def passing() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        container = self._container(bucket)
        with judged():
            existed = self._find(bucket, name) is not None
            try:
                self._driver.upload_object_via_stream(passing(), container, name, extra=dict(extra))
            except BaseException:
                # A driver that writes as it reads leaves a torso; one that was ours before is written again.
                if not existed and (torso := self._find(bucket, name)) is not None:
                    self._driver.delete_object(torso)
                raise
            item = self._driver.get_object(bucket, name)
            wrong = self._differs(item, size, digest.hexdigest(), extra)
            if wrong:
                self._driver.delete_object(item)
                raise Refusal(*wrong)
        return {"ETag": f'"{self._etag(item)}"', "x-rehost-read-back": digest.hexdigest()}

    def delete(self, bucket: str, key: bytes) -> None:
        """Delete one object; that it is not there is fine."""
        with judged():
            if (item := self._find(bucket, self._address(key))) is not None:
                self._driver.delete_object(item)

    # -- inside ----------------------------------------------------------------------------------

    def _container(self, bucket: str) -> Container:
        return Container(bucket, {}, self._driver)

    def _address(self, key: bytes) -> str:
        try:
            name = key.decode()
        except UnicodeDecodeError:
            name = ""
        if not self._traits.keys.fullmatch(name):
            raise Refusal(501, "NotImplemented", f"the libcloud driver {self._name} is not known to address this key")
        return name

    def _object(self, bucket: str, key: bytes) -> Object:
        name = self._address(key)
        item = self._find(bucket, name)
        if item is None:
            raise Refusal(404, "NoSuchKey", "there is no such object")
        if item.name != name:
            raise Refusal(501, "NotImplemented", f"the libcloud driver {self._name} answers with another object")
        if _extra(item, "content_encoding"):
            # libcloud's HTTP client decodes such bodies: what arrives are not the bytes that are stored.
            raise Refusal(501, "NotImplemented", f"the libcloud driver {self._name} decodes Content-Encoding")
        return item

    def _find(self, bucket: str, name: str) -> Object | None:
        try:
            return self._driver.get_object(bucket, name)
        except ObjectDoesNotExistError:
            return None

    def _bytes(self, item: Object) -> Iterator[bytes]:
        if not int(item.size):
            return
        with judged():
            yield from (chunk for chunk in self._driver.download_object_as_stream(item, _CHUNK) if chunk)

    def _expressed(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return what libcloud can say of an object's headers; refuse the others before writing."""
        metadata: dict[str, str] = {}
        for name, value in headers.items():
            lower = name.lower()
            if lower.startswith(_META):
                word = lower.removeprefix(_META)
                plain = value.isascii() and value.isprintable() and value == value.strip() != ""
                if not self._traits.names.fullmatch(word) or not plain:
                    self._cannot(f"the metadata {word}")
                metadata[word] = value
            elif lower not in _OF_REQUEST:
                self._cannot(_WORDS.get(lower, name))
        return {"content_type": headers.get("Content-Type", "application/octet-stream"), "meta_data": metadata}

    def _cannot(self, what: str) -> None:
        raise Refusal(501, "NotImplemented", f"the libcloud driver {self._name} cannot keep {what}")

    def _differs(self, item: Object, size: int, digest: str, sent: Mapping[str, Any]) -> tuple[int, str, str] | None:
        read = hashlib.md5(usedforsecurity=False)
        for chunk in self._bytes(item):
            read.update(chunk)
        if int(item.size) != size or read.hexdigest() != digest:
            return 400, "BadDigest", "what was read back is not what was written"
        told = self._headers(item)
        wanted = {f"{_META}{name}": value for name, value in sent["meta_data"].items()}
        have = {name: value for name, value in told.items() if name.startswith(_META)}
        if told.get("Content-Type") != sent["content_type"]:
            return 501, "NotImplemented", f"the libcloud driver {self._name} cannot keep Content-Type"
        if have != wanted:
            return 501, "NotImplemented", f"the libcloud driver {self._name} cannot keep metadata as it is"
        return None

    def _headers(self, item: Object) -> dict[str, str]:
        told = {"ETag": f'"{self._etag(item)}"', "Content-Length": str(item.size)}
        if kind := _extra(item, "content_type"):
            told["Content-Type"] = str(kind)
        if language := _extra(item, "content_language"):
            told["Content-Language"] = str(language)
        return told | {f"{_META}{str(name).lower()}": str(value) for name, value in (item.meta_data or {}).items()}

    def _etag(self, item: Object) -> str:
        """Return what changes whenever the object does: the MD5 if the store tells it, else its own mark."""
        for value in (_extra(item, "md5_hash"), item.hash):
            if isinstance(value, str) and _MD5.fullmatch(value.strip('"')):
                return value.strip('"')
        told = str(item.hash or _extra(item, "etag") or f"{item.size} {_extra(item, 'last_modified')}").strip('"')
        return f"mark-{hashlib.sha256(told.encode()).hexdigest()[:32]}"


#: Request headers that say more than a header: what a refusal calls them.
_WORDS = {
    "x-amz-tagging": "tags",
    "x-amz-storage-class": "its storage class",
    "x-amz-website-redirect-location": "a website redirect",
    "if-none-match": "a promise that nothing is overwritten",
}


def _extra(item: Object, name: str) -> Any:
    return (item.extra or {}).get(name) or ""


def _cut(chunks: Iterator[bytes], start: int, stop: int) -> Iterator[bytes]:
    place = 0
    for chunk in chunks:
        piece = chunk[max(0, start - place) : max(0, stop - place)]
        place += len(chunk)
        if piece:
            yield piece


@contextmanager
def judged() -> Iterator[None]:
    """Say of libcloud's errors what an S3 store would have answered."""
    try:
        yield
    except Refusal:
        raise
    except InvalidCredsError as exc:
        raise Refusal(403, "InvalidAccessKeyId", str(exc)) from exc
    except (ContainerDoesNotExistError, InvalidContainerNameError) as exc:
        raise Refusal(404, "NoSuchBucket", "there is no such bucket") from exc
    except ObjectDoesNotExistError as exc:
        raise Refusal(404, "NoSuchKey", "there is no such object") from exc
    except ObjectHashMismatchError as exc:
        raise Refusal(400, "BadDigest", "the store computed another digest") from exc
    except BaseHTTPError as exc:
        codes = {401: "InvalidAccessKeyId", 403: "AccessDenied", 404: "NoSuchKey", 429: "SlowDown", 503: "SlowDown"}
        raise Refusal(exc.code, codes.get(exc.code, "InternalError"), str(exc)) from exc
    except LibcloudError as exc:
        raise Refusal(500, "InternalError", str(exc)) from exc
