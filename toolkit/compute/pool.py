"""Plan static addresses for servers, so that every address is known before anything is created.

Enters: a range, what is taken. Leaves: one address per server address in the plan, the same on every call.
Raises :class:`Refused` when the range is full or no range.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from toolkit.errors import Refused


@dataclass(slots=True)
class Pool:
    """A range of addresses and who was given which; every address of the range may be given.

    ``existing`` is asked once: it yields (server address or empty, IP) of what the target has already.
    """

    range: str
    existing: Callable[[], Iterable[tuple[str, str]]]
    given: dict[str, str] = field(default_factory=dict)
    taken: set[str] | None = None

    def address_for(self, server: str) -> str:
        """Return the address of one server: the one it has, else the first that is free."""
        if self.taken is None:
            self.taken = set()
            for owner, ip in self.existing():
                self.taken.add(ip)
                if owner and ip in self:
                    self.given.setdefault(owner, ip)
        if server not in self.given:
            self.given[server] = next(self._free())
            self.taken.add(self.given[server])
        return self.given[server]

    def reserve(self, server: str, ip: str) -> str:
        """Give a server the address a person chose for it.

        Raises:
            Refused: another server of this plan has it.
        """
        other = next((name for name, given in self.given.items() if given == ip and name != server), None)
        if other:
            raise Refused(f"{server} and {other} are both to have {ip}", "give each its own `to: {address: …}`")
        self.given[server] = ip
        return ip

    def __contains__(self, ip: str) -> bool:
        try:
            return ipaddress.ip_address(ip) in self._network()
        except ValueError:
            return False

    def _network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        try:
            return ipaddress.ip_network(self.range, strict=False)
        except ValueError as exc:
            raise Refused(
                f"the pool {self.range!r} is no address range", "write it as 10.0.0.16/28 in the provider entry"
            ) from exc

    def _free(self) -> Iterator[str]:
        used = (self.taken or set()) | set(self.given.values())
        for ip in self._network():
            if str(ip) not in used:
                yield str(ip)
        raise Refused(f"the pool {self.range} is full", "give the target provider a larger `pool`")
