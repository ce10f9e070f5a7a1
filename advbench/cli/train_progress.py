"""Progress of training on stderr: a bar on a terminal, elsewhere one line for each epoch."""

from __future__ import annotations

from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from advbench.defenses.metrics import LineListener, Record, validated


class Bar(LineListener):
    """Loss, clean and robust validation accuracy, images a second, time left."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(self.line)
        self.console = Console(stderr=True, quiet=quiet)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("compiling", total=None)
        self.validated = ""

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()

    def begin(self, step: int, total: int) -> None:
        self.bar.update(self.task, completed=step, total=total)
        super().begin(step, total)

    def window(self, record: Record) -> None:
        text = f"loss {record['loss']:.3f}{self.validated} {record['images_per_second']:.0f} img/s"
        self.bar.update(self.task, completed=record["step"], description=text)

    def epoch(self, record: Record) -> None:
        self.validated = validated(record)
        super().epoch(record)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)
