"""Stop writing to a bucket by its policy: one statement that denies every write to all but us.

Enters: a driver, a bucket, and a file for what was there before. Leaves: the bucket's policy with our
statement in it, or as it was. The policy that stands there is kept whole beside it (a Deny wins over any
Allow), and it is saved before it is changed. Raises ``Refused`` when the statement does not take.

Readers are not touched. Who signs with *our* keys is not stopped either: rehost needs a user of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from toolkit.errors import Refused
from toolkit.files import read_json, write_json
from toolkit.model import Json

SID = "RehostStopsWriting"
#: What changes an object. Uploads in parts need s3:PutObject for each part and to be completed.
ACTIONS = (
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionTagging",
    "s3:DeleteObjectTagging",
    "s3:PutObjectAcl",
    "s3:PutObjectVersionAcl",
)


class Gatekeeper(Protocol):
    """What is asked of a driver."""

    def ex_policy(self, name: str) -> str: ...

    def ex_set_policy(self, name: str, text: str) -> None: ...

    def ex_all_but_us(self) -> Mapping[str, Json]: ...


def frozen(driver: Gatekeeper, bucket: str) -> bool:
    """Say whether our statement stands in the bucket's policy."""
    return any(_ours(one) for one in _statements(driver.ex_policy(bucket)))


def freeze(driver: Gatekeeper, bucket: str, saved: Path) -> None:
    """Stop writing. What stood there before is in ``saved`` before it is changed."""
    before = driver.ex_policy(bucket)
    if any(_ours(one) for one in _statements(before)):
        return
    after = merged(before, bucket, driver.ex_all_but_us())
    write_json(saved, {"bucket": bucket, "before": before, "after": after})
    driver.ex_set_policy(bucket, after)
    if not frozen(driver, bucket):
        raise Refused(
            f"the policy of {bucket} was set, but the store does not show it",
            "run the same command again; if it stays so, stop the app and say `live: {freeze: none}` at this bucket",
        )


def thaw(driver: Gatekeeper, bucket: str, saved: Path) -> None:
    """Let everybody write again who could before. What others changed in the policy meanwhile stays."""
    now = driver.ex_policy(bucket)
    if any(_ours(one) for one in _statements(now)):
        told = read_json(saved) if saved.exists() else {}
        untouched = told.get("bucket") == bucket and _read(now) == _read(told["after"])
        driver.ex_set_policy(bucket, told["before"] if untouched else lifted(now))
    saved.unlink(missing_ok=True)


def merged(policy: str, bucket: str, all_but_us: Mapping[str, Json]) -> str:
    """Return a policy with our statement added."""
    document = _read(policy) or {"Version": "2012-10-17"}
    statement = {
        "Sid": SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": list(ACTIONS),
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": dict(all_but_us),
    }
    return json.dumps({**document, "Statement": [*_statements(policy), statement]})


def lifted(policy: str) -> str:
    """Return a policy without our statement, empty if nothing else is in it."""
    rest = [one for one in _statements(policy) if not _ours(one)]
    return json.dumps({**_read(policy), "Statement": rest}) if rest else ""


def _read(policy: str) -> dict[str, Json]:
    found: dict[str, Json] = json.loads(policy) if policy else {}
    return found


def _statements(policy: str) -> list[dict[str, Json]]:
    found = _read(policy).get("Statement") or []
    return [found] if isinstance(found, dict) else list(found)


def _ours(statement: Mapping[str, Json]) -> bool:
    return statement.get("Sid") == SID
