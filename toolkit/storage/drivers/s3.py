"""One libcloud storage driver for AWS, Ceph RGW and every other S3-compatible store.

The standard libcloud methods work with every key S3 allows (the stock driver reads the wrong object
for ``a//b``, stops listing at a control byte, and cannot address ``..`` or ``/lead``). What libcloud
has no word for is in ``ex_*`` methods. boto3 is the control plane; objects in bulk go through the
HTTP engine, which gets its door from :meth:`S3Driver.ex_data_plane`.

Raises the public error tree; libcloud's own exceptions only where its interface promises them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions
from botocore.config import Config
from libcloud.storage.base import Container, Object, StorageDriver
from libcloud.storage.types import ContainerDoesNotExistError, ObjectDoesNotExistError

from toolkit.errors import AuthError, NotFound, Refused
from toolkit.secrets import Credentials
from toolkit.storage.drivers import config as bucket_config
from toolkit.storage.drivers import probe as ability_probe
from toolkit.storage.drivers.border import border
from toolkit.storage.drivers.kinds import KINDS
from toolkit.storage.drivers.policy import Policies
from toolkit.storage.drivers.renewal import Renewable
from toolkit.storage.model import Addressing, DataPlane
from toolkit.storage.protocol import Versioning
from toolkit.storage.sign import Signer


class S3Driver(Policies, StorageDriver):  # type: ignore[misc]
    """libcloud storage over boto3, byte-exact."""

    name = "S3 (lossless)"
    website = "https://docs.aws.amazon.com/s3/"
    hash_type = "md5"
    supports_chunked_encoding = False

    def __init__(
        self,
        *,
        kind: str,
        credentials: Credentials,
        endpoint: str = "",
        region: str = "",
        loader: Credentials | None = None,
        again: Callable[[], Credentials] | None = None,
    ) -> None:
        # The base class would keep the keys as plain attributes; it gets none.
        super().__init__(key="", secret="")
        self.kind = kind
        self._kind = KINDS[kind]
        self._region = region or self._kind.region
        self._endpoint = _checked(endpoint)
        resolve = again or (lambda: credentials)  # how the reference to credentials is read once more
        self._credentials = Renewable(lambda: _session(resolve(), self._region))
        self._loader = None
        if loader is not None and kind == "ceph":
            self._loader = Renewable(lambda: _session(loader, self._region))
        self._clients: dict[tuple[str, int], Any] = {}  # by region and session

    def ex_could_write(self) -> bool | None:
        """Say whether these credentials could write, by a PUT that no checking store accepts.

        Only AWS and Ceph are known to refuse a body that does not match its Content-MD5; elsewhere, or
        without a bucket to try on, the answer is None.
        """
        bucket = next((container.name for container in self.iterate_containers()), "")
        if self.kind not in ("aws", "ceph") or not bucket:
            return None
        wrong = base64.b64encode(hashlib.md5(b"another body", usedforsecurity=False).digest()).decode()
        try:
            self._client(bucket).put_object(Bucket=bucket, Key="rehost-doctor", Body=b"never stored", ContentMD5=wrong)
        except botocore.exceptions.ClientError as exc:
            return exc.response.get("Error", {}).get("Code") in ("BadDigest", "InvalidDigest")
        raise Refused(
            f"{self.kind} stored an object whose checksum was wrong: rehost-doctor in {bucket}",
            "remove that object; do not trust this store's checksums",
        )

    # -- libcloud's own methods ------------------------------------------------------------------

    def iterate_containers(self) -> Iterator[Container]:
        """Yield every bucket the credentials may see."""
        with border("list buckets"):
            found = self._client().list_buckets()
        for bucket in found.get("Buckets", []):
            yield Container(bucket["Name"], {"created": bucket["CreationDate"].isoformat()}, self)

    def get_container(self, container_name: str) -> Container:
        """Return a bucket, or raise libcloud's ContainerDoesNotExistError."""
        try:
            with border(f"bucket {container_name}"):
                self._client().head_bucket(Bucket=container_name)
        except NotFound as exc:
            raise ContainerDoesNotExistError(exc.text, self, container_name) from exc
        except AuthError:
            # The answer to a HEAD has no body and so no reason; asked with a GET, the store gives one.
            with border(f"bucket {container_name}"):
                self._client().get_bucket_location(Bucket=container_name)
            raise
        return Container(container_name, {}, self)

    def create_container(self, container_name: str) -> Container:
        """Create a bucket in the driver's region."""
        self.ex_create_bucket(container_name)
        return Container(container_name, {}, self)

    def delete_container(self, container: Container) -> bool:
        """Delete an empty bucket."""
        with border(f"delete bucket {container.name}"):
            self._client().delete_bucket(Bucket=container.name)
        return True

    def iterate_container_objects(
        self, container: Container, prefix: str | None = None, ex_prefix: str | None = None
    ) -> Iterator[Object]:
        """Yield the objects of a bucket, every key as it is."""
        pages = self._client().get_paginator("list_objects_v2")
        with border(f"list {container.name}"):
            for page in pages.paginate(Bucket=container.name, Prefix=prefix or ex_prefix or ""):
                for item in page.get("Contents", []):
                    extra = {
                        "last_modified": item["LastModified"].isoformat(),
                        "storage_class": item.get("StorageClass"),
                    }
                    yield Object(item["Key"], item["Size"], item["ETag"].strip('"'), extra, {}, container, self)

    def get_object(self, container_name: str, object_name: str) -> Object:
        """Return one object with its metadata, or raise libcloud's ObjectDoesNotExistError."""
        try:
            with border(f"{container_name}/{object_name}"):
                head = self._client().head_object(Bucket=container_name, Key=object_name)
        except NotFound as exc:
            raise ObjectDoesNotExistError(exc.text, self, object_name) from exc
        extra = {
            "content_type": head.get("ContentType"),
            "last_modified": head["LastModified"].isoformat(),
            "version": head.get("VersionId"),
        }
        container = Container(container_name, {}, self)
        etag = head["ETag"].strip('"')
        return Object(object_name, head["ContentLength"], etag, extra, head.get("Metadata", {}), container, self)

    def download_object_as_stream(self, obj: Object, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object."""
        with border(f"{obj.container.name}/{obj.name}"):
            answer = self._client().get_object(Bucket=obj.container.name, Key=obj.name)
            yield from answer["Body"].iter_chunks(chunk_size or 1 << 20)

    def download_object(
        self, obj: Object, destination_path: str, overwrite_existing: bool = False, delete_on_failure: bool = True
    ) -> bool:
        """Write an object to a file the caller names; a key never becomes a path."""
        place = Path(destination_path)
        if place.is_dir():
            raise Refused(f"{place} is a folder", "name the file to write; keys are not used as file names")
        if place.exists() and not overwrite_existing:
            raise Refused(f"{place} exists", "pass overwrite_existing=True or choose another file")
        try:
            with place.open("wb") as file:
                for chunk in self.download_object_as_stream(obj):
                    file.write(chunk)
        except BaseException:
            if delete_on_failure:
                place.unlink(missing_ok=True)
            raise
        return True

    def upload_object(
        self,
        file_path: str,
        container: Container,
        object_name: str,
        extra: Mapping[str, Any] | None = None,
        verify_hash: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        """Upload a file as one object."""
        with Path(file_path).open("rb") as file:
            if verify_hash:
                digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
                extra = {**(extra or {}), "content_md5": base64.b64encode(digest).decode()}
                file.seek(0)
            return self._put(container, object_name, file, extra, headers)

    def upload_object_via_stream(
        self,
        iterator: Iterator[bytes],
        container: Container,
        object_name: str,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        """Upload an iterator of bytes as one object (held in memory; the engine streams)."""
        return self._put(container, object_name, b"".join(iterator), extra, headers)

    def delete_object(self, obj: Object) -> bool:
        """Delete an object."""
        with border(f"delete {obj.container.name}/{obj.name}"):
            self._client().delete_object(Bucket=obj.container.name, Key=obj.name)
        return True

    # -- what libcloud has no word for -----------------------------------------------------------

    def ex_capabilities(self) -> frozenset[str]:
        """Return what this kind of store is assumed to do."""
        return self._kind.abilities | ({"version-ids"} if self._loader is not None else frozenset())

    def ex_data_plane(self, region: str = "") -> DataPlane:
        """Return the door for the HTTP engine."""
        return self._plane(self._credentials, region)

    def ex_loader_plane(self) -> DataPlane | None:
        """Return the door of the user that may choose version ids: a ``--system`` user of Ceph, for the load alone."""
        return self._plane(self._loader, "") if self._loader is not None else None

    def _plane(self, credentials: Renewable, region: str) -> DataPlane:
        region = region or self._region
        credentials.keys()  # what is missing shows here, not in the middle of a run
        addressing: Addressing = "path"  # names with dots, and endpoints without wildcard DNS, work too
        endpoint = self._endpoint or f"https://s3.{region}.amazonaws.com"
        label = f"{self.kind} {urlsplit(endpoint).netloc}"
        return DataPlane(endpoint, Signer(credentials.keys, region), addressing, label, credentials.renew)

    def ex_bucket_region(self, name: str) -> str:
        """Return the region a bucket lives in."""
        with border(f"region of {name}"):
            found = self._client().get_bucket_location(Bucket=name).get("LocationConstraint")
        if self._endpoint:
            return self._region  # one endpoint serves it, whatever it calls its region
        return {"EU": "eu-west-1"}.get(found, found) or "us-east-1"

    def ex_exists(self, name: str) -> bool:
        """Say whether a bucket is there for us; somebody else's raises Conflict."""
        try:
            self.get_container(name)
        except ContainerDoesNotExistError:
            return False
        return True

    def ex_create_bucket(self, name: str, *, object_lock: bool = False) -> None:
        """Create a bucket; one that we already own is fine. A lock must be asked for now (RGW before 19.2.3)."""
        if self.ex_exists(name):  # asked first: CreateBucket is not idempotent everywhere
            return
        place = {} if self._endpoint or self._region == "us-east-1" else {"LocationConstraint": self._region}
        arguments: dict[str, Any] = {"CreateBucketConfiguration": place} if place else {}
        if object_lock:
            arguments["ObjectLockEnabledForBucket"] = True
        with border(f"create bucket {name}"):
            self._client().create_bucket(Bucket=name, **arguments)

    def ex_versioning(self, name: str, wanted: Versioning | None = None) -> Versioning:
        """Return a bucket's versioning; with ``wanted`` set it first and read it back."""
        client = self._client()
        if wanted in ("enabled", "suspended"):
            with border(f"versioning of {name}"):
                status = {"Status": wanted.capitalize()}
                client.put_bucket_versioning(Bucket=name, VersioningConfiguration=status)
        with border(f"versioning of {name}"):
            status = client.get_bucket_versioning(Bucket=name).get("Status", "")
        found: dict[str, Versioning] = {"Enabled": "enabled", "Suspended": "suspended"}
        return found.get(str(status), "off")

    def ex_read_bucket(self, name: str) -> dict[str, Any]:
        """Return what is configured at a bucket beside its objects; see ``drivers.config``."""
        client = self._client(self.ex_bucket_region(name))
        return bucket_config.read(client, name, unknown=self._kind.unknown)

    def ex_config(self, name: str, item: str) -> Any:
        """Return one item of a bucket's configuration in its normal form; ``None`` if unset or unknown here."""
        return None if item in self._kind.unknown else bucket_config.read_one(self._client(), name, item)

    def ex_config_write(self, name: str, item: str, value: Any) -> None:
        """Write one item of a bucket's configuration (``None``: take it away) and read it back."""
        bucket_config.write(self._client(), name, item, value)

    def ex_probe(self, classes: tuple[str, ...] = ()) -> tuple[frozenset[str], frozenset[str]]:
        """Return the abilities shown and those refused, in a scratch bucket that is removed afterwards."""
        return ability_probe.probe(self._client(), self._credentials.session.get_credentials(), classes)

    def ex_owner(self) -> str:
        """Return who owns what these credentials create: a user on Ceph, the account's canonical id on AWS."""
        with border("list buckets"):
            return str(self._client().list_buckets().get("Owner", {}).get("ID", ""))

    def ex_bucket_owner(self, name: str) -> str:
        """Return the canonical id of a bucket's owner, empty where it may not be asked."""
        try:
            with border(f"owner of {name}"):
                return str(self._client().get_bucket_acl(Bucket=name).get("Owner", {}).get("ID", ""))
        except AuthError:
            return ""

    def ex_first_key(self, name: str, prefix: str = "") -> str:
        """Return the first key of a bucket under a prefix, empty if there is none."""
        with border(f"list {name}"):
            found = self._client().list_objects_v2(Bucket=name, Prefix=prefix, MaxKeys=1).get("Contents", [])
        return str(found[0]["Key"]) if found else ""

    def ex_head(self, name: str, key: str) -> dict[str, Any]:
        """Return the headers of one object as boto3 names them."""
        with border(f"{name}/{key}"):
            head: dict[str, Any] = self._client().head_object(Bucket=name, Key=key)
        return head

    # -- inside ----------------------------------------------------------------------------------

    def _put(
        self,
        container: Container,
        key: str,
        body: Any,
        extra: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> Object:
        arguments: dict[str, Any] = {}
        if extra and extra.get("content_type"):
            arguments["ContentType"] = extra["content_type"]
        if extra and extra.get("content_md5"):
            arguments["ContentMD5"] = extra["content_md5"]
        if extra and extra.get("meta_data"):
            arguments["Metadata"] = dict(extra["meta_data"])
        if headers:
            raise Refused("free headers are not sent", "use extra={'content_type': …, 'meta_data': {…}}")
        with border(f"{container.name}/{key}"):
            self._client().put_object(Bucket=container.name, Key=key, Body=body, **arguments)
        return self.get_object(container.name, key)

    def _client(self, region: str = "") -> Any:
        region = region or self._region
        session = self._credentials.session
        place = (region, id(session))
        if place not in self._clients:
            config = Config(
                signature_version="s3v4",
                retries={"mode": "standard", "total_max_attempts": 4},
                connect_timeout=10,
                read_timeout=60,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path" if self._endpoint else "auto"},
            )
            with border("credentials"):
                self._clients[place] = session.client(
                    "s3", region_name=region, endpoint_url=self._endpoint or None, config=config
                )
        return self._clients[place]


def _checked(endpoint: str) -> str:
    if not endpoint:
        return ""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.username:
        raise Refused(f"{endpoint!r} is no S3 endpoint", "write it as https://host[:port]")
    return f"{parts.scheme}://{parts.netloc}"


def _session(credentials: Credentials, region: str) -> boto3.session.Session:
    if credentials.kind == "keys":
        if credentials.key is None or credentials.secret is None:
            raise AuthError("S3 needs a key and a secret", "name both under credentials: {key: …, secret: …}")
        token = credentials.token.reveal() if credentials.token else None
        return boto3.session.Session(
            credentials.key.reveal(), credentials.secret.reveal(), aws_session_token=token, region_name=region
        )
    with border("credentials"):
        return boto3.session.Session(profile_name=credentials.profile or None, region_name=region)
