"""A rehearsal behind fault proxies: one before the old store, one before the new.

Enters: a file of rules and both endpoints. Leaves: :class:`Doors`, the endpoints that rehost is told, and
how often each rule struck. The app, the seed and the witnesses of a rehearsal use the stores directly: it
is the move that has a bad day. Raises ``DefinitionError`` for a file that is wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from toolkit.model import Json
from toolkit.rehearsal import stage
from toolkit.rehearsal.faultproxy import FaultProxy, running
from toolkit.rehearsal.faultproxy_rules import Rule, Rules, load
from toolkit.rehearsal.mockaws import MockAws
from toolkit.storage.sign import Keys


@dataclass(frozen=True, slots=True)
class Doors:
    """Where rehost reaches both sides; without proxies the stores themselves."""

    source: str
    target: stage.Target
    proxies: tuple[FaultProxy, ...] = ()

    def figures(self) -> dict[str, Json]:
        """How often each rule struck, by side; empty without proxies."""
        told = [(rule["name"], rule["struck"]) for proxy in self.proxies for rule in proxy.rules.tally()]
        return {str(name): sum(struck for other, struck in told if other == name) for name, _ in told}


def doors(stack: contextlib.ExitStack, aws: MockAws, target: stage.Target, file: Path | None) -> Doors:
    """Put proxies before both stores if a file of rules is given; they end with ``stack``."""
    if file is None:
        return Doors(aws.endpoint, target)
    rules, seed = load(file)
    old = _proxy(aws.endpoint, "source", Keys(aws.store.access_key, aws.store.secret_key.reveal()), rules, seed)
    store: Mapping[str, Json] = target.providers["store"]
    new = _proxy(store["endpoint"], "target", Keys(target.env["STORE_KEY"], target.env["STORE_SECRET"]), rules, seed)
    for proxy, endpoint in ((old, aws.endpoint), (new, store["endpoint"])):
        stack.enter_context(running(proxy, host=str(urlsplit(endpoint).hostname)))
    providers = {**target.providers, "store": {**store, "endpoint": new.endpoint}}
    return Doors(old.endpoint, replace(target, providers=providers), (old, new))


def _proxy(endpoint: str, side: str, keys: Keys, rules: tuple[Rule, ...], seed: int) -> FaultProxy:
    return FaultProxy(endpoint, Rules(rules, seed=seed), side=side, keys=keys)
