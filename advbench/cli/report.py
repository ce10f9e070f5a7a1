"""`advbench report`: results and gates on paper, as one page, or as a table."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from advbench.cli.options import TO, Markdown
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.evaluation import Result
    from advbench.reports.sources import Found

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN", help="Run directories, folders of them, or files of --json; gates too."),
]
Html = Annotated[str | None, typer.Option(metavar=TO, help="Write one page that needs nothing from outside of itself.")]


def report(
    runs: Runs,
    html: Html = None,
    markdown: Markdown = None,
    latex: Annotated[str | None, typer.Option(metavar=TO, help="Write the table as LaTeX, with booktabs.")] = None,
    robustbench: Annotated[
        str | None, typer.Option(metavar=TO, help="Write the entry of one run for a RobustBench leaderboard.")
    ] = None,
) -> None:
    """Report what evaluations and gates found; a table on the terminal unless told otherwise."""
    from advbench.api.stored import pairs, read
    from advbench.cli import output
    from advbench.reports import summary

    output.check(None, markdown, texts=(html, latex, robustbench))
    found = read(runs)
    results = [run.result for run in found.runs]
    if html:
        from advbench.reports.html.report import of_found

        output.emit(html, of_found(found, pairs))
    if latex:
        output.emit(latex, _rendered("latex", "of_results", _some(found)))
    if robustbench:
        if len(results) != 1:
            raise UsageError(f"--robustbench is about one run; {len(results)} are named")
        output.emit(robustbench, _rendered("robustbench", "of_result", results[0]))
    others = (html, latex, robustbench)
    if markdown or not any(others):
        _some(found)
        output.show(summary.of_runs(found.runs), "", None, markdown, quiet=any(others))


def _some(found: Found) -> list[Result]:
    """The results, of which a table needs one."""
    if not found.runs:
        raise UsageError("these hold no result to tabulate; --html shows gates without one too")
    return [run.result for run in found.runs]


def _rendered(module: str, function: str, argument: object) -> str:
    text: str = getattr(import_module(f"advbench.reports.{module}"), function)(argument)
    return text
