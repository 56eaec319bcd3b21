"""What a target is known to do: assumed by its kind, or measured in a scratch bucket and remembered.

The result of a measurement lies in the run folder (``abilities.json``), so that ``plan`` and ``apply`` use
it; it counts only for the store it was taken from.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from toolkit.files import read_json, write_json
from toolkit.model import Abilities
from toolkit.storage.protocol import Driver

_FILE = "abilities.json"
_SCHEMA = "rehost.abilities/1"


def assumed(driver: Driver) -> Abilities:
    """Return what a kind of store is assumed to do."""
    return Abilities(driver.kind, frozenset(), driver.ex_capabilities())


def known(driver: Driver, run: Path) -> Abilities:
    """Return what was measured in this run, completed by what is assumed of everything not asked."""
    file = run / _FILE
    if not file.exists():
        return assumed(driver)
    data = read_json(file)
    if data.get("schema") != _SCHEMA or data.get("store") != _store(driver):
        return assumed(driver)
    have, lack = frozenset(data["have"]), frozenset(data["lack"])
    return Abilities(driver.kind, have, driver.ex_capabilities() - have - lack)


def measure(driver: Driver, run: Path, classes: Iterable[str] = ()) -> Abilities:
    """Measure a store now and remember the result. ``classes``: storage classes that the site names."""
    have, lack = driver.ex_probe(tuple(classes))
    write_json(run / _FILE, {"schema": _SCHEMA, "store": _store(driver), "have": sorted(have), "lack": sorted(lack)})
    return known(driver, run)


def _store(driver: Driver) -> str:
    return f"{driver.kind} {driver.ex_data_plane().endpoint}"
