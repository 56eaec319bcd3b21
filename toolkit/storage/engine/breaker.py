"""Which failures of single objects are really a side that serves nobody any more.

Enters: what became of each row. Leaves: nothing, or a :class:`Fault` of the kinds ``shut`` (almost every
request is refused: a suspended account, a bucket policy that forbids all) or ``stuck`` (a target that takes
requests and never answers writes, as a Ceph pool does when it is full). Three forbidden prefixes of many
are no suspended account; twenty refusals under one prefix are none either.
"""

from __future__ import annotations

from collections import deque

from toolkit.storage.engine.faults import Fault, Kind
from toolkit.storage.engine.http import Store

_LOOK_BACK = 50
_DENIED_MOST = 20
_ASK_EVERY = 10
_PREFIXES = 3
_HUNG_MOST = 5


class Breaker:
    """The last rows of one shard, and what they say together."""

    def __init__(self, target: str) -> None:
        self._target = target  # where the target is, as faults name it
        self._last: deque[tuple[Kind | None, bytes]] = deque(maxlen=_LOOK_BACK)

    def passed(self) -> None:
        """A row went well."""
        self._last.append((None, b""))

    def failed(self, fault: Fault, key: bytes) -> None:
        """A row failed; raise what that means if it is more than the row's own trouble."""
        mine = fault.kind in ("denied", "hang") and (fault.kind == "denied" or fault.where == self._target)
        self._last.append((fault.kind if mine else None, _prefix(key)))
        if self._count("hang") >= _HUNG_MOST:
            text = f"{fault.text}; the last {_HUNG_MOST} writes got no answer: the target is not accepting writes"
            raise Fault("stuck", fault.where, _bare(fault, text)) from fault
        if self._count("denied") >= _DENIED_MOST and self.suspicious:
            text = f"{fault.text}; almost every request is refused"
            raise Fault(
                "shut", fault.where, _bare(fault, text), status=fault.status, code=fault.code_name, key=fault.key
            ) from fault

    async def ask(self, side: Store, fault: Fault) -> None:
        """After a refusal: raise if the side refuses even to list. Asked at the first of each ten."""
        if self._count("denied") % _ASK_EVERY != 1:
            return
        try:
            await side.read("GET", query=[("list-type", "2"), ("max-keys", "1")])
        except Fault as again:
            if again.kind in ("denied", "credentials"):
                text = f"{fault.text}; listing is refused too"
                raise Fault(
                    "shut", fault.where, _bare(fault, text), status=fault.status, code=fault.code_name, key=fault.key
                ) from again

    @property
    def suspicious(self) -> bool:
        """Refusals under several prefixes: what looks forbidden may be a side about to shut."""
        return len({prefix for kind, prefix in self._last if kind == "denied"}) >= _PREFIXES

    def _count(self, wanted: Kind) -> int:
        return sum(kind == wanted for kind, _ in self._last)


def _prefix(key: bytes) -> bytes:
    """Return the folder of a key; a key without one stands for itself."""
    folder, slash, _ = key.rpartition(b"/")
    return folder if slash else key


def _bare(fault: Fault, text: str) -> str:
    return text.removeprefix(f"{fault.where}: ")
