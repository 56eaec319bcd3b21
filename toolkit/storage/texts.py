"""Rewriting as part of the storage family: one change ``storage/text/<slug>`` for each bucket with old addresses.

Enters: the target's driver, the run folder, the old store's hosts. Leaves: forms, changes, findings. The change
carries its forms, so a rollback needs nothing but the journal and the run folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from toolkit.addresses import Addresses, Form
from toolkit.errors import Conflict, Unsupported
from toolkit.families import Lease, Shard
from toolkit.model import Change, Finding, Json, Resource, Seen, State
from toolkit.storage import forms as spelled
from toolkit.storage import rewriting
from toolkit.storage.model import Knobs, shown
from toolkit.storage.protocol import Driver
from toolkit.storage.rewriting import Count, Place
from toolkit.storage.rounds import BUCKET, OBJECTS, slug, tail

TEXT = "storage/text/"


class Texts:
    """The text objects of the moved buckets."""

    def __init__(self, *, target: Driver | None, workspace: Path, hosts: tuple[str, ...], aws: bool) -> None:
        self._target = target
        self._run = workspace
        self._hosts = hosts
        self._aws = aws

    def forms(self, resource: Resource) -> Iterator[Form]:
        """Yield every old spelling of a bucket's address and its new one."""
        if resource.address.startswith(BUCKET) and self._target is not None:
            endpoint = self._target.ex_data_plane().endpoint
            yield from spelled.forms(resource, endpoint, self._hosts, aws=self._aws)

    def rewrites(self, desired: State, addresses: Addresses) -> Iterator[Change | Finding]:
        """Yield a change for each bucket that holds old addresses, and what is not going to be changed."""
        for addr, want in desired.items():
            if not addr.startswith(OBJECTS) or not self._to().ex_exists(str(want.body["bucket"])):
                continue
            text = TEXT + tail(addr)
            found = rewriting.count(self._place(str(want.body["bucket"]), addr), addresses)
            yield from notes(text, found)
            if found.objects:
                body = {"bucket": want.body["bucket"], "forms": [_listed(form) for form in addresses.forms]}
                figures = {"objects": found.objects, "addresses": found.addresses.total()}
                before, after = (Resource(text, {**body, "rewritten": done}) for done in (False, True))
                note = "\n".join(f"{key}\n      - {old}\n      + {new}" for key, old, new in found.samples)
                yield Change(text, "update", before, after, figures=figures, note=note)

    def observe(self, change: Change) -> Seen:
        """Say whether any text object still holds an old address that can be replaced."""
        body = _after(change).body
        if not self._to().ex_exists(str(body["bucket"])):
            return "other"
        found = rewriting.count(self._place(str(body["bucket"]), change.address), _addresses(body))
        return "before" if found.objects else "after"

    def took(self, change: Change) -> Seen:
        """Look again after rewriting."""
        return self.observe(change)

    def giving_back(self, change: Change) -> Iterator[Change]:  # noqa: ARG002  (the Protocol's shape)
        """The source's texts were never touched."""
        return iter(())

    def bulk(self, change: Change) -> Iterator[Shard] | None:  # noqa: ARG002 - the Protocol's shape
        """Rewriting is one step: what is done shows in the objects themselves."""
        return None

    def outputs(self, change: Change) -> Mapping[str, Json]:  # noqa: ARG002
        """Nothing here is needed by other changes."""
        return {}

    def do(self, change: Change, lease: Lease | None) -> Mapping[str, Json]:  # noqa: ARG002
        """Rewrite; what somebody changes meanwhile is left for the next run."""
        body = _after(change).body
        found = rewriting.rewrite(self._place(str(body["bucket"]), change.address), _addresses(body))
        return {"objects": found.objects, "addresses": found.addresses.total()}

    def undo(self, change: Change, *, purge: bool) -> None:  # noqa: ARG002
        """Restore every object that is still as we wrote it."""
        body = _after(change).body
        if not self._to().ex_exists(str(body["bucket"])):
            return
        _, changed = rewriting.restore(self._place(str(body["bucket"]), change.address))
        if changed:
            some = ", ".join(shown(key) for key in changed[:5])
            raise Conflict(
                f"{change.address}: {len(changed)} objects were changed by somebody after they were rewritten: {some}",
                "look at them; all others were restored",
            )

    def _place(self, bucket: str, address: str) -> Place:
        return Place(self._to().ex_data_plane(), bucket, slug(address), self._run, Knobs())

    def _to(self) -> Driver:
        if self._target is None:
            raise Unsupported("this move names no target for storage", "set move.storage.to in site.yaml")
        return self._target


def notes(address: str, found: Count) -> Iterator[Finding]:
    """Yield what stays as it is, and why."""
    for why, number in sorted(found.left.items()):
        yield Finding(address, why.split(",")[0], "note", f"{number:,} text objects: {why}", severity="info")
    if found.presigned:
        text = f"{found.presigned:,} presigned URLs stand in text objects; a signature holds for the old host only"
        yield Finding(address, "presigned", "note", text, "have the app sign them anew", "warning")


def _listed(form: Form) -> list[str]:
    return [form.address, form.kind, form.old, form.new, form.scheme]


def _addresses(body: Mapping[str, Json]) -> Addresses:
    return Addresses(Form(*item) for item in body["forms"])


def _after(change: Change) -> Resource:
    if change.after is None:
        raise Unsupported(f"{change.id}: storage never deletes a resource", "remove it by hand if it should go")
    return change.after
