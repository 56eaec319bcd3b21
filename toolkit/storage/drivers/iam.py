"""IAM of AWS: users and roles that touch storage, read in one call; users, policies and keys made.

Enters: resolved credentials. Leaves: :class:`~toolkit.storage.identity.protocol.Seen` and ``User``.
Raises the public error tree; what may not be read comes as ``NotSeen``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from toolkit import aws
from toolkit.errors import AuthError, NotFound
from toolkit.model import Json, NotSeen
from toolkit.secrets import Credentials, Secret
from toolkit.storage.drivers.border import border
from toolkit.storage.identity.policy import many
from toolkit.storage.identity.protocol import Document, Seen, User
from toolkit.storage.identity.translate import touches_storage

_MARK = "rehost"
_OTHERS_OWN = "/aws-service-role/"


class Iam:
    """One account's IAM."""

    kind = "aws"

    def __init__(self, *, credentials: Credentials, endpoint: str = "", region: str = "us-east-1") -> None:
        self._session = aws.session(credentials, region)
        self._endpoint = endpoint or None

    def _client(self, service: str) -> Any:
        with border("credentials"):
            return self._session.client(service, endpoint_url=self._endpoint)

    # -- reading ---------------------------------------------------------------------------------

    def ex_identities(self) -> Iterator[Seen | NotSeen]:
        """Yield users and roles whose policies speak of storage, and the account they belong to."""
        client = self._client("iam")
        try:
            with border("read IAM"):
                pages = client.get_paginator("get_account_authorization_details").paginate()
                merged: dict[str, list[Any]] = {}
                for page in pages:
                    for key in ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies"):
                        merged.setdefault(key, []).extend(page.get(key) or [])
        except AuthError as exc:
            yield NotSeen("identities", exc.text)
            return
        managed = {item["Arn"]: _default(item) for item in merged.get("Policies", [])}
        groups = {item["GroupName"]: item for item in merged.get("GroupDetailList", [])}
        found = [
            *(self._user(client, item, groups, managed) for item in merged.get("UserDetailList", [])),
            *(_role(item, managed) for item in merged.get("RoleDetailList", []) if item["Path"] != _OTHERS_OWN),
        ]
        ours = [item for item in found if any(touches_storage(text) for text in item.policies.values())]
        if ours:
            yield self._account()
        yield from ours

    def _account(self) -> Seen:
        with border("read the account"):
            number = str(self._client("sts").get_caller_identity()["Account"])
            canonical = str(self._client("s3").list_buckets().get("Owner", {}).get("ID", ""))
        return Seen("account", number, f"arn:aws:iam::{number}:root", canonical_id=canonical, own=True)

    def _user(self, client: Any, item: Any, groups: Mapping[str, Any], managed: Mapping[str, Document]) -> Seen:
        policies = _policies("", item, "UserPolicyList", managed)
        for name in item.get("GroupList", []):
            policies |= _policies(f"group.{name}.", groups.get(name, {}), "GroupPolicyList", managed)
        facts = _facts(item)
        if item.get("GroupList"):
            facts["groups"] = list(item["GroupList"])
        if any(touches_storage(text) for text in policies.values()):
            facts |= self._access(client, str(item["UserName"]))
        return Seen("user", item["UserName"], item["Arn"], policies, facts=facts)

    def _access(self, client: Any, name: str) -> dict[str, Json]:
        with border(f"keys of {name}"):
            keys = client.list_access_keys(UserName=name)["AccessKeyMetadata"]
        facts: dict[str, Json] = {"keys": len(keys)}
        try:
            with border(f"login of {name}"):
                client.get_login_profile(UserName=name)
            facts["login"] = True
        except NotFound:
            facts["login"] = False
        return facts

    # -- writing ---------------------------------------------------------------------------------

    def ex_abilities(self) -> frozenset[str]:
        """IAM can always hold policies of users."""
        return frozenset({"user-policy"})

    def ex_owner(self) -> str:
        """On AWS the account owns every bucket: there is no user to name."""
        return ""

    def ex_user(self, name: str) -> User | None:
        """Return a user with its inline policies, ``None`` if there is none."""
        client = self._client("iam")
        try:
            with border(f"user {name}"):
                tags = client.list_user_tags(UserName=name).get("Tags", [])
                names = client.list_user_policies(UserName=name)["PolicyNames"]
                texts = {n: client.get_user_policy(UserName=name, PolicyName=n)["PolicyDocument"] for n in names}
                keys = client.list_access_keys(UserName=name)["AccessKeyMetadata"]
        except NotFound:
            return None
        mark = next((str(tag["Value"]) for tag in tags if tag["Key"] == _MARK), "")
        documents = {n: parsed(text) for n, text in texts.items()}
        return User(name, mark, documents, tuple(str(item["AccessKeyId"]) for item in keys))

    def ex_create_user(self, name: str, mark: str) -> None:
        """Create a user without keys."""
        with border(f"create user {name}"):
            self._client("iam").create_user(UserName=name, Tags=[{"Key": _MARK, "Value": mark}])

    def ex_delete_user(self, name: str) -> None:
        """Delete a user that has neither keys nor policies any more."""
        with border(f"delete user {name}"):
            self._client("iam").delete_user(UserName=name)

    def ex_put_policy(self, name: str, policy: str, document: Document) -> None:
        """Write one inline policy of a user."""
        with border(f"policy {policy} of {name}"):
            self._client("iam").put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=json.dumps(document))

    def ex_delete_policy(self, name: str, policy: str) -> None:
        """Delete one inline policy of a user."""
        with border(f"policy {policy} of {name}"):
            self._client("iam").delete_user_policy(UserName=name, PolicyName=policy)

    def ex_new_key(self, name: str) -> tuple[Secret, Secret]:
        """Make a key; IAM shows its secret this once."""
        with border(f"new key of {name}"):
            made = self._client("iam").create_access_key(UserName=name)["AccessKey"]
        return Secret(made["AccessKeyId"]), Secret(made["SecretAccessKey"])

    def ex_secret_of(self, name: str, key: str) -> Secret | None:
        """IAM never shows a secret twice."""
        del name, key
        return None

    def ex_delete_key(self, name: str, key: str) -> None:
        """Delete one key of a user."""
        with border(f"delete a key of {name}"):
            self._client("iam").delete_access_key(UserName=name, AccessKeyId=key)


def _role(item: Any, managed: Mapping[str, Document]) -> Seen:
    facts = _facts(item)
    facts["trust"] = sorted(
        text
        for statement in _listed(parsed(item.get("AssumeRolePolicyDocument")).get("Statement"))
        if isinstance(statement, Mapping)
        for text in _principals(statement.get("Principal"))
    )
    profiles = [str(profile["InstanceProfileName"]) for profile in item.get("InstanceProfileList", [])]
    if profiles:
        facts["instance_profiles"] = profiles
    return Seen("role", item["RoleName"], item["Arn"], _policies("", item, "RolePolicyList", managed), facts=facts)


def _principals(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        for kind, names in value.items():
            yield from (f"{kind}: {name}" for name in many(names))
    else:
        yield from many(value)


def _facts(item: Any) -> dict[str, Json]:
    boundary = (item.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn")
    return {"boundary": boundary} if boundary else {}


def _policies(prefix: str, item: Any, inline: str, managed: Mapping[str, Document]) -> dict[str, Document]:
    found: dict[str, Document] = {
        f"{prefix}{entry['PolicyName']}": parsed(entry["PolicyDocument"]) for entry in item.get(inline, [])
    }
    for entry in item.get("AttachedManagedPolicies", []):
        # One that may not be read is named with an empty document, which is told apart in the verdict.
        found[f"{prefix}managed.{entry['PolicyName']}"] = managed.get(entry["PolicyArn"], {})
    return {name: text for name, text in found.items() if not text or touches_storage(text) or _denies(text)}


def _denies(document: Document) -> bool:
    return any(isinstance(s, Mapping) and s.get("Effect") == "Deny" for s in _listed(document.get("Statement")))


def _default(policy: Any) -> Document:
    versions = policy.get("PolicyVersionList", [])
    return next((parsed(item["Document"]) for item in versions if item.get("IsDefaultVersion")), {})


def _listed(value: Json) -> list[Json]:
    return list(value) if isinstance(value, list | tuple) else [value] if value is not None else []


def parsed(text: Json) -> dict[str, Json]:
    """Return a document that an API gave as JSON, as text, or as text in URL spelling."""
    if isinstance(text, str):
        text = json.loads(unquote(text) if text.startswith("%7B") else text)
    return dict(text) if isinstance(text, Mapping) else {}
