"""The name server of the embedded target as a process of its own.

Enters: one JSON line (``dns``: addresses, ``api``: address, ``key``). Leaves: the ready line, then
answers. Ends on SIGTERM, SIGINT or when its parent is gone.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading

from toolkit.rehearsal import embedded_dns, net


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = json.loads(sys.stdin.readline())
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    addresses = [(address, port) for address, port in config["dns"]]
    handle = embedded_dns.serve(dns=addresses, api=(config["api"][0], config["api"][1]), key=config["key"])
    net.announce({"ready": True, "api": handle.api})
    ended.wait()
    handle.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
