"""Results and gates as they lie on the disk: run directories, folders of them, JSON files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advbench.core.errors import UsageError
from advbench.evaluation.result import Result
from advbench.gating.verdict import Gate


@dataclass(frozen=True)
class Run:
    """A result, and where it was found."""

    result: Result
    path: Path  # as given, or below what was given
    folder: Path | None  # the run directory, if there is one: where the adversarial images are

    @property
    def title(self) -> str:
        """Which model under which threat."""
        return f"{self.result.model.name}, {self.result.threat.title}"


@dataclass(frozen=True)
class Found:
    """All that was named, in order."""

    runs: tuple[Run, ...]
    gates: tuple[tuple[Path, Gate], ...] = ()


def read(paths: Sequence[Path]) -> Found:
    """Read run directories, folders that hold some, and the JSON files of results and gates.

    Of a folder come all its results, by their eps; of a gate its results too.

    Raises
    ------
    UsageError
        For a path that holds nothing of this, in one line.
    """
    runs: list[Run] = []
    gates: list[tuple[Path, Gate]] = []
    for path in paths:
        if path.is_dir():
            runs += _folder(path)
            continue
        found = parse(path)
        if not found:
            raise UsageError(f"{path} holds neither a result nor a gate; give run directories, or files of --json")
        gates += [(path, each) for each in found if isinstance(each, Gate)]
        folder = path.parent if path.name == "result.json" else None
        results = [result for each in found for result in (each.results if isinstance(each, Gate) else (each,))]
        runs += [Run(result, path, folder) for result in results]
    return Found(tuple(runs), tuple(gates))


def one(path: Path) -> Run:
    """The one run that a path holds.

    Raises
    ------
    UsageError
        When there are several, or none.
    """
    runs = read([path]).runs
    if len(runs) != 1:
        held = "; ".join(f"{run.path} ({run.title})" for run in runs[:8]) or "none"
        raise UsageError(f"{path} holds {len(runs)} results, one is needed; name it: {held}")
    return runs[0]


def parse(path: Path) -> list[Result | Gate]:
    """What a JSON file holds: a result, several, a gate; nothing if it is about something else.

    Raises
    ------
    UsageError
        When it can't be read, is not JSON, or is a result or gate of another schema version, or a damaged one.
    """
    try:
        text = path.read_bytes()
        content = json.loads(text)
    except OSError as error:
        raise UsageError(f"no result to read at {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not JSON") from None
    if isinstance(content, dict) and "outcomes" in content:
        return [Gate.load(path)]
    several = content if isinstance(content, list) else [content]
    if not several or not all(isinstance(each, dict) and {"rows", "robust"} & each.keys() for each in several):
        return []
    if isinstance(content, dict):
        return [Result.from_json(text, str(path))]
    return [Result.from_json(json.dumps(each), f"{path}[{at}]") for at, each in enumerate(several)]


def _folder(path: Path) -> list[Run]:
    own = path / "result.json"
    files = [own] if own.exists() else sorted(path.rglob("result.json"))
    if not files:
        raise UsageError(f"no result to read in {path}; was the run finished? then it has a result.json")
    runs = [Run(Result.load(file), file.parent, file.parent) for file in files]
    return sorted(runs, key=lambda run: (run.path.parent, run.result.threat.norm, run.result.threat.eps_value))
