"""Who a principal of the source is at the target: one map for policies, ACLs and keys.

Enters: the resources of a site (``storage/identity/…``) and who owns the buckets at the target. Leaves: an
:class:`IdentityMap`, which answers for an ARN, an account number or a canonical id with a target user.
Does no input or output and raises nothing: who is not known is ``None``, and never quietly somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from toolkit.model import Json, Resource

IDENTITY = "storage/identity/"
#: Everybody, with or without credentials.
ANYBODY = "*"
_ARN = re.compile(
    r"arn:(?P<partition>[^:]*):(?P<service>iam|sts)::(?P<account>[^:]*):(?P<kind>[^/]+)(?:/(?P<path>.*))?"
)


@dataclass(frozen=True, slots=True)
class IdentityMap:
    """Source principals and the users they become. ``owner``: who owns the moved buckets at the target.

    ``users`` and ``roles``: name at the source → name at the target. ``ids``: ARN, account number, unique id
    or canonical id → name at the target; these were said in so many words and win.
    ``account``: our own account's number, whose root and whose canonical id stand for the owner.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    account: str = ""
    owner: str = ""

    def target(self, principal: str) -> str | None:
        """Return the target's user for a source principal (ARN, account, canonical id); ``*`` stays ``*``."""
        if principal == ANYBODY:
            return ANYBODY
        if principal in self.ids:
            return self.ids[principal]
        if self.owner and self.account and principal == self.account:
            return self.owner
        found = _ARN.fullmatch(principal)
        if found is None or (self.account and found["account"] not in ("", self.account)):
            return None
        name = (found["path"] or "").rpartition("/")[2]
        match found["service"], found["kind"]:
            case "iam", "user":
                return self.users.get(name)
            case "iam", "role":
                return self.roles.get(name)
            case "sts", "assumed-role":  # arn:aws:sts::1:assumed-role/name/session
                return self.roles.get((found["path"] or "").partition("/")[0])
            case "iam", "root":
                return self.owner or None if self.account else None
        return None

    def arn(self, principal: str, kind: str = "ceph") -> str | None:
        """Return the principal as policies of the target spell it: ``arn:aws:iam:::user/name`` on Ceph."""
        name = self.target(principal)
        if name is None or name == ANYBODY:
            return name
        return user_arn(name, kind)

    def canonical_id(self, principal: str) -> str | None:
        """Return the grantee id for an ACL of the target; on Ceph a user's id is its name."""
        name = self.target(principal)
        return None if name == ANYBODY else name


def user_arn(name: str, kind: str = "ceph", account: str = "") -> str:
    """Return a user's ARN. A tenant of a Ceph user (``tenant$name``) stands where AWS has the account."""
    tenant, dollar, rest = name.partition("$")
    if kind == "ceph":
        return f"arn:aws:iam::{tenant if dollar else ''}:user/{rest if dollar else name}"
    return f"arn:aws:iam::{account}:user/{name}"


def identity_map(resources: Iterable[Resource], owner: str = "") -> IdentityMap:
    """Build the map from the identities of a site; anything else among ``resources`` is passed over.

    Users and roles go by their name, an entry of kind ``account`` by its number and canonical id. An
    entry's ``id`` (the ARN) and ``canonical_id`` are taken at their word.
    """
    users: dict[str, str] = {}
    roles: dict[str, str] = {}
    ids: dict[str, str] = {}
    account = ""
    for resource in resources:
        if not resource.address.startswith(IDENTITY) or resource.facts.get("ignore"):
            continue
        name, kind = str(resource.body["name"]), str(resource.body.get("kind") or "user")
        become = target_name(resource, owner)
        if kind == "user":
            users[name] = become
        elif kind == "role":
            roles[name] = become
        elif resource.body.get("own"):
            account = resource.id or name
        if become:
            for known in (resource.id, resource.body.get("canonical_id"), name if kind == "account" else ""):
                if known:
                    ids[str(known)] = become
        if kind != "account" and not account and (found := _ARN.fullmatch(resource.id)):
            account = found["account"]
    return IdentityMap(users, roles, ids, account, owner)


def target_name(resource: Resource, owner: str = "") -> str:
    """Return the name of an identity at the target: ``to`` may give another one.

    A role becomes ``role.<name>``, so that it never meets a user of its name. Another account has no
    name of its own accord: it is nobody until the site says who it is; our own is the buckets' owner.
    """
    to: Json = resource.facts.get("to")
    if isinstance(to, dict) and to.get("name"):
        return str(to["name"])
    name = str(resource.body["name"])
    match str(resource.body.get("kind") or "user"):
        case "role":
            return f"role.{name}"
        case "account":
            return owner if resource.body.get("own") else ""
    return name
