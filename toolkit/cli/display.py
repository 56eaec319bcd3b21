"""The live display of long work: a rich progress board on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

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
        self._first: dict[str, tuple[float, int]] = {}
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
            TimeRemainingColumn(),
            TextColumn("{task.fields[wait]}", style="yellow"),
        )
        with Progress(*columns, console=self._console, transient=False) as live:
            self._live = live
            try:
                yield self
            finally:
                self._live = None

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
        if self._quiet:
            return
        now = time.monotonic()
        start, base = self._first.setdefault(moment.address, (now, moment.done))
        seconds = now - start
        speed = (moment.done - base) / seconds if seconds > SPEED_WINDOW else 0.0
        shown = f"{speed:,.0f}/s" if speed else ""
        wait = moment.wait or (f"{moment.retries} retries" if moment.retries else "")
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
