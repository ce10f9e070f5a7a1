"""Output for GitHub Actions: annotations, the summary of the step, and its outputs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from advbench.core.errors import DataUnavailable

if TYPE_CHECKING:
    from advbench.gating.verdict import Gate


def publish(gate: Gate) -> None:
    """Write what the environment variables of GitHub Actions ask for, and nothing outside of it.

    Annotations go to stderr, which GitHub reads too; stdout is for the results.

    Raises
    ------
    DataUnavailable
        When a file of GitHub Actions cannot be written.
    """
    from advbench.reports.github import assignments, commands, outputs, summary

    if os.environ.get("GITHUB_ACTIONS") == "true":
        sys.stderr.write("".join(f"{line}\n" for line in commands(gate)))
        sys.stderr.flush()
    for variable, text in (("GITHUB_STEP_SUMMARY", summary(gate)), ("GITHUB_OUTPUT", assignments(outputs(gate)))):
        if path := os.environ.get(variable):
            _append(Path(path), text)


def _append(path: Path, text: str) -> None:
    """Append, since the file may have lines of other steps."""
    try:
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise DataUnavailable(f"can't write to {path}, which GitHub Actions named: {error.strerror}") from None
