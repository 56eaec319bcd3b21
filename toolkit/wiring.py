"""The one file that picks concrete drivers: site definition in, families bound to their providers out.

Add a provider: one branch in the ``_*_driver`` function of its family. Used by the command line, the
rehearsal and the pytest plugin. Raises ``DefinitionError``, ``AuthError``, ``Unsupported``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from toolkit import aws, reach, wire
from toolkit.blobs import Blobs
from toolkit.commands import Completed
from toolkit.compute.drivers.ec2 import LosslessEC2
from toolkit.compute.drivers.embedded import EmbeddedNodeDriver
from toolkit.compute.family import ComputeFamily
from toolkit.compute.model import Found
from toolkit.database.family import DatabaseFamily
from toolkit.dns.drivers.generic import GenericDns, libcloud_dns_driver
from toolkit.dns.drivers.powerdns import LosslessPowerDNS
from toolkit.dns.drivers.registrar import ManualRegistrar, Registrar, RegistryRegistrar, Route53Registrar
from toolkit.dns.drivers.route53 import LosslessRoute53
from toolkit.dns.family import DnsFamily
from toolkit.errors import AuthError, NotFound, Refused, Unsupported
from toolkit.families import FAMILIES, Family, Tick
from toolkit.model import Json, Side
from toolkit.providers import KINDS
from toolkit.runs import Run
from toolkit.secrets import Credentials, Secret, credentials
from toolkit.site import Provider, Site
from toolkit.site_check import loopback
from toolkit.storage import names
from toolkit.storage.config.scene import Maps
from toolkit.storage.copying import CopyFamily
from toolkit.storage.drivers.generic import GenericStorage, libcloud_driver
from toolkit.storage.drivers.iam import Iam
from toolkit.storage.drivers.rgw_users import RgwUsers
from toolkit.storage.drivers.s3 import S3Driver
from toolkit.storage.drivers.trial import S3Trial
from toolkit.storage.family import StorageFamily
from toolkit.storage.identity.family import Identities, Surroundings
from toolkit.storage.identity.map import IDENTITY, IdentityMap, identity_map
from toolkit.storage.identity.protocol import Directory
from toolkit.storage.joined import StorageParts
from toolkit.storage.model import Knobs
from toolkit.storage.texts import Texts

#: How a reference to credentials becomes credentials, and who is told of secrets.
Keyring = Callable[[Any], Credentials]
Remember = Callable[..., None]


def forget(*_secrets: Secret) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of one move. ``live=False``: the old side is known, but nobody may talk to it (prove)."""

    old: Provider | None
    new: Provider | None
    folder: Path
    blobs: Blobs
    tick: Tick
    keys: Keyring
    site: Site | None = None
    live: bool = True
    remember: Remember = forget

    @property
    def source(self) -> Provider | None:
        """The old provider, as far as a driver for it may be made."""
        return self.old if self.live else None


def open_families(
    site: Site, run: Run, tick: Tick, *, source: bool = True, remember: Remember = forget
) -> dict[str, Family]:
    """Bind every family that the site moves. ``source=False`` leaves the old side alone.

    ``remember`` is told every secret that was resolved, so that no log can show one.
    """
    keys = keyring(site.folder, remember)
    blobs = Blobs(run.path / "blobs")
    made: dict[str, Family] = {}
    for name in FAMILIES:
        move = site.move.get(name)
        if move is None or not move.target:
            continue
        if len(move.sources) != 1:
            raise Unsupported(
                f"{name} moves from {len(move.sources)} providers at once: {', '.join(move.sources)}",
                "write one site.yaml for each, with a run folder of its own",
            )
        ends = Ends(
            site.providers[move.sources[0]],
            site.providers[move.target],
            run.path,
            blobs,
            tick,
            keys,
            site,
            source,
            remember,
        )
        made[name] = _family(name, ends)
    return made


def discovery_families(
    provider: Provider, folder: Path, blobs: Blobs, tick: Tick, *, base: Path = Path(), remember: Remember = forget
) -> dict[str, Family]:
    """Bind every family that a provider serves, as source only."""
    ends = Ends(provider, None, folder, blobs, tick, keyring(base, remember), remember=remember)
    return {name: _family(name, ends) for name in KINDS[provider.kind].families}


def copy_provider(site: Site | None, wanted: str) -> Provider:
    """Return the named provider of a site; without one, a kind with its address and keys in the environment.

    ``REHOST_<KIND>_ENDPOINT``, ``_REGION``, ``_KEY`` and ``_SECRET``; AWS has its own defaults.
    """
    if site is not None and wanted in site.providers:
        return site.providers[wanted]
    stores = [kind for kind, row in KINDS.items() if "storage" in row.families and kind != "libcloud"]
    if wanted not in stores:
        known = ", ".join([*(site.providers if site else ()), *stores])
        raise NotFound(f"there is no provider {wanted!r}", f"choose one of: {known}")
    start = f"REHOST_{wanted.upper()}_"
    endpoint = os.environ.get(f"{start}ENDPOINT", "")
    if wanted != "aws" and not endpoint:
        raise AuthError(f"{wanted} needs an address", f"set {start}ENDPOINT, {start}KEY and {start}SECRET")
    if endpoint.startswith("http://") and not loopback(endpoint):
        raise Refused(
            f"{start}ENDPOINT is not encrypted", "use https://, or name the provider in site.yaml with insecure: true"
        )
    named = f"{start}KEY" in os.environ or wanted != "aws"
    keys: Any = {"key": f"env:{start}KEY", "secret": f"env:{start}SECRET"} if named else "aws-default"
    region = os.environ.get(f"{start}REGION") or ("us-east-1" if wanted == "aws" else "")
    return Provider(wanted, wanted, endpoint, (region,) if region else (), keys)


def copy_family(
    source: Provider,
    target: Provider,
    folder: Path,
    tick: Tick,
    *,
    transfers: int | None = None,
    base: Path = Path(),
    remember: Remember = forget,
) -> CopyFamily:
    """Bind the storage family to one copy. ``transfers``: objects under way at once, adaptive by default."""
    keys = keyring(base, remember)
    knobs = Knobs() if transfers is None else Knobs(in_flight=transfers)
    return CopyFamily(
        source=_storage_driver(source, keys),
        target=_storage_driver(target, keys),
        workspace=folder,
        tick=tick,
        knobs=knobs,
    )


def keyring(base: Path, remember: Remember) -> Keyring:
    """Return how references become credentials: relative files start from ``base``, secrets are remembered."""

    def keys(reference: Any) -> Credentials:
        found = credentials(reference, base=base)
        remember(*found.secrets)
        return found

    return keys


def discovery_provider(site: Site | None, wanted: str) -> Provider:
    """Return the named provider of a site, or one of a kind with its default credentials."""
    if site is not None and wanted in site.providers:
        return site.providers[wanted]
    if wanted in KINDS:
        regions = ("us-east-1",) if wanted == "aws" else ()
        return Provider(wanted, wanted, regions=regions, credentials="aws-default" if wanted == "aws" else None)
    known = ", ".join([*(site.providers if site else ()), *KINDS])
    raise NotFound(f"there is no provider {wanted!r}", f"choose one of: {known}")


def provider_entries(providers: Mapping[str, Provider]) -> dict[str, dict[str, Json]]:
    """Return providers as site.yaml spells them, for a file that does not exist yet."""
    entries: dict[str, dict[str, Json]] = {}
    for name, provider in providers.items():
        entry: dict[str, Json] = {"kind": provider.kind}
        if provider.endpoint:
            entry["endpoint"] = provider.endpoint
        if provider.regions:
            entry["regions"] = list(provider.regions)
        if provider.credentials:
            entry["credentials"] = provider.credentials
        entries[name] = {**entry, **provider.extra}
    return entries


# -- families


def _family(name: str, ends: Ends) -> Family:
    """Bind one family to its ends."""
    return {"storage": _storage, "dns": _dns, "compute": _compute, "database": _database}[name](ends)


def _storage(ends: Ends) -> Family:
    target = _storage_driver(ends.new, ends.keys)
    hosts = (ends.old and urlsplit(ends.old.endpoint).netloc,)
    texts = Texts(
        target=target,
        workspace=ends.folder,
        hosts=tuple(host for host in hosts if host),
        aws=ends.old is not None and ends.old.kind == "aws",
    )
    return StorageParts(_buckets(ends), _identities(ends), texts)


def _identities(ends: Ends) -> Identities:
    """Bind users and policies to both sides; relative sinks lie beside site.yaml."""
    found = ends.site.resources().values() if ends.site else ()
    buckets = [item for item in found if item.address.startswith("storage/bucket/") and not item.facts.get("ignore")]
    target = _storage_driver(ends.new, ends.keys)
    around = Surroundings(
        {str(item.body["name"]): names.new_name(item) for item in buckets},
        ends.folder,
        ends.site.folder if ends.site else Path(),
        target.ex_first_key if target else lambda _bucket, _prefix: "",
        ends.remember,
    )
    if ends.site and not any(addr.startswith(IDENTITY) for addr in ends.site.resources()):
        return Identities(source=None, target=None, around=around)  # nobody to move: nobody is asked
    trial = S3Trial(ends.new.endpoint, _region(ends.new)) if ends.new else None
    return Identities(
        source=_directory(ends.source, ends.keys), target=_directory(ends.new, ends.keys), around=around, trial=trial
    )


def _directory(provider: Provider | None, keys: Keyring) -> Directory | None:
    """Return where a provider keeps its users; plain S3 stores have no way of their own to say."""
    if provider is None or provider.kind not in ("aws", "ceph"):
        return None
    admin = keys(provider.extra.get("admin") or provider.credentials)
    if provider.kind == "aws":
        return Iam(credentials=admin, endpoint=provider.endpoint, region=_region(provider))
    store = _storage_driver(provider, keys)
    return RgwUsers(endpoint=provider.endpoint, credentials=admin, owner=lambda: store.ex_owner() if store else "")


def _region(provider: Provider) -> str:
    return provider.regions[0] if provider.regions else "us-east-1"


def _buckets(ends: Ends) -> Family:
    return StorageFamily(
        source=_storage_driver(ends.source, ends.keys),
        target=_storage_driver(ends.new, ends.keys),
        workspace=ends.folder,
        tick=ends.tick,
        source_hosts=reach.hosts(ends.old),
        target_addresses=_addresses(ends.new),
        maps=_maps(ends),
    )


def _maps(ends: Ends) -> Maps:
    """Return what the site says about names of the old side: who is who, which topic and class is which."""
    told = ends.new.extra if ends.new else {}
    people = identity_map(ends.site.resources().values()) if ends.site else IdentityMap()
    return Maps(people, dict(told.get("topics") or {}), dict(told.get("storage_classes") or {}))


def _dns(ends: Ends) -> Family:
    hints = reach.hints_of(ends.site) if ends.site else wire.Hints()
    return DnsFamily(
        source=_dns_driver(ends.source, ends.keys),
        target=_dns_driver(ends.new, ends.keys),
        workspace=ends.folder,
        tick=ends.tick,
        hints=hints,
        target_nameservers=dict(ends.new.extra.get("nameservers") or {}) if ends.new else {},
        registrar=_registrar(ends.site, hints, ends.keys) if ends.site else None,
    )


def _compute(ends: Ends) -> ComputeFamily:
    return ComputeFamily(
        source=_compute_driver(ends.source, ends.keys, ends.folder),
        target=_compute_driver(ends.new, ends.keys, ends.folder),
        workspace=ends.folder,
        tick=ends.tick,
        blobs=ends.blobs,
        source_kind=ends.old.kind if ends.old else "",
        target_kind=ends.new.kind if ends.new else "",
        pool=ends.new.extra.get("pool") if ends.new else None,
        gone_ok=not ends.live,
        base=ends.site.folder if ends.site else Path(),
    )


def _database(ends: Ends) -> Family:
    if ends.site is None:
        raise Unsupported("databases are not discovered", "describe them in site.yaml under databases:")
    return DatabaseFamily(
        source=ends.live,
        workspace=ends.folder,
        tick=ends.tick,
        run_at=_runner(ends.site, ends),
        blobs=ends.blobs,
    )


def _runner(site: Site, ends: Ends) -> Callable[[Side, str, list[str], bytes, float], Completed]:
    """Return how a command is run on a server of either side.

    The machines of a mocked provider are played by an embedded hypervisor (``x-machines``), which is
    then the way to them.
    """
    compute = _compute(ends)
    played = ends.source.extra.get("x-machines") if ends.source else None
    machines = None
    if played:
        stand_in = Provider("x-machines", "embedded", played["endpoint"], credentials=played["credentials"])
        machines = EmbeddedNodeDriver(stand_in.endpoint, _one_key(stand_in, ends.keys))

    def run_at(side: Side, server: str, argv: list[str], stdin: bytes, timeout: float) -> Completed:
        if side == "source" and machines is not None:
            resource = site.resources()[server]
            return machines.ex_exec(_ident(machines, str(resource.body["name"])), argv, stdin, timeout)
        return compute.run_at(side, site.resources()[server], argv, stdin, timeout)

    return run_at


def _ident(driver: EmbeddedNodeDriver, name: str) -> str:
    for found in driver.ex_read("server"):
        if isinstance(found, Found) and found.name == name:
            return found.id
    raise NotFound(f"there is no machine {name}", "start it, or run `rehost discover` again")


# -- drivers


def _storage_driver(provider: Provider | None, keys: Keyring) -> S3Driver | GenericStorage | None:
    if provider is None:
        return None
    if provider.kind in ("aws", "ceph", "s3"):
        return S3Driver(
            kind=provider.kind,
            endpoint=provider.endpoint,
            region=provider.regions[0] if provider.regions else "",
            credentials=keys(provider.credentials),
            loader=keys(loader) if (loader := provider.extra.get("loader")) else None,
            again=lambda: keys(provider.credentials),
        )
    if provider.kind == "libcloud" and _serves(provider, "storage"):
        args = dict(provider.extra.get("args") or {})
        return GenericStorage(libcloud_driver(provider.extra["driver"], keys(provider.credentials), args))
    raise _no(provider, "storage")


def _serves(provider: Provider, family: str) -> bool:
    """Say whether a libcloud provider is one of this family, and names its driver."""
    return provider.extra.get("family") == family and bool(provider.extra.get("driver"))


def _dns_driver(provider: Provider | None, keys: Keyring) -> LosslessRoute53 | LosslessPowerDNS | GenericDns | None:
    if provider is None:
        return None
    if provider.kind == "aws":
        return LosslessRoute53(endpoint=provider.endpoint or None, credentials=aws.keys(keys(provider.credentials)))
    if provider.kind == "powerdns":
        key = _one_key(provider, keys)
        return LosslessPowerDNS(endpoint=provider.endpoint, credentials=aws.Keys(key, Secret("")))
    if provider.kind == "libcloud" and _serves(provider, "dns"):
        args = dict(provider.extra.get("args") or {})
        driver = libcloud_dns_driver(provider.extra["driver"], keys(provider.credentials), args)
        return GenericDns(driver, expresses=frozenset(provider.extra.get("x-expresses") or ()))
    raise _no(provider, "dns")


def _compute_driver(provider: Provider | None, keys: Keyring, folder: Path) -> Any:
    if provider is None:
        return None
    extra = provider.extra
    access = dict(extra.get("access") or {})
    if isinstance(access.get("key"), str):
        access["key"] = keys({"key": access["key"]}).key
    if provider.kind == "aws":
        return LosslessEC2(
            keys(provider.credentials),
            regions=provider.regions or ("us-east-1",),
            endpoint=provider.endpoint,
            images=extra.get("images"),
            network=extra.get("network"),
            access=access,
        )
    if provider.kind == "libvirt":
        # The binding needs libvirt's C library: imported only where a libvirt host is named.
        from toolkit.compute.drivers.libvirt import LosslessLibvirt

        return LosslessLibvirt(
            provider.endpoint,
            folder=Path(extra.get("x-folder") or folder / "libvirt"),
            images=extra.get("images"),
            network=extra.get("network"),
            access=access,
            accelerator=str(extra.get("x-accelerator") or "qemu"),
        )
    if provider.kind == "embedded":
        return EmbeddedNodeDriver(provider.endpoint, _one_key(provider, keys))
    raise _no(provider, "compute")


def _one_key(provider: Provider, keys: Keyring) -> Secret:
    """Resolve the one key of providers that know no pair."""
    key = keys(provider.credentials).key
    if key is None:
        raise AuthError(f"the provider {provider.name} needs a key", "name it under credentials: {key: env:NAME}")
    return key


def _registrar(site: Site, hints: wire.Hints, keys: Keyring) -> Registrar:
    """Return who holds the names: ``outside.registrar`` of the site, a human if it says nothing."""
    entry = (site.section("outside").get("registrar")) or {}
    kind = entry.get("kind", "manual")
    if kind == "registry":
        return RegistryRegistrar(entry["endpoint"])
    if kind == "route53domains":
        provider = site.providers[entry["provider"]]
        return Route53Registrar(endpoint=provider.endpoint or None, credentials=aws.keys(keys(provider.credentials)))
    if kind == "manual":
        return ManualRegistrar(hints)
    raise Unsupported(f"there is no registrar of kind {kind!r}", "choose registry, route53domains or manual")


def _no(provider: Provider, family: str) -> Unsupported:
    known = ", ".join(kind for kind, row in KINDS.items() if family in row.families)
    return Unsupported(f"{provider.kind} is no provider of {family}", f"choose one of: {known}")


# -- addresses and names


def _addresses(provider: Provider | None) -> tuple[str, ...]:
    if provider is None:
        return ()
    return tuple(provider.extra.get("addresses") or ()) or reach.hosts(provider)
