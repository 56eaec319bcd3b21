"""The compute family: servers, key pairs, firewalls and load balancers on their way to another provider.

Enters: two libcloud drivers, the run folder, payload. Leaves: what the Family protocol promises. Raises
:class:`Conflict` where the target holds something of the same name that is not ours, and whatever the
drivers raise.

A load balancer becomes nothing at the target: names that pointed at it become the addresses of its
servers, through :meth:`ComputeFamily.endpoints`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit import verdicts
from toolkit.blobs import Blobs
from toolkit.commands import Completed
from toolkit.compute import assess as features_of
from toolkit.compute import check, matching, translate
from toolkit.compute.definition import define, environment, keep_payload
from toolkit.compute.matching import kind_of, needs_of
from toolkit.compute.model import (
    DEFINED,
    KINDS,
    RUNNING,
    ComputeDriver,
    Definition,
    Found,
    Peer,
    differences,
    digest,
    slug_of,
)
from toolkit.compute.pool import Pool
from toolkit.errors import AuthError, Conflict, NotFound, Refused, Unreachable
from toolkit.families import Lease, OldSide, Progress, Shard, Tick
from toolkit.model import (
    Abilities,
    Change,
    Endpoint,
    Finding,
    Json,
    NotSeen,
    Phase,
    Resource,
    Seen,
    Side,
    State,
    Tally,
    Verdict,
    address,
)
from toolkit.powers import power

_KEEP_ASKING = 300.0


class ComputeFamily:
    """Compute bound to the two sides of one move."""

    name = "compute"

    def __init__(
        self,
        *,
        source: ComputeDriver | None,
        target: ComputeDriver | None,
        workspace: Path,
        tick: Tick,
        blobs: Blobs,
        target_kind: str = "",
        source_kind: str = "",
        pool: str | None = None,
        gone_ok: bool = False,
        base: Path | None = None,
        patience: float = _KEEP_ASKING,
    ) -> None:
        """Bind the family.

        ``pool`` is the range of planned addresses (``None``: the provider gives them). ``gone_ok``: the
        source may be cut off already. ``base``: the folder that ``file:`` references start from.
        ``patience``: seconds to wait for a started server's health path.
        """
        self._drivers: dict[Side, ComputeDriver | None] = {"source": source, "target": target}
        self._kinds: dict[Side, str] = {"source": source_kind, "target": target_kind}
        self._workspace, self._tick, self._blobs = workspace, tick, blobs
        self._gone_ok, self._base, self._patience = gone_ok, base, patience
        self._pool = Pool(pool, self._addresses_in_use) if pool else None
        self._peers: dict[str, Peer] = {}
        self._members: dict[str, list[str]] = {}
        self._rows = verdicts.load("toolkit.compute")

    # reading -------------------------------------------------------------------------------

    def read(self, side: Side, wanted: State | None) -> Iterator[Resource | NotSeen]:
        """Yield the resources of one side, in slugs; user-data goes into the payload store."""
        try:
            found = self._all(side, wanted)
        except (Unreachable, AuthError) as exc:
            if not (self._gone_ok and side == "source"):
                raise
            yield NotSeen(f"compute at the {side}", exc.text)
            return
        yield from (item for item in found if isinstance(item, NotSeen))
        things = [item for item in found if isinstance(item, Found)]
        where = matching.addresses(things, wanted)
        slugs = {thing.id: slug_of(where[index]) for index, thing in enumerate(things) if index in where}
        for index, thing in enumerate(things):
            if index in where:
                yield self._resource(thing, where[index], slugs, side)

    def _all(self, side: Side, wanted: State | None) -> list[Found | NotSeen]:
        kinds = KINDS if wanted is None else [k for k in KINDS if any(a.split("/")[1] == k for a in wanted)]
        if wanted is not None and "server" in kinds:
            kinds = [k for k in KINDS if k in kinds or k in ("keypair", "firewall")]  # to name what servers refer to
        driver = self._driver(side)
        return [item for kind in kinds for item in driver.ex_read(kind)]

    def _driver(self, side: Side) -> ComputeDriver:
        driver = self._drivers[side]
        if driver is None:
            raise Refused(
                f"the {side} of compute is not connected", f"name it under move.compute and giving its {side}"
            )
        return driver

    def _resource(self, found: Found, where: str, slugs: Mapping[str, str], side: Side) -> Resource:
        body = matching.in_slugs(found.kind, found.body, slugs)
        if found.kind == "server" and (side == "source" or "user_data" not in body):
            body |= keep_payload(found, self._blobs)
        facts = dict(found.facts)
        if found.provenance:
            facts["provenance"] = dict(found.provenance)
        return Resource(where, body, self._kinds[side], found.id, facts)

    def _addresses_in_use(self) -> Iterator[tuple[str, str]]:
        if self._drivers["target"] is None:
            return
        for item in self._driver("target").ex_read("server"):
            if isinstance(item, Found):
                owner = str(item.provenance.get("address") or "")
                for ip in item.body["addresses"]["private"]:
                    yield owner, ip

    def probe(self, side: Side) -> Abilities:
        """Return what a side can do, as its driver declares it."""
        return Abilities(self._kinds[side], self._driver(side).ex_capabilities())

    # judging and translating --------------------------------------------------------------------

    def assess(self, resource: Resource, abilities: Abilities) -> Iterator[Verdict]:
        """Yield a verdict for every feature the resource uses."""
        for feature, detail in features_of.features(resource, abilities, self._user_data(resource)):
            yield verdicts.judge(
                self._rows,
                resource.address,
                feature,
                source=self._kinds["source"],
                target=abilities,
                detail=detail,
            )

    def _user_data(self, resource: Resource) -> bytes | None:
        data = resource.body.get("user_data")
        return self._blobs.get(data["sha256"]) if data and self._blobs.has(data["sha256"]) else None

    def translate(self, resource: Resource, moved: Mapping[str, Endpoint]) -> Iterator[Resource]:  # noqa: ARG002  (the Protocol's shape)
        """Yield what the target must hold: the same server at a planned address; nothing for a balancer."""
        kind, target = resource.address.split("/")[1], self._kinds["target"]
        if kind == "server":
            sizes = () if self._can("any-size") else self._driver("target").ex_sizes()
            images = () if self._can("any-image") else self._driver("target").ex_images()
            planned = self._planned(resource)
            body = translate.server_body(
                resource, address=None if planned.startswith("@{") else planned, sizes=sizes, images=images
            )
            yield Resource(resource.address, body, target)
        elif kind == "keypair":
            yield Resource(resource.address, translate.keypair_body(resource), target)
        elif kind == "firewall":
            peers = {
                slug: {"name": p.name, "description": p.description, "addresses": sorted(self._members.get(slug, ()))}
                for slug, p in sorted(self._peers.items())
                if f"firewall:{slug}" in {peer for rule in resource.body["rules"] for peer in rule["peers"]}
            }
            yield Resource(resource.address, translate.firewall_body(resource), target, facts={"peers": peers})

    def _can(self, ability: str) -> bool:
        return ability in self._driver("target").ex_capabilities()

    def _planned(self, resource: Resource) -> str:
        chosen = (resource.facts.get("to") or {}).get("address")
        if chosen and self._pool:
            return self._pool.reserve(resource.address, str(chosen))
        if self._pool:
            return self._pool.address_for(resource.address)
        return f"@{{{resource.address}:address}}"

    def endpoints(self, resource: Resource) -> Iterator[Endpoint]:
        """Yield every old address and name, and what it becomes."""
        kind = resource.address.split("/")[1]
        if kind == "server":
            new = self._planned(resource)
            if not new.startswith("@{"):
                for slug in resource.body.get("firewalls") or ():
                    members = self._members.setdefault(slug, [])
                    members.extend([new] if new not in members else [])
            yield from translate.server_endpoints(resource, new)
        elif kind == "firewall":
            body = translate.firewall_body(resource)
            self._peers[slug_of(resource.address)] = Peer(body["name"], body["description"])
        elif kind == "load_balancer":
            targets = [address("compute", "server", slug) for slug in resource.body.get("targets") or ()]
            known = self._pool.given if self._pool else {}
            # a server that comes later in the site, or does not move, is filled in by apply, or refused there
            yield from translate.balancer_endpoint(resource, [known.get(t, f"@{{{t}:address}}") for t in targets])

    # changing ------------------------------------------------------------------------------

    def diff(self, desired: State, existing: State) -> Iterator[Change]:
        """Yield what is missing or different; servers need their key pair and firewalls first.

        Raises:
            Conflict: something of the same name is at the target, differs, and is not ours.
        """
        todo: dict[str, Change] = {}
        for where, want in desired.items():
            have, kind = existing.get(where), kind_of(where)
            if have is None:
                todo[where] = Change(where, "create", None, want, data=True)
            elif changed := differences(kind, want.body, have.body):
                if (have.facts.get("provenance") or {}).get("address") != where:
                    raise Conflict(
                        f"the target has another {kind} named {want.body['name']}: {', '.join(changed)} differ",
                        f"give ours another name in site.yaml (`to: {{name: …}}`), or remove that {kind}",
                    )
                todo[where] = Change(where, "update", have, want, data=True, note=f"changes {', '.join(changed)}")
            elif kind == "server" and have.facts.get("state") not in (RUNNING, DEFINED):
                todo[where] = Change(where, "update", have, want, data=True, note="starts it")
        for where, change in todo.items():
            needs = [todo[need].id for need in needs_of(desired[where]) if need in todo]
            yield replace(change, needs=tuple(needs))

    def cutover(self, phase: Phase, desired: State) -> Iterator[Change]:  # noqa: ARG002  (the Protocol's shape)
        """Yield nothing: servers stand ready before names move."""
        yield from ()

    def took(self, change: Change) -> Seen:
        return self.observe(change)

    def giving_back(self, change: Change) -> Iterator[Change]:  # noqa: ARG002  (the Protocol's shape)
        return iter(())

    def bulk(self, change: Change) -> Iterator[Shard] | None:  # noqa: ARG002  (the Protocol's shape)
        return None

    def observe(self, change: Change) -> Seen:
        """Look at the target. What we began and did not finish counts as ``before``."""
        want, kind = change.after, kind_of(change.address)
        if want is None:
            return "other"
        have = self._existing(want)
        if have is None:
            return "before" if change.before is None else "other"
        mark = have.facts.get("provenance") or {}
        if not differences(kind, want.body, have.body):
            stopped = kind == "server" and have.facts.get("state") not in (RUNNING, DEFINED)
            return "before" if stopped else "after"
        if change.before is not None and not differences(kind, change.before.body, have.body):
            return "before"
        unfinished = mark.get("address") == change.address and not mark.get("digest")
        return "before" if unfinished else "other"

    def _existing(self, want: Resource) -> Resource | None:
        found = self.read("target", {want.address: want})
        return next((item for item in found if isinstance(item, Resource) and item.address == want.address), None)

    def do(self, change: Change, lease: Lease | None) -> Mapping[str, Json]:  # noqa: ARG002  (the Protocol's shape)
        """Bring about one change and return the new id, and the address of a server."""
        want, driver = change.after, self._driver("target")
        if want is None:
            raise Refused(f"{change.id} asks for nothing", "make a new plan")
        self._tick(Progress(self.name, change.address, 0, 1))
        if kind_of(change.address) == "keypair":
            ident = driver.ex_write_keypair(change.address, want.body)
        elif kind_of(change.address) == "firewall":
            peers = {
                slug: Peer(item["name"], item["description"], tuple(item["addresses"]))
                for slug, item in (want.facts.get("peers") or {}).items()
            }
            ident = driver.ex_write_firewall(change.address, want.body, peers)
        else:
            return self._build(want)
        self._tick(Progress(self.name, change.address, 1, 1))
        return {"id": ident}

    def _build(self, want: Resource) -> Mapping[str, Json]:
        driver = self._driver("target")
        definition = self._definition(want)
        before = self._existing(want)
        if (
            before is not None
            and before.facts.get("state") == RUNNING
            and differences("server", want.body, before.body)
        ):
            driver.ex_stop(before.id)  # a changed definition takes effect at the next start
        ident = driver.ex_write_server(definition)
        driver.ex_start(ident, definition.env)
        made = self._existing(want)
        if made is None:
            return {"id": ident}
        self._await_health(made)
        self._tick(Progress(self.name, want.address, 1, 1))
        return self._outputs_of(made)

    def outputs(self, change: Change) -> Mapping[str, Json]:
        """Return id and address of a server that is already there."""
        if change.after is None or kind_of(change.address) != "server":
            return {}
        made = self._existing(change.after)
        return {} if made is None else self._outputs_of(made)

    def _outputs_of(self, made: Resource) -> Mapping[str, Json]:
        addresses: Mapping[str, Any] = made.body["addresses"]
        outward = addresses["private"] if self._pool else [*addresses["public"], *addresses["private"]]
        return {"id": made.id, "address": next(iter(outward), "")}

    def _await_health(self, server: Resource) -> None:
        """Give a booting guest time; whether it is well is for verify to say."""
        started = time.monotonic()
        while (why := check.health(server)) and time.monotonic() - started < self._patience:
            self._tick(Progress(self.name, server.address, 0, 1, wait=f"waiting for the server to answer: {why}"))
            time.sleep(1.0)

    def _definition(self, want: Resource) -> Definition:
        return define(want, self._driver("target"), self._blobs, workspace=self._workspace, base=self._base)

    def undo(self, change: Change, *, purge: bool) -> None:
        """Stop what we started; with ``purge`` remove what we made, if it still is what we made.

        Raises:
            Conflict: it was changed since, so that it is not removed.
        """
        want, kind, driver = change.after, kind_of(change.address), self._driver("target")
        have = None if want is None else self._existing(want)
        if want is None or have is None:
            return
        if change.before is not None:
            self._restore(change, change.before, have)
            return
        mark = have.facts.get("provenance") or {}
        if mark.get("address") != change.address:
            return  # it was there before us and only looked the same
        changed = differences(kind, want.body, have.body) or mark.get("digest") not in (None, digest(want.body))
        if kind == "server" and (changed or not purge):
            driver.ex_stop(have.id)
        if not purge:
            return
        if changed:
            raise Conflict(
                f"{change.address} was changed since we made it, so it was not removed", "look at it, then remove it"
            )
        driver.ex_remove(kind, have.id)

    def _restore(self, change: Change, before: Resource, have: Resource) -> None:
        if change.after and differences(kind_of(change.address), change.after.body, before.body):
            self.do(replace(change, after=replace(before, address=change.address)), None)
        if kind_of(change.address) == "server" and before.facts.get("state") not in (RUNNING, DEFINED):
            self._driver("target").ex_stop(have.id)

    # checking ------------------------------------------------------------------------------

    def verify(self, desired: State, tier: str) -> Iterator[Finding | Tally]:  # noqa: ARG002  (the Protocol's shape)
        """Compare the target with the desired state: existence, definition, user-data digest, health."""
        there = {item.address: item for item in self.read("target", desired) if isinstance(item, Resource)}
        for where, want in desired.items():
            yield from check.verify(want, there.get(where), runs_apps="app" in self.probe("target").have)

    def dependence(self, desired: State, old: OldSide) -> Iterator[Finding | Tally]:
        """Look for the old side in definitions, environments and files, and in what guests tried to reach."""
        for where, want in desired.items():
            if kind_of(where) != "server":
                continue
            app = want.body.get("app") or {}
            files = {n: self._blobs.get(entry["sha256"]) for n, entry in (app.get("files") or {}).items()}
            try:
                env = environment(app, self._base) if self._can("app-env") else {}
            except (AuthError, Refused) as exc:
                env = {}
                text = f"the environment of {want.body['name']} cannot be looked into: {exc.text}"
                yield Finding(where, "env", "unproven", text, exc.remedy, "warning")
            yield from check.dependence(want, env, files, self._user_data(want), old)
        refusals = getattr(self._driver("target"), "ex_refusals", None)
        if refusals is not None:
            yield from check.refused(desired, refusals(), old)

    def try_write(self) -> Iterator[Finding]:
        """Show whether the source credentials could change servers."""
        driver = self._drivers["source"]
        if driver is not None:
            yield power("compute/source", "change servers", driver.ex_could_write())

    # commands ------------------------------------------------------------------------------

    def run_at(self, side: Side, server: Resource, argv: list[str], stdin: bytes, timeout: float) -> Completed:
        """Run a command on a server of one side, in its app's folder."""
        for item in self.read(side, {server.address: server}):
            if isinstance(item, Resource) and item.address == server.address:
                return self._driver(side).ex_exec(item.id, argv, stdin, timeout)
        raise NotFound(f"there is no {server.address} at the {side}", "apply it first")
