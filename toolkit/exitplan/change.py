"""Changes to a record: write it anew, waive, attest, add what was observed. Comments and order stay as they are.

Enters: a record and what shall be added. Leaves: the changed file, written whole or not at all. Raises
``Refused`` for a waiver that would not count and for a word that could not hold, ``Conflict`` for a record that
exists already.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path

from toolkit.errors import Conflict, NotFound, Refused, UsageError
from toolkit.exitplan import judge, record, tables, vendors
from toolkit.exitplan.catalogue import Item
from toolkit.exitplan.record import Evidence, Record, Waived
from toolkit.files import write_atomic
from toolkit.model import Json, sha256_hex
from toolkit.site import Site
from toolkit.site_edit import rewrite
from toolkit.site_emit import entry

#: Provider kinds and their fact files.
HOSTS: Mapping[str, str] = {"aws": "aws"}
_TOP = "# The plan of an exit: what was seen, who vouched for what, what was waived. See docs/reference/exit.md.\n"


def start(path: Path, site: Site, profile: str, found: Iterable[Evidence]) -> dict[str, Json]:
    """Write the first record of a site: what the inventory tells, everything else open."""
    if path.exists():
        raise Conflict(f"{path} exists already", "edit it, or give another place with --state")
    doc = first(site, profile, found)
    lines = [line for key, value in doc.items() for line in entry(key, value, 0)]
    write_atomic(path, (_TOP + "\n".join(lines) + "\n").encode(), mode=0o644)
    record.load(path)  # what was written can be read
    return doc


def first(site: Site, profile: str, found: Iterable[Evidence]) -> dict[str, Json]:
    """Return the first document: nobody is asked for what can be found out."""
    old = {name for move in site.move.values() for name in move.sources} or set(site.providers)
    listed: dict[str, Json] = {}
    for name in sorted(old & set(site.providers)):
        kind = site.providers[name].kind
        template = {"template": HOSTS[kind]} if kind in HOSTS else {"kind": "hosting"}
        listed[name] = {**template, "side": "old"}
    moving = site.move.get("dns")
    if site.section("zones") and (moving is None or set(moving.sources) & {n for n in old if _is(site, n, "aws")}):
        listed["names"] = {"template": "route53", "side": "old", "rests_on": sorted(old)[:1]}
    known = vendors.templates()
    for name, row in site.section("vendors").items():
        kind = str(row.get("kind") or name) if isinstance(row, dict) else name
        listed[name] = {"template": kind, "side": "old"} if kind in known else {"kind": kind, "side": "old"}
    notice = (site.doc.get("objectives") or {}).get("notice") or "29h"
    return {
        "exit": record.FORMAT,
        "site": site.name,
        "phase": "plan",
        "profile": profile,
        "notice": notice,
        "owners": {"default": {"owner": "", "deputy": ""}},
        "deadline": {"bytes": None, "objects": None, "link_gbps": None, "ops": None, "change_gbps": 0},
        "vendors": listed,
        "observed": {one.name: one.to_json() for one in found},
    }


def _is(site: Site, provider: str, kind: str) -> bool:
    return provider in site.providers and site.providers[provider].kind == kind


def waive(
    found: Record,
    item: Item,
    *,
    reason: str,
    approvers: Iterable[str],
    expires: datetime.datetime,
    compensates: str,
    now: datetime.datetime,
) -> dict[str, Json]:
    """Add a waiver; one that would not count is refused at once."""
    names = tuple(approvers)
    if not reason.strip() or not names or not all(name.strip() for name in names):
        raise UsageError("a waiver needs a reason and an approver", "add --reason and --approver")
    candidate = Waived(item.id, reason, names, expires, compensates, 0)
    if hindrance := judge.why_not(item, found.owner(item.id, item.group), candidate, now):
        said = "it would have expired already" if hindrance == "expired" else hindrance
        raise Refused(f"{item.id} is not waived: {said}", "have somebody else approve it, or close the item")
    row: dict[str, Json] = {
        "item": item.id,
        "reason": reason,
        "approver": list(names),
        "expires": expires.isoformat(timespec="minutes"),
        "granted": now.isoformat(timespec="minutes"),
    }
    if compensates:
        row["compensates"] = compensates
    doc = copy.deepcopy(dict(found.doc))
    doc["waived"] = [*(doc.get("waived") or ()), row]
    save(found.path, doc)
    return row


def attest(
    found: Record, item: Item, *, by: str, until: datetime.datetime, file: Path, says: str, now: datetime.datetime
) -> dict[str, Json]:
    """Add a person's word with the digest of its file, which must lie in the record's folder or below."""
    if item.mode == "A":
        raise Refused(f"{item.id} is checked by machine: nobody's word closes it", "let it be observed, or waive it")
    if until <= now:
        raise Refused("the word would not hold any more", "give a day that lies ahead with --until")
    base = found.path.parent.resolve()
    try:
        data, place = file.read_bytes(), file.resolve().relative_to(base)
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file {file}", "give the file that shows it with --file") from exc
    except OSError as exc:
        raise NotFound(f"{file} cannot be read: {exc.strerror}", "give the file that shows it with --file") from exc
    except ValueError as exc:
        raise Refused(f"{file} lies outside {base}", "keep it beside the record, so that it travels along") from exc
    row: dict[str, Json] = {
        "by": by,
        "at": now.isoformat(timespec="minutes"),
        "until": until.isoformat(timespec="minutes"),
        "says": says,
        "file": place.as_posix(),
        "sha256": sha256_hex(data),
    }
    doc = copy.deepcopy(dict(found.doc))
    doc["attested"] = {**(doc.get("attested") or {}), item.id: row}
    save(found.path, doc)
    return row


def observe(found: Record, seen: Iterable[Evidence]) -> Record:
    """Write new observations into the record and return it; older ones of the same name are replaced."""
    doc = copy.deepcopy(dict(found.doc)) or {"exit": record.FORMAT, "site": found.site}
    doc["observed"] = {**(doc.get("observed") or {}), **{one.name: one.to_json() for one in seen}}
    save(found.path, doc)
    return record.load(found.path)


def save(path: Path, doc: dict[str, Json]) -> None:
    """Write the document into its file, everything that did not change untouched, and only if it can be read back."""
    if not path.exists():
        lines = [line for key, value in doc.items() for line in entry(key, value, 0)]
        text = _TOP + "\n".join(lines) + "\n"
    else:
        text = rewrite(path.read_text("utf-8"), doc, file=str(path))
    record.checked(tables.located(text, str(path)), path)
    write_atomic(path, text.encode(), mode=0o644)
