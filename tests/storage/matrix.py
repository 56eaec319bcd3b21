"""One move behind two fault proxies, through the real journal, and what must hold after each fault.

Everything is looked at by boto3 alone, directly at the stores. :meth:`World.judge` asserts what every row
of the matrix promises beside its own end: nothing wrong at the target, the source unwritten, whatever is
missing named, and a resume after the fault that completes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.storage.ends import End, Ends, Move, contents
from toolkit import leases
from toolkit.apply import apply
from toolkit.errors import RehostError
from toolkit.journal import Journal
from toolkit.model import Change, Finding, Plan
from toolkit.rehearsal.faultproxy import FaultProxy
from toolkit.storage.family import StorageFamily
from toolkit.storage.model import Knobs

#: Small portions and few tries; no pauses. Timeouts stay long: a busy machine is no fault.
QUICK = Knobs(in_flight=8, attempts=4, batch_rows=10, small=64 << 10, chunk=16 << 10, read_timeout=60.0, patience=0.0)
SMALL = {f"p{n % 4}/k{n:02d}": b"%03d" % n * (n + 1) for n in range(60)}
LARGE = bytes(range(256)) * 1024
PARTS = [b"a" * 7000, b"b" * 1200, b"c" * 3000]

Rule = Mapping[str, Any]


def fill(end: End, bucket: str) -> None:
    """Small objects under four prefixes, a large one, one made of uneven parts."""
    for key, body in SMALL.items():
        end.client.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"n": key[-2:]}, CacheControl="no-store")
    end.client.put_object(Bucket=bucket, Key="large", Body=LARGE)
    upload(end, bucket, "parts", PARTS)


def upload(end: End, bucket: str, key: str, bodies: list[bytes]) -> None:
    """Upload an object in these parts."""
    where = {"Bucket": bucket, "Key": key}
    where["UploadId"] = end.client.create_multipart_upload(**where)["UploadId"]
    done = [
        {"PartNumber": n, "ETag": end.client.upload_part(**where, PartNumber=n, Body=body)["ETag"]}
        for n, body in enumerate(bodies, 1)
    ]
    end.client.complete_multipart_upload(**where, MultipartUpload={"Parts": done})


@dataclass
class World:
    """Two stores, the proxies before them, one bucket on each side."""

    direct: Ends
    behind: Ends
    source: FaultProxy
    target: FaultProxy
    bucket: str
    run: Path
    to: str = ""
    known: dict[str, dict[str, Any]] = field(default_factory=dict)  # what the source holds, if it stays as it is
    knobs: Knobs = QUICK
    changes: list[Change] = field(default_factory=list)
    meanwhile: Callable[[], object] | None = None  # happens once, after the first listing

    @property
    def move(self) -> Move:
        return Move(self.behind, self.run, self.bucket, to=self.to, knobs=self.knobs)

    def fill(self) -> None:
        """Fill a source bucket of this world's own."""
        fill(self.direct.source, self.bucket)

    def inject(self, *rules: Rule) -> None:
        """Put rules in force at both proxies."""
        self.source.inject(*rules)
        self.target.inject(*rules)

    def struck(self) -> int:
        return sum(rule["struck"] for proxy in (self.source, self.target) for rule in proxy.rules.tally())

    def apply(self, family: StorageFamily | None = None) -> RehostError | None:
        """Plan once, honestly; then apply, and return how it ended."""
        family = family or self.move.family
        with Journal(self.run / "journal.db") as journal:
            plan = Plan("matrix", "run", "2021-02-01T00:00:00Z", tuple(self.changes), ())
            try:
                apply(plan, {"storage": family}, journal)
            except RehostError as exc:
                return exc
        return None

    def findings(self) -> list[Finding]:
        with Journal(self.run / "journal.db") as journal:
            return [item for change in self.changes for item in leases.exceptions(journal, change.id)]

    def reasons(self, severity: str = "error") -> set[str]:
        return {str(item.evidence.get("reason")) for item in self.findings() if item.severity == severity}

    def here(self) -> dict[str, dict[str, Any]]:
        return self.known or contents(self.direct.source, self.bucket)

    def there(self) -> dict[str, dict[str, Any]]:
        buckets = {item["Name"] for item in self.direct.target.client.list_buckets()["Buckets"]}
        return contents(self.direct.target, self.to) if self.to in buckets else {}

    def judge(self, error: RehostError | None) -> None:
        """What holds after every fault, whatever it was."""
        here, there = self.here(), self.there()
        wrong = [key for key, found in there.items() if found != here.get(key)]
        assert wrong == [], f"wrong at the target: {wrong[:5]}"
        missing = here.keys() - there.keys()
        if error is None:
            assert missing == set()
        elif error.code == 40:
            assert missing <= {item.feature for item in self.findings()}, "something is missing and not named"
        assert error is None or error.remedy
        assert {seen.asked.method for seen in self.source.seen} <= {"GET", "HEAD"}, "the source was written to"

    def resumed(self) -> None:
        """The fault is over: the same command completes, and leaves nothing behind."""
        self.inject()
        assert self.apply() is None
        assert self.there() == self.here()
        assert self.reasons() == set()
        uploads = self.direct.target.client.list_multipart_uploads(Bucket=self.to)
        assert uploads.get("Uploads", []) == []
        self.changes = self.move.plan()
        assert self.changes == []


def altered(world: World, **knobs: Any) -> World:
    """Turn some knobs of a world."""
    world.knobs = replace(world.knobs, **knobs)
    return world
