"""`advbench history`: robust accuracy over commits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advbench.cli.options import Json, Markdown
from advbench.core.errors import Inconclusive, UsageError


def history(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where results and gates are kept, at any depth.")],
    json: Json = None,
    markdown: Markdown = None,
    plot: Annotated[Path | None, typer.Option(help="Draw robust accuracy over commits.")] = None,
) -> None:
    """Tabulate all evaluations below a folder by model, data and threat, in order of time."""
    from advbench.api.stored import collect
    from advbench.cli import output
    from advbench.evaluation.history import History
    from advbench.reports.history import of_history

    output.check(json, markdown, plot)
    found, problems = collect(folder)
    for problem in problems:
        typer.echo(f"advbench: {problem}", err=True)
    if not found and not problems:
        raise Inconclusive(f"there are no results below {folder}")
    told = History.of(found)
    output.show(of_history(told), told.to_json(), json, markdown)
    if plot and found:
        from advbench.reports.trend import draw_history

        output.write(plot, draw_history(told, plot.suffix))
    if problems:
        raise UsageError(f"{len(problems)} of the results below {folder} could not be read; they are named above")
