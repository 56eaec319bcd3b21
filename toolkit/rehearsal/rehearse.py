"""Rehearse: the whole move, typed as a person would type it, against mocked AWS.

Seeds the mock with the sample app, discovers the site from there, runs the app on the old side,
moves it, shuts the account, and proves independence by using the app on the new side. Every verb runs
as its own process of the real command line, with cloud credentials stripped and the guard installed.

Enters: a folder with ``site.yaml`` and ``generate.py``. Leaves: the report document, and the report in
``<folder>/run/report``. Raises ``VerifyError`` when a step ends with an unexpected exit code.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import IO

from toolkit import guard, report
from toolkit.errors import JournalError, NotFound, Refused, VerifyError
from toolkit.model import Json, sha256_hex
from toolkit.rehearsal import faulted, isolation, mockaws, net, overlay, seed, stage
from toolkit.rehearsal.lab.info import LabInfo
from toolkit.runs import Run, note, noted, open_run
from toolkit.summary import summary

#: In a cut-over records may be changed at the source, and writing to buckets stopped; nothing else (P1).
CONSENTED = frozenset({"ChangeResourceRecordSets", "PutBucketPolicy", "DeleteBucketPolicy"})
NEEDS_HUMAN = 7

Say = Callable[[str], None]


@dataclass
class Play:
    """One rehearsal under way: what it plays, where, whom it talks to, how long each act took."""

    folder: Path
    site_dir: Path
    doc: Mapping[str, Json]
    generator: ModuleType
    scale: float
    say: Say
    env: dict[str, str]
    aws: mockaws.MockAws
    doors: faulted.Doors
    deny: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    remade: int = -1

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def run(self) -> Path:
        return self.folder / "run"


def rehearse(
    site_dir: Path, folder: Path, *, info: LabInfo | None, scale: float, say: Say, faults: Path | None = None
) -> dict[str, Json]:
    """Play all acts and return the report document. ``info`` is the running lab, or None for embedded.

    ``faults``: rules of the fault proxies that then stand before both stores.
    """
    with playing(site_dir, folder, info=info, scale=scale, say=say, faults=faults) as play:
        define(play)
        record(play)
        build(play)
        cut_over(play)
        cut_off(play)
        return conclude(play)


@contextlib.contextmanager
def playing(
    site_dir: Path, folder: Path, *, info: LabInfo | None, scale: float, say: Say, faults: Path | None = None
) -> Iterator[Play]:
    """Set the stage: mocked AWS with the app living on it, and an empty target."""
    generator = load_generator(site_dir)
    with _fresh(folder), net.claim() as loopback, contextlib.ExitStack() as stack:
        aws = mockaws.start(loopback, folder / "aws")
        stack.callback(aws.stop)
        target = stage.lab(info) if info else stage.embedded(stack, loopback, folder / "target")
        doors = faulted.doors(stack, aws, target, faults)
        play = Play(
            folder,
            site_dir,
            overlay.read(site_dir, loopback),
            generator,
            scale,
            say,
            environment(aws, target, generator),
            aws,
            doors,
            deny=(*(f"{loopback.old_ip(n)}/32" for n in (2, 3, 5)), f"{loopback.old}.16/28"),
        )
        with act(play, "seed"):
            seed.seed(play.doc, generator, aws, scale=scale, env=play.env, site_dir=site_dir)
        yield play


def load_generator(site_dir: Path) -> ModuleType:
    """Load ``generate.py`` of a sample site."""
    if not (site_dir / "site.yaml").exists() or not (site_dir / "generate.py").exists():
        raise NotFound(
            f"{site_dir} is not a sample site: it needs site.yaml and generate.py",
            "leave the folder out to rehearse the shipped sample",
        )
    return seed.load_generator(site_dir)


def environment(aws: mockaws.MockAws, target: stage.Target, generator: ModuleType) -> dict[str, str]:
    """The environment of every process of the rehearsal: no cloud credential but the mock's own."""
    login, password = next(iter(generator.accounts(0.01)))
    return {
        **guard.strip_credentials(os.environ),
        guard.ALLOW: "127.0.0.0/8,::1/128" + (f",{target.network}" if target.network else ""),
        "REHEARSAL_AWS_KEY": aws.store.access_key,
        "REHEARSAL_AWS_SECRET": aws.store.secret_key.reveal(),
        "REHEARSAL_MACHINES_KEY": aws.hypervisor_token.reveal(),
        "AGORA_SECRET": secrets.token_hex(16),
        "AGORA_JOURNEY_ACCOUNT": f"{login}:{password}",
        "NO_COLOR": "1",
        "COLUMNS": "160",
        **target.env,
    }


@contextlib.contextmanager
def act(play: Play, name: str) -> Iterator[None]:
    """Time one act and tell about it."""
    play.say(f"== {name}")
    started = time.monotonic()
    yield
    play.seconds[name] = round(time.monotonic() - started, 2)
    play.say(f"    ({play.seconds[name]:.0f} s)")


def rehost(play: Play, *argv: str, codes: Sequence[int] = (0,), deny: Sequence[str] = ()) -> str:
    """Type one command; its output goes to the display and to ``<folder>/output``."""
    line = ["rehost", *argv]
    play.say(f"$ {' '.join(line)}")
    env = {**play.env, guard.DENY: ",".join(deny)} if deny else play.env
    done = subprocess.run(
        [sys.executable, "-m", "toolkit.cli", *argv], env=env, capture_output=True, text=True, timeout=1800, check=False
    )
    with (play.folder / "output").open("a") as handle:
        handle.write(f"$ {' '.join(line)}\n{done.stdout}{done.stderr}[exit {done.returncode}]\n")
    for text in gist(done.stdout):
        play.say(f"    {text}")
    if done.returncode not in codes:
        raise VerifyError(
            f"`{' '.join(line)}` ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-1500:]}",
            f"everything it printed is in {play.folder / 'output'}",
        )
    return done.stdout


def gist(output: str) -> Iterator[str]:
    """Yield what a person wants to see of a verb's output: of long runs of like lines only the first two."""
    if output.startswith("{"):
        return  # a document for machines
    for _, run in groupby(output.splitlines(), key=_kind):
        lines = list(run)
        if len(lines) > 4:
            indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
            lines[2:] = [f"{indent}… {len(lines) - 2} more"]
        yield from lines


def _kind(line: str) -> str:
    """The sign or verdict that an indented line begins with; a numbered or unindented line is of its own kind."""
    word = line.split()[0] if line.startswith("  ") and line.strip() else line
    return line if word[:1].isdigit() else word


def define(play: Play) -> None:
    """Write the starting definition, discover the rest from the mock, add what people know."""
    site = play.site
    site.mkdir(parents=True)
    for name in ("app", "user-data"):
        if (play.site_dir / name).is_dir():
            shutil.copytree(play.site_dir / name, site / name)
    play.generator.write_accounts(site / "accounts.jsonl", play.scale)
    accounts = {"file": "accounts.jsonl", "sha256": sha256_hex((site / "accounts.jsonl").read_bytes())}
    made = stage.stage(play.aws, play.doors.target, source=play.doors.source)
    overlay.dump(site / "site.yaml", overlay.starting(play.doc, made, accounts))
    with act(play, "discover"):
        rehost(play, "discover", "-p", "aws", "--site", str(site), "--run", str(play.run))
        found = overlay.load(site / "site.yaml")
        overlay.people_add(found, play.doc)
        overlay.dump(site / "site.yaml", found)
        rehost(play, "discover", "-p", "aws", "--site", str(site), "--run", str(play.run), "--check")


def record(play: Play) -> None:
    """Check the ground and record at the source what must be the same afterwards."""
    with act(play, "doctor"):
        rehost(play, "doctor", *_at(play))
    with act(play, "record"):
        pages = play.folder / "pages.txt"
        pages.write_text("\n".join(seed.pages(play.generator, play.scale)) + "\n")
        rehost(play, "prove", *_at(play), "--record", "--pages", str(pages))


def build(play: Play) -> None:
    """Assess, plan, apply, apply again, verify."""
    for verb in ("assess", "plan"):
        with act(play, verb):
            rehost(play, verb, *_at(play))
    with act(play, "apply"):
        rehost(play, "apply", *_at(play), "--yes")
    with act(play, "apply again"):
        again = json.loads(rehost(play, "apply", *_at(play), "--yes", "--json"))
    play.remade = len(again["made"])
    play.say(f"    {play.remade} changes made, {len(again['present'])} were already so")
    with act(play, "verify"):
        rehost(play, "verify", *_at(play), "--tier", "meta")


def cut_over(play: Play) -> None:
    """Move traffic, then the delegation, then (a person does it) the registration."""
    for step in ("traffic", "dns"):
        with act(play, f"cutover {step}"):
            rehost(play, "cutover", step, *_at(play), "--yes")
    with act(play, "cutover registrar"):
        rehost(play, "cutover", "registrar", *_at(play), "--yes", codes=(NEEDS_HUMAN,))
        transfer(play)
        rehost(play, "cutover", "registrar", *_at(play), "--yes")


def transfer(play: Play) -> None:
    """Play the person who has the name transferred: the registry then names another registrar."""
    play.say("(a person orders the transfer; the registry completes it)")
    for zone in overlay.load(play.site / "site.yaml")["zones"].values():
        entry = f"{play.aws.registry_url}/domains/{zone['name']}"
        net.call_json(entry, method="PUT", body={**net.call_json(entry), "registrar": "another registrar"})


def cut_off(play: Play) -> None:
    """Shut the account: from here on every AWS call answers 403 and the old machines are gone."""
    with act(play, "cut off"):
        play.aws.cutoff()


def prove(play: Play, *, codes: Sequence[int] = (0, 1)) -> dict[str, Json]:
    """Make the seven checks, kept away from the old side; return what ``rehost prove`` left."""
    calls = play.folder / "calls.jsonl"
    calls.write_text("".join(json.dumps(row) + "\n" for row in play.aws.store.calls(after_cutoff=True)))
    with act(play, "prove"):
        rehost(play, "prove", *_at(play), "--calls", str(calls), codes=codes, deny=play.deny)
    return dict(noted(opened(play), "prove") or {})


def conclude(play: Play) -> dict[str, Json]:
    """Prove, then put evidence and promises into the report."""
    proof = prove(play)
    late = play.aws.store.calls(after_cutoff=True)
    kept = promises(play)
    broken = [name for name, promise in kept.items() if promise["status"] == "broken"]
    code = 0 if proof["verdict"] == "independent" and not late and not broken else 1
    run = opened(play)
    figures = {
        "seconds": play.seconds,
        "total_seconds": round(sum(play.seconds.values()), 1),
        "calls_after_cutoff": len(late),
        "isolation": isolation_text(play),
    }
    if play.doors.proxies:
        figures["faults"] = play.doors.figures()
    context = {"evidence": "mock", "scale": play.scale, "promises": kept, "figures": figures}
    note(run, "context", context)
    document = summary(run, exit_code=code)
    report.write(play.run / "report", document)
    return document


def opened(play: Play) -> Run:
    """Open the run folder of this rehearsal."""
    return open_run(play.run, str(play.doc["name"]))


def promises(play: Play) -> dict[str, Json]:
    """What this rehearsal measured of the promises."""
    writes = play.aws.writes(phase="move")
    unconsented = sorted({row["operation"] for row in writes} - CONSENTED)
    leaked = leaks(play)
    return {
        "P1": _held(
            not unconsented,
            f"{len(writes)} writes at the source, all consented" if not unconsented else str(unconsented),
        ),
        "P4": _held(play.remade == 0, f"a second apply made {play.remade} changes"),
        "P7": _held(
            not leaked, "no credential in any file of the rehearsal" if not leaked else f"found in {leaked[:5]}"
        ),
    }


def leaks(play: Play) -> list[str]:
    """Files below the site and run folders that hold a credential of this rehearsal."""
    values = [
        value.encode()
        for key, value in play.env.items()
        if len(value) >= 12 and any(word in key for word in ("SECRET", "KEY", "TOKEN")) and key != guard.ALLOW
    ]
    return [
        str(path.relative_to(play.folder))
        for root in (play.site, play.run, play.folder / "output")
        for path in ([root] if root.is_file() else root.rglob("*"))
        if path.is_file() and any(value in path.read_bytes() for value in values)
    ]


def isolation_text(play: Play) -> str:
    """Say which mechanisms kept the rehearsal away from the outside."""
    if play.doors.target.network:
        return f"the lab's own network namespace ({play.doors.target.network} and loopback), and an audit hook"
    return "a network namespace with loopback only, and an audit hook" if isolation.inside() else "an audit hook"


def _held(good: bool, evidence: str) -> dict[str, str]:
    return {"status": "held" if good else "broken", "evidence": evidence}


def _at(play: Play) -> tuple[str, ...]:
    return ("--site", str(play.site), "--run", str(play.run))


def _fresh(folder: Path) -> IO[str]:
    """Start in an empty folder and hold it; only a folder of an earlier, ended rehearsal is emptied."""
    marker = folder / "REHEARSAL"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise Refused(f"{folder} is not empty and no rehearsal's", "choose another with --folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = marker.open("a+")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        held.close()
        raise JournalError(
            f"another rehearsal works in {folder}", "wait for it, or choose another with --folder"
        ) from exc
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != marker:
            entry.unlink()
    held.truncate(0)
    held.write("This folder belongs to `rehost rehearse`; the next one empties it.\n")
    held.flush()
    return held
