"""The embedded target: an object store, a name server and a hypervisor that need nothing but pip.

Enters: a :class:`~toolkit.rehearsal.net.Loopback` and a folder. Leaves: a running :class:`Embedded`.
Raises ``Unreachable`` when a part does not come up. ``NEW.2:9000`` S3, ``NEW.3:5300`` and
``NEW.4:5300`` DNS, ``NEW.3:8081`` the PowerDNS API, ``NEW.5:9400`` the hypervisor. By hand::

    python -m toolkit.rehearsal.embedded --base 127.22.0 --folder /tmp/target
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.rehearsal import mockaws, net
from toolkit.secrets import Secret

DNS_PORT, API_PORT = 5300, 8081


@dataclass(frozen=True, slots=True)
class Embedded:
    """The whole new side, running."""

    loopback: net.Loopback
    s3: mockaws.Store
    dns: net.Child
    dns_api: str
    dns_key: Secret
    hypervisor: net.Child
    hypervisor_url: str
    hypervisor_token: Secret

    @property
    def nameservers(self) -> tuple[str, str]:
        """Where the two name servers answer, ``ip:port``."""
        return f"{self.loopback.new_ip(3)}:{DNS_PORT}", f"{self.loopback.new_ip(4)}:{DNS_PORT}"

    def stop(self) -> None:
        """End all parts; what they held in memory is gone."""
        self.hypervisor.stop()
        self.dns.stop()
        self.s3.stop()


def start(loopback: net.Loopback, folder: Path) -> Embedded:
    """Start the new side in ``folder``; the caller stops it."""
    with contextlib.ExitStack() as stack:
        s3 = mockaws.start_store(loopback.new_ip(2), folder / "s3", services=["s3"])
        stack.callback(s3.stop)
        key, token = Secret(secrets.token_urlsafe(24)), Secret(secrets.token_urlsafe(24))
        dns = net.start_module(
            "toolkit.rehearsal.embedded_process",
            folder=folder / "dns",
            config={
                "dns": [[loopback.new_ip(3), DNS_PORT], [loopback.new_ip(4), DNS_PORT]],
                "api": [loopback.new_ip(3), API_PORT],
                "key": key.reveal(),
            },
        )
        stack.callback(dns.stop)
        machines = mockaws.start_hypervisor(
            loopback.new_ip(5), folder, token=token, resolver=f"{loopback.new_ip(3)}:{DNS_PORT}"
        )
        stack.pop_all()
    return Embedded(
        loopback,
        s3,
        dns,
        f"http://{loopback.new_ip(3)}:{API_PORT}",
        key,
        machines,
        f"http://{loopback.new_ip(5)}:9400",
        token,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the new side until SIGTERM or SIGINT, for use by hand."""
    parser = argparse.ArgumentParser(prog="python -m toolkit.rehearsal.embedded", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--base", metavar="127.A.B", help="the old network; the target is at 127.A.(B+1)")
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args(argv)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with net.claim(options.base) as loopback:
        target = start(loopback, options.folder)
        try:
            net.announce(
                {
                    "s3": target.s3.environment(),
                    "dns": list(target.nameservers),
                    "dns_api": target.dns_api,
                    "dns_key": target.dns_key.reveal(),
                    "hypervisor": target.hypervisor_url,
                    "hypervisor_token": target.hypervisor_token.reveal(),
                }
            )
            ended.wait()
        finally:
            target.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
