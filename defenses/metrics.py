"""Records of a training run: to a JSON lines file always, to TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]


class Listener:
    """Receives the events of training; any method may be overridden."""

    def begin(self, step: int, total: int) -> None:
        """Training starts, or resumes after a checkpoint.

        Parameters
        ----------
        step : int
            Steps taken so far.
        total : int
            Steps in all.
        """

    def window(self, record: Record) -> None:
        """About 50 steps have ended.

        Parameters
        ----------
        record : Record
            Step, epoch, loss, accuracy on the training examples, lr, eps, images per second.
        """

    def epoch(self, record: Record) -> None:
        """An epoch has ended.

        Parameters
        ----------
        record : Record
            As for `window`, with clean, FGSM and robust accuracy on the validation images.
        """

    def say(self, text: str) -> None:
        """The user should read this line.

        Parameters
        ----------
        text : str
            One line.
        """

    def end(self) -> None:
        """Training is over, or was stopped; it may not have begun."""


class LineListener(Listener):
    """Prints a line after each epoch, and every note.

    Parameters
    ----------
    tell : Callable[[str], None]
        Called with each line.
    """

    def __init__(self, tell: Callable[[str], None]):
        self.tell = tell

    def begin(self, step: int, total: int) -> None:
        if step:
            self.tell(f"resumed after step {step} of {total}")

    def epoch(self, record: Record) -> None:
        self.tell(f"epoch {record['epoch']}: loss {record['loss']:.3f}{validated(record)}")

    def say(self, text: str) -> None:
        self.tell(text)


def validated(record: Record) -> str:
    """Format the accuracies on the validation images.

    Parameters
    ----------
    record : Record
        Record of an epoch.

    Returns
    -------
    str
        Text to append to a line.
    """
    return f" clean {record['clean']:.1%} robust {record['robust']:.1%}"


class JsonLines(Listener):
    """Appends every record to a file, one JSON object a line.

    Parameters
    ----------
    path : Path
        File to append to.
    """

    def __init__(self, path: Path):
        self.path = path

    def begin(self, step: int, total: int) -> None:
        # Lines past the checkpoint that training resumes from will be written again.
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}")
        beside.write_text("".join(f"{line}\n" for line in lines if _step(line) <= step))
        beside.replace(self.path)

    def window(self, record: Record) -> None:
        self._write({"kind": "window", **record})

    def epoch(self, record: Record) -> None:
        self._write({"kind": "epoch", **record})

    def say(self, text: str) -> None:
        self._write({"kind": "note", "text": text})

    def _write(self, record: Record) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def _step(line: str) -> float:
    try:
        return float(json.loads(line).get("step", 0))
    except ValueError:  # half a line: the run was killed while it wrote
        return float("inf")


class TensorBoard(Listener):
    """Writes scalars for TensorBoard, through tensorboardX.

    Parameters
    ----------
    folder : Path
        Folder of the event files.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.writer: Any = None

    def begin(self, step: int, total: int) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(self.folder), purge_step=step + 1)

    def window(self, record: Record) -> None:
        self._write("train", record)

    def epoch(self, record: Record) -> None:
        self._write("validation", record)
        self.writer.flush()

    def end(self) -> None:
        # Flushing is not enough: the writer's thread still holds records until it is closed.
        if self.writer:
            self.writer.close()

    def _write(self, group: str, record: Record) -> None:
        for name, value in record.items():
            if name not in ("step", "epoch"):
                self.writer.add_scalar(f"{group}/{name}", value, record["step"])


def writers(out: Path) -> list[Listener]:
    """Return the writers for a run directory.

    Parameters
    ----------
    out : Path
        Run directory.

    Returns
    -------
    list[Listener]
        A JSON lines writer, and a TensorBoard writer where tensorboardX is installed.
    """
    found: list[Listener] = [JsonLines(out / "metrics.jsonl")]
    return [*found, TensorBoard(out / "tensorboard")] if find_spec("tensorboardX") else found
