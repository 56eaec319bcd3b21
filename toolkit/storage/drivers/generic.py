"""Any libcloud storage driver as one end of a move: buckets, and a door for the engine.

Enters: a way to make the libcloud driver. Leaves: what the storage family asks of a driver, with the few
abilities that libcloud's interface can express. What it cannot express is refused, object by object, before it
is written; what it seems to express is read back (``dialect``). Raises the public error tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from libcloud.common.exceptions import BaseHTTPError
from libcloud.common.types import InvalidCredsError, LibcloudError
from libcloud.storage.base import Container, StorageDriver
from libcloud.storage.providers import get_driver
from libcloud.storage.types import (
    ContainerAlreadyExistsError,
    ContainerDoesNotExistError,
    ContainerIsNotEmptyError,
    InvalidContainerNameError,
    ObjectDoesNotExistError,
)

from toolkit.errors import AuthError, Conflict, NotFound, RehostError, Unreachable, Unsupported
from toolkit.secrets import Credentials
from toolkit.storage.drivers.dialect import Dialect
from toolkit.storage.model import DataPlane
from toolkit.storage.protocol import Versioning
from toolkit.storage.sign import Keys, Signer


def libcloud_driver(name: str, credentials: Credentials, args: Mapping[str, Any]) -> Callable[[], StorageDriver]:
    """Return how one driver of libcloud's list is made: ``AZURE_BLOBS``, ``GOOGLE_STORAGE`` …"""
    try:
        kind = get_driver(name.lower())
    except (AttributeError, ImportError) as exc:
        raise Unsupported(
            f"libcloud has no storage driver {name!r}: {exc}", "see libcloud's list of providers"
        ) from exc

    def make() -> StorageDriver:
        words = [secret.reveal() for secret in (credentials.key, credentials.secret) if secret is not None]
        with translating(f"libcloud {name}"):
            try:
                return kind(*words, **args)
            except (TypeError, ValueError) as exc:
                raise Unsupported(f"libcloud {name}: {exc}", "correct args: of this provider in site.yaml") from exc

    return make


class GenericStorage:
    """One libcloud driver seen as a store of whole objects."""

    kind = "libcloud"

    def __init__(self, make: Callable[[], StorageDriver]) -> None:
        self._make = make
        self._driver = make()
        self._dialect = Dialect(make)

    def iterate_containers(self) -> Iterator[Container]:
        """Yield every bucket the credentials may see."""
        with translating(f"list buckets at {self._name}"):
            yield from self._driver.iterate_containers()

    def get_container(self, container_name: str) -> Container:
        """Return a bucket."""
        with translating(f"bucket {container_name} at {self._name}"):
            return self._driver.get_container(container_name)

    def delete_container(self, container: Container) -> bool:
        """Delete an empty bucket. Looked at first: not every driver refuses to delete a full one."""
        with translating(f"delete bucket {container.name} at {self._name}"):
            if next(iter(self._driver.iterate_container_objects(container)), None) is not None:
                raise Conflict(f"{container.name} is not empty", "look at what is in it")
            return bool(self._driver.delete_container(container))

    def ex_capabilities(self) -> frozenset[str]:
        """Return what libcloud's interface can express everywhere: objects, and nothing more."""
        return frozenset({"objects"})

    def ex_data_plane(self, region: str = "") -> DataPlane:
        """Return the door for the engine: requests are answered in this process, by the driver."""
        del region
        signer = Signer(lambda: Keys("", ""), "")
        host = getattr(getattr(self._driver, "connection", None), "host", None) or "unknown.invalid"
        return DataPlane(f"libcloud://{host}", signer, "path", f"libcloud {self._name}", transport=self._dialect)

    def ex_loader_plane(self) -> DataPlane | None:
        """Version ids cannot be chosen."""
        return None

    def ex_exists(self, name: str) -> bool:
        """Say whether a bucket is there."""
        try:
            self.get_container(name)
        except NotFound:
            return False
        return True

    def ex_could_write(self) -> bool | None:
        """No request is known that every store would refuse."""
        return None

    def ex_create_bucket(self, name: str, *, object_lock: bool = False) -> None:
        """Create a bucket; one that we already own is fine."""
        if object_lock:
            raise Unsupported(f"{self._name}: libcloud cannot lock objects", "choose another target for this bucket")
        if not self.ex_exists(name):
            with translating(f"create bucket {name} at {self._name}"):
                self._driver.create_container(name)

    def ex_bucket_region(self, name: str) -> str:  # noqa: ARG002  (the Protocol's shape)
        """Libcloud does not tell."""
        return ""

    def ex_versioning(self, name: str, wanted: Versioning | None = None) -> Versioning:
        """Libcloud knows no versions: only the newest object is ever seen."""
        if wanted not in (None, "off"):
            raise Unsupported(f"{name}: libcloud cannot keep versions", "copy the newest objects only")
        return "off"

    def ex_read_bucket(self, name: str) -> dict[str, Any]:  # noqa: ARG002  (the Protocol's shape)
        """Whatever is configured at the bucket cannot be read through libcloud; that is said, not hidden."""
        return {"not_seen": ["everything that is configured at the bucket (libcloud cannot read it)"]}

    def ex_config(self, name: str, item: str) -> Any:  # noqa: ARG002  (the Protocol's shape)
        """Nothing of a bucket's configuration can be read."""
        return None

    def ex_config_write(self, name: str, item: str, value: Any) -> None:
        """Nothing can be configured."""
        del value
        raise Unsupported(f"{name}: libcloud cannot set {item}", "set it at the provider by hand")

    def ex_owner(self) -> str:
        """Libcloud does not tell who we are."""
        return ""

    def ex_bucket_owner(self, name: str) -> str:  # noqa: ARG002  (the Protocol's shape)
        """Nor whose bucket it is."""
        return ""

    def ex_probe(self, classes: tuple[str, ...] = ()) -> tuple[frozenset[str], frozenset[str]]:  # noqa: ARG002
        """Nothing can be probed: no ability is shown, none is ruled out."""
        return frozenset(), frozenset()

    def ex_policy(self, name: str) -> str:  # noqa: ARG002  (the Protocol's shape)
        """Libcloud knows no policies."""
        return ""

    def ex_set_policy(self, name: str, text: str) -> None:
        """No policy can be set."""
        if text:
            raise Unsupported(f"{name}: libcloud cannot set a policy", "stop the app by hand (`live: {freeze: none}`)")

    def ex_all_but_us(self) -> dict[str, Any]:
        """Nobody can be told apart in a policy."""
        raise Unsupported(f"{self._name}: libcloud knows no policies", "stop the app by hand (`live: {freeze: none}`)")

    def ex_open_uploads(self, name: str) -> list[str]:  # noqa: ARG002  (the Protocol's shape)
        """Libcloud does not tell."""
        return []

    def ex_first_key(self, bucket: str, prefix: str) -> str:
        """Return the first key of a bucket that begins so, empty if there is none."""
        with translating(f"list {bucket} at {self._name}"):
            found = self._driver.iterate_container_objects(self._driver.get_container(bucket), prefix=prefix or None)
            return min((item.name for item in found), default="")

    @property
    def _name(self) -> str:
        return str(self._driver.name)


@contextmanager
def translating(what: str) -> Iterator[None]:
    """Translate what libcloud raises while doing ``what``."""
    try:
        yield
    except RehostError:
        raise
    except InvalidCredsError as exc:
        raise AuthError(f"{what}: {exc}", "check the credentials of this provider and what they may do") from exc
    except (ContainerDoesNotExistError, ObjectDoesNotExistError) as exc:
        raise NotFound(f"{what}: not there", "check the name") from exc
    except (ContainerAlreadyExistsError, ContainerIsNotEmptyError) as exc:
        raise Conflict(f"{what}: {exc.value}", "the name is taken or the bucket is not empty") from exc
    except InvalidContainerNameError as exc:
        raise Unsupported(f"{what}: the store does not accept this name", "give it another one with to:") from exc
    except BaseHTTPError as exc:
        if exc.code in (401, 403):
            raise AuthError(f"{what}: {exc}", "check the credentials of this provider") from exc
        raise Unreachable(f"{what}: {exc}", "the store has trouble; run again") from exc
    except (LibcloudError, OSError) as exc:
        raise Unreachable(f"{what}: {exc}", "check the endpoint, the network and whether the store runs") from exc
