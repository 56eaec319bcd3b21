"""The normal form of every item: plain JSON in which equal configurations are equal.

Stores spell the same configuration in many ways (a filter or a bare prefix, one text or a list of one,
rules in another order). What was read enters, in boto3's words; ``None`` leaves where nothing is set.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any

from toolkit.model import Json, canonical

PUBLIC_ACCESS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
OPEN: Mapping[str, bool] = dict.fromkeys(PUBLIC_ACCESS, False)
CLOSED: Mapping[str, bool] = dict.fromkeys(PUBLIC_ACCESS, True)


def normal(item: str, raw: Any) -> Json:
    """Return the normal form of ``raw``, the answer of a store; ``None`` if nothing is set."""
    if not raw:
        return None
    return effect(_FORMS.get(item, plain)(raw) or None)


def effect(value: Json) -> Json:
    """Return ``value``, or ``None`` where it only says that nothing is blocked."""
    return None if value == OPEN else value


def plain(value: Any) -> Json:
    """Return ``value`` as plain JSON: times as ISO 8601 in UTC, empty lists and structures left out."""
    if isinstance(value, Mapping):
        cleaned = {str(key): plain(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item not in ([], {}, None)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


def as_list(value: Any) -> list[Any]:
    """Return one or many as many."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def policy(raw: Any) -> Json:
    """Return a policy whose one-or-many values are sorted lists."""
    document = json.loads(raw) if isinstance(raw, str) else dict(raw)
    return {**document, "Statement": [_statement(entry) for entry in as_list(document.get("Statement"))]}


def _statement(entry: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in entry.items():
        if key in ("Action", "NotAction", "Resource", "NotResource"):
            found[key] = sorted(map(str, as_list(value)))
        elif key in ("Principal", "NotPrincipal") and isinstance(value, Mapping):
            found[key] = {kind: sorted(map(str, as_list(who))) for kind, who in value.items()}
        elif key == "Condition":
            found[key] = {
                operator: {name: sorted(_text(one) for one in as_list(told)) for name, told in keys.items()}
                for operator, keys in value.items()
            }
        else:
            found[key] = value
    return {key: value for key, value in found.items() if value != []}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cors(rules: Any) -> Json:
    return [
        {key: sorted(value) if isinstance(value, list) else value for key, value in plain(rule).items()}
        for rule in rules
    ]


def _lifecycle(rules: Any) -> Json:
    found = [_rule(plain(rule)) for rule in rules]
    return sorted(found, key=canonical)


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Fold the four spellings of a filter into one: prefix, tags, size limits."""
    told = rule.pop("Filter", {})
    told = told.get("And", told)
    prefix = told.get("Prefix") or rule.pop("Prefix", "")
    rule.pop("Prefix", None)
    tags = [*told.get("Tags", []), *([told["Tag"]] if "Tag" in told else [])]
    where = {
        "Prefix": prefix,
        "Tags": sorted([tag["Key"], tag["Value"]] for tag in tags),
        **{key: told[key] for key in ("ObjectSizeGreaterThan", "ObjectSizeLessThan") if key in told},
    }
    return {**rule, "Filter": {key: value for key, value in where.items() if value not in ("", [])}}


def lifecycle_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Spell a rule of the normal form for boto3."""
    where = dict(rule.get("Filter") or {})
    tags = [{"Key": key, "Value": value} for key, value in where.pop("Tags", [])]
    parts = len(where) + len(tags)
    if parts == 0:
        spelt: dict[str, Any] = {"Prefix": ""}
    elif parts == 1:
        spelt = {"Tag": tags[0]} if tags else where
    else:
        spelt = {"And": {**where, **({"Tags": tags} if tags else {})}}
    return {**rule, "Filter": spelt}


def _tags(tags: Any) -> Json:
    return sorted(({"Key": tag["Key"], "Value": tag["Value"]} for tag in tags), key=canonical)


def _public_access(raw: Any) -> Json:
    return {key: bool(raw.get(key)) for key in PUBLIC_ACCESS}


def _lock(raw: Any) -> Json:
    found = plain(raw)
    period = found.get("Rule", {}).get("DefaultRetention")
    if period:  # one of days and years is told, the other may be 0
        found["Rule"] = {"DefaultRetention": {key: value for key, value in period.items() if value}}
    return found if found.get("ObjectLockEnabled") == "Enabled" else None


def _replication(raw: Any) -> Json:
    found = plain(raw)
    return found if found.get("Rules") else None  # some stores answer with an empty frame


def _accelerate(raw: Any) -> Json:
    return "Enabled" if raw == "Enabled" else None


def _acl(raw: Any) -> Json:
    """Return the grants beyond the owner's own: ``[who, permission]``, who is ``id:…``, ``uri:…`` or ``mail:…``."""
    owner = raw.get("Owner", {}).get("ID")
    grants = []
    for grant in raw.get("Grants", []):
        who = grant.get("Grantee", {})
        if who.get("ID") == owner and grant.get("Permission") == "FULL_CONTROL":
            continue
        name = (
            f"id:{who['ID']}" if "ID" in who else f"uri:{who['URI']}" if "URI" in who else f"mail:{who['EmailAddress']}"
        )
        grants.append([name, str(grant.get("Permission"))])
    return sorted(grants)


def _notification(raw: Any) -> Json:
    found: dict[str, Any] = {}
    for kind, entries in plain(raw).items():
        if isinstance(entries, list):
            found[kind] = sorted((_event(entry) for entry in entries), key=canonical)
    if "EventBridgeConfiguration" in raw:
        found["EventBridgeConfiguration"] = {}
    return found


def _event(entry: dict[str, Any]) -> dict[str, Any]:
    entry = {**entry, "Events": sorted(entry.get("Events", []))}
    rules = entry.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    if rules:
        lower = [{"Name": rule["Name"].lower(), "Value": rule["Value"]} for rule in rules]
        entry["Filter"] = {"Key": {"FilterRules": sorted(lower, key=canonical)}}
    return entry


_FORMS: Mapping[str, Callable[[Any], Json]] = {
    "policy": policy,
    "cors": _cors,
    "lifecycle": _lifecycle,
    "bucket-tags": _tags,
    "public-access-block": _public_access,
    "object-lock": _lock,
    "replication": _replication,
    "accelerate": _accelerate,
    "acl": _acl,
    "notification": _notification,
}
