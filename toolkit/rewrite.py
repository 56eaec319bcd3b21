"""Addresses that moved: what each becomes, where the old ones still stand, and replacing them at the target.

Enters: the site, its families, the run folder. Leaves: ``endpoints.json``, counts, and a plan whose changes apply
makes and rollback takes back. User-data, env files and databases are counted and reported, never altered here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from toolkit.addresses import Addresses, Form
from toolkit.families import Family
from toolkit.files import write_json
from toolkit.model import Change, Finding, Json, Plan, State
from toolkit.plan import of_family
from toolkit.runs import Run, now

_CLIENTS = (
    "released clients (apps in stores, embeds, old mails) keep calling the old addresses: either give them a host name "
    "of your own first and release that before the move, or keep the old bucket as a redirector"
)

_PRESIGNED = "an old form with a signature in its query holds for the old host only: the app signs it anew"
#: Yields (what, bytes) of everything that is reported only.
Payload = Callable[[], Iterable[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a look at everything found: changes that can be made, and what is only reported."""

    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]


def forms(resources: State, families: Mapping[str, Family]) -> tuple[Form, ...]:
    """Collect every old spelling of every address that moves."""
    found = (
        form
        for resource in resources.values()
        if not resource.facts.get("ignore")
        and (told := getattr(families.get(resource.address.split("/", 1)[0]), "forms", None)) is not None
        for form in told(resource)
    )
    return tuple(dict.fromkeys(found))


def write_endpoints(run: Run, found: Iterable[Form]) -> None:
    """Write ``endpoints.json``: old and new of every form, by resource."""
    by_address: dict[str, list[Json]] = {}
    for form in found:
        by_address.setdefault(form.address, []).append(form.to_json())
    document = {
        "schema": "rehost.endpoints/1",
        "endpoints": by_address,
        "presigned": _PRESIGNED,
        "clients": _CLIENTS,
    }
    write_json(run.path / "endpoints.json", document)


def sweep(desired: State, families: Mapping[str, Family], addresses: Addresses, payload: Payload) -> Sweep:
    """Look for old addresses everywhere."""
    changes: list[Change] = []
    findings: list[Finding] = []
    for name, family in families.items():
        if (told := getattr(family, "rewrites", None)) is None:
            continue
        for item in told(of_family(desired, name), addresses):
            (changes if isinstance(item, Change) else findings).append(item)
    for what, data in payload():
        counts = addresses.count(data)
        if counts:
            shown = ", ".join(f"{old} ({times})" for old, times in sorted(counts.items())[:5])
            text = f"holds {sum(counts.values())} old addresses: {shown}"
            remedy = "it is payload and stays as it is; put the new addresses into its env, or accept it with a reason"
            findings.append(Finding(what, "addresses", "dependent", text, remedy, "warning", evidence=counts))
    if changes or findings:
        findings.append(Finding("site/clients", "released", "note", _CLIENTS, severity="info"))
    return Sweep(tuple(changes), tuple(findings))


def plan_of(run: Run, desired: State, changes: Iterable[Change]) -> Plan:
    """Return a plan of the changes alone, for apply."""
    return Plan(run.site, run.id, now(), tuple(changes), (), (), tuple(desired.values()))
