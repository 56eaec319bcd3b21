"""Translate what libvirt raises into the error tree, once, where it enters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import libvirt

from toolkit.errors import AuthError, Conflict, NotFound, RehostError, Unreachable, Unsupported

_ABSENT = (
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_NO_NWFILTER,
    libvirt.VIR_ERR_NO_STORAGE_VOL,
    libvirt.VIR_ERR_NO_NETWORK,
)
_UNREACHABLE = (
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_OPEN_FAILED,
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise errors of the tree instead of libvirt's."""
    try:
        yield
    except libvirt.libvirtError as exc:
        raise of_libvirt(exc) from exc


def of_libvirt(exc: libvirt.libvirtError) -> RehostError:
    """Return the error of the tree for one of libvirt's."""
    code, text = exc.get_error_code(), f"libvirt: {exc.get_error_message() or exc}"
    if code in _ABSENT:
        return NotFound(text, "it may have been removed since: run plan again")
    if code == libvirt.VIR_ERR_NO_SUPPORT:
        return Unsupported(text, "this hypervisor cannot do that")
    if code in (libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_AUTH_CANCELLED, libvirt.VIR_ERR_ACCESS_DENIED):
        return AuthError(text, "check the credentials of the provider entry and your rights on its socket")
    if code in (libvirt.VIR_ERR_DOM_EXIST, libvirt.VIR_ERR_OPERATION_INVALID):
        return Conflict(text, "look at the domain with virsh; it is not in the state we expected")
    if code in _UNREACHABLE:
        return Unreachable(text, "is libvirtd running, and is the provider's uri right?")
    return RehostError(text, "look at libvirt's log")


def unsupported(exc: libvirt.libvirtError) -> bool:
    """Say whether the hypervisor simply lacks that call (the test driver lacks many)."""
    return bool(exc.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT)
