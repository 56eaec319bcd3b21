"""Findings about objects, worded once. Ids are stable between runs: address, key (and version), verdict."""

from __future__ import annotations

from datetime import UTC, datetime

from toolkit.model import Finding, Json
from toolkit.storage.engine.dress import LEFT_OUT
from toolkit.storage.engine.faults import READ, SIZE, STORED, Fault
from toolkit.storage.engine.gone import BACK
from toolkit.storage.model import Entry, Row, shown

#: Findings listed one by one per bucket and check; the rest is counted in one.
MOST = 1_000


def name(entry: Entry) -> str:
    """Return how a finding names an object version."""
    text = shown(entry.key)
    return f"{text}@{entry.version}" if entry.version not in ("", "null") else text


def conflict(address: str, row: Row) -> Finding:
    """The target holds something else under this key, and it is not ours."""
    return Finding(
        address,
        name(row.entry),
        "different",
        f"{shown(row.entry.key)}: the target holds another object that this run did not write; it was left alone",
        "remove or rename it at the target, or ignore the bucket with a reason, then apply again",
        evidence={"source_etag": row.entry.etag, "target_etag": row.seen, "reason": "conflict"},
    )


def failed(address: str, entry: Entry, fault: Fault) -> Finding:
    """One object could not be brought over."""
    evidence: dict[str, Json] = {
        "reason": fault.kind,
        "status": fault.status,
        "code": fault.code_name,
        "etag": entry.etag,
    }
    match fault.kind:
        case "gone":
            text = f"{shown(entry.key)}: gone at the source since it was listed"
            if fault.code_name == BACK:
                text = fault.text
            evidence |= {"reason": "gone_at_source", "noticed": datetime.now(UTC).isoformat(timespec="seconds")}
            return Finding(address, name(entry), "note", text, "", "info", evidence)
        case "archived":
            remedy = f"restore it first (storage class {entry.storage_class}; restoring costs money), then apply again"
        case "denied":
            remedy = "allow s3:GetObject (and kms:Decrypt) on this object, then apply again"
        case "kms":
            remedy = "allow kms:Decrypt on the key of this object, or enable the key, then apply again"
            evidence["reason"] = "kms_denied"
        case "corrupt":
            if fault.code_name in (SIZE, READ, STORED):
                evidence |= {"reason": fault.code_name.removeprefix("rehost:"), "code": ""}
            remedy = "the source or the way to it delivers wrong bytes; apply again, else restore it from a backup"
        case _:
            remedy = "apply again; if it stays, look at the code the store gave"
    return Finding(address, name(entry), "missing", fault.text, remedy, "error", evidence)


def held(address: str, entry: Entry) -> Finding:
    """A version was not written because an earlier one of its key could not be."""
    text = f"{shown(entry.key)}: not written, since an earlier version of it could not be copied"
    remedy = "clear the finding of the earlier version, then apply again"
    return Finding(address, name(entry), "missing", text, remedy, "error", {"reason": "held", "etag": entry.etag})


def noted(address: str, entry: Entry, note: str, text: str) -> Finding:
    """The object is over, with something to know about it; ``left-out`` names what did not come along."""
    evidence = {"reason": note, "etag": entry.etag}
    if LEFT_OUT in note.split(", "):
        remedy = "name who that is under `identities:`, or set it at the target by hand"
        return Finding(address, name(entry), "degraded", f"{shown(entry.key)}: {text}", remedy, "info", evidence)
    return Finding(address, name(entry), "note", f"{shown(entry.key)}: {text}", "", "info", evidence)
