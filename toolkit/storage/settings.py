"""The configuration of a bucket as resources and changes: ``storage/config/<slug>/<item>``.

Each item is a resource of its own, so a plan shows it, the journal keeps what stood there before, a
rollback puts that back, and a second run finds nothing to do. Items of the stage ``last`` (lifecycle,
a policy that forbids, notifications, default retention) become changes of the cut-over, after a clean
verify; until then ``until`` stands in their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from toolkit.errors import Conflict, Unsupported
from toolkit.files import write_json
from toolkit.model import Abilities, Change, Finding, Json, Resource, Seen, State, address, canonical, split
from toolkit.storage import names
from toolkit.storage.config import items
from toolkit.storage.config.normal import CLOSED, effect
from toolkit.storage.config.scene import Maps, Scene, Translated
from toolkit.storage.protocol import Driver
from toolkit.storage.rounds import tail

CONFIG = "storage/config/"
#: What a new bucket has by itself, beside nothing at all.
_BY_ITSELF: Mapping[str, tuple[Json, ...]] = {
    "public-access-block": (dict(CLOSED),),
    "encryption": ({"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]},),
    "ownership": ({"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},),
    "object-lock": ({"ObjectLockEnabled": "Enabled"},),
}


def scene(
    resource: Resource,
    config: Mapping[str, Json],
    abilities: Abilities,
    source: Driver | None,
    target: Driver | None,
    maps: Maps,
) -> Scene:
    """Return all that a translation of ``resource`` may look at; asks both sides who owns the bucket."""
    bucket = names.source_name(resource)
    return Scene(
        source=source.kind if source else "*",
        target=abilities,
        bucket=bucket,
        name=names.new_name(resource),
        config=config,
        maps=maps,
        owner=source.ex_bucket_owner(bucket) if source and config else "",
        new_owner=target.ex_owner() if target and config else "",
    )


def resources(bucket: Resource, scene: Scene) -> Iterator[Resource]:
    """Yield one desired resource for every item that has to be written at the target."""
    for found in items.translate(scene):
        if found.value is not None:
            yield _resource(bucket, scene, found)


def _resource(bucket: Resource, scene: Scene, found: Translated) -> Resource:
    facts = {"source": scene.bucket, "stage": found.stage, "until": found.until}
    where = address("storage", "config", split(bucket.address)[2], found.item)
    body = {"bucket": scene.name, "item": found.item, "value": found.value}
    return Resource(where, body, bucket.provider, scene.name, facts)


def read(driver: Driver, wanted: Resource) -> Resource:
    """Return an item as it stands in the bucket that ``wanted`` names."""
    bucket, item = str(wanted.body["bucket"]), str(wanted.body["item"])
    value = driver.ex_config(bucket, item) if driver.ex_exists(bucket) else None
    return replace(wanted, body={"bucket": bucket, "item": item, "value": value}, facts={})


def arranged(desired: State, existing: State, changes: Iterable[Change]) -> Iterator[Change]:
    """Yield ``changes`` of buckets and objects with the configuration among them.

    What protects the objects stands before the first of them, everything else after the last.
    """
    given = list(changes)
    slugs = dict.fromkeys(tail(addr) for addr in (*(change.address for change in given), *desired))
    for slug in slugs:
        mine = [change for change in given if tail(change.address) == slug]
        made = tuple(change.id for change in mine if change.action == "create")
        items = [want for addr, want in desired.items() if addr.startswith(f"{CONFIG}{slug}/")]
        early = [change for want in items if _early(want) for change in _build(want, existing, made)]
        ids = (*made, *(change.id for change in early))
        all_ids = (*ids, *(change.id for change in mine))
        yield from (change for change in mine if change.id in made)
        yield from early
        for change in mine:
            if change.id not in made:
                yield replace(change, needs=tuple(dict.fromkeys((*ids, *change.needs))))
        for want in items:
            if not _early(want):
                yield from _build(want, existing, tuple(dict.fromkeys(all_ids)))


def _build(want: Resource, existing: State, needs: tuple[str, ...]) -> Iterator[Change]:
    """Yield the change of the first phase, if the target does not show its goal (or the final value) yet."""
    have = existing.get(want.address)
    now, goal = (have.body["value"] if have is not None else None), _until(want)
    if any(_same(now, one) for one in (want.body["value"], goal)) or (goal is None and _by_itself(want, now)):
        return
    before = replace(want, body={**want.body, "value": now}, facts={}) if now is not None else None
    after = replace(want, body={**want.body, "value": goal}, facts={**want.facts, "final": want.body["value"]})
    yield Change(want.address, "update" if before else "create", before, after, needs=needs)


def _early(want: Resource) -> bool:
    return want.facts["stage"] == "first" or want.facts["until"] is not None


def cutover(desired: State) -> Iterator[Change]:
    """Yield what is written last: after the final delta and a clean verify."""
    for addr, want in desired.items():
        if addr.startswith(CONFIG) and want.facts["stage"] == "last":
            goal = _until(want)
            before = replace(want, body={**want.body, "value": goal}, facts={}) if goal is not None else None
            note = "after a clean verify"
            yield Change(addr, "update" if before else "create", before, want, "traffic", note=note)


def observe(target: Driver, change: Change) -> Seen:
    """Look at the target: an item of a new bucket may also be what the store sets by itself."""
    want = _after(change)
    bucket, item = str(want.body["bucket"]), str(want.body["item"])
    if not target.ex_exists(bucket):
        return "before"
    now = target.ex_config(bucket, item)
    if any(_same(now, one) for one in (want.body["value"], want.facts.get("final", want.body["value"]))):
        return "after"  # the cut-over may have been here since
    before = change.before.body["value"] if change.before is not None else None
    return "before" if _same(now, before) or (before is None and _by_itself(want, now)) else "other"


def do(target: Driver, change: Change, run: Path) -> None:
    """Write one item and read it back."""
    want = _after(change)
    target.ex_config_write(str(want.body["bucket"]), str(want.body["item"]), want.body["value"])
    if change.phase == "traffic":
        write_json(_mark(run, want.address), {"value": want.body["value"]})


def undo(target: Driver, change: Change, run: Path) -> None:
    """Put back what stood there before, unless somebody changed it since."""
    want = _after(change)
    bucket, item = str(want.body["bucket"]), str(want.body["item"])
    if target.ex_exists(bucket):
        if observe(target, change) == "other":
            raise Conflict(f"{item} of {bucket} was changed since", "look at it and decide")
        before = change.before.body["value"] if change.before is not None else None
        if before is None and item == "public-access-block" and target.kind == "aws":
            before = dict(CLOSED)  # how AWS makes buckets: taking the block away would open this one
        if before is not None or item != "object-lock":  # a lock cannot be taken off a bucket again
            target.ex_config_write(bucket, item, before)
    _mark(run, want.address).unlink(missing_ok=True)


def verify(target: Driver, want: Resource, run: Path) -> Iterator[Finding]:
    """Compare one item with what stands at the target."""
    bucket, item = str(want.body["bucket"]), str(want.body["item"])
    if not target.ex_exists(bucket):
        return  # told once, with the bucket
    now = target.ex_config(bucket, item)
    if _same(now, want.body["value"]):
        return
    waits = want.facts["stage"] == "last" and not _mark(run, want.address).exists()
    if waits and (_same(now, _until(want)) or (_until(want) is None and _by_itself(want, now))):
        text = f"{item} of {bucket} is written at the cut-over, after a clean verify"
        yield Finding(want.address, item, "note", text, "", "info")
        return
    what = "missing" if now is None else "different"
    text = f"{item} of {bucket} is {'not set' if now is None else 'not as translated'}"
    evidence = {"wanted": want.body["value"], "found": now}
    yield Finding(want.address, item, what, text, "run `rehost plan`, then `rehost apply`", evidence=evidence)


def drift(bucket: Resource, scene: Scene, desired: State) -> Iterator[Finding]:
    """Compare the source's configuration, translated anew, with what was planned, if it was planned at all."""
    if not bucket.facts.get("configured"):
        return
    fresh = {found.address: found for found in resources(bucket, scene)}
    planned = {addr: want for addr, want in desired.items() if addr.startswith(f"{CONFIG}{tail(bucket.address)}/")}
    for addr in sorted({*fresh, *planned}):
        new, old = fresh.get(addr), planned.get(addr)
        if new is None or old is None or not _same(new.body["value"], old.body["value"]):
            item = split(addr)[3]
            text = f"{item} of {scene.bucket} is no longer translated as planned: the source or the site changed"
            yield Finding(addr, item, "different", text, "run `rehost plan`, then `rehost apply`")


def _after(change: Change) -> Resource:
    if change.after is None:
        raise Unsupported(f"{change.id}: configuration is written, never planned away", "remove it by hand")
    return change.after


def _until(want: Resource) -> Json:
    """What stands at the target between the first phase and the cut-over."""
    return want.facts["until"] if want.facts["stage"] == "last" else want.body["value"]


def _by_itself(want: Resource, now: Json) -> bool:
    return now is None or any(_same(now, one) for one in _BY_ITSELF.get(str(want.body["item"]), ()))


def _same(one: Json, other: Json) -> bool:
    return canonical(effect(one)) == canonical(effect(other))


def _mark(run: Path, addr: str) -> Path:
    return run / "result" / f"config-{addr.removeprefix(CONFIG).replace('/', '-')}.json"
