"""Reading of results and gates from run directories, folders of them, and JSON files."""

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
    """A result and its location.

    Attributes
    ----------
    result : Result
        The result.
    path : Path
        The path given, or one below it.
    folder : Path or None
        The run directory with the adversarial images, if there is one.
    """

    result: Result
    path: Path
    folder: Path | None

    @property
    def title(self) -> str:
        """Title of the run: model and threat."""
        return f"{self.result.model.name}, {self.result.threat.title}"


@dataclass(frozen=True)
class Found:
    """Results and gates of all paths, in order."""

    runs: tuple[Run, ...]
    gates: tuple[tuple[Path, Gate], ...] = ()


def read(paths: Sequence[Path]) -> Found:
    """Read run directories, folders of run directories, and JSON files of results and gates.

    Parameters
    ----------
    paths : sequence of Path
        Files and folders. A folder yields all its results, ordered by eps; a gate yields its results too.

    Returns
    -------
    Found
        Results and gates.

    Raises
    ------
    UsageError
        For a path without a result or gate.
    """
    runs: list[Run] = []
    gates: list[tuple[Path, Gate]] = []
    for path in paths:
        if path.is_dir():
            runs += _folder(path)
            continue
        found = parse(path)
        if not found:
            raise UsageError(f"{path} is neither a result nor a gate: give run directories, or files written by --json")
        gates += [(path, each) for each in found if isinstance(each, Gate)]
        folder = path.parent if path.name == "result.json" else None
        results = [result for each in found for result in (each.results if isinstance(each, Gate) else (each,))]
        runs += [Run(result, path, folder) for result in results]
    return Found(tuple(runs), tuple(gates))


def one(path: Path) -> Run:
    """Read the only result at a path.

    Raises
    ------
    UsageError
        When there are several, or none.
    """
    runs = read([path]).runs
    if len(runs) != 1:
        held = "; ".join(f"{run.path} ({run.title})" for run in runs[:8]) or "none"
        raise UsageError(f"{path} holds {len(runs)} results, but one is needed: name one of {held}")
    return runs[0]


def parse(path: Path) -> list[Result | Gate]:
    """Read the results or the gate in a JSON file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    list of Result or Gate
        One result, several, or one gate; empty for JSON about something else.

    Raises
    ------
    UsageError
        When the file can't be read, is not JSON, or holds a result or gate that is damaged or of another schema
        version.
    """
    try:
        text = path.read_bytes()
        content = json.loads(text)
    except OSError as error:
        raise UsageError(f"can't read the result {path}: {error.strerror}") from None
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
        raise UsageError(f"{path} has no result.json: finish the run with --resume, or give another folder")
    runs = [Run(Result.load(file), file.parent, file.parent) for file in files]
    return sorted(runs, key=lambda run: (run.path.parent, run.result.threat.norm, run.result.threat.eps_value))
