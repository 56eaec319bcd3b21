"""The users of a Ceph gateway: the admin API for users and keys, its IAM dialect for their policies.

Enters: credentials with ``users=*;user-policy=*`` (and ``buckets=read`` to read all).
Leaves: users of the target, identities of the source. Raises the public error tree.

Measured on RGW 16: a user policy grants access to buckets of other users; keys are made by the gateway, so
that no secret ever stands in a query string; an object belongs to the user who wrote it.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from toolkit import aws
from toolkit.errors import AuthError, Conflict, NotFound, Refused, Throttled, Unreachable, Unsupported
from toolkit.model import Json, NotSeen
from toolkit.secrets import Credentials, Secret
from toolkit.storage.drivers.border import border
from toolkit.storage.drivers.iam import parsed
from toolkit.storage.identity.protocol import Document, Seen, User
from toolkit.storage.sign import Keys, Signer, query_of

_NEEDS = 'give the admin user of this provider (`admin:`) the caps "users=*;user-policy=*;buckets=read"'
_SECONDS = 30
_LARGEST = 8 << 20


class RgwUsers:
    """The users of one gateway. ``owner`` are the credentials that own the moved buckets."""

    kind = "ceph"

    def __init__(
        self, *, endpoint: str, credentials: Credentials, owner: Callable[[], str], region: str = "us-east-1"
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._owner = owner
        self._region = region

    # -- reading ---------------------------------------------------------------------------------

    def ex_identities(self) -> Iterator[Seen | NotSeen]:
        """Yield every user that is neither a system user nor an administrator."""
        try:
            for name in self._names():
                told = self._admin("GET", "/admin/user", [("uid", name)])
                if told.get("system") == "true" or told.get("admin") == "true" or told.get("caps"):
                    continue
                owns = tuple(str(item) for item in self._admin("GET", "/admin/bucket", [("uid", name)]))
                facts: dict[str, Json] = {"keys": len(told.get("keys", []))}
                if told.get("subusers"):
                    facts["subusers"] = len(told["subusers"])
                if told.get("suspended"):
                    facts["suspended"] = True
                yield Seen("user", name, f"rgw:user/{name}", self._policies(name), owns, name, facts=facts)
        except AuthError as exc:
            yield NotSeen("identities", f"{exc.text}; {_NEEDS}")

    def _names(self) -> list[str]:
        """Return the ids of all users."""
        found: list[str] = []
        marker = ""
        while True:
            told = self._admin("GET", "/admin/user", [("list", ""), ("max-entries", "1000"), ("marker", marker)])
            found += [str(item) for item in told["keys"]]
            if not told.get("truncated") or not told.get("marker") or told["marker"] == marker:
                return sorted(set(found))
            marker = str(told["marker"])

    def ex_abilities(self) -> frozenset[str]:
        """Say whether the gateway serves policies of users (``iam`` in ``rgw_enable_apis``) to us."""
        try:
            # Nobody has this name, so a gateway that knows the call says so.
            self._iam("list_user_policies", UserName="rehost-nobody")
        except NotFound:
            return frozenset({"users", "user-policy"})
        except (AuthError, Unsupported):
            return frozenset()
        return frozenset({"users", "user-policy"})

    def ex_owner(self) -> str:
        """Return the user that owns the moved buckets."""
        return self._owner()

    def ex_user(self, name: str) -> User | None:
        """Return a user, ``None`` if there is none."""
        try:
            told = self._admin("GET", "/admin/user", [("uid", name)])
        except NotFound:
            return None
        keys = tuple(str(item["access_key"]) for item in told.get("keys", []))
        return User(name, str(told.get("display_name", "")), self._policies(name), keys)

    def ex_secret_of(self, name: str, key: str) -> Secret | None:
        """Return the secret of a key: the admin API shows it."""
        for item in self._admin("GET", "/admin/user", [("uid", name)]).get("keys", []):
            if item["access_key"] == key:
                return Secret(item["secret_key"])
        return None

    def _policies(self, name: str) -> dict[str, Document]:
        try:
            names = self._iam("list_user_policies", UserName=name)["PolicyNames"]
        except NotFound:  # RGW says so of a user that never had a policy
            return {}
        return {
            n: parsed(self._iam("get_user_policy", UserName=name, PolicyName=n)["PolicyDocument"])
            for n in sorted(names)
        }

    # -- writing ---------------------------------------------------------------------------------

    def ex_create_user(self, name: str, mark: str) -> None:
        """Create a user without keys that cannot create buckets: at AWS it could not take names either."""
        wanted = [("uid", name), ("display-name", mark), ("generate-key", "false"), ("max-buckets", "-1")]
        self._admin("PUT", "/admin/user", wanted)

    def ex_delete_user(self, name: str) -> None:
        """Delete a user and its keys; one that owns buckets stays, with a Conflict."""
        self._admin("DELETE", "/admin/user", [("uid", name)])

    def ex_put_policy(self, name: str, policy: str, document: Document) -> None:
        """Write one policy of a user."""
        self._iam("put_user_policy", UserName=name, PolicyName=policy, PolicyDocument=json.dumps(document))

    def ex_delete_policy(self, name: str, policy: str) -> None:
        """Delete one policy of a user."""
        self._iam("delete_user_policy", UserName=name, PolicyName=policy)

    def ex_new_key(self, name: str) -> tuple[Secret, Secret]:
        """Have the gateway make a key."""
        before = {str(item["access_key"]) for item in self._admin("GET", "/admin/user", [("uid", name)])["keys"]}
        told = self._admin("PUT", "/admin/user", [("uid", name), ("key", ""), ("generate-key", "true")])
        made = next(item for item in told if item["access_key"] not in before)
        return Secret(made["access_key"]), Secret(made["secret_key"])

    def ex_delete_key(self, name: str, key: str) -> None:
        """Delete one key of a user."""
        self._admin("DELETE", "/admin/user", [("uid", name), ("key", ""), ("access-key", key)])

    # -- inside ----------------------------------------------------------------------------------

    def _iam(self, call: str, **arguments: str) -> Any:
        client = aws.session(self._credentials, self._region).client("iam", endpoint_url=self._endpoint)
        with border(f"{call.replace('_', ' ')} of {arguments.get('UserName')}"):
            return getattr(client, call)(**arguments)

    def _admin(self, method: str, path: str, query: Iterable[tuple[str, str]] = ()) -> Any:
        """Send one request of the admin API and return its JSON (``None`` for an empty answer)."""
        parts = urlsplit(self._endpoint)
        keys = aws.keys(self._credentials)
        signer = Signer(lambda: Keys(keys.key.reveal(), keys.secret.reveal(), ""), self._region)
        text = query_of([("format", "json"), *query])
        headers = signer.headers(method, parts.netloc, path, text, {})
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.netloc, timeout=_SECONDS, context=context)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=_SECONDS)
        what = f"{method} {path} at {parts.netloc}"
        try:
            connection.request(method, f"{path}?{text}", headers=headers)
            answer = connection.getresponse()
            body = answer.read(_LARGEST)
            return _answer(what, answer.status, body)
        except ssl.SSLError as exc:
            raise Refused(f"{what}: TLS was refused: {exc}", "fix the certificate; verification stays on") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise Unreachable(f"{what}: {exc}", "check the endpoint, the network and whether the store runs") from exc
        finally:
            connection.close()


def _answer(what: str, status: int, body: bytes) -> Any:
    try:
        told = json.loads(body) if body.strip() else None
    except ValueError as exc:
        text = f"{what}: the answer is no JSON"
        raise Unreachable(text, "check that `admin` is among rgw_enable_apis of this gateway") from exc
    if status < 300:
        return told
    code = str(told.get("Code", status)) if isinstance(told, dict) else str(status)
    text = f"{what}: {code}"
    if status in (401, 403):
        raise AuthError(text, _NEEDS)
    if status == 404:
        raise NotFound(text, "check the name")
    if status == 409:
        raise Conflict(text, "look at that user at the target")
    if status in (429, 503):
        raise Throttled(text, "run again later")
    raise Unreachable(text, "look at the gateway's log, then run again")
