"""LaTeX tables with booktabs, in which no name can act as a command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from advbench.evaluation.result import Result
from advbench.gating.verdict import Gate
from advbench.reports import gate_sheet
from advbench.reports.sheet import Sheet, of_result, of_runs
from advbench.reports.table import printable

SPECIAL: Final = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "[": "{[}",  # otherwise it would be an argument of the `\\` before it
    "*": "{*}",
    "-": "{-}",  # otherwise two of them would be a dash
    **{character: f"\\{character}" for character in "{}$&#%_"},
}


def of_gate(gate: Gate) -> str:
    """Render the rules of a gate."""
    return latex(gate_sheet.of_gate(gate))


def of_results(results: Sequence[Result]) -> str:
    """Render one evaluation with its attacks, or several evaluations with a row each; at least one."""
    return latex(of_result(results[0]) if len(results) == 1 else of_runs(results))


def latex(sheet: Sheet) -> str:
    """Render a sheet as a `table` environment that needs `booktabs` and the T1 font encoding.

    Letters beyond ASCII stay unchanged: LuaLaTeX and XeLaTeX set them all, pdfLaTeX the European ones.

    Parameters
    ----------
    sheet : Sheet
        The table.

    Returns
    -------
    str
        LaTeX, ended by a newline.
    """
    rows = [f"    {_row(row)}" for row in sheet.rows]
    if sheet.verdict:
        rows.insert(-1, r"    \midrule")
    notes = [f"  \\par\\smallskip\\footnotesize {escaped(note.text)}" for note in sheet.notes]
    lines = [
        r"% \usepackage[T1]{fontenc} \usepackage{textcomp,booktabs}",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{escaped(sheet.title)}}}",
        f"  \\begin{{tabular}}{{l{'r' * (len(sheet.header) - 1)}}}",
        r"    \toprule",
        f"    {_row(sheet.header)}",
        r"    \midrule",
        *rows,
        r"    \bottomrule",
        r"  \end{tabular}",
        *notes,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Escape a text so that LaTeX prints it literally, in one line."""
    line = " ".join(printable(text).split())
    return re.sub(r"[\\~^<>|\"`'\[*\-{}$&#%_]", lambda found: SPECIAL[found[0]], line)


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join(_cell(cell) for cell in cells) + r" \\"


def _cell(cell: str) -> str:
    """Escape a cell; ranges of numbers get an en dash."""
    return re.sub(r"(?<=\d)\{-\}(?=\d)", "--", escaped(cell))
