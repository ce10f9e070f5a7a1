"""What GitHub Actions asks for by its environment, given to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from advbench.core.errors import DataUnavailable

if TYPE_CHECKING:
    from advbench.gating.verdict import Gate


def publish(gate: Gate) -> None:
    """Write what the environment asks for; outside of GitHub Actions, nothing.

    Annotations go to stderr, which GitHub reads too, so that stdout holds nothing but what was asked for.

    Raises
    ------
    DataUnavailable
        When GitHub's files can't be written to.
    """
    from advbench.reports.github import assignments, commands, outputs, summary

    if os.environ.get("GITHUB_ACTIONS") == "true":
        sys.stderr.write("".join(f"{line}\n" for line in commands(gate)))
        sys.stderr.flush()
    for variable, text in (("GITHUB_STEP_SUMMARY", summary(gate)), ("GITHUB_OUTPUT", assignments(outputs(gate)))):
        if path := os.environ.get(variable):
            _append(Path(path), text)


def _append(path: Path, text: str) -> None:
    """Other steps' lines stay."""
    try:
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise DataUnavailable(f"can't write to {path}, which GitHub Actions named: {error.strerror}") from None
