"""Registrars: who may change the delegation of a domain, and how to ask.

Kinds: ``registry`` (HTTP API, as the rehearsal's parent has it), ``route53domains`` (boto3), ``manual``
(reads the parents on the wire, and tells a human exactly what to change). Raises ``NeedsHuman`` from
the manual one, otherwise ``toolkit.errors``.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import boto3
import botocore.config
import botocore.exceptions

from toolkit.dns import names
from toolkit.dns.delegation import ask_parents
from toolkit.dns.drivers.base import Credentials, split_endpoint
from toolkit.errors import AuthError, NeedsHuman, NotFound, Paused, Refused, Unreachable
from toolkit.model import Json
from toolkit.wire import Hints

#: Words in a registrar's name by which a provider kind recognises itself.
OWN_REGISTRARS: Mapping[str, tuple[str, ...]] = {"aws": ("amazon", "aws", "route53", "route 53")}


@dataclass(frozen=True, slots=True)
class Registration:
    """What a registrar holds for a domain. An empty ``registrar`` means nobody could tell."""

    registrar: str
    nameservers: tuple[str, ...]
    ds: tuple[str, ...] = ()
    glue: Mapping[str, str] = field(default_factory=dict)

    def held_by(self, kind: str) -> bool:
        """Say whether the registrar belongs to a provider kind."""
        return any(word in self.registrar.lower() for word in OWN_REGISTRARS.get(kind, ()))


class Registrar(Protocol):
    """The calls the family makes."""

    def get(self, domain: str) -> Registration: ...

    def set_nameservers(self, domain: str, nameservers: Sequence[str], glue: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class RegistryRegistrar:
    """The HTTP API of the rehearsal's parent: ``GET`` and ``PUT /domains/<name>``."""

    endpoint: str
    timeout: float = 10.0

    def get(self, domain: str) -> Registration:
        data = self._ask("GET", domain)
        servers: Mapping[str, str | None] = data["nameservers"]
        return Registration(
            str(data.get("registrar") or ""),
            tuple(sorted(names.canonical(name) for name in servers)),
            tuple(str(item) for item in data.get("ds") or ()),
            {names.canonical(name): ip for name, ip in servers.items() if ip},
        )

    def set_nameservers(self, domain: str, nameservers: Sequence[str], glue: Mapping[str, str]) -> None:
        addresses = {names.canonical(name): ip for name, ip in glue.items()}
        wanted = {names.bare(name): addresses.get(names.canonical(name)) for name in nameservers}
        # The registrar's name and the DS set stay: one thing is changed at a time.
        self._ask("PUT", domain, {**self._ask("GET", domain), "nameservers": wanted})

    def _ask(self, method: str, domain: str, body: Json = None) -> dict[str, Any]:
        split_endpoint(self.endpoint, self.endpoint)
        request = urllib.request.Request(  # noqa: S310 (the scheme was checked just above)
            f"{self.endpoint.rstrip('/')}/domains/{quote(names.bare(domain))}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310
                found: dict[str, Any] = json.loads(answer.read() or b"{}")
                return found
        except urllib.error.HTTPError as exc:
            raise _of_status(domain, exc.code) from exc
        except (OSError, ValueError) as exc:
            raise Unreachable(f"the registry does not answer for {domain}: {exc}", "check its endpoint") from exc


def _of_status(domain: str, status: int) -> NotFound | AuthError | Refused:
    if status == 404:
        return NotFound(f"{domain} is not registered there", "check the name and the registry's endpoint")
    if status in (401, 403):
        return AuthError(f"the registry refused the request for {domain}", "check the credentials")
    return Refused(f"the registry answered {status} for {domain}", "look at its own log")


class Route53Registrar:
    """Amazon's registrar. Changes are operations of their own and are awaited."""

    def __init__(self, *, endpoint: str | None = None, credentials: Credentials, wait: float = 600.0) -> None:
        token = getattr(credentials, "token", None)
        self._wait = wait
        self._client: Any = boto3.client(
            "route53domains",
            region_name="us-east-1",
            endpoint_url=endpoint,
            aws_access_key_id=credentials.key.reveal(),
            aws_secret_access_key=credentials.secret.reveal(),
            aws_session_token=token.reveal() if token else None,
            config=botocore.config.Config(retries={"mode": "standard", "max_attempts": 6}),
        )

    def get(self, domain: str) -> Registration:
        data = self._ask("get_domain_detail", domain, DomainName=names.bare(domain))
        servers = data.get("Nameservers") or ()
        return Registration(
            str(data.get("RegistrarName") or "Amazon Registrar, Inc."),
            tuple(sorted(names.canonical(item["Name"]) for item in servers)),
            tuple(json.dumps(key, sort_keys=True) for key in data.get("DnssecKeys") or ()),
            {names.canonical(item["Name"]): item["GlueIps"][0] for item in servers if item.get("GlueIps")},
        )

    def set_nameservers(self, domain: str, nameservers: Sequence[str], glue: Mapping[str, str]) -> None:
        addresses = {names.canonical(name): ip for name, ip in glue.items()}
        wanted = [
            {"Name": names.bare(name)}
            | ({"GlueIps": [ip]} if (ip := addresses.get(names.canonical(name))) is not None else {})
            for name in nameservers
        ]
        answer = self._ask("update_domain_nameservers", domain, DomainName=names.bare(domain), Nameservers=wanted)
        self._finished(domain, str(answer["OperationId"]))

    def _finished(self, domain: str, operation: str) -> None:
        end = time.monotonic() + self._wait
        while True:
            status = str(self._ask("get_operation_detail", domain, OperationId=operation).get("Status"))
            if status == "SUCCESSFUL":
                return
            if status in ("ERROR", "FAILED"):
                raise Refused(f"the registrar refused the new name servers of {domain}", "see the Route 53 console")
            if time.monotonic() > end:
                raise Paused(f"operation {operation} on {domain} is still {status}", "run the same command later")
            time.sleep(1.0)

    def _ask(self, call: str, domain: str, **arguments: Json) -> dict[str, Any]:
        try:
            found: dict[str, Any] = getattr(self._client, call)(**arguments)
        except botocore.exceptions.ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
            if code in ("AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"):
                raise AuthError(f"{domain}: {exc}", "check the key and what it is allowed to do") from exc
            if "not found" in str(exc).lower() or "not associated with this account" in str(exc):
                raise NotFound(f"{domain}: {exc}", "the domain is not in this account") from exc
            raise Refused(f"{domain}: {exc}", "look at the domain in the Route 53 console") from exc
        except botocore.exceptions.BotoCoreError as exc:
            raise Unreachable(f"{domain}: {exc}", "check network and endpoint") from exc
        return found


@dataclass(frozen=True, slots=True)
class ManualRegistrar:
    """Nobody to ask by machine: read the parents, and tell a human what to type."""

    hints: Hints = field(default_factory=Hints)

    def get(self, domain: str) -> Registration:
        seen = ask_parents(domain, self.hints)
        union = tuple(sorted({server for found in seen.by_server.values() for server in found}))
        return Registration("", union, seen.ds, seen.glue)

    def set_nameservers(self, domain: str, nameservers: Sequence[str], glue: Mapping[str, str]) -> None:
        addresses = {names.canonical(name): ip for name, ip in glue.items()}
        lines = [
            f"{names.bare(name)}" + (f" with glue {ip}" if (ip := addresses.get(names.canonical(name))) else "")
            for name in nameservers
        ]
        raise NeedsHuman(
            f"at the registrar of {names.bare(domain)}, set the name servers to exactly: {'; '.join(lines)}. "
            "Leave DNSSEC and everything else as it is.",
            "do that, then run the same command again: it goes on when the parents serve the new set",
        )
