"""The steps of a cut-over that are no copies: stop writing at the source, and at the target on the way back.

``storage/freeze/<slug>`` denies writing at the source's bucket; ``storage/hold/<slug>`` does so at the
target's while a rollback brings back what was written there; ``storage/open/<slug>`` takes that hold away at
the next cut-over. Each is a change like any other: observed, journalled, undone.

Enters: both drivers and the run folder. Leaves: changed bucket policies. Raises the public error tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from toolkit.errors import AuthError, Unsupported
from toolkit.model import Change, Json, Resource, Seen, State
from toolkit.storage import freeze, live, names
from toolkit.storage.model import Round
from toolkit.storage.protocol import Driver
from toolkit.storage.rounds import OBJECTS, back_address, slug, tail

Step = Literal["freeze", "hold", "open"]
KINDS: frozenset[str] = frozenset({"freeze", "hold", "open"})
_SHOWN = 20


def is_step(change: Change) -> bool:
    """Say whether a change is one of these."""
    return change.address.split("/")[1] in KINDS


def step(kind: Step, want: Resource, bucket: str, note: str, needs: tuple[str, ...] = ()) -> Change:
    """Return a step for the objects ``want``."""
    place = f"storage/{kind}/{tail(want.address)}"
    stops = kind != "open"
    before, after = (Resource(place, {"bucket": bucket, "frozen": frozen}) for frozen in (not stops, stops))
    return Change(place, "update", before, after, "traffic", needs, note=note)


@dataclass(frozen=True, slots=True)
class Steps:
    """What is needed to take them."""

    source: Driver | None
    target: Driver | None
    run: Path

    def before_the_last_copy(self, desired: State) -> Iterator[Change]:
        """Yield a freeze for each bucket whose writing we can stop and are not told to leave alone."""
        if self.source is None or "policy" not in self.source.ex_capabilities():
            return
        for addr, want in desired.items():
            if addr.startswith(OBJECTS) and live.of(want).freeze == "policy":
                text = "nobody but rehost may write at the source any more (bucket policy); a rollback undoes it"
                yield step("freeze", want, names.source_name(want), text)

    def after_the_last_copy(self, desired: State, needs: tuple[str, ...]) -> Iterator[Change]:
        """Yield what opens the buckets of the target that an earlier rollback has left held."""
        for addr, want in desired.items():
            if addr.startswith(OBJECTS) and self._saved("hold", want.address).exists():
                yield step("open", want, str(want.body["bucket"]), "writing at the new side is allowed again", needs)

    def giving_back(self, want: Resource, lane: Round) -> Iterator[Change]:
        """Yield what stops writing at the target, if it can be stopped, and what brings one round back."""
        if self.target is not None and "policy" in self.target.ex_capabilities():
            text = "nobody but rehost may write at the new side any more, until the next cut-over"
            yield step("hold", want, str(want.body["bucket"]), text)
        place = replace(want, address=back_address(want.address, lane))
        note = "what was written at the new side since the switch comes back to the source"
        yield Change(place.address, "copy", None, place, "traffic", data=True, note=note)

    def observe(self, change: Change) -> Seen:
        """Look at the bucket's policy."""
        driver, bucket, _ = self._of(change)
        wanted = bool(change.after and change.after.body["frozen"])
        return "after" if freeze.frozen(driver, bucket) == wanted else "before"

    def do(self, change: Change) -> Mapping[str, Json]:
        """Stop writing, or allow it again; return which uploads in parts were under way."""
        driver, bucket, saved = self._of(change)
        try:
            if change.address.split("/")[1] == "open":
                freeze.thaw(driver, bucket, saved)
            else:
                freeze.freeze(driver, bucket, saved)
        except AuthError as exc:
            raise AuthError(
                exc.text,
                "a cut-over needs s3:GetBucketPolicy, s3:PutBucketPolicy and s3:DeleteBucketPolicy there; or stop the"
                " app yourself and say `live: {freeze: none}` at this bucket in site.yaml",
            ) from exc
        return self.outputs(change)

    def outputs(self, change: Change) -> Mapping[str, Json]:
        """Name the uploads in parts that nobody can complete any more."""
        if change.address.split("/")[1] != "freeze":
            return {}
        driver, bucket, _ = self._of(change)
        keys = driver.ex_open_uploads(bucket)
        return {"open_uploads": len(keys), "keys": keys[:_SHOWN], "bucket": bucket} if keys else {}

    def undo(self, change: Change) -> None:
        """Allow writing again. A hold that was taken away stays so: the app is on that side."""
        if change.address.split("/")[1] != "open":
            driver, bucket, saved = self._of(change)
            freeze.thaw(driver, bucket, saved)

    def forget_hold(self, want: Resource) -> None:
        """Take away a hold before a bucket is purged."""
        saved = self._saved("hold", want.address)
        if self.target is not None and saved.exists():
            freeze.thaw(self.target, str(want.body["bucket"]), saved)

    def _of(self, change: Change) -> tuple[Driver, str, Path]:
        kind = change.address.split("/")[1]
        driver = self.source if kind == "freeze" else self.target
        if driver is None or change.after is None:
            raise Unsupported(f"{change.id}: that side cannot be reached now", "run it where both sides answer")
        return (
            driver,
            str(change.after.body["bucket"]),
            self._saved("freeze" if kind == "freeze" else "hold", change.address),
        )

    def _saved(self, kind: str, address: str) -> Path:
        return self.run / "freeze" / f"{kind}-{slug(address)}.json"
