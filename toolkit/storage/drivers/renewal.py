"""Credentials that can be read again: temporary ones that expired, keys that were rotated.

Enters: a way to resolve the reference to credentials. Leaves: keys for signatures, a boto3 session.
Raises ``AuthError`` where there are none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import boto3

from toolkit.errors import AuthError
from toolkit.storage.sign import Keys

_JUST_NOW = 30.0  # seconds


class Renewable:
    """The credentials of one store, as they were read last. Safe between threads."""

    def __init__(self, resolve: Callable[[], boto3.session.Session]) -> None:
        self._resolve = resolve
        self._renewed = -_JUST_NOW
        self._turn = threading.Lock()
        self.session = resolve()

    def keys(self) -> Keys:
        """Return the keys as they are now."""
        credentials = self.session.get_credentials()
        if credentials is None:
            raise AuthError("no credentials for this store were found", "name them in site.yaml")
        frozen = credentials.get_frozen_credentials()  # renews temporary credentials by itself
        return Keys(frozen.access_key or "", frozen.secret_key or "", frozen.token or "")

    def renew(self) -> bool:
        """Resolve the reference again; say whether the keys are others now.

        Many requests fail together: who comes right after a renewal is told to try again with it.
        """
        with self._turn:
            if time.monotonic() - self._renewed < _JUST_NOW:
                return True
            before, self.session = self.keys(), self._resolve()
            if self.keys() == before:
                return False
            self._renewed = time.monotonic()
            return True
