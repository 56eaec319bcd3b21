"""What an object wears beside its bytes and headers: storage class, grants, retention, legal hold.

Enters: the headers of the source's answer and the :class:`Terms` of the move. Leaves: headers for the PUT,
requests after it, and a word for everything that was left out. Classes and locks are told by the answer
itself; grants are not, so they are asked for only where a bucket can have any (``Terms.ask_grants``).

Nothing is locked before its bytes are proven: a wrong copy under retention could never be removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from xml.etree import ElementTree

from toolkit.storage.engine.digest import content_md5, md5
from toolkit.storage.engine.faults import Fault
from toolkit.storage.engine.http import Store, persist

#: The note of an object that is over, but not with everything it had.
LEFT_OUT = "left-out"
_GROUPS = "http://acs.amazonaws.com/groups/"
#: Groups that every S3-compatible store knows; the log-delivery group is AWS's own.
SHARED_GROUPS = frozenset({f"{_GROUPS}global/AllUsers", f"{_GROUPS}global/AuthenticatedUsers"})
_HEADERS = {
    "FULL_CONTROL": "x-amz-grant-full-control",
    "READ": "x-amz-grant-read",
    "READ_ACP": "x-amz-grant-read-acp",
    "WRITE_ACP": "x-amz-grant-write-acp",
}
_STANDARD = ("", "STANDARD")


@dataclass(frozen=True, slots=True)
class Terms:
    """How things of the source are said at the target, for one bucket.

    ``classes``: source class → target class; what is not named gets the target's standard class.
    ``grantees``: canonical id at the source → canonical id at the target, the bucket's owner among them.
    ``groups``: URIs of groups that the target knows. ``owner``: whose the new objects are.
    """

    classes: Mapping[str, str] = field(default_factory=dict)
    ask_grants: bool = False
    grantees: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = SHARED_GROUPS
    owner: str = ""
    locks: bool = False  # the target's bucket was made with object lock


class Look(NamedTuple):
    """What the answer to a GET or HEAD tells of an object's class and locks."""

    storage_class: str
    mode: str
    until: str
    hold: bool

    @property
    def locked(self) -> bool:
        """Say whether anything keeps the object from being deleted; a retention that has passed does not."""
        return self.hold or (bool(self.mode) and _ahead(self.until))


class Grant(NamedTuple):
    """One grant of an ACL: to an id or to a group's URI."""

    to: str
    permission: str


def look(headers: Mapping[str, str]) -> Look:
    """Read class and locks from an answer's headers."""
    return Look(
        headers.get("x-amz-storage-class") or "",
        headers.get("x-amz-object-lock-mode") or "",
        headers.get("x-amz-object-lock-retain-until-date") or "",
        (headers.get("x-amz-object-lock-legal-hold") or "").upper() == "ON",
    )


def class_header(terms: Terms, seen: Look) -> dict[str, str]:
    """Return the header that stores the object in the class that stands for the source's."""
    wanted = terms.classes.get(seen.storage_class or "STANDARD", "")
    return {} if wanted in _STANDARD else {"x-amz-storage-class": wanted}


async def read_grants(store: Store, key: bytes, version: str) -> tuple[str, list[Grant]]:
    """Return the owner of an object version and all grants on it."""
    query: list[tuple[str, str | bytes]] = [("acl", "")]
    if version:
        query.append(("versionId", version))
    _, body = await persist(lambda: store.read("GET", key, query=query), store)
    return parse_acl(body)


def parse_acl(body: bytes) -> tuple[str, list[Grant]]:
    """Read an AccessControlPolicy document."""
    if b"<!" in body:
        raise Fault("refused", "acl", "a declaration stands where an ACL should be")
    root = ElementTree.fromstring(body)  # noqa: S314 - without declarations there are no entities to expand
    owner, grants = "", []
    for node in root.iter():
        match node.tag.rpartition("}")[2]:
            case "Owner":
                owner = _text(node, "ID")
            case "Grant":
                grants.append(Grant(_text(node, "URI") or _text(node, "ID"), _text(node, "Permission")))
    return owner, grants


def said(owner: str, grants: list[Grant], terms: Terms) -> tuple[frozenset[Grant], list[str]]:
    """Return the grants as they must be at the target, and whom nobody knows there."""
    known: list[Grant] = []
    unknown: list[str] = []
    for grant in grants:
        if grant.to.startswith(_GROUPS):
            to = grant.to if grant.to in terms.groups else ""
        else:
            to = terms.owner if grant.to == owner else terms.grantees.get(grant.to, "")
        if to and grant.permission in _HEADERS:
            known.append(Grant(to, grant.permission))
        else:
            unknown.append(f"{grant.permission} to {grant.to}")
    return frozenset(known), unknown


def grant_headers(owner: str, grants: list[Grant], terms: Terms) -> tuple[dict[str, str], list[str]]:
    """Return the headers that grant the same at the target, and whom nobody knows there.

    An object that only its owner may touch needs no header: that is what a store does by itself.
    """
    if all(grant == Grant(owner, "FULL_CONTROL") for grant in grants):
        return {}, []
    known, unknown = said(owner, grants, terms)
    headers: dict[str, list[str]] = {}
    for to, permission in sorted(known, key=lambda grant: (not grant.to.startswith(_GROUPS), grant)):
        word = "uri" if to.startswith(_GROUPS) else "id"
        headers.setdefault(_HEADERS[permission], []).append(f'{word}="{to}"')
    return {header: ", ".join(people) for header, people in sorted(headers.items())}, unknown


def differs(here: Look, there: Look, terms: Terms) -> str:
    """Say how class and locks at the target are not what the terms make of the source's."""
    wanted = class_header(terms, here).get("x-amz-storage-class", "STANDARD")
    if (there.storage_class or "STANDARD") != wanted:
        return f"the storage class is {there.storage_class or 'STANDARD'} instead of {wanted}"
    if terms.locks and here.hold != there.hold:
        return "the legal hold differs"
    if terms.locks and here.mode and _ahead(here.until):
        same = here.mode == there.mode and _moment(here.until) == _moment(there.until)
        return "" if same else "the retention differs"
    return ""


async def fasten(store: Store, key: bytes, version: str, seen: Look) -> None:
    """Put retention and legal hold onto a version that is proven."""
    if seen.mode and _ahead(seen.until):
        body = f"<Retention><Mode>{seen.mode}</Mode><RetainUntilDate>{seen.until}</RetainUntilDate></Retention>"
        await _put(store, key, version, "retention", body)
    if seen.hold:
        await _put(store, key, version, "legal-hold", "<LegalHold><Status>ON</Status></LegalHold>")


async def _put(store: Store, key: bytes, version: str, what: str, text: str) -> None:
    query: list[tuple[str, str | bytes]] = [(what, "")]
    if version:
        query.append(("versionId", version))
    body = text.encode()
    send = {"Content-MD5": content_md5(md5(body).digest())}
    await persist(lambda: store.read("PUT", key, query=query, headers=send, body=body), store)


def _ahead(until: str) -> bool:
    moment = _moment(until)
    return bool(until) if moment is None else moment > datetime.now(UTC)  # unreadable: let the store judge it


def _moment(until: str) -> datetime | None:
    """Read a date of retention; whole seconds, as some stores keep no parts of them."""
    try:
        return datetime.fromisoformat(until.replace("Z", "+00:00")).replace(microsecond=0)
    except ValueError:
        return None


def _text(node: ElementTree.Element, name: str) -> str:
    return next((child.text or "" for child in node.iter() if child.tag.rpartition("}")[2] == name), "")
