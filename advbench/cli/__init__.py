"""The command line. Nothing here imports jax, numpy or pydantic until a command runs: help must answer at once."""

import gc
import os
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Never

import typer

from advbench import __version__
from advbench.cli.attack import attack
from advbench.cli.bench import bench
from advbench.cli.certify import certify
from advbench.cli.commands import Command, Commands
from advbench.cli.compare import compare
from advbench.cli.corruptions import corruptions
from advbench.cli.data import data
from advbench.cli.doctor import doctor
from advbench.cli.examples import EXAMPLES
from advbench.cli.gate import gate
from advbench.cli.history import history
from advbench.cli.listing import list_names
from advbench.cli.report import report
from advbench.cli.train import train
from advbench.cli.verify import verify

app = typer.Typer(
    name="advbench",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"advbench {__version__}")
        raise typer.Exit


@app.callback()
def _advbench(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train, attack, certify and gate image classifiers, and report their adversarial robustness."""


PANELS: Final[Mapping[str, Mapping[str, Callable[..., None]]]] = {
    "Train": {"train": train},
    "Evaluate": {"attack": attack, "bench": bench, "certify": certify, "corruptions": corruptions, "gate": gate},
    "Results": {"report": report, "compare": compare, "history": history, "verify": verify},
    "Setup": {"list": list_names, "doctor": doctor},
}
"""Commands by what they are for, in the order of the help."""

for _panel, _commands in PANELS.items():
    for _name, _function in _commands.items():
        app.command(_name, cls=Command, epilog=EXAMPLES[_name], rich_help_panel=_panel)(_function)
app.add_typer(data, name="data", rich_help_panel="Setup")

OBJECTS: Final = 50_000
"""Objects made between garbage collections: importing and tracing make many, nearly none of which is garbage."""


def main() -> Never:
    """Run the command line, and exit with its code."""
    # Started without stdout or stderr (`>&-`): output goes nowhere, and the exit code still says what happened.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: PTH123, SIM115
    gc.set_threshold(OBJECTS)
    app(prog_name="advbench")
    raise AssertionError("unreachable: typer exits")
