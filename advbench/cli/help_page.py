"""Help of a command: its usage, what it does, its options grouped by purpose, examples."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

from advbench.cli import panels

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDEST = 100  # columns; longer lines are hard to read
LABEL = 27  # columns of an option's name and the form of its value; the help of a longer one starts on the next line


def show(command: Any, ctx: Any) -> None:
    """Print the help of a command or a group of commands to stdout, in the width of the terminal.

    The parameters are those of Click's `Command.format_help`; Typer's own help gives names, types and ranges so many
    columns that few are left for sentences on a terminal of 80.
    """
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    width = min(Console().width, WIDEST)
    console = Console(width=width, highlight=False, soft_wrap=False)
    console.print(Padding(Text(f"Usage: {' '.join(usage(command, ctx))}", style="bold"), 1))
    for paragraph in paragraphs(command.help):
        console.print(Padding(_styled(paragraph), (0, 1, 1, 1)))
    children = [command.get_command(ctx, name) for name in command.list_commands(ctx)] if _is_group(command) else []
    for title, commands in grouped(children, "Commands"):
        _panel(console, title, [(Text(child.name, "bold cyan"), _styled(_first(child))) for child in commands], 14)
    for title, params in grouped(command.get_params(ctx)):
        _panel(console, title, [(_label(param), _about(param)) for param in params])
    if command.epilog:
        lines = [Text(line, no_wrap=True) for line in command.epilog.splitlines()]
        _boxed(console, "Examples", lines)


def usage(command: Any, ctx: Any) -> list[str]:
    """The words of a command as typed: required arguments plain, optional ones in brackets."""
    words = [ctx.command_path, "[OPTIONS]"]
    for param in command.get_params(ctx):
        if param.param_type_name == "argument":
            words.append(param.metavar if param.required else f"[{param.metavar}]")
    return [*words, "COMMAND [ARGS]..."] if _is_group(command) else words


def paragraphs(text: str | None) -> list[str]:
    """The paragraphs of a docstring, each on one line."""
    return [" ".join(part.split()) for part in inspect.cleandoc(text or "").split("\n\n") if part.strip()]


def _is_group(command: Any) -> bool:
    return hasattr(command, "list_commands")


def _first(command: Any) -> str:
    return next(iter(paragraphs(command.help)), "")


def grouped(items: Iterable[Any], other: str = panels.OTHER) -> list[tuple[str, list[Any]]]:
    """Group visible parameters or commands by panel, those that name none under `other`.

    Panels that `panels.ORDER` has are in its order, others in the order in which they are first named.
    """
    found: dict[str, list[Any]] = {}
    for item in items:
        if not getattr(item, "hidden", False):
            found.setdefault(getattr(item, "rich_help_panel", None) or other, []).append(item)
    place = {panel: at for at, panel in enumerate(panels.ORDER)}
    return sorted(found.items(), key=lambda group: place.get(group[0], 0))


def _label(param: Any) -> Text:
    """`-h, --help`, `--adaptive / --no-adaptive` or `--eps EPS`."""
    from rich.text import Text

    if param.param_type_name == "argument":
        return Text(param.metavar, "bold cyan")
    names = ", ".join(sorted(param.opts, key=len))
    if param.secondary_opts:
        names = f"{names} / {', '.join(param.secondary_opts)}"
    label = Text(names, "bold cyan")
    if param.metavar and not param.is_flag:
        label.append(f" {param.metavar}", "yellow")
    return label


def _about(param: Any) -> Text:
    """The help of a parameter, and its default."""
    about = _styled(param.help or "")
    if default := _default(param):
        about.append(f" [default: {default}]", "dim")
    if param.required:
        about.append(" [required]", "red")
    return about


def _default(param: Any) -> str:
    """The default as it would be typed; empty for flags that are off, and where there is none."""
    if isinstance(param.show_default, str):
        return param.show_default
    value = param.default.value if isinstance(param.default, Enum) else param.default
    if not param.show_default or not isinstance(value, str | int | float) or value is False:
        return ""
    if value is True:
        return str(param.opts[0].lstrip("-"))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _styled(text: str) -> Text:
    """Highlight the parts of a text between backticks; nothing in it is markup."""
    from rich.text import Text

    found = Text()
    for place, part in enumerate(re.split("`", text)):
        found.append(part, "bold" if place % 2 else "")
    return found


def _panel(console: Console, title: str, rows: Iterable[tuple[Text, Text]], label: int = LABEL) -> None:
    """Two columns in a box."""
    from rich.text import Text

    lines: list[Text] = []
    for name, about in rows:
        wrapped = list(about.wrap(console, console.width - 4 - label)) or [Text()]
        if name.cell_len > label - 1:
            lines.append(name)
        else:
            wrapped[0] = Text.assemble(name, " " * (label - name.cell_len), wrapped[0])
            lines.append(wrapped.pop(0))
        lines += [Text.assemble(" " * label, line) for line in wrapped]
    _boxed(console, title, lines)


def _boxed(console: Console, title: str, lines: list[Text]) -> None:
    from rich.console import Group
    from rich.panel import Panel

    console.print(Panel(Group(*lines), title=title, title_align="left", border_style="dim"))
