"""Results of any models, images and threats in one table."""

from __future__ import annotations

from collections.abc import Sequence

from advbench.evaluation.result import Result
from advbench.reports import sheet
from advbench.reports.sheet import Note, Sheet
from advbench.reports.sources import Run, threat

STATES = {0: "complete", 3: "invalid", 5: "incomplete"}


def of_runs(runs: Sequence[Run]) -> Sheet:
    """One run in detail; of several a row each."""
    if len(runs) == 1:
        return sheet.of_result(runs[0].result)
    names = named(runs)
    results = [run.result for run in runs]
    return Sheet(
        title=f"{len(runs)} evaluations of {len(set(names))} model{'s' if len(set(names)) > 1 else ''}",
        header=("model", "threat", "clean", "worst case", "images", "state", "seconds"),
        rows=tuple(_row(result, name) for result, name in zip(results, names, strict=True)),
        notes=(
            Note("legend", "Accuracy with its 95% Wilson interval; the worst case is taken image by image."),
            *sheet.flag_notes(results, [f"{name}, {threat(r)}" for name, r in zip(names, results, strict=True)]),
        ),
        needed=4,
    )


def named(runs: Sequence[Run]) -> list[str]:
    """The models' names; where different models share one, with where the run lies."""
    digests: dict[str, set[str]] = {}
    for run in runs:
        digests.setdefault(run.result.model.name, set()).add(run.result.model.digest)
    names = [run.result.model.name for run in runs]
    return [
        name if len(digests[name]) == 1 else f"{name} ({run.path})" for name, run in zip(names, runs, strict=True)
    ]


def _row(result: Result, name: str) -> tuple[str, ...]:
    return (
        name,
        threat(result),
        sheet.both(result.clean),
        sheet.both(result.robust),
        f"{result.data.n:,} {result.data.name}",
        STATES[result.exit_code],
        sheet.total(result.attacks),
    )
