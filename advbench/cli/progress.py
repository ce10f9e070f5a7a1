"""Progress of an evaluation on stderr: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

if TYPE_CHECKING:
    from advbench.evaluation import EvaluationProgress

PAUSE = 10.0  # seconds between lines


@contextmanager
def watching(model: str) -> Iterator[Callable[[EvaluationProgress], None]]:
    """Show progress within the block: call the yielded function with it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console, model)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[now]}", markup=False),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(model, total=None, now="compiling")
        pace = _Pace()

        def tell(at: EvaluationProgress) -> None:
            so_far = pace(at)
            bar.update(task, description=at.attack, completed=so_far.share, total=1.0, now=so_far.text)

        yield tell


class _Lines:
    """At most a line every `PAUSE` seconds, and one at the end of each attack."""

    def __init__(self, console: Console, model: str):
        self.console, self.model, self.pace, self.last = console, model, _Pace(), time.monotonic()

    def __call__(self, at: EvaluationProgress) -> None:
        now = self.pace(at)
        if now.share < 1 and time.monotonic() - self.last < PAUSE:
            return
        self.last = time.monotonic()
        self.console.print(Text(f"{self.model}: {at.attack}: {now.text}"), soft_wrap=True)


class _Now(NamedTuple):
    share: float  # of the attack
    text: str


class _Pace:
    """Images per second of the current attack, without batches that were read from a journal."""

    def __init__(self) -> None:
        self.attack, self.seen, self.seconds, self.last = "", 0, 0.0, time.monotonic()
        self.run, self.done = 0, 0

    def __call__(self, at: EvaluationProgress) -> _Now:
        clock, self.last = self.last, time.monotonic()
        if at.attack != self.attack:
            self.attack, self.seen, self.seconds, self.run, self.done = at.attack, 0, 0.0, 0, 0
        if at.run != self.run:
            self.run, self.done = at.run, 0
        if not at.resumed:
            self.seen += at.done - self.done
            self.seconds += self.last - clock
        self.done = at.done

        share = (at.run + at.done / at.total) / at.runs
        run = f"trial {at.run + 1}/{at.runs}, " if at.runs > 1 else ""
        text = f"{run}{at.done:,}/{at.total:,} images, robust {at.robust / at.n:.1%}"
        if self.seen:
            rate = self.seen / max(self.seconds, 1e-9)
            left = (at.total * (at.runs - at.run) - at.done) / rate
            text += f", {rate:,.0f} images/s, {_duration(left)} left"
        return _Now(share, text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
