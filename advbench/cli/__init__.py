"""The command line. Nothing here imports jax, numpy or pydantic until a command runs: help must answer at once."""

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Never

import typer
from typer.core import TyperGroup

from advbench import __version__
from advbench.cli.attack import attack
from advbench.cli.bench import bench
from advbench.cli.certify import certify
from advbench.cli.compare import compare
from advbench.cli.corruptions import corruptions
from advbench.cli.data import data
from advbench.cli.doctor import doctor
from advbench.cli.gate import gate
from advbench.cli.history import history
from advbench.cli.listing import list_names
from advbench.cli.report import report
from advbench.cli.train import train
from advbench.cli.verify import verify
from advbench.core.errors import AdvbenchError, DataUnavailable

BUG = 4  # exit code of an error that nobody foresaw
CLOSED = 141  # of a closed stdout, as shells have it (128 + SIGPIPE)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what goes wrong into one line and the exit code that the contract gives it."""
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # Rich answers a closed pipe by SystemExit(1), but 1 means here that a gate failed.
        _silence()
        raise typer.Exit(CLOSED) from None
    except AdvbenchError as error:
        typer.echo(f"advbench: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except (typer.Abort, typer.Exit):
        raise
    except Exception as error:
        if hasattr(error, "exit_code"):  # typer's own: a wrong option, a missing argument
            raise
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _silence()
            typer.echo(f"advbench: can't write all of it: {error.strerror}", err=True)
            raise typer.Exit(DataUnavailable.exit_code) from None
        traceback.print_exc()
        typer.echo("advbench: this is a bug in advbench; please report it with the lines above", err=True)
        raise typer.Exit(BUG) from None


def _silence() -> None:
    """Let nothing more reach stdout: the interpreter would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Commands(TyperGroup):
    """The group of all commands, with the one place where errors are reported."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _reported():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _reported():
            return super().invoke(ctx)


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
    """Train, attack and tabulate the adversarial robustness of image classifiers."""


app.command()(train)
app.command()(attack)
app.command()(bench)
app.command()(certify)
app.command()(gate)
app.command()(corruptions)
app.command()(report)
app.command()(compare)
app.command()(history)
app.command()(verify)
app.command()(doctor)
app.command("list")(list_names)
app.add_typer(data, name="data")


def main() -> Never:
    """Run the command line, and exit with its code."""
    # Started without stdout or stderr (`>&-`): what is said goes nowhere, and the exit code still tells.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: PTH123, SIM115
    app()
    raise AssertionError("unreachable: typer exits")
