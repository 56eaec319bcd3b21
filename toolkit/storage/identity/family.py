"""Identities as part of the storage family: users, roles and their policies, read, judged, made and proven.

Enters: a directory for each side, which bucket becomes which, and how to try. Leaves: resources
``storage/identity/<slug>`` and ``storage/owner/<user>``, changes and findings. New keys go to the sink that
site.yaml names for the identity; a plan or journal knows no more than that there is one. Raises the public
error tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.errors import Conflict, NotFound, Unsupported
from toolkit.families import Lease, OldSide, Shard
from toolkit.files import read_json, write_json
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
    canonical,
    diff_states,
    sha256_hex,
)
from toolkit.secrets import Secret
from toolkit.storage import names
from toolkit.storage.identity import assess as verdicts
from toolkit.storage.identity import matrix, sink
from toolkit.storage.identity.map import IDENTITY, target_name
from toolkit.storage.identity.policy import ARN
from toolkit.storage.identity.protocol import Directory, Document, Trial, User
from toolkit.storage.identity.translate import Setting, document_for

OWNER = "storage/owner/"
_OWNERS = "rehost.owner"
_MARK = "made by rehost"
_DELIVERED = "result/identities.json"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What identities need to know of the move.

    ``buckets``: old name → new. Relative sinks start from ``base``. ``sample`` names an object that is in a
    bucket of the target under a prefix, or none.
    """

    buckets: Mapping[str, str]
    workspace: Path
    base: Path = Path()
    sample: Callable[[str, str], str] = lambda _bucket, _prefix: ""
    remember: Callable[..., None] = lambda *_secrets: None


class Identities:
    """One move of identities."""

    name = "storage"

    def __init__(
        self, *, source: Directory | None, target: Directory | None, around: Surroundings, trial: Trial | None = None
    ) -> None:
        self._source = source
        self._target = target
        self._around = around
        self._trial = trial

    # -- reading ---------------------------------------------------------------------------------

    def read(self, side: Side, wanted: State | None) -> Iterator[Resource | NotSeen]:
        """Yield identities of the source, or those users of the target that are wanted."""
        directory = self._source if side == "source" else self._target
        if directory is None:
            return
        if wanted is None or side == "source":
            yield from self._read_source(directory, wanted)
            return
        for addr, resource in wanted.items():
            if not addr.startswith((IDENTITY, OWNER)):
                continue
            user = directory.ex_user(str(resource.body["name"]))
            if user is not None:
                yield replace(resource, body=self._body(resource, user))

    def _read_source(self, directory: Directory, wanted: State | None) -> Iterator[Resource | NotSeen]:
        mine = {addr: item for addr, item in (wanted or {}).items() if addr.startswith(IDENTITY)}
        if wanted is not None and not mine:
            return
        found: list[Resource] = []
        for item in directory.ex_identities():
            if isinstance(item, NotSeen):
                yield item
                continue
            body: dict[str, Json] = {"kind": item.kind, "name": item.name}
            body |= {"policies": {name: dict(text) for name, text in item.policies.items()}, "owns": list(item.owns)}
            body |= {"canonical_id": item.canonical_id or None, "own": item.own}
            found.append(Resource("", body, "", item.id, item.facts))
        if wanted is None:
            found.sort(key=lambda one: str(one.body["name"]))
            slugs = names.slugs(str(one.body["name"]) for one in found)
            for (slug, _), one in zip(slugs, found, strict=True):
                yield replace(one, address=IDENTITY + slug)
            return
        by_name = {(one.body["kind"], one.body["name"]): one for one in found}
        for addr, known in mine.items():
            if known.body["kind"] == "account":
                yield known  # other accounts are not ours to look at
            elif (there := by_name.get((known.body["kind"], known.body["name"]))) is not None:
                yield replace(there, address=addr)

    def _body(self, want: Resource, user: User) -> dict[str, Json]:
        """Return the state of a user as far as it is wanted; policies of others are not ours to judge."""
        wanted = want.body["policies"]
        ours = want.address.startswith(OWNER) or not _is_made(user)
        policies = {name: dict(text) for name, text in user.policies.items() if name in wanted or not ours}
        body: dict[str, Json] = {"name": user.name, "policies": policies}
        if "keys" in want.body:
            body["keys"] = bool(want.body["keys"]) and self._has_key(want, user)
        return body

    # -- judging and translating -----------------------------------------------------------------

    def probe(self, side: Side) -> Abilities:
        """Return whether a side can hold users and their policies: asked, not assumed."""
        directory = self._source if side == "source" else self._target
        if directory is None:
            return Abilities("none")
        return Abilities(directory.kind, directory.ex_abilities())

    def assess(self, resource: Resource, abilities: Abilities) -> Iterator[Verdict]:
        """Judge an identity and every part of its policies that changes on the way."""
        if resource.address.startswith(IDENTITY):
            source = self._source.kind if self._source else "*"
            yield from verdicts.assess(resource, source, abilities, self._around.buckets)

    def translate(self, resource: Resource, moved: Mapping[str, Endpoint]) -> Iterator[Resource]:
        """Yield the user that an identity becomes, and the right of the buckets' owner to what users write."""
        del moved
        if not resource.address.startswith(IDENTITY) or resource.body["kind"] == "account":
            return
        kind = self._target.kind if self._target else "ceph"
        policies = target_policies(resource, self._around.buckets, kind)
        named = resource.facts.get("sink")
        body: dict[str, Json] = {"name": target_name(resource), "policies": policies, "keys": bool(named)}
        facts = {**resource.facts, "source": dict(resource.body)}
        yield Resource(resource.address, body, resource.provider, target_name(resource), facts)
        if kind == "ceph" and self._target is not None and (owner := self._target.ex_owner()):
            # On Ceph an object belongs to the user who wrote it; without this the owner of the bucket could
            # neither verify nor move back what the app writes from now on.
            where = [arn for name in self._around.buckets.values() for arn in (f"{ARN}{name}", f"{ARN}{name}/*")]
            said = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": where}]}
            # Several moves may share the owner: each has a policy of its own.
            policy = f"{_OWNERS}.{sha256_hex(canonical(where))[:12]}"
            yield Resource(OWNER + owner, {"name": owner, "policies": {policy: said}}, resource.provider, owner)

    def endpoints(self, resource: Resource) -> Iterator[Endpoint]:  # noqa: ARG002 - the Protocol's shape
        """No host name stands for an identity."""
        return iter(())

    def diff(self, desired: State, existing: State) -> Iterator[Change]:
        """Yield what makes the target's users as they must be."""
        mine = {addr: item for addr, item in desired.items() if addr.startswith((IDENTITY, OWNER))}
        yield from diff_states(mine, existing)

    def cutover(self, phase: Phase, desired: State) -> Iterator[Change]:  # noqa: ARG002
        """Identities have no later phase."""
        return iter(())

    # -- doing -----------------------------------------------------------------------------------

    def observe(self, change: Change) -> Seen:
        """Say how the user is at the target. A half-made user of ours counts as not yet made."""
        want = _after(change)
        user = self._to().ex_user(str(want.body["name"]))
        if user is None:
            return "before" if change.action == "create" else "other"
        if canonical(self._body(want, user)) == canonical(dict(want.body)):
            return "after"
        if _is_made(user) or want.address.startswith(OWNER):
            return "before"
        before = change.before.body if change.before else None
        return "before" if before and canonical(self._body(want, user)) == canonical(dict(before)) else "other"

    def took(self, change: Change) -> Seen:
        """Look again after a change was made."""
        return self.observe(change)

    def giving_back(self, change: Change) -> Iterator[Change]:  # noqa: ARG002  (the Protocol's shape)
        return iter(())

    def bulk(self, change: Change) -> Iterator[Shard] | None:  # noqa: ARG002
        """No change of an identity is large."""
        return None

    def do(self, change: Change, lease: Lease | None) -> Mapping[str, Json]:  # noqa: ARG002
        """Make a user, then its key, which goes to the sink at once, then its policies.

        The policies come last because RGW 16 drops a user's policies when its keys change (measured).
        """
        target, want = self._to(), _after(change)
        name = str(want.body["name"])
        user = target.ex_user(name)
        if user is None:
            target.ex_create_user(name, f"{name} ({_MARK})")
            user = User(name, f"{name} ({_MARK})", {}, ())
        if want.body.get("keys") and not self._has_key(want, user):
            self._give_key(want, user)
            user = target.ex_user(name) or user
        wanted: Mapping[str, Mapping[str, Json]] = want.body["policies"]
        for policy, document in wanted.items():
            if canonical(dict(user.policies.get(policy, {}))) != canonical(dict(document)):
                target.ex_put_policy(name, policy, document)
        if _is_made(user) and want.address.startswith(IDENTITY):
            for policy in sorted(set(user.policies) - set(wanted)):
                target.ex_delete_policy(name, policy)
        return {}

    def outputs(self, change: Change) -> Mapping[str, Json]:  # noqa: ARG002
        """Nothing here is needed by other changes; keys never are an output."""
        return {}

    def undo(self, change: Change, *, purge: bool) -> None:  # noqa: ARG002
        """Take the user away again if we made it, or put its policies back."""
        target, want = self._to(), _after(change)
        name = str(want.body["name"])
        user = target.ex_user(name)
        if user is None:
            return
        before: Mapping[str, Mapping[str, Json]] = change.before.body["policies"] if change.before else {}
        for policy in want.body["policies"]:
            if policy in before:
                target.ex_put_policy(name, policy, before[policy])
            elif policy in user.policies:
                target.ex_delete_policy(name, policy)
        if change.action != "create" or want.address.startswith(OWNER):
            return
        if not _is_made(user):
            raise Conflict(f"the user {name} was not made by this move", "look at it at the target and decide")
        for key in user.keys:
            target.ex_delete_key(name, key)
            if named := want.facts.get("sink"):
                sink.withdraw(str(named), key, self._around.base)
        self._note(want, "")
        target.ex_delete_user(name)

    # -- checking --------------------------------------------------------------------------------

    def verify(self, desired: State, tier: str) -> Iterator[Finding | Tally]:
        """Compare users and policies; beyond ``list`` also try, as each user whose key is at hand, what it may do."""
        for addr, want in desired.items():
            if not addr.startswith((IDENTITY, OWNER)):
                continue
            user = self._to().ex_user(str(want.body["name"]))
            if user is None:
                text = f"the user {want.body['name']} is missing at the target"
                yield Finding(addr, "user", "missing", text, "run `rehost apply`")
            else:
                yield from self._compare(want, user)
                if tier != "list" and addr.startswith(IDENTITY):
                    yield from self._prove(want)
            yield Tally(addr, 0, 0)

    def _compare(self, want: Resource, user: User) -> Iterator[Finding]:
        have = self._body(want, user)
        for name, document in want.body["policies"].items():
            if canonical(have["policies"].get(name)) != canonical(dict(document)):
                text = f"policy {name} of {user.name} is not as it must be"
                yield Finding(want.address, f"policy {name}", "different", text, "run `rehost apply`")
        for name in sorted(set(have["policies"]) - set(want.body["policies"])):
            text = f"{user.name} has a policy {name} that the source has not"
            yield Finding(want.address, f"policy {name}", "extra", text, "run `rehost apply`")
        if want.body.get("keys") and not have.get("keys"):
            text = f"{user.name} has no key that went to its sink"
            yield Finding(want.address, "keys", "missing", text, "run `rehost apply`")

    def _prove(self, want: Resource) -> Iterator[Finding]:
        """Try every cell of the matrix that the source's policies decide."""
        named = want.facts.get("sink")
        pair = sink.fetch(str(named), self._around.base) if named else None
        if pair is None or self._trial is None:
            text = "its key is not at hand, so what it may do was not tried"
            yield Finding(want.address, "matrix", "unproven", text, "name a sink `file:PATH` to have it proven", "info")
            return
        self._around.remember(*pair)
        source = want.facts["source"]
        tried = 0
        policies = [document for document in source["policies"].values() if document]
        places = {old: self._places(policies, old, str(source["name"])) for old in self._around.buckets}
        for cell in matrix.cells(policies, places, str(source["name"])):
            if cell.expected == "depends":
                continue
            let = self._trial(*pair, cell.action, self._around.buckets[cell.bucket], cell.key)
            if let is None:
                continue
            tried += 1
            if let != (cell.expected == "allow"):
                was, now = ("allowed", "refused") if not let else ("denied", "let through")
                where = f"{cell.bucket}/{cell.key}"
                text = f"{cell.action} on {where} is {was} by the source's policies and {now} at the target"
                remedy = "look at bucket policies and grants of both sides, and at `rehost assess`"
                yield Finding(want.address, f"{cell.action} {cell.bucket}", "different", text, remedy)
        text = f"{tried} combinations of action and bucket were tried"
        yield Finding(want.address, "matrix", "note", text, severity="info", evidence={"tried": tried})

    def _places(self, policies: list[Document], bucket: str, user: str) -> matrix.Places:
        new = self._around.buckets[bucket]
        return matrix.places(policies, bucket, user, lambda start: self._around.sample(new, start))

    def dependence(self, desired: State, old: OldSide) -> Iterator[Finding | Tally]:  # noqa: ARG002
        """A user of the target hangs on nothing else."""
        return iter(())

    def try_write(self) -> Iterator[Finding]:
        """IAM knows no request that could tell without writing."""
        return iter(())

    # -- keys ------------------------------------------------------------------------------------

    def _has_key(self, want: Resource, user: User) -> bool:
        """Say whether the sink got a key that the user still has. Only its digest is kept here."""
        named = str(want.facts.get("sink") or "")
        pair = sink.fetch(named, self._around.base)
        if named.startswith("file:"):
            return pair is not None and pair[0].reveal() in user.keys
        digest = self._noted().get(want.address)
        return any(_digest(key) == digest for key in user.keys)

    def _give_key(self, want: Resource, user: User) -> None:
        """Make a key and hand it over; one left from a kill in between is handed over, or replaced."""
        target, named = self._to(), str(want.facts["sink"])
        if not _is_made(user):
            text = f"the user {user.name} was there before: no key is made for it"
            raise Conflict(text, "take `sink` away, or give the identity another name with `to`")
        for key in user.keys:
            secret = target.ex_secret_of(user.name, key)
            if secret is not None:
                self._deliver(want, named, Secret(key), secret)
                return
            target.ex_delete_key(user.name, key)
        self._deliver(want, named, *target.ex_new_key(user.name))

    def _deliver(self, want: Resource, named: str, key: Secret, secret: Secret) -> None:
        self._around.remember(key, secret)
        sink.deliver(named, key, secret, self._around.base)
        self._note(want, _digest(key.reveal()))

    def _noted(self) -> dict[str, str]:
        try:
            found: dict[str, str] = read_json(self._around.workspace / _DELIVERED)
        except FileNotFoundError:
            return {}
        return found

    def _note(self, want: Resource, digest: str) -> None:
        write_json(self._around.workspace / _DELIVERED, {**self._noted(), want.address: digest})

    def _to(self) -> Directory:
        if self._target is None:
            raise Unsupported("this move names no target for identities", "set move.storage.to in site.yaml")
        return self._target


def target_policies(resource: Resource, buckets: Mapping[str, str], kind: str) -> dict[str, Json]:
    """Return the policies of the user that an identity becomes."""
    setting = Setting(str(resource.body["name"]), buckets, kind)
    found: dict[str, Json] = {}
    for name, document in sorted(dict(resource.body.get("policies") or {}).items()):
        said, _ = document_for(document, setting)
        if said is not None:
            found[verdicts.policy_name(name)] = said
    if owned := [buckets[name] for name in resource.body.get("owns") or () if name in buckets]:
        where = [arn for name in owned for arn in (f"{ARN}{name}", f"{ARN}{name}/*")]
        statement = {"Effect": "Allow", "Action": ["s3:*"], "Resource": where}
        found["owned-buckets"] = {"Version": "2012-10-17", "Statement": [statement]}
    return found


def _is_made(user: User) -> bool:
    return _MARK in user.mark


def _digest(key: str) -> str:
    return sha256_hex(key.encode())


def _after(change: Change) -> Resource:
    if change.after is None:
        raise NotFound(f"{change.id} says nothing of what should be", "run `rehost plan` again")
    return change.after
