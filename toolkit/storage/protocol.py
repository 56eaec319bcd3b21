"""What the storage family asks of a driver. ``drivers.s3`` fulfils it; wiring picks the class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

from toolkit.storage.model import DataPlane

Versioning = Literal["off", "enabled", "suspended"]


class Driver(Protocol):
    """A libcloud storage driver with the ``ex_*`` methods that fidelity needs."""

    kind: str

    def iterate_containers(self) -> Iterator[Any]: ...

    def get_container(self, container_name: str) -> Any: ...

    def delete_container(self, container: Any) -> bool: ...

    def ex_capabilities(self) -> frozenset[str]: ...

    def ex_data_plane(self, region: str = "") -> DataPlane: ...

    def ex_loader_plane(self) -> DataPlane | None: ...

    def ex_exists(self, name: str) -> bool: ...

    def ex_could_write(self) -> bool | None: ...

    def ex_create_bucket(self, name: str) -> None: ...

    def ex_bucket_region(self, name: str) -> str: ...

    def ex_versioning(self, name: str, wanted: Versioning | None = None) -> Versioning: ...

    def ex_read_bucket(self, name: str) -> dict[str, Any]: ...
