"""`advbench report`: results and gates as a table, a page or LaTeX."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from advbench.cli import panels
from advbench.cli.options import Markdown
from advbench.cli.panels import TO, argument, option
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.evaluation import Result
    from advbench.reports.sources import Sources

Runs = Annotated[
    list[Path],
    argument(
        panels.RUNS,
        "RUN...",
        "Run directories, folders of them, or JSON files of `advbench attack` and `advbench gate`.",
    ),
]
Html = Annotated[str | None, option(panels.OUTPUT, TO, "Write one self-contained HTML page; - for stdout.")]


def report(
    runs: Runs,
    html: Html = None,
    markdown: Markdown = None,
    latex: Annotated[
        str | None, option(panels.OUTPUT, TO, "Write the table as LaTeX, with booktabs; - for stdout.")
    ] = None,
    robustbench: Annotated[
        str | None, option(panels.OUTPUT, TO, "Write the RobustBench leaderboard entry of one run; - for stdout.")
    ] = None,
) -> None:
    """Report evaluations and gates: as a table on the terminal, or in the formats asked for."""
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
            raise UsageError(f"--robustbench takes one run, and {len(results)} are given")
        output.emit(robustbench, _rendered("robustbench", "of_result", results[0]))
    others = (html, latex, robustbench)
    if markdown or not any(others):
        _some(found)
        output.show(summary.of_runs(found.runs), "", None, markdown, quiet=any(others))


def _some(found: Sources) -> list[Result]:
    """Return the results, of which a table needs one."""
    if not found.runs:
        raise UsageError("no results to tabulate; --html also shows gates that have none")
    return [run.result for run in found.runs]


def _rendered(module: str, function: str, argument: object) -> str:
    text: str = getattr(import_module(f"advbench.reports.{module}"), function)(argument)
    return text
