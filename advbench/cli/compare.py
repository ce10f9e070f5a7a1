"""`advbench compare`: differences between two evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from advbench.cli import panels
from advbench.cli.options import Json, Markdown
from advbench.cli.panels import argument, option
from advbench.cli.report import Html
from advbench.core.errors import Inconclusive

if TYPE_CHECKING:
    from advbench.evaluation.comparison import Comparison
    from advbench.reports.sources import StoredRun


def compare(
    before: Annotated[
        Path, argument(panels.RUNS, "BEFORE", "Run directory, or file that `advbench attack --json` wrote.")
    ],
    after: Annotated[
        Path, argument(panels.RUNS, "AFTER", "Another run, on the same images under the same threat model.")
    ],
    json: Json = None,
    markdown: Markdown = None,
    html: Html = None,
    figure: Annotated[
        Path | None, option(panels.OUTPUT, "FILE", "Draw images that were lost or won: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Compare two evaluations image by image.

    Prints the difference in robust accuracy, its confidence interval, and the images that only one of the models
    classifies correctly under attack.
    """
    from advbench.api.outcome import conclude
    from advbench.api.stored import one, pairs
    from advbench.cli import output
    from advbench.evaluation.comparison import Comparison
    from advbench.reports.comparison import of_comparison

    output.check(json, markdown, figure, texts=(html,))
    first, second = one(before), one(after)
    found = Comparison.of(first.result, second.result)
    output.show(of_comparison(found), found.to_json(), json, markdown, quiet=html == "-")
    if html:
        from advbench.reports.html.compare import of_pair

        output.emit(html, of_pair(found, first, second, pairs))
    if figure:
        output.write(figure, _drawn(found, first, second, figure.suffix))
    conclude([first.result, second.result])


def _drawn(found: Comparison, before: StoredRun, after: StoredRun, suffix: str) -> bytes:
    """Draw up to four images lost and four won, or more of one kind where the other has fewer."""
    from advbench.api.stored import pairs
    from advbench.reports.comparison import headline
    from advbench.reports.figure import SHOWN, changed, draw_examples
    from advbench.reports.pictures import spread

    lost = changed(after.result, spread(pairs(after, found.lost), SHOWN), "lost")
    won = changed(before.result, spread(pairs(before, found.won), SHOWN), "won")
    shown = [*lost[: max(SHOWN // 2, SHOWN - len(won))], *won[: max(SHOWN // 2, SHOWN - len(lost))]]
    if not shown:
        raise Inconclusive("nothing to draw: no image was lost or won by an attack")
    return draw_examples(after.result, shown, suffix, title=headline(found))
