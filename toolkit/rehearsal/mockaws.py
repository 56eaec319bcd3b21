"""The mocked AWS of a rehearsal: one handle for whoever runs it, one process that serves it.

Enters: a :class:`~toolkit.rehearsal.net.Loopback` and a folder. Leaves: a running
:class:`MockAws`. Raises ``Unreachable`` when a part does not come up.

``OLD.2:9000`` all services and the control interface (``/_rehost/...``), ``OLD.3:5300`` the DNS
twin of the mock's Route 53, ``OLD.4:5300`` parent servers and ``OLD.4:8053`` their registry,
``OLD.5:9400`` the hypervisor that plays the machines. By hand::

    python -m toolkit.rehearsal.mockaws --base 127.22.0 --folder /tmp/aws
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import string
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from toolkit.model import Json
from toolkit.rehearsal import net
from toolkit.secrets import Secret

PORT = 9000
REGION = "us-east-1"
ACCOUNT = "123456789012"
USERS = ("rehost", "app", "seed")
IMAGES = (
    *("debian-10-amd64", "debian-11-amd64", "debian-12-amd64", "debian-12-arm64", "debian-13-amd64"),
    *("ubuntu-22.04-amd64", "ubuntu-24.04-amd64"),
)
#: Settings that moto reads when it is imported. The buffer keeps objects up to 64 MiB in memory.
MOTO: Mapping[str, str] = {
    "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true",
    "S3_UPLOAD_PART_MIN_SIZE": "1",
    "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(64 * 1024 * 1024),
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "false",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
}


def new_key() -> Key:
    """Return a random access key."""
    letters = string.ascii_uppercase + "234567"
    return Key("AKIA" + "".join(secrets.choice(letters) for _ in range(16)), Secret(secrets.token_urlsafe(30)))


@dataclass(frozen=True, slots=True)
class Key:
    """An access key of the mock."""

    id: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class Store:
    """A running mock server process and the way to talk to it.

    ``keys`` by user: ``rehost`` (whose calls are the ones that count), ``app`` (the site itself)
    and ``seed`` (who builds the site). The call log names the user of every call.
    """

    child: net.Child
    endpoint: str
    keys: Mapping[str, Key]
    token: Secret

    @property
    def access_key(self) -> str:
        return self.keys["rehost"].id

    @property
    def secret_key(self) -> Secret:
        return self.keys["rehost"].secret

    def control(self, call: str, body: Json = None, *, method: str = "") -> Json:
        """Make one call of the control interface."""
        return net.call_json(
            f"{self.endpoint}/_rehost/{call}",
            method=method or ("GET" if body is None else "POST"),
            body=body,
            headers={"authorization": f"Bearer {self.token.reveal()}"},
            seconds=600,
        )

    def calls(self, **wanted: Json) -> list[dict[str, Json]]:
        """Return logged calls whose fields equal ``wanted`` (``class`` is spelled ``class_``)."""
        query = {
            name.rstrip("_"): str(value).lower() if value in (True, False) else value for name, value in wanted.items()
        }
        found: list[dict[str, Json]] = self.control(f"calls?{urlencode(query)}")["calls"]
        return found

    def digest(self) -> dict[str, Json]:
        """Return the digest of everything stored, in all and by bucket."""
        found: dict[str, Json] = self.control("digest")
        return found

    def inject(self, *rules: Mapping[str, Json]) -> None:
        """Put fault rules in force in place of those before; none = no faults."""
        self.control("faults", [dict(rule) for rule in rules], method="PUT")

    def bulk(self, **what: Json) -> dict[str, Json]:
        """Load objects inside the mock's process; see ``mockaws_bulk``."""
        done: dict[str, Json] = self.control("bulk", what)
        return done

    def phase(self, name: str) -> None:
        """Say what is played from now on; the log carries it."""
        self.control("phase", {"phase": name})

    def environment(self, user: str = "rehost") -> dict[str, str]:
        """Return the variables with which an AWS client finds and may use this mock."""
        return {
            "AWS_ACCESS_KEY_ID": self.keys[user].id,
            "AWS_SECRET_ACCESS_KEY": self.keys[user].secret.reveal(),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def stop(self) -> None:
        self.child.stop()


def start_store(
    address: str, folder: Path, *, services: Sequence[str] | None = None, config: Mapping[str, Json] | None = None
) -> Store:
    """Start one mock server process at ``address:9000``; ``services=None`` serves all of AWS."""
    keys = {user: new_key() for user in USERS}
    token = Secret(secrets.token_urlsafe(24))
    child = net.start_module(
        "toolkit.rehearsal.mockaws_process",
        folder=folder,
        config={
            "listen": [[address, PORT]],
            "folder": str(folder),
            "credentials": {key.id: [user, key.secret.reveal()] for user, key in keys.items()},
            "token": token.reveal(),
            "services": None if services is None else list(services),
            "verify": True,
            **(config or {}),
        },
        env={**MOTO, "MOTO_AMIS_PATH": str(write_images(folder))},
    )
    return Store(child, f"http://{address}:{PORT}", keys, token)


def write_images(folder: Path) -> Path:
    """Write the few neutral machine images the mock offers; loading moto's 1,301 takes seconds."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "images.json"
    path.write_text(json.dumps([_image(name, number) for number, name in enumerate(IMAGES, 1)]))
    return path


def _image(name: str, number: int) -> dict[str, Json]:
    return {
        "ami_id": f"ami-0{number:016x}",
        "state": "available",
        "public": True,
        "owner_id": "136693071363",
        "image_location": f"136693071363/{name}",
        "sriov": "simple",
        "root_device_type": "ebs",
        "root_device_name": "/dev/xvda",
        "description": name,
        "image_type": "machine",
        "platform": None,
        "architecture": "arm64" if name.endswith("arm64") else "x86_64",
        "name": name,
        "virtualization_type": "hvm",
        "hypervisor": "xen",
    }


@dataclass(frozen=True, slots=True)
class MockAws:
    """The whole old side: AWS, its DNS, the parent of its zones, and the machines."""

    loopback: net.Loopback
    folder: Path
    store: Store
    hypervisor: net.Child | None
    hypervisor_url: str
    hypervisor_token: Secret

    @property
    def endpoint(self) -> str:
        return self.store.endpoint

    @property
    def registry_url(self) -> str:
        return f"http://{self.loopback.old_ip(4)}:8053"

    @property
    def dns(self) -> str:
        """Where the DNS twin answers, ``ip:port``."""
        return f"{self.loopback.old_ip(3)}:5300"

    @property
    def parent_dns(self) -> str:
        return f"{self.loopback.old_ip(4)}:5300"

    def cutoff(self, *, dns: bool = True) -> None:
        """Shut the account: every AWS call answers 403, the machines are gone, Route 53 with them."""
        self.store.control("cutoff", {"dns": dns})
        for server in self.machines("servers")["servers"] if self.hypervisor else ():
            self.machines(f"servers/{server['id']}/stop", {})

    def restore(self) -> None:
        """Open the account again (the machines stay off)."""
        self.store.control("restore", {})

    def public_ip(self, instance: str, address: str) -> None:
        """Give an EC2 instance the public address under which its machine answers."""
        self.store.control("public-ip", {"instance": instance, "ip": address})

    def machines(self, path: str, body: Json = None, *, method: str = "") -> Json:
        """Make one call of the hypervisor that plays the old machines."""
        return net.call_json(
            f"{self.hypervisor_url}/{path}",
            method=method or ("GET" if body is None else "POST"),
            body=body,
            headers={"X-Rehost-Token": self.hypervisor_token.reveal()},
        )

    def writes(self, **wanted: Json) -> list[dict[str, Json]]:
        """Return the write calls of rehost that were done: what a source that is only read must lack."""
        rows = self.store.calls(class_="write", user="rehost", **wanted)
        return [row for row in rows if 200 <= row["status"] < 400]

    def stop(self) -> None:
        if self.hypervisor is not None:
            self.hypervisor.stop()
        self.store.stop()


def start(loopback: net.Loopback, folder: Path, *, hypervisor: bool = True) -> MockAws:
    """Start the old side in ``folder``; the caller stops it."""
    store = start_store(
        loopback.old_ip(2),
        folder,
        config={"twin": {"endpoint": loopback.old_ip(2), "dns": loopback.old_ip(3), "parent": loopback.old_ip(4)}},
    )
    token = Secret(secrets.token_urlsafe(24))
    child = None
    if hypervisor:
        try:
            child = start_hypervisor(loopback.old_ip(5), folder, token=token, resolver=f"{loopback.old_ip(3)}:5300")
        except BaseException:
            store.stop()
            raise
    return MockAws(loopback, folder, store, child, f"http://{loopback.old_ip(5)}:9400", token)


def start_hypervisor(
    address: str, folder: Path, *, token: Secret, resolver: str, deny: Sequence[str] = ()
) -> net.Child:
    """Start the embedded hypervisor as a child process at ``address:9400``."""
    return net.start_module(
        "toolkit.rehearsal.hypervisor",
        [
            *("--listen", f"{address}:9400", "--folder", str(folder / "machines"), "--resolver", resolver),
            *(part for network in deny for part in ("--deny", network)),
        ],
        folder=folder,
        env={"REHOST_HYPERVISOR_TOKEN": token.reveal()},
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the old side until SIGTERM or SIGINT, for use by hand."""
    parser = argparse.ArgumentParser(prog="python -m toolkit.rehearsal.mockaws", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--base", metavar="127.A.B", help="the old network; the new one is 127.A.(B+1)")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--no-hypervisor", action="store_true")
    options = parser.parse_args(argv)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with net.claim(options.base) as loopback:
        aws = start(loopback, options.folder, hypervisor=not options.no_hypervisor)
        try:
            net.announce(dict(_shown(aws)))
            ended.wait()
        finally:
            aws.stop()
    return 0


def _shown(aws: MockAws) -> Iterator[tuple[str, Json]]:
    """What a person at the terminal needs: these keys live as long as this process."""
    yield "endpoint", aws.endpoint
    yield "environment", aws.store.environment()
    yield "token", aws.store.token.reveal()
    yield "dns", aws.dns
    yield "registry", aws.registry_url
    yield "hypervisor", aws.hypervisor_url


if __name__ == "__main__":
    sys.exit(main())
