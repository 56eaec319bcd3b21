"""DNSSEC of the mocked Route 53: key signing keys and the status of a zone; moto has neither.

Enters: a request below ``/2013-04-01/`` and the corrected Route 53 state. Leaves: XML, or ``None`` for
a request that is not about DNSSEC. Raises ``Failure``. Zones are *marked* as signing; the twin does
not sign its answers, and ``docs/reference/rehearsal-mocks.md`` says so.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

_ROOT = re.compile(r"/2013-04-01/hostedzone/([^/]+)/(dnssec|enable-dnssec|disable-dnssec)/?$")
_KEYS = re.compile(r"/2013-04-01/keysigningkey(?:/([^/]+)/([^/]+)(?:/(activate|deactivate))?)?/?$")
_NAMESPACE = "{https://route53.amazonaws.com/doc/2013-04-01/}"


class Failure(Exception):
    """An error answer of Route 53."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key signing key; ``tag`` and ``digest`` are what its DS record holds."""

    name: str
    kms: str
    status: str
    tag: int
    digest: str
    created: str

    @property
    def ds(self) -> str:
        return f"{self.tag} 13 2 {self.digest}"


def answer(method: str, path: str, body: bytes, backend: Any) -> str | None:
    """Answer a DNSSEC request, or return ``None``."""
    if found := _ROOT.match(path):
        return _zone_call(method, found[2], backend.get_hosted_zone(found[1]), backend)
    if found := _KEYS.match(path):
        if found[1] is None:
            return _create(body, backend)
        return _key_call(method, found[3] or "delete", backend.get_hosted_zone(found[1]), found[2], backend)
    return None


def _zone_call(method: str, verb: str, zone: Any, backend: Any) -> str:
    keys: dict[str, SigningKey] = zone.signing_keys
    if method == "GET" and verb == "dnssec":
        status = "SIGNING" if zone.signing else "NOT_SIGNING"
        members = "".join(_xml(key, "member") for key in keys.values())
        return _document(
            "GetDNSSECResponse",
            f"<Status><ServeSignature>{status}</ServeSignature></Status><KeySigningKeys>{members}</KeySigningKeys>",
        )
    if verb == "enable-dnssec":
        if not any(key.status == "ACTIVE" for key in keys.values()):
            raise Failure(400, "KeySigningKeyWithActiveStatusNotFound", "No KeySigningKey with status active found")
        zone.signing = True
        return _document("EnableHostedZoneDNSSECResponse", _change(backend))
    zone.signing = False
    return _document("DisableHostedZoneDNSSECResponse", _change(backend))


def _create(body: bytes, backend: Any) -> str:
    tree = ElementTree.fromstring(body)  # noqa: S314 - from a client on loopback

    def text(name: str) -> str:
        return tree.findtext(f"{_NAMESPACE}{name}") or tree.findtext(name) or ""

    zone, name = backend.get_hosted_zone(text("HostedZoneId")), text("Name")
    if name in zone.signing_keys:
        raise Failure(409, "KeySigningKeyAlreadyExists", f"A key signing key {name} exists")
    if not text("KeyManagementServiceArn").startswith("arn:aws:kms:us-east-1:"):
        raise Failure(400, "InvalidKMSArn", "The KMS key must be in us-east-1")
    seed = hashlib.sha256(secrets.token_bytes(16)).hexdigest().upper()
    key = SigningKey(name, text("KeyManagementServiceArn"), text("Status") or "ACTIVE", int(seed[:4], 16), seed, _now())
    zone.signing_keys[name] = key
    return _document("CreateKeySigningKeyResponse", _change(backend) + _xml(key, "KeySigningKey"))


def _key_call(method: str, verb: str, zone: Any, name: str, backend: Any) -> str:
    keys: dict[str, SigningKey] = zone.signing_keys
    if name not in keys:
        raise Failure(404, "NoSuchKeySigningKey", f"There is no key signing key {name}")
    last = [key.name for key in keys.values() if key.status == "ACTIVE"] == [name]
    if verb in ("deactivate", "delete") and zone.signing and last:
        raise Failure(400, "KeySigningKeyInUse", "The last active key of a signing zone cannot be taken away")
    if verb == "delete" and method == "DELETE":
        if keys[name].status == "ACTIVE":
            raise Failure(400, "InvalidKeySigningKeyStatus", "Deactivate the key first")
        del keys[name]
        return _document("DeleteKeySigningKeyResponse", _change(backend))
    old = keys[name]
    status = "ACTIVE" if verb == "activate" else "INACTIVE"
    keys[name] = SigningKey(old.name, old.kms, status, old.tag, old.digest, old.created)
    return _document(f"{verb.title()}KeySigningKeyResponse", _change(backend))


def _xml(key: SigningKey, element: str) -> str:
    return (
        f"<{element}><Name>{escape(key.name)}</Name><KmsArn>{escape(key.kms)}</KmsArn><Flag>257</Flag>"
        "<SigningAlgorithmMnemonic>ECDSAP256SHA256</SigningAlgorithmMnemonic>"
        "<SigningAlgorithmType>13</SigningAlgorithmType><DigestAlgorithmMnemonic>SHA-256</DigestAlgorithmMnemonic>"
        f"<DigestAlgorithmType>2</DigestAlgorithmType><KeyTag>{key.tag}</KeyTag><DigestValue>{key.digest}</DigestValue>"
        f"<DSRecord>{key.ds}</DSRecord><Status>{key.status}</Status><CreatedDate>{key.created}</CreatedDate>"
        f"<LastModifiedDate>{key.created}</LastModifiedDate></{element}>"
    )


def _change(backend: Any) -> str:
    made = backend.new_change()
    return (
        f"<ChangeInfo><Id>{made['Id']}</Id><Status>{made['Status']}</Status>"
        f"<SubmittedAt>{_now()}</SubmittedAt></ChangeInfo>"
    )


def _document(name: str, inner: str) -> str:
    space = "https://route53.amazonaws.com/doc/2013-04-01/"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{space}">{inner}</{name}>'


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
