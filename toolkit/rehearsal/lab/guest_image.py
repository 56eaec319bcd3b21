"""Build the guest image once, from this machine's own package sources, and keep it in a cache.

Enters: the cache folder. Leaves: ``<cache>/<digest of the recipe>/{disk.qcow2,vmlinuz,initrd.img}``.
May raise: ``Refused`` (not root, no Debian sources), ``NotFound`` (programs), ``Unreachable`` (a build
step failed). Two builders wait for each other; an unfinished build is never seen under its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit.errors import Refused, Unreachable
from toolkit.families import Progress, Tick
from toolkit.rehearsal.lab import recipe
from toolkit.rehearsal.lab.process import run

LIMIT = 1200.0
STEPS = 5


@dataclass(frozen=True, slots=True)
class GuestImage:
    """Absolute paths of a bootable image, and the kernel command line it wants."""

    disk: str
    kernel: str
    initrd: str
    cmdline: str


def cache_folder() -> Path:
    """Return where images are kept: below the user's cache folder, never in a checkout."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "rehost" / "images"


def image(cache: Path, tick: Tick) -> GuestImage:
    """Return the guest image, building it if the cache has none for this recipe."""
    place = cache.absolute() / recipe.digest()
    if not (place / "image.json").exists():
        if os.geteuid() != 0:
            raise Refused("building the guest image needs root", "Run as root once; the image is cached.")
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache, tick):
            if not (place / "image.json").exists():
                _build(cache.absolute(), place, tick)
    return GuestImage(str(place / "disk.qcow2"), str(place / "vmlinuz"), str(place / "initrd.img"), recipe.CMDLINE)


def sources() -> str:
    """Return the Debian sources apt uses here for the suite, in one-line format."""
    form = "$(ORIGIN)\t$(CODENAME)\t$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)"
    rows = run(["apt-get", "indextargets", "--format", form, "Identifier: Packages"]).decode().splitlines()
    found = dict.fromkeys(
        f"deb {uri} {release} {component}"
        for origin, codename, uri, release, component in (row.split("\t") for row in rows)
        if origin == "Debian" and codename.startswith(recipe.SUITE)
    )
    if not found:
        raise Refused(
            f"apt on this machine has no lists of Debian {recipe.SUITE}",
            "Run 'apt-get update' on a Debian 12 machine, then try again.",
        )
    return "\n".join(found) + "\n"


def _build(cache: Path, place: Path, tick: Tick) -> None:
    began = time.monotonic()
    for stale in cache.glob(".building-*"):  # we hold the lock: nobody is building there
        shutil.rmtree(stale)
    work = Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
    try:
        root, raw, out = work / "root", work / "disk.raw", work / "out"
        out.mkdir()
        done = iter(range(STEPS))

        def step(text: str) -> None:
            tick(Progress("lab", "lab/image", next(done), STEPS, wait=f"building the guest image: {text}"))

        step("unpacking Debian")
        _bootstrap(root, work)
        step("configuring")
        _configure(root)
        step("initramfs")
        _kernel(root, out)
        step("filesystem")
        run(["truncate", "-s", recipe.DISK_SIZE, str(raw)])
        options = ["-E", "lazy_itable_init=0,lazy_journal_init=0", "-m", "0", "-L", "rehost-root"]
        run(["mke2fs", "-q", "-t", "ext4", *options, "-d", str(root), str(raw)], limit=LIMIT)
        step("qcow2")
        run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(out / "disk.qcow2")], limit=LIMIT)
        facts = asdict(GuestImage("disk.qcow2", "vmlinuz", "initrd.img", recipe.CMDLINE))
        facts |= {"recipe": recipe.digest(), "seconds": round(time.monotonic() - began)}
        (out / "image.json").write_text(json.dumps(facts, indent=2) + "\n")
        if place.exists():
            shutil.rmtree(place)  # without image.json: not one of ours in use
        out.rename(place)
    except OSError as exc:
        raise Unreachable(f"the guest image could not be built: {exc}", "Look for a full disk.") from exc
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _bootstrap(root: Path, work: Path) -> None:
    """Unpack Debian into a folder. INITRD=No: the initramfs is made once, after configuring."""
    listing = work / "sources.list"
    listing.write_text(sources())
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", "--format=directory"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.EXCLUDED]
    argv += [f"--dpkgopt=path-include={pattern}" for pattern in recipe.INCLUDED]
    argv += [f"--include={','.join(recipe.PACKAGES)}", recipe.SUITE, str(root), str(listing)]
    run(argv, env={"INITRD": "No", "DEBIAN_FRONTEND": "noninteractive"}, limit=LIMIT)


def _configure(root: Path) -> None:
    for name, text in {**recipe.FILES, **recipe.PROGRAMS}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name in recipe.PROGRAMS else 0o644)
    for name in recipe.REMOVED:
        (root / name).unlink()
    for rule in (root / "usr/lib/udev/rules.d").glob("*.rules"):
        if rule.stem not in recipe.UDEV_RULES:
            rule.unlink()
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    system = root / "etc/systemd/system"
    for name, target in recipe.TARGETS.items():
        (system / name).symlink_to(target)
    generators = root / "etc/systemd/system-generators"
    generators.mkdir(exist_ok=True)
    for name in recipe.GENERATORS:
        (generators / name).symlink_to("/dev/null")
    run(["chroot", str(root), "systemctl", "--quiet", "mask", *recipe.MASKED])
    run(["chroot", str(root), "systemctl", "--quiet", "enable", *recipe.ENABLED])


def _kernel(root: Path, out: Path) -> None:
    """Make the initramfs and take it and the kernel out: guests are booted with both from outside."""
    versions = sorted(path.name for path in (root / "usr/lib/modules").iterdir())
    if not versions:
        raise Unreachable("the image got no kernel", "Look at the package sources of this machine.")
    version = versions[-1]
    run(["chroot", str(root), "update-initramfs", "-c", "-k", version], limit=LIMIT)
    shutil.move(root / f"boot/initrd.img-{version}", out / "initrd.img")
    shutil.move(root / f"boot/vmlinuz-{version}", out / "vmlinuz")
    for path in (out / "initrd.img", out / "vmlinuz"):
        path.chmod(0o644)


@contextlib.contextmanager
def _locked(cache: Path, tick: Tick) -> Iterator[None]:
    with (cache / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tick(Progress("lab", "lab/image", 0, STEPS, wait="another process builds the guest image"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
