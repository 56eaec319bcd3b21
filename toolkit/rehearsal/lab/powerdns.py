"""Two PowerDNS servers: a primary with the HTTP API and a secondary fed by zone transfer.

Enters: the lab's folder. Leaves: two daemons (through ``spawn``) and a :class:`PowerDns` record.
May raise: ``Unreachable``, ``NotFound``.

Zones reach the secondary through a catalog zone (RFC 9432): a trigger in the primary's database puts
every zone the API creates into the catalog ``catalog.lab.invalid``, the secondary consumes it. Thus
created *and deleted* zones follow without anyone touching the secondary. The primary looks for
changes each second and notifies; all caches are off, so an answer is never older than the zone.
"""

from __future__ import annotations

import secrets as random
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import Popen

from toolkit.errors import NotFound
from toolkit.rehearsal.lab.info import DNS_ADDRESSES, PowerDns
from toolkit.rehearsal.lab.process import listening, private, wait_until

Spawn = Callable[[str, Sequence[str]], "Popen[bytes]"]
SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
API_PORT = 8081
CATALOG = "catalog.lab.invalid"
BODY_MIB = 128

CONF = """launch=gsqlite3
gsqlite3-database={home}/{name}.sqlite3
gsqlite3-dnssec=yes
gsqlite3-pragma-synchronous=0
local-address={address}
local-port=53
query-local-address={address}
socket-dir=/run/pdns/{name}
daemon=no
guardian=no
disable-syslog=yes
log-timestamp=yes
loglevel=4
security-poll-suffix=
version-string=anonymous
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
zone-metadata-cache-ttl=0
dnssec-key-cache-ttl=0
xfr-cycle-interval=1
receiver-threads=2
distributor-threads=2
enable-lua-records=yes
expand-alias=yes
resolver={primary}:53
only-notify=
"""
PRIMARY = """primary=yes
also-notify={secondary}
allow-axfr-ips=127.0.0.0/8,10.77.0.0/24
outgoing-axfr-expand-alias=yes
api=yes
api-key={key}
webserver=yes
webserver-address={primary}
webserver-port={port}
webserver-allow-from=127.0.0.0/8,10.77.0.0/24
webserver-max-bodysize={body}
default-soa-content=ns1.@ hostmaster.@ 0 10800 3600 604800 60
"""
SECONDARY = """secondary=yes
allow-notify-from={primary}/32
allow-axfr-ips=127.0.0.0/8,10.77.0.0/24
allow-unsigned-notify=yes
"""


def start(folder: Path, *, spawn: Spawn, step: Callable[[str], None]) -> PowerDns:
    """Start both servers in ``folder``/dns and return how to reach them."""
    home, secrets = folder / "dns", folder / "secrets"
    home.mkdir(mode=0o700)
    primary, secondary = DNS_ADDRESSES
    words = {
        "home": home,
        "primary": primary,
        "secondary": secondary,
        "port": API_PORT,
        "body": BODY_MIB,
        "key": random.token_urlsafe(32),
    }
    key_file = private(secrets / "powerdns.key", f"{words['key']}\n")
    _database(home / "primary.sqlite3", _producer())
    _database(home / "secondary.sqlite3", _consumer(primary))
    for name, address, extra in (("primary", primary, PRIMARY), ("secondary", secondary, SECONDARY)):
        step(f"pdns {name}")
        config = home / name
        config.mkdir()
        Path("/run/pdns", name).mkdir(parents=True)
        private(config / "pdns.conf", (CONF + extra).format(name=name, address=address, **words))
        log = folder / "log" / f"pdns-{name}.log"
        process = spawn(f"pdns-{name}", ["pdns_server", f"--config-dir={config}"])
        wait_until(listening(address, 53), what=f"pdns {name}", limit=30, process=process, log=log)
    wait_until(listening(primary, API_PORT), what="the PowerDNS API", limit=30)
    servers = tuple(f"{address}:53" for address in DNS_ADDRESSES)
    return PowerDns(f"http://{primary}:{API_PORT}", str(key_file), servers)


def _database(path: Path, more: str) -> None:
    """Make a database out of the packaged schema, then run ``more`` in it."""
    if not SCHEMA.exists():
        raise NotFound(f"{SCHEMA} is not there", "Install the Debian package pdns-backend-sqlite3.")
    with sqlite3.connect(path) as base:
        base.executescript(SCHEMA.read_text())
        base.executescript(more)
    base.close()


def _producer() -> str:
    return f"""
        INSERT INTO domains (name, type) VALUES ('{CATALOG}', 'PRODUCER');
        INSERT INTO records (domain_id, name, type, content, ttl, auth) VALUES
          (1, '{CATALOG}', 'SOA', 'invalid hostmaster.invalid 1 10800 3600 604800 60', 60, 1),
          (1, '{CATALOG}', 'NS', 'invalid', 60, 1);
        CREATE TRIGGER catalogued AFTER INSERT ON domains WHEN NEW.type IN ('MASTER', 'PRIMARY')
        BEGIN UPDATE domains SET catalog = '{CATALOG}' WHERE id = NEW.id; END;
        CREATE TRIGGER recatalogued AFTER UPDATE OF type ON domains WHEN NEW.type IN ('MASTER', 'PRIMARY')
        BEGIN UPDATE domains SET catalog = '{CATALOG}' WHERE id = NEW.id; END;
    """  # noqa: S608 - no value comes from outside


def _consumer(primary: str) -> str:
    return f"INSERT INTO domains (name, type, master) VALUES ('{CATALOG}', 'CONSUMER', '{primary}');"  # noqa: S608
