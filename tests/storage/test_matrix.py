"""The fault matrix, rows 1 to 37, behind fault proxies: each ends as the matrix says.

The number in front of a test id is the row of the matrix. ``code`` is the exit code: 0 done, 40 some objects
are named as missing (ITEM), 5 paused, 7 a person must act, 20 refused. Rows that need more than rules for
the proxies stand in test_matrix_more.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.storage.ends import Ends, contents, etags, fresh
from tests.storage.matrix import Rule, World, altered, fill

PUT, GET = "PutObject", "GetObject"


@pytest.fixture(scope="module")
def filled(mocked: Ends, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """A bucket that every row copies from, and what it holds: nobody may change it."""
    bucket = fresh("filled")
    mocked.source.client.create_bucket(Bucket=bucket)
    fill(mocked.source, bucket)
    return bucket, contents(mocked.source, bucket)


@pytest.fixture
def moving(world: World, filled: tuple[str, dict[str, Any]]) -> Iterator[World]:
    """A world whose source is the shared bucket."""
    world.bucket, world.known = filled
    yield world
    assert etags(world.direct.source, world.bucket) == {key: one["etag"] for key, one in world.known.items()}


class Row(NamedTuple):
    """A row of the matrix: faults, and how the run ends."""

    number: str
    faults: list[Rule]
    code: int = 0
    reasons: frozenset[str] = frozenset()
    says: str = ""
    knobs: Mapping[str, Any] = MappingProxyType({})


def once(fault: str, **more: Any) -> Rule:
    """A fault that strikes each object once."""
    return {"fault": fault, "each": True, "count": 1, **more}


def always(fault: str, key: str = "p1/k01", **more: Any) -> Rule:
    """A fault that strikes one object every time."""
    return {"fault": fault, "key": key, "side": "source", "operation": GET, **more}


def error(status: int, code: str, **more: Any) -> Rule:
    """An answer given in place of the store's own."""
    return {"fault": "error", "status": status, "code": code, **more}


def items(*reasons: str) -> frozenset[str]:
    return frozenset(reasons)


READ = {"side": "source", "operation": GET}
WRITE = {"side": "target", "operation": PUT}
UPLOAD = {"side": "target", "operation": "CompleteMultipartUpload"}
ROWS = [
    Row("1-slow-down", [{"fault": "slow-down", "rate": 0.3, **WRITE}], knobs={"attempts": 9}),
    Row("1-429", [error(429, "TooManyRequests", rate=0.3, **READ)], knobs={"attempts": 9}),
    Row("2-bursts", [once("error", **READ), once("error", **WRITE)]),
    Row("2-one-object-stays-broken", [always("error")], 40, items("retry")),
    Row("3-complete-says-200-and-error", [once("ok-error", **UPLOAD)]),
    Row("3-complete-done-but-says-error", [once("ok-error", deed=True, **UPLOAD)]),
    Row("3-complete-always-says-error", [{"fault": "ok-error", **UPLOAD}], 40, items("retry")),
    Row("3-put-says-200-and-error", [once("ok-error", **WRITE)]),
    Row("4-reset-before-headers", [once("reset", **READ), once("reset", **WRITE)]),
    Row("5-cut-at-1-percent", [once("cut", at=0.01, **READ)]),
    Row("5-cut-at-half", [once("cut", at=0.5, **READ)]),
    Row("5-cut-at-the-last-byte", [once("cut", at=1.0, **READ)]),
    Row("6-one-object-always-truncated", [always("cut")], 40, items("retry")),
    Row("7-short", [once("short", **READ)]),
    Row("7-always-short", [always("short")], 40, items("size_mismatch")),
    Row("7-always-short-large", [always("short", key="large", at=0.99)], 40, items("size_mismatch")),
    Row("8-padded", [once("pad", **READ)]),
    Row("8-always-padded", [always("pad")], 40, items("corrupt_source_read")),
    Row("8-always-padded-large", [always("pad", key="large", at=0.99)], 40, items("corrupt_source_read")),
    Row("9-flipped", [once("flip", **READ)]),
    Row("9-always-flipped", [always("flip")], 40, items("corrupt_source_read")),
    Row("9-always-flipped-large", [always("flip", key="large")], 40, items("corrupt_source_read")),
    Row("10-flipped-part", [once("flip", key="parts", **READ)]),
    Row("10-always-flipped-part", [always("flip", key="parts")], 40, items("corrupt_source_read")),
    Row("11-flipped-on-upload", [once("flip-up", side="target", operation=[PUT, "UploadPart"])]),
    Row("12-stored-wrongly", [once("store-wrong", side="target", operation=[PUT, "UploadPart"])]),
    Row("13-stalled", [once("stall", key="p1/*1", **READ)], knobs={"read_timeout": 3.0}),
    Row("15-trailers-refused", [{"fault": "refuse-trailers"}]),
    Row("16-far-off", [{"fault": "clock", "seconds": 1200}], 20, says=r"\+1[12]\d\d s off"),
    Row("16-slightly-off", [{"fault": "clock", "seconds": 120}]),
    Row("16-in-mid-run", [{"fault": "skewed", "after": 12, **WRITE}], 7, says=r"s off ours"),
    Row("19-key-deleted", [{"fault": "bad-key", "side": "source", "after": 20}], 5, says="InvalidAccessKeyId"),
    Row("20-suspended", [{"fault": "suspended", "side": "source", "after": 25}], 5, says=r"safe \d+ of 62 objects"),
    Row("20-403-everywhere", [{"fault": "denied", "side": "source", "after": 25}], 5, says=r"safe \d+ of 62 objects"),
    Row("20-403-on-every-object", [{"fault": "denied", "after": 15, **READ}], 5, says="almost every request",
        knobs={"batch_rows": 100}),
    Row("21-403-on-one-prefix", [always("denied", key="p1/*")], 40, items("denied")),
    Row("22-kms-throttles", [once("error", status=400, code="KMS.ThrottlingException", **READ)]),
    Row("22-kms-key-disabled", [always("error", status=400, code="KMS.DisabledException")], 40, items("kms_denied")),
    Row("22-kms-denied", [always("denied", message="not authorized to perform: kms:Decrypt")], 40, items("kms_denied")),
    Row("23-archived", [always("error", status=403, code="InvalidObjectState")], 40, items("archived")),
    Row("30-quota", [{"fault": "quota", "after": 10, **WRITE}], 7, says=r"needs [\d,]+ bytes"),
    Row("30-no-space", [error(507, "InsufficientStorage", after=10, **WRITE)], 7),
    Row("31-pool-full", [{"fault": "hang", "after": 10, **WRITE}], 5, says="not accepting writes",
        knobs={"read_timeout": 3.0, "attempts": 2}),
    Row("32-reshard", [once("error", status=503, code="ServiceUnavailable", **WRITE),
                       once("error", status=504, key="large", side="target", operation=PUT, code="GatewayTimeout")]),
    Row("33-user-suspended-before", [error(403, "UserSuspended", side="target")], 7),
    Row("33-user-suspended-in-mid-run", [error(403, "UserSuspended", after=12, **WRITE)], 5),
    Row("33-bucket-missing-before", [error(404, "NoSuchBucket", side="source")], 7),
    Row("33-bucket-missing-in-mid-run", [error(404, "NoSuchBucket", after=12, **WRITE)], 5),
    Row("33-wrong-zonegroup", [error(301, "PermanentRedirect", side="source")], 7),
    Row("34-complete-done-answer-lost", [once("lost", **UPLOAD)]),
    Row("34-put-done-answer-lost", [once("lost", **WRITE)]),
    Row("36-no-such-upload", [once("error", status=404, code="NoSuchUpload", side="target", operation="UploadPart")]),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[row.number for row in ROWS])
def test_row(moving: World, row: Row) -> None:
    world = moving
    altered(world, **row.knobs)
    world.changes = world.move.plan()
    world.inject(*row.faults)
    ended = world.apply()
    assert (ended.code if ended else 0) == row.code, ended
    assert world.reasons() == row.reasons
    assert world.struck() or row.number.startswith("15"), "the fault was never shown"
    if row.says:
        assert ended is not None
        assert re.search(row.says, ended.text), ended.text
    world.judge(ended)
    world.resumed()
