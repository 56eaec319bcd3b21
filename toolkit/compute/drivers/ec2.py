"""EC2 without loss: a libcloud driver that reads through boto3 what libcloud drops.

Enters: resolved credentials, regions, an optional endpoint. Leaves: libcloud nodes from the standard
methods, complete :class:`Found` from ``ex_read``. Always signs with version 4. An answer in a namespace
that libcloud would not understand is corrected, or refused: **an empty list never stands for a blind
reader**. Raises classes of :mod:`toolkit.errors` only (from ``ex_*`` methods).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as boto
from botocore.config import Config
from libcloud.compute.base import Node
from libcloud.compute.drivers.ec2 import NAMESPACE, EC2Connection, EC2NodeDriver, EC2Response

from toolkit.commands import Completed
from toolkit.compute.drivers import ec2_read as read
from toolkit.compute.drivers import ec2_write as write
from toolkit.compute.drivers.ec2_errors import denied, translated
from toolkit.compute.model import Definition, Found, Kind, Peer, Size
from toolkit.errors import AuthError, NotFound, Refused, RehostError, Unsupported
from toolkit.hosts import Host, run
from toolkit.model import Json, NotSeen
from toolkit.secrets import Credentials, Secret

_NAMESPACE = re.compile(r"\{http://ec2\.amazonaws\.com/doc/[0-9-]+/?\}")
_PREFERRED = ("t3.", "m5.", "m6i.", "r5.", "r6i.", "t4g.", "m6g.", "r6g.")


class Response(EC2Response):  # type: ignore[misc]
    """Puts every element into the namespace that libcloud looks for, or refuses the answer."""

    def parse_body(self) -> Any:
        body = super().parse_body()
        tag = getattr(body, "tag", "")
        if not _NAMESPACE.match(tag):
            raise Refused(
                f"the reader is blind: EC2 answered in an unknown form ({tag[:80] or 'no XML'})",
                "check that the endpoint is an EC2 endpoint; nothing was read, so nothing may be concluded",
            )
        for element in body.iter():
            element.tag = _NAMESPACE.sub(f"{{{NAMESPACE}}}", element.tag)
        return body


class Connection(EC2Connection):  # type: ignore[misc]
    """The stock connection with the corrected response."""

    responseCls = Response  # noqa: N815  (libcloud's name)


class LosslessEC2(EC2NodeDriver):  # type: ignore[misc]
    """EC2 in one account: standard libcloud methods in the first region, ``ex_read`` in all of them."""

    connectionCls = Connection  # noqa: N815  (libcloud's name)

    def __init__(
        self,
        credentials: Credentials,
        *,
        regions: Sequence[str] = ("us-east-1",),
        endpoint: str = "",
        images: Mapping[str, Any] | None = None,
        network: Mapping[str, str] | None = None,
        access: Mapping[str, Any] | None = None,
    ) -> None:
        self._session = session(credentials)
        self.ex_regions = tuple(regions)
        self._endpoint = endpoint or None
        self._clients: dict[tuple[str, str], Any] = {}
        self._sizes: tuple[Size, ...] | None = None
        self._images = {name: str(v["id"] if isinstance(v, Mapping) else v) for name, v in (images or {}).items()}
        self._network = dict(network or {})
        self._access = dict(access or {})
        with translated():
            found = self._session.get_credentials()
        if found is None:
            raise AuthError("no AWS credentials were found", "name them in site.yaml under providers")
        frozen = found.get_frozen_credentials()
        split = urlsplit(endpoint)
        where: dict[str, Any] = {"host": split.hostname, "port": split.port} if endpoint else {}
        try:
            super().__init__(
                frozen.access_key,
                frozen.secret_key,
                secure=split.scheme != "http",
                region=self.ex_regions[0],
                token=frozen.token,
                signature_version="4",
                **{k: v for k, v in where.items() if v},
            )
        except ValueError as exc:
            raise Refused(f"libcloud does not know the region {self.ex_regions[0]}", "name another region") from exc

    # reading -----------------------------------------------------------------------------

    def ex_could_write(self) -> bool | None:
        """Ask for a key pair as a dry run: EC2 says whether it would have been allowed, and does nothing."""
        try:
            self._ec2().create_key_pair(KeyName="rehost-doctor", DryRun=True)
        except boto.ClientError as exc:
            return bool(exc.response.get("Error", {}).get("Code") == "DryRunOperation")
        return True

    def ex_capabilities(self) -> frozenset[str]:
        return frozenset(
            {"keypair", "firewall", "firewall-enforced", "firewall-references", "user-data", "create", "tags"}
        )

    def ex_read(self, kind: Kind) -> Iterator[Found | NotSeen]:
        """Yield everything of one kind in every region; what may not be read comes as ``NotSeen``.

        Raises:
            Refused: nothing came back and the endpoint cannot even name our region.
        """
        for region in self.ex_regions:
            try:
                found = list(self._read_one(kind, region))
            except RehostError as exc:
                if not denied(exc):
                    raise
                yield NotSeen(f"{kind}s in {region}", exc.text)
                continue
            if not found:
                self._canary(region)
            yield from found

    def _read_one(self, kind: Kind, region: str) -> Iterator[Found | NotSeen]:
        if kind == "load_balancer":
            return read.load_balancers(self._client("elbv2", region), region)
        ec2 = self._client("ec2", region)
        if kind == "server":
            return (self._with_alias(found) for found in read.servers(ec2, region))
        return read.keypairs(ec2, region) if kind == "keypair" else read.firewalls(ec2, region)

    def _with_alias(self, found: Found) -> Found:
        """Name an image by the site's own word for it, where the provider entry gives one."""
        ident = found.facts["x-aws"]["image"]
        alias = next((name for name, image in self._images.items() if image == ident), None)
        if alias is not None:
            found = Found(
                found.kind,
                found.id,
                {**found.body, "image": {"name": alias}},
                found.facts,
                found.provenance,
                found.user_data,
            )
        return found

    def _canary(self, region: str) -> None:
        """Prove that an empty answer is an answer: the endpoint must know the region we asked in."""
        try:
            with translated():
                answer = self._client("ec2", region).describe_regions()
                names = {item["RegionName"] for item in answer.get("Regions", ())}
        except RehostError as exc:
            if denied(exc):
                return
            raise
        if region not in names:
            raise Refused(
                f"the reader is blind: the endpoint answers, but does not know region {region}",
                "check endpoint and regions of this provider; nothing was read, so nothing may be concluded",
            )

    def list_nodes(self, ex_node_ids: Any = None, ex_filters: Any = None) -> list[Node]:
        """List nodes of the first region; every public address once (stock libcloud repeats elastic ones)."""
        nodes: list[Node] = super().list_nodes(ex_node_ids, ex_filters)
        for node in nodes:
            node.public_ips = list(dict.fromkeys(node.public_ips))
        if not nodes and not ex_node_ids and not ex_filters:
            self._canary(self.ex_regions[0])
        return nodes

    def ex_sizes(self) -> tuple[Size, ...]:
        """Return the sizes on sale, in the order in which they are preferred."""
        if self._sizes is None:
            filters = [{"Name": "instance-type", "Values": [f"{prefix}*" for prefix in _PREFERRED]}]
            items = read.pages(self._ec2(), "describe_instance_types", "InstanceTypes", Filters=filters)
            order = {prefix: index for index, prefix in enumerate(_PREFERRED)}
            found = [read.size_of(item) for item in items if not item.get("BareMetal") and not item.get("GpuInfo")]
            rank = {size.name: order.get(size.name.split(".")[0] + ".", len(order)) for size in found}
            found.sort(key=lambda size: (size.memory_mib, size.vcpus, rank[size.name], size.name))
            self._sizes = tuple(found)
        return self._sizes

    def ex_size(self, name: str) -> Size | None:
        """Return one size by name, ``None`` if this provider does not sell it."""
        return read.sizes(self._client("ec2", self.ex_regions[0]), [name]).get(name)

    def ex_images(self) -> tuple[str, ...]:
        return tuple(self._images)

    # writing -----------------------------------------------------------------------------

    def create_node(self, name: str, size: Any, image: Any, **extra: Any) -> Node:
        """Create an instance from bytes of user-data (``ex_userdata``), key name and group ids.

        Stock libcloud refuses ``ex_security_group_ids`` without a subnet; here they are simply passed on.
        """
        known = {"ex_userdata", "ex_keyname", "ex_security_group_ids", "ex_clienttoken", "ex_metadata", "location"}
        if set(extra) - known:
            return super().create_node(name=name, size=size, image=image, **extra)
        data = extra.get("ex_userdata")
        body = {
            "name": name,
            "size": {"name": size.id},
            "tags": dict(extra.get("ex_metadata") or {}),
            "disks": [],
        }
        definition = Definition(
            "",
            body,
            data.encode() if isinstance(data, str) else data,
            keypair=extra.get("ex_keyname") or "",
            firewalls=tuple(extra.get("ex_security_group_ids") or ()),
            token=extra.get("ex_clienttoken") or "",
        )
        subnet = self._network.get("subnet", "")
        ident = write.write_server(self._ec2(), definition, image=image.id, subnet=subnet)
        [node] = super().list_nodes([ident])
        return node

    def ex_write_keypair(self, address: str, body: Mapping[str, Json]) -> str:
        return write.write_keypair(self._ec2(), address, body)

    def ex_write_firewall(self, address: str, body: Mapping[str, Json], peers: Mapping[str, Peer]) -> str:
        """Create or correct a group; references between groups are native here, so addresses are not needed."""
        return write.write_firewall(self._ec2(), self._network.get("vpc", ""), address, body, peers)

    def ex_write_server(self, definition: Definition) -> str:
        """Create an instance, or return the one that carries our mark already.

        Raises:
            Unsupported: ours exists with another definition; EC2 cannot change one that runs.
        """
        for found in read.servers(self._ec2(), self.ex_regions[0]):
            if found.provenance.get("address") != definition.address:
                continue
            if found.provenance.get("digest") == definition.provenance["digest"]:
                return found.id
            raise Unsupported(
                f"{definition.name} runs with another definition, and EC2 cannot change that in place",
                "remove it (`rehost rollback --purge-created`) or give the new one another name",
            )
        alias = definition.body["image"]["name"]
        if alias not in self._images:
            raise NotFound(f"no image is known under {alias!r}", "name it in the provider's `images`")
        subnet = self._network.get("subnet", "")
        return write.write_server(self._ec2(), definition, image=self._images[alias], subnet=subnet)

    def ex_start(self, ident: str, _env: Mapping[str, Secret]) -> None:
        """Start an instance; its environment is its own business (a file that the playbook puts there)."""
        with translated():
            answer = self._ec2().describe_instances(InstanceIds=[ident])
            states = [i["State"]["Name"] for r in answer["Reservations"] for i in r["Instances"]]
            if states != ["running"]:
                self._ec2().start_instances(InstanceIds=[ident])
            self._ec2().get_waiter("instance_running").wait(InstanceIds=[ident])

    def ex_stop(self, ident: str) -> None:
        with translated():
            self._ec2().stop_instances(InstanceIds=[ident])
            self._ec2().get_waiter("instance_stopped").wait(InstanceIds=[ident])

    def ex_remove(self, kind: Kind, ident: str) -> None:
        write.remove(self._ec2(), kind, ident)

    def ex_exec(self, ident: str, argv: list[str], stdin: bytes, timeout: float) -> Completed:
        """Run a command over SSH; the provider entry's ``access`` names user, key and host keys."""
        found = next((f for f in read.servers(self._ec2(), self.ex_regions[0]) if f.id == ident), None)
        if found is None:
            raise NotFound(f"no instance {ident}", "run discover again")
        known = (self._access.get("host_keys") or {}).get(found.name)
        addresses = [*found.body["addresses"]["public"], *found.body["addresses"]["private"]]
        if not known or not addresses:
            raise Refused(
                f"{found.name} cannot be reached safely: no host key or no address is known",
                "put its host key under providers.<name>.access.host_keys",
            )
        host = Host(addresses[0], 22, self._access["user"], self._access["key"], known)
        return run(host, argv, stdin=stdin, timeout=timeout)

    # clients -----------------------------------------------------------------------------

    def _ec2(self) -> Any:
        return self._client("ec2", self.ex_regions[0])

    def _client(self, service: str, region: str) -> Any:
        if (service, region) not in self._clients:  # making one takes longer than most calls
            config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10, read_timeout=60)
            with translated():
                made = self._session.client(service, region_name=region, endpoint_url=self._endpoint, config=config)
            self._clients[service, region] = made
        return self._clients[service, region]


def session(credentials: Credentials) -> boto3.Session:
    """Return a boto3 session for resolved credentials."""
    with translated():
        if credentials.kind == "profile":
            return boto3.Session(profile_name=credentials.profile)
        if credentials.kind == "default":
            return boto3.Session()
        reveal: Callable[[Secret | None], str | None] = lambda secret: secret.reveal() if secret else None  # noqa: E731
        return boto3.Session(reveal(credentials.key), reveal(credentials.secret), reveal(credentials.token))
