"""Comment of a gate on a pull request: `python -m advbench.cli.comment GATE.json --base BASE.json`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from advbench.core.errors import AdvbenchError
from advbench.gating.verdict import Gate
from advbench.reports.comment import comment


def main(words: list[str] | None = None) -> int:
    """Print the comment; return 0, or 2 when a file is not a gate."""
    parser = ArgumentParser(prog="python -m advbench.cli.comment", description=comment.__doc__)
    parser.add_argument("gate", type=Path, help="JSON report of this gate")
    parser.add_argument("--base", type=Path, help="JSON report of the base branch, if there is one")
    parser.add_argument("--name", default="default", help="tells comments of several gates apart")
    given = parser.parse_args(words)
    try:
        base = Gate.load(given.base) if given.base and given.base.exists() else None
        sys.stdout.write(comment(Gate.load(given.gate), base, given.name))
    except AdvbenchError as error:
        print(f"advbench: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
