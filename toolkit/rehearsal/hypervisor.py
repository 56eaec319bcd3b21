"""The embedded hypervisor: an HTTP service that runs a server's app as a local process.

It plays a compute provider where there is none: definitions of servers, key pairs and firewalls
are kept as JSON; ``start`` runs ``app.argv`` without a shell; user-data is stored and **never run**;
a server without ``app`` stays *defined, not run*. Guests' Python is fenced (``guest/sitecustomize.py``).

Enters: JSON requests with the token header. Leaves: JSON. Every error of the tree becomes a status
code and ``{"error", "text", "remedy"}``. The caller of :func:`serve` gets ``OSError`` if the port is taken.

    GET|POST /servers            GET|PUT|DELETE /servers/<id>          (DELETE ?disks=1 removes the disk)
    POST /servers/<id>/start {env}   POST /servers/<id>/stop   POST /servers/<id>/exec {argv, stdin, timeout}
    GET /servers/<id>/{console,user-data,health}
    GET /keypairs  PUT|DELETE /keypairs/<name>    GET /firewalls  PUT|DELETE /firewalls/<name>
    GET /refusals   GET /isolation   GET|PUT /deny   GET /ping
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired
from typing import Any

from toolkit.errors import Conflict, Refused
from toolkit.files import write_atomic
from toolkit.rehearsal import hypervisor_child as child
from toolkit.rehearsal.hypervisor_http import Server
from toolkit.rehearsal.hypervisor_store import Store

TOKEN_VARIABLE = "REHOST_HYPERVISOR_TOKEN"  # noqa: S105  (the name of a variable)
_TAIL = 1 << 20


class Machine:
    """One powered-on server: its process and the secrets it was started with, in memory only."""

    def __init__(self, process: Popen[bytes], env: Mapping[str, str]) -> None:
        self.process = process
        self.env = env
        self.commands: set[Popen[bytes]] = set()


class Hypervisor:
    """Definitions plus running machines; the HTTP layer below only translates."""

    def __init__(self, folder: Path, *, resolver: str, deny: Sequence[str], allow: Sequence[str]) -> None:
        self.store = Store(folder.resolve())
        root = self.store.folder
        self.fence = child.Fence(root / "rules.json", root / "refusals.jsonl", resolver)
        self.allow = list(allow)
        self.set_deny(deny)
        self.fence.refusals.touch(mode=0o600)
        self.machines: dict[str, Machine] = {}
        self.lock = threading.RLock()
        self.spawner = child.Spawner()
        self.isolation = child.isolation()

    def set_deny(self, deny: Sequence[str]) -> None:
        self.deny = [str(entry) for entry in deny]
        write_atomic(self.fence.rules, json.dumps({"allow": self.allow, "deny": self.deny}).encode())

    def refusals(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.fence.refusals.read_bytes().splitlines()]

    def show(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        machine = self.machines.get(definition["id"])
        shown = {**definition, "state": "shut off", "pid": None, "exit": None}
        if definition["body"].get("app") is None:
            shown["state"] = "defined, not run"
        elif machine is not None:
            shown.update(state="running", pid=machine.process.pid, exit=child.exit_status(machine.process))
        return shown

    def start(self, ident: str, env: Mapping[str, str]) -> dict[str, Any]:
        """Power on: nothing for a server without app, nothing if its app already runs."""
        with self.lock:
            definition = self.store.server(ident)
            app = definition["body"].get("app")
            running = self.machines.get(definition["id"])
            if app is None or (running and child.exit_status(running.process) is None):
                return self.show(definition)
            if running:
                self.stop(ident)
            home = self.store.home(definition)
            folder = child.workdir(home / "disk", app)
            self.store.materialise(definition, folder)
            whole = child.environment(definition, env, self.fence)
            (home / "console.log").touch(mode=0o600)
            with (home / "console.log").open("ab") as console:
                process = self.spawner.spawn(
                    app["argv"], cwd=folder, env=whole, stdin=DEVNULL, stdout=console, stderr=STDOUT
                )
            self.machines[definition["id"]] = Machine(process, whole)
            return self.show(definition)

    def stop(self, ident: str) -> dict[str, Any]:
        with self.lock:
            definition = self.store.server(ident)
            machine = self.machines.pop(definition["id"], None)
        if machine is not None:
            for command in list(machine.commands):
                child.kill_group(command, grace=0)
            child.kill_group(machine.process)
        return self.show(definition)

    def execute(self, ident: str, argv: Sequence[str], stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        """Run one command beside the app, in its folder and with its environment.

        Raises:
            Conflict: the server is off, or is only a definition.
            Refused: the command outlived ``timeout`` (it was killed).
        """
        definition = self.store.server(ident)
        machine = self.machines.get(definition["id"])
        if machine is None:
            state = self.show(definition)["state"]
            raise Conflict(f"server {definition['name']} is {state}", "start it first")
        folder = child.workdir(self.store.home(definition) / "disk", definition["body"]["app"])
        command = self.spawner.spawn(argv, cwd=folder, env=machine.env, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        machine.commands.add(command)
        try:
            out, err = command.communicate(stdin, timeout)
        except TimeoutExpired as exc:
            child.kill_group(command, grace=0)
            raise Refused(f"the command ran longer than {timeout:.0f} s and was killed", "raise the timeout") from exc
        finally:
            machine.commands.discard(command)
        return command.returncode, out, err

    def health(self, ident: str) -> dict[str, Any]:
        definition = self.store.server(ident)
        app = definition["body"].get("app")
        if app is None or not app.get("health"):
            return {"ok": None, "why": "no health path is defined"}
        url = f"http://{child.address(definition['body'])}:{app.get('port') or 8080}{app['health']}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=5) as answer:
                return {"ok": answer.status == 200, "why": f"HTTP {answer.status}"}
        except urllib.error.HTTPError as exc:
            return {"ok": False, "why": f"HTTP {exc.code}"}
        except OSError as exc:
            return {"ok": False, "why": str(exc)}

    def console(self, ident: str) -> bytes:
        path = self.store.home(self.store.server(ident)) / "console.log"
        return path.read_bytes()[-_TAIL:] if path.exists() else b""

    def remove(self, ident: str, *, disks: bool) -> None:
        with self.lock:
            definition = self.store.server(ident)
            self.stop(definition["id"])
            self.store.undefine(definition, disks=disks)

    def close(self) -> None:
        """Power everything off."""
        for ident in list(self.machines):
            self.stop(ident)
        self.spawner.close()


class Handle:
    """A served hypervisor: its URL, its token, and how to end it."""

    def __init__(self, server: Server, thread: threading.Thread) -> None:
        self._server, self._thread = server, thread
        self.hypervisor = server.hypervisor
        self.token = server.token
        self.address = (server.server_name, server.server_port)
        self.url = f"http://{server.server_name}:{server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.hypervisor.close()


def serve(
    address: tuple[str, int],
    folder: Path,
    resolver: str | None = None,
    deny: Sequence[str] = (),
    *,
    allow: Sequence[str] = (),
    token: str = "",
) -> Handle:
    """Serve in a thread of this process; an empty ``token`` makes a random one.

    ``allow`` names ranges beside loopback that guests may reach (the lab's network).
    """
    hypervisor = Hypervisor(folder, resolver=resolver or "", deny=deny, allow=allow)
    server = Server(address, hypervisor, token or secrets.token_urlsafe(24))
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="hypervisor", daemon=True)
    thread.start()
    return Handle(server, thread)


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a process of its own until SIGTERM or SIGINT; the token comes from the environment."""
    parser = argparse.ArgumentParser(prog="python -m toolkit.rehearsal.hypervisor", description="embedded hypervisor")
    parser.add_argument("--listen", required=True, metavar="IP:PORT")
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--resolver", default="", metavar="IP:PORT")
    parser.add_argument("--deny", action="append", default=[], metavar="CIDR")
    parser.add_argument("--allow", action="append", default=[], metavar="CIDR")
    options = parser.parse_args(argv)
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        parser.error(f"set {TOKEN_VARIABLE}: a service that runs commands does not run without a token")
    host, _, port = options.listen.rpartition(":")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    handle = serve((host, int(port)), options.folder, options.resolver, options.deny, allow=options.allow, token=token)
    sys.stdout.write(json.dumps({"listening": handle.url, "time": time.time()}) + "\n")
    sys.stdout.flush()
    ended.wait()
    handle.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
