"""The storage family: buckets and what is in them, between any two S3-compatible stores.

Enters: a driver for each side and the run folder. Leaves: resources ``storage/bucket/<slug>`` and
``storage/objects/<slug>``, changes, shards, findings. The objects of a bucket are one ``copy``
change (up to four where null versions stand inside histories, see ``engine.compare``); what is
missing or different is found by comparing both listings, so a second run is the resume, and a third
the delta. Raises the public error tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from toolkit.errors import AuthError, Unsupported
from toolkit.families import Lease, OldSide, Progress, Shard
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
)
from toolkit.powers import power
from toolkit.storage import assess as verdicts
from toolkit.storage import back, buckets, live, measured, names, planning, settings, terms, view
from toolkit.storage import dependence as traces
from toolkit.storage.config.scene import Maps, Scene
from toolkit.storage.engine import check, gather, preflight, took, versionmap, work
from toolkit.storage.engine import purge as purging
from toolkit.storage.model import ROUNDS, Knobs, Round
from toolkit.storage.progress import Told
from toolkit.storage.protocol import Driver
from toolkit.storage.rounds import BACK, BUCKET, OBJECTS, STATE, after, round_of, slug, tail
from toolkit.storage.settings import CONFIG
from toolkit.storage.steps import Steps, is_step
from toolkit.storage.unleased import Unleased
from toolkit.tiers import parse

_AT_ONCE = 8


class StorageFamily:
    """One move of buckets."""

    name = "storage"

    def __init__(
        self,
        *,
        source: Driver | None,
        target: Driver | None,
        workspace: Path,
        tick: Callable[[Progress], None],
        source_hosts: tuple[str, ...] = (),
        target_addresses: tuple[str, ...] = (),
        knobs: Knobs | None = None,
        maps: Maps | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._run = workspace
        self._told = Told(tick)
        self._hosts = names.Hosts(source_hosts, target_addresses)
        self._knobs = knobs or Knobs()
        self._maps = maps or Maps()
        self._names: set[str] = set()
        self._configs: dict[str, dict[str, Json]] = {}
        self._steps = Steps(source, target, workspace)
        self._paces: dict[str, work.Pace] = {}

    # -- reading ---------------------------------------------------------------------------------

    def read(self, side: Side, wanted: State | None) -> Iterator[Resource | NotSeen]:
        """Yield the buckets of one side; for a desired state also whether their content has a home."""
        driver = self._source if side == "source" else self._target
        if driver is None:
            return
        if wanted is None:
            listed = {container.name: container.extra for container in driver.iterate_containers()}

            def look(found: tuple[str, str]) -> Resource | NotSeen:
                return self._bucket(driver, BUCKET + found[0], found[1], dict(listed[found[1]]), config=True)

            with ThreadPoolExecutor(_AT_ONCE) as pool:  # some twenty questions a bucket
                yield from pool.map(look, names.slugs(listed))
            return
        for addr, resource in wanted.items():
            if addr.startswith(BUCKET):
                name = str(resource.body["name"])
                if driver.ex_exists(name):
                    yield self._bucket(driver, addr, name, {}, config=False)
            elif addr.startswith(CONFIG):
                yield settings.read(driver, resource)
            elif addr.startswith(OBJECTS) and driver.ex_exists(str(resource.body["bucket"])):
                yield Resource(addr, dict(resource.body), resource.provider, str(resource.body["bucket"]))

    def _bucket(
        self, driver: Driver, addr: str, name: str, extra: dict[str, Json], *, config: bool
    ) -> Resource | NotSeen:
        try:
            facts: dict[str, Json] = {"region": driver.ex_bucket_region(name), **extra}
            if config:
                facts["config"] = driver.ex_read_bucket(name)
            return Resource(addr, {"name": name, "versioning": driver.ex_versioning(name)}, "", name, facts)
        except AuthError as exc:
            return NotSeen(addr, exc.text)

    def probe(self, side: Side) -> Abilities:
        """Return what a side does: as measured by ``assess --probe``, else as assumed by its kind."""
        driver = self._source if side == "source" else self._target
        if driver is None:
            return Abilities("none")
        return measured.known(driver, self._run) if side == "target" else measured.assumed(driver)

    def measure(self) -> Abilities:
        """Ask the target what it does, in one scratch bucket that is removed afterwards; remembered for the run."""
        return measured.measure(self._to(), self._run, self._maps.classes.values())

    def assess(self, resource: Resource, abilities: Abilities) -> Iterator[Verdict]:
        """Judge every feature of a bucket as it is now, whatever site.yaml remembers of it."""
        if resource.address.startswith(BUCKET):
            seen = self._look(resource)
            scene = self._scene(resource, seen.facts.get("config") or {}, abilities)
            yield from verdicts.assess(seen, scene, tuple(buckets.judged(self._target, scene, self._names)))

    def _look(self, resource: Resource) -> Resource:
        name = str(resource.body["name"])
        if self._source is None or not self._source.ex_exists(name):
            return resource
        facts = {"config": self._config(name), "versioning": self._source.ex_versioning(name)}
        return replace(resource, facts={**resource.facts, **facts})

    def _config(self, name: str) -> dict[str, Json]:
        """Return the configuration of a bucket at the source: asked once, a verdict and its plan see the same."""
        if name not in self._configs and self._source is not None:
            self._configs[name] = self._source.ex_read_bucket(name) if self._source.ex_exists(name) else {}
        return self._configs.get(name, {})

    def _scene(self, resource: Resource, config: Mapping[str, Json], abilities: Abilities | None = None) -> Scene:
        can = abilities or self.probe("target")
        return settings.scene(resource, config, can, self._source, self._target, self._maps)

    def translate(self, resource: Resource, moved: Mapping[str, Endpoint]) -> Iterator[Resource]:
        """Yield the bucket as it must be at the target, its content and its configuration as resources of their own."""
        del moved  # no bucket body names another resource yet
        if not resource.address.startswith(BUCKET):
            yield resource
            return
        name = names.new_name(resource)
        versioning = str(resource.body.get("versioning", "off"))
        if self._target is not None and "versioning" not in self._target.ex_capabilities():
            versioning = "off"
        facts = {**resource.facts, "source": str(resource.body["name"]), "configured": self._source is not None}
        scene = self._scene(resource, self._config(names.source_name(resource)))
        wanted: dict[str, Json] = {"name": name, "versioning": versioning}
        if "object-lock" in scene.config and scene.target.can("object-lock"):
            wanted |= {"versioning": "enabled", "object_lock": True}
        yield replace(resource, body=wanted, facts=facts)
        body = {"bucket": name, "versions": versioning != "off"}
        kept: dict[str, Json] = {key: facts[key] for key in ("source", "region", "live", "wave") if key in facts}
        kept["dress"] = self._dress(resource)
        yield Resource(OBJECTS + tail(resource.address), body, resource.provider, name, kept)
        yield from settings.resources(resource, scene)

    def _dress(self, bucket: Resource) -> dict[str, Json]:
        """Decide how the objects of a bucket are dressed at the target."""
        config = self._config(names.source_name(bucket))
        sides = (terms.side(self._source), terms.side(self._target))
        return terms.decide(bucket, config, *sides, classes=self._maps.classes, people=self._maps.people)

    def endpoints(self, resource: Resource) -> Iterator[Endpoint]:
        """Yield every name under which a bucket, or the old service, was reached."""
        if resource.address.startswith(BUCKET):
            aws = self._source is None or self._source.kind == "aws"
            new = self._hosts.target or self._target_host()
            yield from names.endpoints(resource, self._hosts.source, new, aws=aws)

    def _target_host(self) -> tuple[str, ...]:
        if self._target is None:
            return ()
        return (urlsplit(self._target.ex_data_plane().endpoint).hostname or "",)

    # -- planning --------------------------------------------------------------------------------

    def diff(self, desired: State, existing: State) -> Iterator[Change]:
        """Yield what makes the target hold the desired buckets and all they contain."""
        yield from settings.arranged(desired, existing, planning.changes(desired, existing, self._count))

    def _count(self, want: Resource, exists: bool) -> Mapping[Round, gather.Figures]:
        figures = {lane: gather.Figures() for lane in ROUNDS}
        for todo in gather.todos(self._job(want), slug(want.address), target_exists=exists):
            for lane, row in todo.rows:
                figures[lane].count(row)
        return figures

    def cutover(self, phase: Phase, desired: State) -> Iterator[Change]:
        """Yield the freeze, the final delta, and the configuration that waits for a clean verify."""
        if phase == "traffic":
            yield from self._steps.before_the_last_copy(desired)
            copies = list(planning.final_deltas(desired))
            yield from copies
            yield from self._steps.after_the_last_copy(desired, tuple(copy.id for copy in copies))
            yield from settings.cutover(desired)

    def giving_back(self, change: Change) -> Iterator[Change]:
        """Yield what brings back to the source what was written at the target since this final copy."""
        if self._source is not None and change.phase == "traffic" and change.address.startswith(OBJECTS):
            yield from self._steps.giving_back(after(change), round_of(change.address))

    # -- doing -----------------------------------------------------------------------------------

    def observe(self, change: Change) -> Seen:
        """Look at the target: for a copy, both listings are compared once more."""
        if is_step(change):
            return self._steps.observe(change)
        target, want = self._to(), after(change)
        if change.address.startswith(CONFIG):
            return settings.observe(target, change)
        if change.address.startswith(BUCKET):
            name = str(want.body["name"])
            if not target.ex_exists(name):
                return "before"
            if change.action == "create":
                return "after"  # its versioning is the business of the copies and of the update
            return "after" if target.ex_versioning(name) == want.body["versioning"] else "before"
        preflight.check(self._job(want), slug(change.address), target_may_be_missing=True)
        if not target.ex_exists(str(want.body["bucket"])):
            return "before"
        held = False
        job, name = self._route(change)
        # The last look before the switch is kept: it is what a rollback starts from.
        looked = gather.todos(job, name, record=change.phase == "traffic")
        with closing(versionmap.recorded(job, name, looked)) as todos:
            for lane, row in (item for todo in todos for item in todo.rows):
                if lane == round_of(change.address) and row.work != "conflict":
                    return "before"
                held = held or lane == round_of(change.address)
        if not held and change.address.startswith(BACK):
            back.adopt(job, slug(change.address), name)
        return "other" if held else "after"

    def took(self, change: Change) -> Seen:
        """Say whether the last pass took: by its own listing, and after the freeze by the source as it is now."""
        work.hang_up(self._paces.values())
        if change.phase != "build" or self._source is None:
            return self.observe(change)
        return took.took(self._job(after(change)), slug(change.address), round_of(change.address))

    def bulk(self, change: Change) -> Iterator[Shard] | None:
        """Return the shards of a copy, the first while the listing still goes on."""
        if change.action != "copy":
            return None
        job, name = self._route(change)
        preflight.check(job, name)
        return gather.shards(job, name, round_of(change.address))

    def do(self, change: Change, lease: Lease | None) -> Mapping[str, Json]:
        """Create or configure a bucket, or copy one shard (without a lease: all of them)."""
        if is_step(change):
            return self._steps.do(change)
        target, want = self._to(), after(change)
        if change.address.startswith(CONFIG):
            settings.do(target, change, self._run)
            return {}
        if change.address.startswith(BUCKET):
            name, versioning = str(want.body["name"]), want.body["versioning"]
            if change.action == "create":
                target.ex_create_bucket(name, object_lock=bool(want.body.get("object_lock")))
            if versioning != "off" and target.ex_versioning(name) != versioning:
                target.ex_versioning(name, versioning)
            return {}
        if lease is None:
            for shard in self.bulk(change) or ():
                self.do(change, Unleased(shard))
            return {}
        job, _ = self._route(change)
        lane = round_of(change.address)
        if (
            job.versions
            and change.address.startswith(OBJECTS)
            and target.ex_versioning(job.target_bucket) != STATE[lane]
        ):
            self._set_state(target, job.target_bucket, lane)
        most = float(self._knobs.in_flight)
        pace = self._paces.setdefault(change.address, work.Pace(most, most))
        work.run(job, lease, pace, self._told.of(change, pace))
        if isinstance(lease, Unleased):
            pace.hang_up()  # nobody says that another shard follows
        return {}

    @staticmethod
    def _set_state(target: Driver, bucket: str, lane: Round) -> None:
        # A bucket that never had versioning writes null versions just as a suspended one does.
        if lane == "null-first" and target.ex_versioning(bucket) == "off":
            return
        target.ex_versioning(bucket, STATE[lane])

    def outputs(self, change: Change) -> Mapping[str, Json]:
        """Nothing here is needed by other changes; a freeze tells which uploads it cut off."""
        return self._steps.outputs(change) if is_step(change) else {}

    def undo(self, change: Change, *, purge: bool) -> None:
        """Restore what was before. Data stays unless ``purge``, and even then only ours goes."""
        if is_step(change):
            self._steps.undo(change)
            return
        if change.address.startswith(BACK):
            return  # the source has what its users wrote; nobody takes that away again
        target, want = self._to(), after(change)
        if change.address.startswith(CONFIG):
            settings.undo(target, change, self._run)
            return
        if change.address.startswith(OBJECTS):
            if purge and target.ex_exists(str(want.body["bucket"])):
                self._steps.forget_hold(want)
                purging.purge(self._job(want), slug(change.address))
            return
        name = str(want.body["name"])
        if not target.ex_exists(name):
            return
        if change.action == "create" and purge:
            buckets.delete_if_empty(target, name)
        elif change.action == "update" and change.before is not None:
            before = change.before.body["versioning"]
            target.ex_versioning(name, "enabled" if before == "enabled" else "suspended")

    # -- checking --------------------------------------------------------------------------------

    def try_write(self) -> Iterator[Finding]:
        """Show whether the source credentials could write an object."""
        if self._source is not None:
            yield power("storage/source", "write objects", self._source.ex_could_write())

    def verify(self, desired: State, tier: str) -> Iterator[Finding | Tally]:
        """Compare the target with the desired state: see :mod:`toolkit.tiers`."""
        depth = parse(tier)
        target = self._to()
        for addr, want in desired.items():
            if addr.startswith(BUCKET):
                yield from buckets.verify(target, want)
                if self._source is not None:
                    config = self._source.ex_read_bucket(names.source_name(want))
                    yield from settings.drift(want, self._scene(want, config), desired)
                yield Tally(addr, 0, 0)
            elif addr.startswith(CONFIG):
                yield from settings.verify(target, want, self._run)
            elif addr.startswith(OBJECTS):
                if target.ex_exists(str(want.body["bucket"])):
                    job = self._job(want)
                    yield from check.verify(job, slug(addr), depth, source_answers=self._source is not None)
                else:
                    total = check.known(self._run, slug(addr))
                    yield Finding(
                        addr, "bucket", "missing", "the bucket is missing at the target", "run `rehost apply`"
                    )
                    yield Tally(addr, total, 0)

    def dependence(self, desired: State, old: OldSide) -> Iterator[Finding | Tally]:
        """Look into text objects at the target for names of the old side."""
        target = self._to()
        for addr, want in desired.items():
            if addr.startswith(OBJECTS) and target.ex_exists(str(want.body["bucket"])):
                plane = target.ex_data_plane()
                yield from traces.scan(addr, plane, str(want.body["bucket"]), self._knobs, old)

    # -- inside ----------------------------------------------------------------------------------

    def _to(self) -> Driver:
        if self._target is None:
            raise Unsupported("this move names no target for storage", "set move.storage.to in site.yaml")
        return self._target

    def _route(self, change: Change) -> tuple[work.Job, str]:
        """Return the job of a copy, and the name under which its files lie."""
        job, name = self._job(after(change)), slug(change.address)
        if not change.address.startswith(BACK):
            return job, name
        kept = self._source is not None and "conditional-put" in self._source.ex_capabilities()
        return back.backward(job, name, create_only=kept)

    def _job(self, want: Resource) -> work.Job:
        target = self._to()
        region = str(want.facts.get("region") or "")
        source = self._source.ex_data_plane(region) if self._source is not None else target.ex_data_plane()
        here, there = view.of(want.facts)
        return work.Job(
            address=OBJECTS + tail(want.address),
            source=replace(source, view=here),
            source_bucket=names.source_name(want),
            target=replace(target.ex_data_plane(), view=there),
            target_bucket=str(want.body["bucket"]),
            versions=bool(want.body["versions"]),
            create_only="conditional-put" in target.ex_capabilities() and not want.body["versions"],
            run=self._run,
            knobs=self._knobs,
            removes="scope" not in want.facts,  # a plain copy never deletes
            most_removed=live.of(want).max_removed,
            terms=terms.of(want),
            loader=target.ex_loader_plane() if want.body["versions"] else None,
        )
