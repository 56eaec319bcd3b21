"""Sizes, images, names and addresses at the target."""

from __future__ import annotations

import pytest

from toolkit.compute.model import Size, differences, slugs
from toolkit.compute.pool import Pool
from toolkit.compute.translate import image_for, size_for, target_name
from toolkit.errors import Refused, Unsupported
from toolkit.model import Resource

SIZES = (
    Size("t3.nano", 2, 512, "x86_64"),
    Size("t4g.small", 2, 2048, "arm64"),
    Size("t3.small", 2, 2048, "x86_64"),
    Size("m5.large", 2, 8192, "x86_64"),
    Size("r5.large", 2, 16384, "x86_64"),
)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({"name": "r5.large", "vcpus": 2, "memory_mib": 16384, "arch": "x86_64"}, "r5.large"),
        ({"vcpus": 1, "memory_mib": 100, "arch": "x86_64"}, "t3.nano"),
        ({"vcpus": 2, "memory_mib": 1024, "arch": "x86_64"}, "t3.small"),
        ({"vcpus": 2, "memory_mib": 1024, "arch": "arm64"}, "t4g.small"),
        ({"name": "custom", "vcpus": 2, "memory_mib": 9000}, "r5.large"),
    ],
)
def test_size_by_fit(asked: dict[str, object], given: str) -> None:
    assert size_for(asked, SIZES)["name"] == given


def test_too_large_is_refused_not_shrunk() -> None:
    with pytest.raises(Unsupported):
        size_for({"vcpus": 96, "memory_mib": 1, "arch": "x86_64"}, SIZES)


def test_size_without_names_keeps_the_figures() -> None:
    asked = {"name": "t3.micro", "vcpus": 2, "memory_mib": 1024, "arch": "x86_64"}
    assert size_for(asked, ()) == {"vcpus": 2, "memory_mib": 1024, "arch": "x86_64"}


def test_image_by_name() -> None:
    assert image_for("debian", ("default", "debian")) == "debian"
    assert image_for("ami-1", ("debian", "default")) == "default"
    assert image_for("ami-1", ("debian",)) == "debian"
    assert image_for("ami-1", ()) == "ami-1"


def test_names_stay_unless_they_were_not_unique() -> None:
    assert target_name(Resource("compute/server/web", {"name": "Web"})) == "Web"
    assert target_name(Resource("compute/server/web~2", {"name": "Web"})) == "web-2"
    assert target_name(Resource("compute/server/web", {"name": "Web"}, facts={"to": {"name": "front"}})) == "front"


def test_slugs_are_unique_and_plain() -> None:
    assert slugs(["Web 1", "web-1", "Éa", "", "web 1"]) == ["web-1", "web-1~2", "a", "unnamed", "web-1~3"]


def test_pool_gives_the_same_addresses_every_time() -> None:
    def existing() -> list[tuple[str, str]]:
        return [("compute/server/b", "127.22.0.17"), ("", "127.22.0.18"), ("compute/server/x", "10.9.9.9")]

    for _ in range(2):
        pool = Pool("127.22.0.16/29", existing)
        given = [pool.address_for(f"compute/server/{name}") for name in ("a", "b", "c", "a")]
        assert given == ["127.22.0.16", "127.22.0.17", "127.22.0.19", "127.22.0.16"]


def test_pool_full_or_no_range() -> None:
    pool = Pool("10.0.0.0/31", list)
    assert [pool.address_for(name) for name in ("a", "b")] == ["10.0.0.0", "10.0.0.1"]
    with pytest.raises(Refused, match="full"):
        pool.address_for("c")
    with pytest.raises(Refused, match="range"):
        Pool("somewhere", list).address_for("a")


def test_pool_keeps_chosen_addresses_apart() -> None:
    pool = Pool("10.0.0.0/28", list)
    assert pool.reserve("a", "10.0.0.0") == "10.0.0.0"
    assert pool.address_for("b") == "10.0.0.1"
    with pytest.raises(Refused, match="both"):
        pool.reserve("c", "10.0.0.1")


def test_what_desired_leaves_open_is_no_difference() -> None:
    existing = {
        "name": "web",
        "size": {"name": "t3.nano", "vcpus": 2, "memory_mib": 512, "arch": "x86_64"},
        "addresses": {"private": ["10.0.0.1"], "public": []},
        "firewalls": ["b", "a"],
        "app": {"argv": ["x"]},
        "state": "extra",
    }
    desired = {
        "name": "web",
        "size": {"vcpus": 2, "memory_mib": 512, "arch": None},
        "addresses": {"private": [], "public": []},
        "firewalls": ["a", "b"],
        "app": None,
    }
    assert differences("server", desired, existing) == []
    assert differences("server", {**desired, "size": {"vcpus": 4}}, existing) == ["size"]
    assert differences("server", {**desired, "addresses": {"private": ["10.0.0.2"]}}, existing) == ["addresses"]
    assert differences("server", {**desired, "app": {"argv": ["y"]}}, existing) == ["app"]
    assert differences("server", {**desired, "app": {"argv": ["y"]}}, {**existing, "app": None}) == ["app"]
