"""Summary table of results of any models, images and threats, each under a distinct name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from advbench.reports import sheet
from advbench.reports.sheet import Sheet
from advbench.reports.sources import StoredRun


def of_runs(runs: Sequence[StoredRun]) -> Sheet:
    """Build the table of one run in detail, or of several runs with a row each."""
    if len(runs) == 1:
        return sheet.of_result(runs[0].result)
    found = sheet.of_runs([run.result for run in runs])
    rows = (
        (name, *row[1:], run.result.state) for name, run, row in zip(_distinct(runs), runs, found.rows, strict=True)
    )
    return replace(found, header=(*found.header, "state"), rows=tuple(rows))


def named(runs: Sequence[StoredRun]) -> list[str]:
    """Return the models' names, with the path of the run if different models share a name."""
    digests: dict[str, set[str]] = {}
    for run in runs:
        digests.setdefault(run.result.model.name, set()).add(run.result.model.digest)
    names = [run.result.model.name for run in runs]
    return [name if len(digests[name]) == 1 else f"{name} ({run.path})" for name, run in zip(names, runs, strict=True)]


def titled(runs: Sequence[StoredRun]) -> list[str]:
    """Return distinct titles of model and threat, one per run."""
    return [f"{name}, {run.result.threat.title}" for name, run in zip(_distinct(runs), runs, strict=True)]


def _distinct(runs: Sequence[StoredRun]) -> list[str]:
    """Return the names, with the path of the run if another run has the same model and threat."""
    titles = [run.title for run in runs]
    return [
        f"{name} ({run.path})" if titles.count(run.title) > 1 and name == run.result.model.name else name
        for name, run in zip(named(runs), runs, strict=True)
    ]
