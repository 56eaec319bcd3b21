"""Plan: what must happen so that the target becomes what the site says, in order, with a digest.

Enters: the site's resources and the families. Leaves: a frozen :class:`Plan`. Reads both sides,
writes to neither. The same inputs give the same changes, so a plan can be reviewed, approved and
compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from toolkit.assess import Accept, assess, ignored
from toolkit.errors import AuthError, NotFound, Refused
from toolkit.families import FAMILIES, Family
from toolkit.model import Change, Endpoint, NotSeen, Phase, Plan, Resource, State, Verdict, state
from toolkit.runs import Run, now


def plan(
    resources: State,
    families: Mapping[str, Family],
    run: Run,
    *,
    whole: State | None = None,
    accepts: Sequence[Accept] = (),
    notices: Sequence[str] = (),
    inputs: Mapping[str, str] | None = None,
) -> Plan:
    """Make the plan of the first phase: everything that can be built without touching the source.

    ``whole``: the site of which ``resources`` is a part. What is not planned now keeps its place in the
    picture: a record that points to a server outside the part waits for that server's new address.
    """
    drift = source_drift(resources, families)
    abilities = {name: family.probe("target") for name, family in families.items()}
    verdicts = assess(resources, families, abilities, accepts)
    wanted = desired(resources, families, blocked(verdicts), whole=whole)
    verdicts += leftovers(wanted, families)
    changes: list[Change] = []
    for name, family in families.items():
        mine = of_family(wanted, name)
        existing = state(item for item in family.read("target", mine) if isinstance(item, Resource))
        changes += family.diff(mine, existing)
    left_out = [f"left out: {addr}: {ignored(item)}" for addr, item in resources.items() if ignored(item)]
    return Plan(
        run.site,
        run.id,
        now(),
        ordered(changes),
        verdicts,
        (*notices, *left_out, *drift),
        tuple(wanted.values()),
        inputs or {},
    )


def source_drift(resources: State, families: Mapping[str, Family]) -> list[str]:
    """Say what changed at the source since it was discovered; what is gone or may not be read stops the plan."""
    gone: list[str] = []
    hidden: list[str] = []
    changed: list[str] = []
    for name, family in families.items():
        mine = {addr: item for addr, item in of_family(resources, name).items() if not ignored(item)}
        seen = list(family.read("source", mine))
        found = state(item for item in seen if isinstance(item, Resource))
        unseen = [item for item in seen if isinstance(item, NotSeen)]
        for addr, item in mine.items():
            if addr in found:
                continue
            shown = f"{addr} ({item.body['name']})" if "name" in item.body else addr
            # What may not be read is named by its address, or by a place ("instances in us-east-1").
            why = next((lack.why for lack in unseen if lack.what == addr or "/" not in lack.what), None)
            if why is None:
                gone.append(shown)
            else:
                hidden.append(f"{shown}: {why}")
        changed += [addr for addr in mine if addr in found and _differs(found[addr], mine[addr])]
    if hidden:
        raise AuthError(
            f"may not be read at the source: {_some(hidden)}",
            "allow reading it (`rehost doctor --print-policy` shows what is needed), or give it an `ignore: <reason>`",
        )
    if gone:
        raise NotFound(
            f"not at the source: {_some(gone)}",
            "run `rehost discover` to see what is there now; take out of site.yaml what is gone for good",
        )
    return [f"{addr} is no longer at the source as site.yaml says: run `rehost discover`" for addr in changed]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _differs(found: Resource, known: Resource) -> bool:
    """Compare what discovery can see; keys that only people fill (``app``) are empty in what it found."""
    return any(value is not None and value != known.body.get(key) for key, value in found.body.items())


def plan_phase(phase: Phase, first: Plan, families: Mapping[str, Family], run: Run) -> Plan:
    """Make the plan of a later phase from the desired state of the first."""
    wanted = state(first.desired)
    changes = [change for name, family in families.items() for change in family.cutover(phase, of_family(wanted, name))]
    # Writing stops before the last differences are copied, or they would not be the last.
    freezes = tuple(change.id for change in changes if change.address.split("/")[1] == "freeze")
    changes = [
        replace(change, needs=(*change.needs, *freezes))
        if change.family == "storage" and change.id not in freezes
        else change
        for change in changes
    ]
    # What could remove data (an expiry rule) is written only after everything else is there and verified.
    data = tuple(change.id for change in changes if not after_the_gate(change))
    changes = [
        replace(change, needs=(*change.needs, *data)) if after_the_gate(change) and change.family != "dns" else change
        for change in changes
    ]
    return Plan(run.site, run.id, now(), ordered(changes), first.verdicts, first.notices, first.desired, first.inputs)


def after_the_gate(change: Change) -> bool:
    """Say whether a change of a later phase waits until the data is proven: names, and bucket configuration."""
    return change.family == "dns" or change.address.split("/")[1] == "config"


def desired(
    resources: State,
    families: Mapping[str, Family],
    skip: frozenset[str] = frozenset(),
    *,
    whole: State | None = None,
) -> dict[str, Resource]:
    """Translate the site, or a part of the ``whole``, into the target's form, with every moved address replaced."""
    moving = {addr: item for addr, item in resources.items() if addr not in skip and not ignored(item)}
    others = (item for addr, item in (whole or {}).items() if addr not in resources and not ignored(item))
    moved = endpoints((*moving.values(), *others), families)
    return state(
        found
        for name, family in families.items()
        for resource in of_family(moving, name).values()
        for found in family.translate(resource, moved)
    )


def leftovers(wanted: State, families: Mapping[str, Family]) -> tuple[Verdict, ...]:
    """Judge what only the translated state shows: a record that still points at the old side."""
    return tuple(
        verdict
        for name, family in families.items()
        if (judge := getattr(family, "leftovers", None)) is not None
        for verdict in judge(of_family(wanted, name))
    )


def endpoints(resources: Iterable[Resource], families: Mapping[str, Family]) -> dict[str, Endpoint]:
    """Collect the old address of everything that moves: how names are tied to buckets and servers."""
    return {
        end.old.lower().rstrip("."): end
        for resource in resources
        if (family := families.get(resource.address.split("/", 1)[0]))
        for end in family.endpoints(resource)
    }


def of_family(resources: State, name: str) -> dict[str, Resource]:
    """The part of a state that one family is responsible for."""
    return {addr: item for addr, item in resources.items() if addr.split("/", 1)[0] == name}


def blocked(verdicts: Iterable[Verdict]) -> frozenset[str]:
    """Addresses that cannot be translated at all."""
    return frozenset(verdict.address for verdict in verdicts if verdict.outcome == "blocked")


def in_the_way(plan: Plan) -> tuple[Verdict, ...]:
    """Verdicts for which apply refuses to start."""
    return tuple(verdict for verdict in plan.verdicts if verdict.stands_in_the_way)


def ordered(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Sort so that every change follows what it needs; otherwise by family, then as given."""
    rank = {name: index for index, name in enumerate(FAMILIES)}
    waiting = sorted(changes, key=lambda change: rank.get(change.family, len(rank)))
    known = {change.id for change in waiting}
    done: set[str] = set()
    result: list[Change] = []
    while waiting:
        ready = next((c for c in waiting if all(need in done or need not in known for need in c.needs)), None)
        if ready is None:
            stuck = ", ".join(change.id for change in waiting[:5])
            raise Refused(f"these changes wait for each other: {stuck}", "break the circle in site.yaml")
        waiting.remove(ready)
        done.add(ready.id)
        result.append(ready)
    return tuple(result)
