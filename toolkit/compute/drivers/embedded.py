"""The embedded hypervisor as a libcloud driver: the client of ``rehearsal/hypervisor.py``'s HTTP API.

Enters: the service's URL and token. Leaves: libcloud nodes and :class:`Found`. Raises ``Unreachable``,
``AuthError``, and whatever error of the tree the service names in its answer.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from libcloud.compute.base import KeyPair, Node, NodeDriver
from libcloud.compute.types import NodeState, Provider

from toolkit import errors
from toolkit.commands import Completed
from toolkit.compute.model import Definition, Found, Kind, Peer, Size, digest
from toolkit.model import Json, NotSeen, sha256_hex
from toolkit.secrets import Secret

_TOKEN_HEADER = "X-Rehost-Token"  # noqa: S105  (the name of a header)
_STATES = {"running": NodeState.RUNNING, "shut off": NodeState.STOPPED, "defined, not run": NodeState.STOPPED}
_READINESS_SECONDS = 20.0


class EmbeddedNodeDriver(NodeDriver):  # type: ignore[misc]
    """Servers as local processes of one embedded hypervisor."""

    type = Provider.DUMMY
    name = "Embedded hypervisor"
    website = ""
    features = {"create_node": ["ssh_key"]}  # noqa: RUF012  (libcloud's name and shape)

    def __init__(self, endpoint: str, token: Secret) -> None:
        split = urlsplit(endpoint)
        self._host, self._port = split.hostname or "127.0.0.1", split.port or 80
        self._token = token
        super().__init__(key="embedded")

    def _call(self, method: str, path: str, body: Any = None, *, timeout: float = 60) -> Any:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {_TOKEN_HEADER: self._token.reveal()})
            answer = connection.getresponse()
            status, content = answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise errors.Unreachable(
                f"the embedded hypervisor at {self._host}:{self._port} does not answer: {exc}",
                "start it, or correct the endpoint of its provider entry",
            ) from exc
        finally:
            connection.close()
        if status >= 400:
            kind = getattr(errors, str(content.get("error")), errors.ApplyError)
            raise kind(str(content.get("text")), str(content.get("remedy")))
        return content

    # libcloud's own methods -----------------------------------------------------------------

    def list_nodes(self) -> list[Node]:
        return [self._node(server) for server in self._call("GET", "/servers")["servers"]]

    def create_node(self, name: str, size: Any = None, image: Any = None, **extra: Any) -> Node:
        """Define a server; ``ex_userdata`` (bytes) is stored and never run."""
        data = extra.get("ex_userdata")
        body = {
            "name": name,
            "size": {"vcpus": getattr(size, "extra", {}).get("vcpus", 1), "memory_mib": getattr(size, "ram", 512)},
            "image": {"name": getattr(image, "id", "default")},
            "addresses": {"private": list(extra.get("ex_addresses") or ()), "public": []},
            "tags": {},
            "app": extra.get("ex_app"),
        }
        definition = Definition("", body, data.encode() if isinstance(data, str) else data, token=f"node:{name}")
        return self._node(self._call("GET", f"/servers/{self.ex_write_server(definition)}"))

    def start_node(self, node: Node) -> bool:
        self.ex_start(node.id, {})
        return True

    def stop_node(self, node: Node) -> bool:
        self.ex_stop(node.id)
        return True

    def reboot_node(self, _node: Node) -> bool:
        raise errors.Unsupported("the environment of a server is not kept, so it cannot reboot", "stop and start it")

    def destroy_node(self, node: Node) -> bool:
        self.ex_remove("server", node.id)
        return True

    def list_key_pairs(self) -> list[KeyPair]:
        return [
            KeyPair(item["body"]["name"], item["body"]["public_key"], "", self) for item in self._entries("keypair")
        ]

    def import_key_pair_from_string(self, name: str, key_material: str) -> KeyPair:
        body = {"name": name, "type": "ed25519" if "ed25519" in key_material else "rsa", "public_key": key_material}
        self.ex_write_keypair(f"compute/keypair/{name}", body)
        return KeyPair(name, key_material, "", self)

    def _node(self, server: Mapping[str, Any]) -> Node:
        addresses = server["body"]["addresses"]
        state = _STATES[server["state"]]
        return Node(server["id"], server["name"], state, addresses["public"], addresses["private"], self)

    # without loss -----------------------------------------------------------------------------

    def ex_could_write(self) -> bool | None:
        return True  # whoever may connect may do everything

    def ex_capabilities(self) -> frozenset[str]:
        return frozenset(
            {
                "keypair",
                "firewall",
                "firewall-references",
                "user-data",
                "create",
                "tags",
                "any-size",
                "any-image",
                "static-address",
                "app",
                "app-env",
                "exec",
                "redefine",
                "empty-disks",
            }
        )

    def ex_read(self, kind: Kind) -> Iterator[Found | NotSeen]:
        """Yield what is defined, with the digest of the user-data bytes that are really stored."""
        if kind == "server":
            for server in self._call("GET", "/servers")["servers"]:
                payload = self._call("GET", f"/servers/{server['id']}/user-data")
                data = None if payload["user_data"] is None else base64.b64decode(payload["user_data"])
                given = {name: base64.b64decode(text) for name, text in payload["files"].items()}
                app = server["body"].get("app")
                body = {**server["body"], "user_data": {"sha256": sha256_hex(data)} if data else None}
                if app is not None:
                    files = {name: {"sha256": value} for name, value in server["files"].items()}
                    body["app"] = {**app, "files": files}
                facts = {"state": server["state"], "exit": server["exit"]}
                yield Found("server", server["id"], body, facts, server["provenance"], data, given)
        elif kind != "load_balancer":
            for item in self._entries(kind):
                yield Found(kind, item["name"], item["body"], {}, item["provenance"])

    def _entries(self, kind: Kind) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._call("GET", f"/{kind}s")[f"{kind}s"]
        return entries

    def ex_sizes(self) -> tuple[Size, ...]:
        return ()

    def ex_images(self) -> tuple[str, ...]:
        return ()

    def ex_write_keypair(self, address: str, body: Mapping[str, Json]) -> str:
        return self._write("keypair", address, body)

    def ex_write_firewall(self, address: str, body: Mapping[str, Json], _peers: Mapping[str, Peer]) -> str:
        """Keep the definition; this hypervisor enforces no rules."""
        return self._write("firewall", address, body)

    def _write(self, kind: Kind, address: str, body: Mapping[str, Json]) -> str:
        for item in self._entries(kind):
            if item["body"]["name"] == body["name"] and item["provenance"].get("address") != address:
                raise errors.Conflict(
                    f"a {kind} {body['name']} exists and is not ours", "rename ours with `to: {name: …}`"
                )
        entry = {"body": dict(body), "provenance": {"by": "rehost", "address": address, "digest": digest(body)}}
        self._call("PUT", f"/{kind}s/{quote(address, safe='')}", entry)
        return address

    def ex_write_server(self, definition: Definition) -> str:
        """Define a server, or bring the one with our mark to this definition; its disk stays."""
        data = definition.user_data
        request = {
            "name": definition.name,
            "token": definition.token,
            "body": dict(definition.body),
            "payload": {
                "user_data": base64.b64encode(data).decode() if data else None,
                "files": {name: base64.b64encode(content).decode() for name, content in definition.files.items()},
            },
            "provenance": definition.provenance,
        }
        for server in self._call("GET", "/servers")["servers"]:
            if definition.address and server["provenance"].get("address") == definition.address:
                return str(self._call("PUT", f"/servers/{server['id']}", request)["id"])
        return str(self._call("POST", "/servers", request)["id"])

    def ex_start(self, ident: str, env: Mapping[str, Secret]) -> None:
        """Run the app with its secrets in memory; wait a little for its health path to answer."""
        server = self._call("POST", f"/servers/{ident}/start", {"env": {k: v.reveal() for k, v in env.items()}})
        deadline = time.monotonic() + _READINESS_SECONDS
        while server["state"] == "running" and time.monotonic() < deadline:
            if self._call("GET", f"/servers/{ident}/health")["ok"] in (True, None):
                return
            server = self._call("GET", f"/servers/{ident}")
            if server["exit"] is not None:
                console = self._call("GET", f"/servers/{ident}/console")["console"]
                raise errors.ApplyError(
                    f"the app of {server['name']} ended at once with {server['exit']}: {console[-400:].strip()}",
                    "correct app.argv or app.files in site.yaml",
                )
            time.sleep(0.1)

    def ex_stop(self, ident: str) -> None:
        self._call("POST", f"/servers/{ident}/stop")

    def ex_remove(self, kind: Kind, ident: str) -> None:
        """Remove a definition and its disk; that it is gone already is no error."""
        try:
            suffix = "?disks=1" if kind == "server" else ""
            self._call("DELETE", f"/{kind}s/{quote(ident, safe='')}{suffix}")
        except errors.NotFound:
            return

    def ex_exec(self, ident: str, argv: list[str], stdin: bytes, timeout: float) -> Completed:
        request = {"argv": argv, "stdin": base64.b64encode(stdin).decode(), "timeout": timeout}
        answer = self._call("POST", f"/servers/{ident}/exec", request, timeout=timeout + 30)
        return Completed(answer["rc"], base64.b64decode(answer["out"]), base64.b64decode(answer["err"]))

    def ex_console(self, ident: str) -> str:
        return str(self._call("GET", f"/servers/{ident}/console")["console"])

    def ex_refusals(self) -> list[dict[str, Any]]:
        """Return the connections that guests tried and the hypervisor's fence refused."""
        refusals: list[dict[str, Any]] = self._call("GET", "/refusals")["refusals"]
        return refusals

    def ex_isolation(self) -> dict[str, Any]:
        isolation: dict[str, Any] = self._call("GET", "/isolation")
        return isolation

    def ex_deny(self, ranges: list[str]) -> None:
        """Set the ranges that guests may not reach (the cut-off)."""
        self._call("PUT", "/deny", {"deny": ranges})
