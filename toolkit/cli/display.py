"""The live display of long work: a rich progress board on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich import filesize
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from toolkit.families import Progress as Moment
from toolkit.model import Change

PLAIN_EVERY = 5.0  # seconds between plain lines of one address
SPEED_WINDOW = 2.0


class Display:
    """Shows ticks and announcements. ``quiet`` (with --json) shows nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True)
        self._quiet = quiet
        self._live: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._first: dict[str, tuple[float, int, int]] = {}
        self._retries: dict[str, int] = {}
        self._last: dict[str, float] = {}

    @contextmanager
    def board(self) -> Iterator[Display]:
        """Keep the board on screen for the duration of a ``with`` block."""
        if self._quiet or not self._console.is_terminal:
            yield self
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[wait]}", style="yellow"),
        )
        with Progress(*columns, console=self._console, transient=False) as live:
            self._live = live
            try:
                yield self
            finally:
                self._live = None

    @property
    def retries(self) -> int:
        """How many requests had to be sent again so far."""
        return sum(self._retries.values())

    def announce(self, change: Change, what: str) -> None:
        """Tell that a change starts or is done."""
        if not self._quiet:
            self._console.print(f"{what:>10}  {change.action} {change.address}", markup=False, highlight=False)

    def say(self, text: str) -> None:
        """Print one line."""
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def tick(self, moment: Moment) -> None:
        """Take one moment of progress."""
        self._retries[moment.address] = moment.retries
        if self._quiet:
            return
        now = time.monotonic()
        first = self._first.setdefault(moment.address, (now, moment.done, moment.size))
        shown = pace(moment, now - first[0], moment.done - first[1], moment.size - first[2])
        retried = f"{moment.retries:,} retries" if moment.retries else ""
        wait = "  ".join(part for part in (retried, f"waiting: {moment.wait}" if moment.wait else "") if part)
        if self._live is not None:
            task = self._tasks.get(moment.address)
            if task is None:
                task = self._live.add_task(moment.address, total=moment.total, speed="", wait="")
                self._tasks[moment.address] = task
            self._live.update(task, completed=moment.done, total=moment.total, speed=shown, wait=wait)
            return
        finished = moment.total is not None and moment.done >= moment.total
        if finished or now - self._last.get(moment.address, 0.0) >= PLAIN_EVERY:
            self._last[moment.address] = now
            of = f"/{moment.total}" if moment.total is not None else ""
            rest = f"  {moment.size:,} bytes" if moment.size else ""
            self.say(f"            {moment.address}  {moment.done}{of}{rest}  {shown}  {wait}".rstrip())


def pace(moment: Moment, seconds: float, done: int, size: int) -> str:
    """Say how fast it goes (``done`` items and ``size`` bytes in ``seconds``) and how long it will still take.

    What lasts longer decides: many small items by their number, few large ones by their bytes.
    """
    if seconds < SPEED_WINDOW:
        return ""
    parts = [f"{done / seconds:,.0f}/s"]
    left = [(moment.total - moment.done) * seconds / done] if moment.total is not None and done else []
    if size:
        parts.append(f"{filesize.decimal(round(size / seconds))}/s")
        if moment.total_size is not None:
            left.append((moment.total_size - moment.size) * seconds / size)
    if left:
        parts.append(f"ETA {timedelta(seconds=max(0, round(max(left))))}")
    return "  ".join(parts)
