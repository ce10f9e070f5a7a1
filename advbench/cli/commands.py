"""Commands and groups of them: help, former names of options, and errors in one style."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from advbench.cli import help_page
from advbench.core.errors import AdvbenchError, DataUnavailable
from advbench.core.renamed import OPTIONS

BUG = 4  # exit code of an error that nobody foresaw
CLOSED = 141  # of a closed stdout, as shells have it (128 + SIGPIPE)


class Command(TyperCommand):
    """One command."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        help_page.show(self, ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words, options by their former names too, with a note on stderr for each of these."""
        tell = _nothing if ctx.resilient_parsing else _note
        return super().parse_args(ctx, list(_current(args, self.get_params(ctx), tell)))


def _current(words: Sequence[str], params: Sequence[Any], tell: Callable[[str], None]) -> Iterator[str]:
    """Words with the present names of options; values of options and all that follows `--` stay as they are."""
    known = {name: param for param in params for name in (*param.opts, *param.secondary_opts)}
    rest = iter(words)
    for word in rest:
        if word == "--":
            yield word
            break
        name, equals, value = word.partition("=")
        if name not in known and OPTIONS.get(name) in known:
            tell(f"{name} is now {OPTIONS[name]}")
            name = OPTIONS[name]
        yield f"{name}{equals}{value}"
        if not equals and name in known and not getattr(known[name], "is_flag", False):
            yield from (value for value in [next(rest, None)] if value is not None)
    yield from rest


def _nothing(_: str) -> None:
    """Say nothing: a shell that completes a line shows no notes."""


def _note(text: str) -> None:
    typer.echo(f"advbench: {text}", err=True)


class Group(TyperGroup):
    """A group of commands."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        help_page.show(self, ctx)


class Commands(Group):
    """The group of all commands, with the one place where errors are reported."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the words before the command."""
        with _reported():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Parse and run the command."""
        with _reported():
            return super().invoke(ctx)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn an error into one line on stderr and the exit code that the documents promise."""
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
        _note(str(error))
        raise typer.Exit(error.exit_code) from None
    except (typer.Abort, typer.Exit):
        raise
    except Exception as error:
        if hasattr(error, "format_message"):  # the parser's own: a wrong option, a missing argument
            raise _usage(error) from None
        if hasattr(error, "exit_code"):
            raise
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _silence()
            _note(f"the output is incomplete: {error.strerror}")
            raise typer.Exit(DataUnavailable.exit_code) from None
        traceback.print_exc()
        _note("this is a bug in advbench; please report it with the lines above")
        raise typer.Exit(BUG) from None


def _usage(error: Any) -> typer.Exit:
    """Say in our own style what the parser says; without any words it has printed the help, and that is enough."""
    message = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    if type(error).__name__ != "NoArgsIsHelpError" and message:
        _note(message[:1].lower() + message[1:])
        if (ctx := getattr(error, "ctx", None)) is not None:
            typer.echo(f"Try: {ctx.command_path} --help", err=True)
    return typer.Exit(error.exit_code)


def _silence() -> None:
    """Let nothing more reach stdout: the interpreter would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
