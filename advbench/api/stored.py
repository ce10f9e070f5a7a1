"""Reading of results and gates from run directories with their images, folders of them, and JSON files."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from advbench.core.errors import UsageError
from advbench.evaluation.history import HistoryEntry
from advbench.evaluation.result import Result
from advbench.gating.verdict import Gate
from advbench.reports.pictures import Pairs
from advbench.reports.sources import Sources, StoredRun


def read(paths: Sequence[Path]) -> Sources:
    """Read run directories, folders of run directories, and JSON files of results and gates.

    Parameters
    ----------
    paths : sequence of Path
        Files and folders. A folder yields all its results, ordered by eps; a gate yields its results too.

    Returns
    -------
    Sources
        Results and gates.

    Raises
    ------
    UsageError
        For a path without a result or gate.
    """
    runs: list[StoredRun] = []
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
        runs += [StoredRun(result, path, folder) for result in results]
    return Sources(tuple(runs), tuple(gates))


def one(path: Path) -> StoredRun:
    """Read the only result at a path.

    Parameters
    ----------
    path : Path
        Run directory or JSON file.

    Returns
    -------
    StoredRun
        The result and its place.

    Raises
    ------
    UsageError
        When there are several results, or none.
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


def _folder(path: Path) -> list[StoredRun]:
    own = path / "result.json"
    files = [own] if own.exists() else sorted(path.rglob("result.json"))
    if not files:
        raise UsageError(f"{path} has no result.json: finish the run with --resume, or give another folder")
    runs = [StoredRun(Result.load(file), file.parent, file.parent) for file in files]
    return sorted(runs, key=lambda run: (run.path.parent, run.result.threat.norm, run.result.threat.eps_value))


def collect(folder: Path) -> tuple[list[HistoryEntry], list[str]]:
    """Collect all results below a folder, those of gates included.

    Parameters
    ----------
    folder : Path
        The folder, searched with all its subfolders.

    Returns
    -------
    tuple of list of HistoryEntry and list of str
        The results, and an error message for each result file that can't be read.

    Raises
    ------
    UsageError
        When it is not a folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give the folder of your results")
    found: list[HistoryEntry] = []
    problems = []
    for path in sorted(folder.rglob("*.json")):
        try:
            for each in parse(path) if path.is_file() else ():
                results, remark = (each.results, f"gate: {each.verdict}") if isinstance(each, Gate) else ((each,), "")
                found += [HistoryEntry(path, result, remark) for result in results]
        except UsageError as error:
            if _ours(path):
                problems.append(str(error))
    return found, problems


def _ours(path: Path) -> bool:
    """Return whether an unreadable file claims to be a result."""
    if path.name == "result.json":
        return True
    try:
        return b'"schema_version"' in path.read_bytes()
    except OSError:
        return False


def pairs(run: StoredRun, wanted: Collection[int] | None = None) -> Pairs:
    """Find the images of a run that an attack broke, with their adversarial images, by index.

    Parameters
    ----------
    run : StoredRun
        The run.
    wanted : collection of int, optional
        Indices to restrict the images to.

    Returns
    -------
    Pairs
        The images; each is read when it is requested.

    Raises
    ------
    AdvbenchError
        When there is no run directory, files are missing or damaged, or the data set is missing or another one.
    """
    from advbench.core.lazy import choose, chunks, content_digest
    from advbench.data import again
    from advbench.evaluation.run import load_images

    result = run.result
    if wanted is not None and not wanted:
        return Pairs((), np.zeros(0, np.uint8), np.zeros(0, np.float32))
    if run.folder is None:
        raise UsageError(f"{run.path} has no images: give the run directory (--out) instead")
    images = load_images(run.folder)
    if images.digest() != result.adversarial_digest:
        raise UsageError(f"the images in {run.folder} are not those of its result")
    about = result.data
    data = again(about.name, about.source, about.split, about.reading)
    indices = np.array([row.index for row in result.rows])
    data.require(int(indices.max(initial=-1)) + 1)
    if content_digest(choose(data.images, indices), data.labels[indices]) != result.data.digest:
        raise UsageError(f"the {data.name} {data.split} images here are not those of the run")
    fits = images.x_adv.shape == (*images.index.shape, *data.images.shape[1:])
    if not fits or not all(np.isfinite(part).all() for part in chunks(images.x_adv)):
        raise UsageError(f"the images in {run.folder} are damaged")
    rows = {row.index: row for row in result.rows if wanted is None or row.index in wanted}
    at = [place for place, index in enumerate(images.index.tolist()) if index in rows]
    some = images.index[at]
    return Pairs([rows[i] for i in some.tolist()], choose(data.images, some), choose(images.x_adv, at))
