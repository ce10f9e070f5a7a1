"""Results and gates as they lie on the disk: run directories with their images, folders of them, JSON files."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from advbench.core.errors import UsageError
from advbench.evaluation.history import Told
from advbench.evaluation.result import Result
from advbench.gating.verdict import Gate
from advbench.reports.pictures import Pair
from advbench.reports.sources import Found, Run


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


def collect(folder: Path) -> tuple[list[Told], list[str]]:
    """All results below a folder, those of gates too, and what is wrong with those that can't be read.

    Raises
    ------
    UsageError
        When it is not a folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give the one that your results are kept in")
    found: list[Told] = []
    problems = []
    for path in sorted(folder.rglob("*.json")):
        try:
            for each in parse(path) if path.is_file() else ():
                results, remark = (each.results, f"gate: {each.verdict}") if isinstance(each, Gate) else ((each,), "")
                found += [Told(path, result, remark) for result in results]
        except UsageError as error:
            if _ours(path):
                problems.append(str(error))
    return found, problems


def _ours(path: Path) -> bool:
    """Whether a file that can't be read claims to be a result."""
    if path.name == "result.json":
        return True
    try:
        return b'"schema_version"' in path.read_bytes()
    except OSError:
        return False


def pairs(run: Run, wanted: Collection[int] | None = None) -> list[Pair]:
    """Every image of a run that an attack broke, of those `wanted`, with what it became, in the order of their numbers.

    Raises
    ------
    AdvbenchError
        Saying why there are none: no run directory, files missing or damaged, the data set not here or another one.
    """
    from advbench.core.images import pixels
    from advbench.core.lazy import choose, chunks, content_digest
    from advbench.data import again
    from advbench.evaluation.run import load_images

    result = run.result
    if wanted is not None and not wanted:
        return []
    if run.folder is None:
        raise UsageError(f"{run.path} has no images with it; they are in the run directory (--out)")
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
    return [
        Pair(rows[i], pixels(data.images[i]), x_adv)
        for i, x_adv in zip(images.index.tolist(), images.x_adv, strict=True)
        if i in rows
    ]
