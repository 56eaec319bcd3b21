"""libvirt as a full provider: what stock libcloud lacks (create, undefine, firewalls, keys) is added.

Enters: a connection URI, a folder for disks and seeds, images, network and access of the provider
entry. Leaves: libcloud nodes keyed by UUID and :class:`Found` read back from domains, their metadata
and the seeds on disk. Raises classes of :mod:`toolkit.errors` (from ``ex_*`` methods).

A server is one domain, one overlay disk, one seed image and, where libvirt has network filters, one
filter. Its definition is stored in the domain's metadata; its user-data only in the seed.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import libvirt
from libcloud.compute.base import KeyPair, Node
from libcloud.compute.drivers.libvirt_driver import LibvirtNodeDriver

from toolkit import hosts
from toolkit.commands import Completed
from toolkit.compute.drivers import iso9660, libvirt_xml, nocloud
from toolkit.compute.drivers import libvirt_store as store
from toolkit.compute.drivers.accelerator import probe
from toolkit.compute.drivers.libvirt_errors import translated, unsupported
from toolkit.compute.model import RUNNING, Definition, Found, Kind, Peer, Size, safe_name, slug_of
from toolkit.errors import Conflict, NotFound, Refused, RehostError
from toolkit.files import write_atomic
from toolkit.model import Json, NotSeen, sha256_hex
from toolkit.secrets import Secret

_LABEL = "cidata"
_BUTTON_SECONDS = 10.0
_STOP_SECONDS = 35.0
_BOOT_SECONDS = 300.0
_STATES = {1: RUNNING, 2: RUNNING, 3: "paused", 4: "shutting down", 5: "shut off", 6: "crashed", 7: "suspended"}
_log = logging.getLogger(__name__)


class LosslessLibvirt(LibvirtNodeDriver):  # type: ignore[misc]
    """One libvirt host; ``test:///default`` serves for everything but disks and packets."""

    features = {"create_node": ["ssh_key"]}  # noqa: RUF012  (libcloud's name and shape)

    def __init__(
        self,
        uri: str,
        *,
        folder: Path,
        images: Mapping[str, Mapping[str, str]] | None = None,
        network: Mapping[str, Any] | None = None,
        access: Mapping[str, Any] | None = None,
        accelerator: str = "qemu",
    ) -> None:
        libvirt.registerErrorHandler(lambda *_: None, None)  # its errors reach us as exceptions; keep stderr clean
        with translated():
            super().__init__(uri)
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o711)  # qemu runs as another user and must reach the disks, not list them
        self._images = {name: dict(image) for name, image in (images or {}).items()}
        self._network = nocloud.Network.from_mapping(network or {})
        self._access = dict(access or {})
        self._test = self.connection.getType() == "TEST"
        self._virt = "test" if self._test else probe() if accelerator == "probe" else accelerator

    # libcloud's own methods -----------------------------------------------------------------

    def _to_node(self, domain: Any) -> Node:
        node = super()._to_node(domain)
        node.id = domain.UUIDString()  # the libvirt id of every domain that is off is -1
        return node

    def _get_ip_addresses_for_domain(self, domain: Any) -> list[str]:
        """Return the static addresses of our definition; the neighbour table only knows who spoke lately."""
        stored = libvirt_xml.note(domain.XMLDesc())
        if stored:
            return list(stored["body"]["addresses"]["private"])
        return list(super()._get_ip_addresses_for_domain(domain))

    def create_node(self, name: str, size: Any = None, image: Any = None, **extra: Any) -> Node:
        """Define and start a domain; ``ex_userdata`` bytes go into its seed unaltered."""
        data = extra.get("ex_userdata")
        cpus = (getattr(size, "extra", None) or {}).get("cpu", 1)
        body: dict[str, Json] = {
            "name": name,
            "size": {"vcpus": int(cpus), "memory_mib": int(getattr(size, "ram", 512))},
            "image": {"name": getattr(image, "id", None) or image or "default"},
            "addresses": {"private": list(extra.get("ex_addresses") or ()), "public": []},
            "disks": [],
            "tags": {},
            "app": None,
        }
        definition = Definition(
            f"compute/server/{name}", body, data.encode() if isinstance(data, str) else data, token=f"node:{name}"
        )
        ident = self.ex_write_server(definition)
        self.ex_start(ident, {})
        return self.ex_get_node_by_uuid(ident)

    def list_key_pairs(self) -> list[KeyPair]:
        return [
            KeyPair(item.name, item.body["public_key"], "", self) for item in store.entries(self._folder, "keypair")
        ]

    def import_key_pair_from_string(self, name: str, key_material: str) -> KeyPair:
        body = {"name": name, "type": "ed25519" if "ed25519" in key_material else "rsa", "public_key": key_material}
        self.ex_write_keypair(f"compute/keypair/{name}", body)
        return KeyPair(name, key_material, "", self)

    # reading -------------------------------------------------------------------------------

    def ex_could_write(self) -> bool | None:
        return True  # whoever may connect may do everything

    def ex_capabilities(self) -> frozenset[str]:
        can = {"keypair", "firewall", "user-data", "create", "tags", "any-size", "static-address", "app", "app-env"}
        can |= {"redefine", "firewall-references", "empty-disks", f"arch:{self._arch()}"}
        if self._filters():
            can.add("firewall-enforced")
        if self._access.get("user"):
            can.add("exec")
        return frozenset(can)

    def _arch(self) -> str:
        if self._test:
            return "x86_64"  # it claims to be an i686, and runs nothing anyway
        with translated():
            return str(self.connection.getInfo()[0])

    def _filters(self) -> bool:
        try:
            self.connection.numOfNWFilters()
        except libvirt.libvirtError as exc:
            if unsupported(exc):
                return False
            raise
        return True

    def ex_read(self, kind: Kind) -> Iterator[Found | NotSeen]:
        """Yield what exists; a server's body is what was stored, corrected by what the domain really is."""
        if kind == "server":
            with translated():
                domains = sorted(self.connection.listAllDomains(), key=lambda domain: domain.name())
            for domain in domains:
                yield self._found(domain)
        elif kind != "load_balancer":
            yield from store.entries(self._folder, kind)

    def _found(self, domain: Any) -> Found:
        with translated():
            xml, state = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), domain.state()[0]
            name, ident = domain.name(), domain.UUIDString()
        stored, real = libvirt_xml.note(xml), libvirt_xml.hardware(xml)
        facts = {"state": _STATES.get(state, "unknown"), "uuid": ident, "accelerator": real["virt"]}
        body: dict[str, Json] = dict(stored.get("body") or {"tags": {}, "addresses": {"private": [], "public": []}})
        body["name"] = name
        body["size"] = {**(body.get("size") or {}), "vcpus": real["vcpus"], "memory_mib": real["memory_mib"]}
        data: bytes | None = None
        if stored:
            try:
                data = iso9660.read((self._home(ident) / "seed.iso").read_bytes())["user-data"] or None
            except (OSError, KeyError, Refused) as exc:
                facts["seed"] = f"unreadable: {exc}"
            body["user_data"] = {"sha256": sha256_hex(data)} if data else None
        return Found("server", ident, body, facts, stored.get("provenance") or {}, data)

    def ex_sizes(self) -> tuple[Size, ...]:
        return ()

    def ex_images(self) -> tuple[str, ...]:
        return tuple(self._images)

    # key pairs and firewalls -----------------------------------------------------------------

    def ex_write_keypair(self, address: str, body: Mapping[str, Json]) -> str:
        return store.store(self._folder, "keypair", address, body)

    def ex_write_firewall(self, address: str, body: Mapping[str, Json], peers: Mapping[str, Peer]) -> str:
        """Keep the definition and, where libvirt has them, define its network filter."""
        if self._filters():
            name = libvirt_xml.filter_name(slug_of(address))
            with translated():
                self.connection.nwfilterDefineXML(libvirt_xml.firewall(name, self._filter_uuid(name), body, peers))
        return store.store(self._folder, "firewall", address, body)

    def _filter_uuid(self, name: str) -> str:
        """Return the UUID to define a filter under: libvirt refuses a known name with another one."""
        try:
            return str(self.connection.nwfilterLookupByName(name).UUIDString())
        except libvirt.libvirtError:
            return str(uuid.uuid5(uuid.NAMESPACE_URL, f"rehost:nwfilter:{name}"))

    # servers -------------------------------------------------------------------------------

    def ex_write_server(self, definition: Definition) -> str:
        """Define a domain, or bring ours to this definition; an existing disk is kept.

        Raises:
            Conflict: a domain of that name exists and is not ours.
        """
        name = safe_name(definition.name)
        ident = str(uuid.uuid5(uuid.NAMESPACE_URL, f"rehost:{definition.token}"))
        for found in self.ex_read("server"):
            if isinstance(found, Found) and found.name == name:
                if found.provenance.get("address") != definition.address:
                    raise Conflict(f"a domain {name} exists and is not ours", "rename ours with `to: {name: …}`")
                ident = found.id
        home = self._home(ident)
        home.mkdir(mode=0o711, exist_ok=True)
        mac = "52:54:00:" + ":".join(uuid.UUID(ident).hex[i : i + 2] for i in (0, 2, 4))
        self._write_seed(definition, ident, mac)
        disks = [disk for disk in definition.body.get("disks") or () if disk.get("gib")]
        machine = libvirt_xml.Machine(
            name=name,
            uuid=ident,
            vcpus=int(definition.body["size"]["vcpus"]),
            memory_mib=int(definition.body["size"]["memory_mib"]),
            virt=self._virt,
            arch=definition.body["size"].get("arch") or self._arch(),
            disks=[] if self._test else store.make_disks(home, self._image(definition)["disk"], disks),
            seed=str(home / "seed.iso"),
            mac=mac,
            bridge=self._network.bridge,
            filter=self._server_filter(ident, definition),
            console="" if self._test else str(home / "console.log"),
            boot={} if self._test else self._boot(definition),
        )
        stored = {"body": dict(definition.body), "provenance": definition.provenance}
        with translated():
            self.connection.defineXML(libvirt_xml.domain(machine, stored))
        return ident

    def _home(self, ident: str) -> Path:
        return self._folder / ident

    def _boot(self, definition: Definition) -> Mapping[str, str]:
        return {key: self._image(definition).get(key, "") for key in ("kernel", "initrd", "cmdline")}

    def _image(self, definition: Definition) -> Mapping[str, str]:
        name = str(definition.body["image"]["name"])
        if name not in self._images:
            raise NotFound(f"no image is known under {name!r}", "name it in the provider's `images`")
        return self._images[name]

    def _write_seed(self, definition: Definition, ident: str, mac: str) -> None:
        user = str(self._access.get("user") or "root")
        key = self._access.get("key")
        authorized = (store.public_line(key),) if isinstance(key, Secret) else ()
        private, public = store.host_key(self._home(ident))
        login = nocloud.Login(user, authorized, private, public)
        # a changed definition is a new instance for cloud-init, so that it reads its seed again
        instance = f"{ident}-{definition.provenance['digest'][:12]}"
        files = nocloud.seed(definition, instance=instance, mac=mac, network=self._network, login=login)
        write_atomic(self._home(ident) / "seed.iso", iso9660.build(_LABEL, files))

    def _server_filter(self, ident: str, definition: Definition) -> str:
        if not definition.firewalls or not self._network.bridge or not self._filters():
            return ""
        name = libvirt_xml.filter_name(ident)
        parts = [libvirt_xml.filter_name(slug_of(item)) for item in definition.firewalls]
        with translated():
            self.connection.nwfilterDefineXML(libvirt_xml.server(name, self._filter_uuid(name), parts))
        return name

    def ex_start(self, ident: str, _env: Mapping[str, Secret]) -> None:
        """Power on; the environment lies in the seed already."""
        with translated():
            domain = self.connection.lookupByUUIDString(ident)
            if not domain.isActive():
                domain.create()

    def ex_stop(self, ident: str) -> None:
        """Ask the guest to shut down, by its power button and then over SSH; cut the power if it does not listen."""
        with translated():
            domain = self.connection.lookupByUUIDString(ident)
            if not domain.isActive():
                return
            domain.shutdown()
            if self._off(domain, _BUTTON_SECONDS):
                return
            self._power_off(ident)
            if not self._off(domain, _STOP_SECONDS):
                domain.destroy()

    def _off(self, domain: Any, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while domain.isActive() and time.monotonic() < deadline:
            time.sleep(0.2)
        return not domain.isActive()

    def _power_off(self, ident: str) -> None:
        """Log in and shut down: small guests have nobody who listens to the power button."""
        try:
            host, _ = self._way_in(ident)
            hosts.run(host, ["poweroff"], timeout=_BUTTON_SECONDS, sudo=host.user != "root")
        except RehostError as exc:
            _log.info("the guest %s cannot be asked over SSH: %s", ident, exc.text)

    def ex_remove(self, kind: Kind, ident: str) -> None:
        """Remove what is ours: a server with its disk, filter and seed. Already gone is no error."""
        if kind == "server":
            self.ex_undefine(ident, delete_disks=True)
            return
        if self._filters() and kind == "firewall":
            self._drop_filter(libvirt_xml.filter_name(slug_of(ident)))
        store.entry(self._folder, kind, ident).unlink(missing_ok=True)

    def ex_undefine(self, ident: str, *, delete_disks: bool) -> None:
        """Power off and forget a domain; without ``delete_disks`` its folder stays."""
        try:
            with translated():
                domain = self.connection.lookupByUUIDString(ident)
                if domain.isActive():
                    domain.destroy()
                domain.undefine()
        except NotFound:
            _log.debug("domain %s is gone already", ident)
        if self._filters():
            self._drop_filter(libvirt_xml.filter_name(ident))
        if delete_disks and self._home(ident).is_dir():
            for path in self._home(ident).iterdir():
                path.unlink()
            self._home(ident).rmdir()

    def _drop_filter(self, name: str) -> None:
        try:
            with translated():
                self.connection.nwfilterLookupByName(name).undefine()
        except NotFound:
            _log.debug("filter %s is gone already", name)

    def ex_exec(self, ident: str, argv: list[str], stdin: bytes, timeout: float) -> Completed:
        """Run a command in the guest over SSH, in the app's folder, once the guest answers."""
        host, folder = self._way_in(ident)
        hosts.wait_reachable(host, seconds=_BOOT_SECONDS, pause=lambda _elapsed: time.sleep(1.0))
        whole = ["env", "-C", folder, *argv] if folder else argv
        return hosts.run(host, whole, stdin=stdin, timeout=timeout, sudo=host.user != "root")

    def _way_in(self, ident: str) -> tuple[hosts.Host, str]:
        """Return how to log in to a guest, and the folder of its app.

        Raises:
            Refused: no key is configured, or the guest is not ours or has no address.
        """
        with translated():
            stored = libvirt_xml.note(self.connection.lookupByUUIDString(ident).XMLDesc())
        key = self._access.get("key")
        if not stored or not isinstance(key, Secret | Path) or not stored["body"]["addresses"]["private"]:
            raise Refused("that guest cannot be reached over SSH", "give the provider entry `access: {user, key}`")
        _, public = store.host_key(self._home(ident))
        user = str(self._access.get("user") or "root")
        host = hosts.Host(stored["body"]["addresses"]["private"][0], 22, user, key, public)
        return host, str((stored["body"].get("app") or {}).get("workdir") or "")

    def ex_console(self, ident: str) -> str:
        try:
            return (self._home(ident) / "console.log").read_text("utf-8", "replace")
        except OSError:
            return ""
