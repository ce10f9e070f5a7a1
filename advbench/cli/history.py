"""`advbench history`: robust accuracy over commits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advbench.cli import panels
from advbench.cli.options import Json, Markdown
from advbench.cli.panels import argument, option
from advbench.core.errors import Inconclusive, UsageError


def history(
    folder: Annotated[Path, argument(panels.RUNS, "DIR", "Folder of run directories and gates, at any depth.")],
    json: Json = None,
    markdown: Markdown = None,
    plot: Annotated[
        Path | None, option(panels.OUTPUT, "FILE", "Draw robust accuracy over commits: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Tabulate all evaluations in a folder by model, data and threat model, in order of time."""
    from advbench.api.stored import collect
    from advbench.cli import output
    from advbench.evaluation.history import History
    from advbench.reports.history import of_history

    output.check(json, markdown, plot)
    found, problems = collect(folder)
    for problem in problems:
        typer.echo(f"advbench: {problem}", err=True)
    if not found and not problems:
        raise Inconclusive(f"{folder} holds no results")
    all_runs = History.of(found)
    output.show(of_history(all_runs), all_runs.to_json(), json, markdown)
    if plot and found:
        from advbench.reports.trend import draw_history

        output.write(plot, draw_history(all_runs, plot.suffix))
    if problems:
        raise UsageError(f"{len(problems)} results in {folder} could not be read: see the lines above")
