"""The mocked registrar (route53domains): moto's domains, and the calls of a transfer that moto lacks.

Enters: a WSGI environment. Leaves: an answer. :func:`install` must run before the first call. Added:
the transfer lock, the auth code, DS records, a second change of name servers; what concerns the
delegation is carried to the parent's registry through :attr:`CorrectedDomains.changed`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from moto.core.exceptions import ServiceException
from moto.moto_server.werkzeug_app import BackendRequest
from moto.route53domains import urls as domains_urls
from moto.route53domains.exceptions import InvalidInputException
from moto.route53domains.models import Route53DomainsBackend, route53domains_backends
from moto.route53domains.responses import Route53DomainsResponse

from toolkit.model import Json, sha256_hex
from toolkit.rehearsal.mockaws_errors import Answer, error

#: Told of every change of a delegation: domain, name servers or None, DS records or None.
Changed = Callable[[str, Sequence[str] | None, Sequence[str] | None], None]
_LOCK = "clientTransferProhibited"


class CorrectedDomains(Route53DomainsBackend):  # type: ignore[misc]
    """moto's registrar, except that an operation that ended does not forbid the next one."""

    changed: Changed = staticmethod(lambda _domain, _servers, _ds: None)

    @property
    def _url_module(self) -> Any:
        return domains_urls  # moto derives it from the name of the class's module

    def _Route53DomainsBackend__validate_duplicate_operations(self, _requested: Any) -> None:  # noqa: N802
        """Allow it: every operation of this mock ends at once."""

    def update_domain_nameservers(self, domain_name: str, nameservers: list[dict[str, Any]]) -> Any:
        operation = super().update_domain_nameservers(domain_name, nameservers)
        self.changed(domain_name, [server["Name"] for server in nameservers], None)
        return operation

    def lock(self, domain_name: str, *, on: bool) -> None:
        """Set or lift the transfer lock."""
        domain = self.get_domain(domain_name)
        kept = [status for status in domain.status_list or [] if status != _LOCK]
        domain.status_list = [*kept, _LOCK] if on else kept

    def auth_code(self, domain_name: str) -> str:
        """Return the code a transfer needs; a locked domain gives none away."""
        domain = self.get_domain(domain_name)
        if _LOCK in (domain.status_list or []):
            raise InvalidInputException(["The domain is locked against transfers"])
        if not getattr(domain, "auth_code", None):
            domain.auth_code = secrets.token_urlsafe(9)
        return str(domain.auth_code)

    def add_ds(self, domain_name: str, attributes: dict[str, Any]) -> None:
        """Publish a DS record for a public key."""
        domain = self.get_domain(domain_name)
        key = {name: attributes.get(name) for name in ("Algorithm", "Flags", "PublicKey")}
        tag = sum(map(ord, str(key["PublicKey"]))) % 65536
        domain.dns_sec_keys = [*(domain.dns_sec_keys or []), {**key, "Id": secrets.token_hex(6), "KeyTag": tag}]
        self.changed(domain_name, None, [_ds(one) for one in domain.dns_sec_keys])

    def remove_ds(self, domain_name: str, ident: str) -> None:
        """Withdraw a DS record."""
        domain = self.get_domain(domain_name)
        kept = [key for key in domain.dns_sec_keys or [] if key["Id"] != ident]
        if len(kept) == len(domain.dns_sec_keys or []):
            raise InvalidInputException([f"There is no delegation signer {ident}"])
        domain.dns_sec_keys = kept
        self.changed(domain_name, None, [_ds(one) for one in kept])


def _ds(key: dict[str, Any]) -> str:
    return f"{key['KeyTag']} {key['Algorithm']} 2 {sha256_hex(str(key['PublicKey']).encode()).upper()}"


class CorrectedResponse(Route53DomainsResponse):  # type: ignore[misc]
    """moto's request handling and the missing calls."""

    def _done(self) -> str:
        return json.dumps({"OperationId": secrets.token_hex(16)})

    def enable_domain_transfer_lock(self) -> str:
        self.route53domains_backend.lock(self._get_param("DomainName"), on=True)
        return self._done()

    def disable_domain_transfer_lock(self) -> str:
        self.route53domains_backend.lock(self._get_param("DomainName"), on=False)
        return self._done()

    def retrieve_domain_auth_code(self) -> str:
        return json.dumps({"AuthCode": self.route53domains_backend.auth_code(self._get_param("DomainName"))})

    def associate_delegation_signer_to_domain(self) -> str:
        self.route53domains_backend.add_ds(self._get_param("DomainName"), self._get_param("SigningAttributes"))
        return self._done()

    def disassociate_delegation_signer_from_domain(self) -> str:
        self.route53domains_backend.remove_ds(self._get_param("DomainName"), self._get_param("Id"))
        return self._done()

    def get_domain_detail(self) -> str:
        shown: dict[str, Json] = json.loads(super().get_domain_detail())
        domain = self.route53domains_backend.get_domain(self._get_param("DomainName"))
        keys = domain.dns_sec_keys or []
        return json.dumps({**shown, "StatusList": domain.status_list or [], "DnssecKeys": keys})


def install() -> None:
    """Make this process's moto use the corrected registrar. Call before any call of it."""
    route53domains_backends.backend = CorrectedDomains


def handle(environ: dict[str, Any]) -> Answer:
    """Answer one request to the registrar."""
    request = BackendRequest(environ)
    try:
        status, headers, body = CorrectedResponse()._dispatch(request, request.raw_url, request.headers)
    except ServiceException as exc:
        return error("route53domains", 400, exc.code, exc.message)
    data = body if isinstance(body, bytes) else body.encode()
    return Answer(int(status), {name: str(value) for name, value in headers.items()}, data)
