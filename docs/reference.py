"""Write docs/reference.md, the reference of the command line, and the JSON Schemas, from the application itself.

`make reference` runs this; a test compares what it writes with what is there. Everything is read from the signatures of
the commands, and nothing from typer's own help, which looks otherwise on every terminal and in every version.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo, OptionInfo

from advbench.api import gate_rules
from advbench.cli import app
from advbench.cli.examples import EXAMPLES
from advbench.cli.panels import ORDER
from advbench.reports.schema import SCHEMAS, schema

FILE = Path(__file__).with_suffix(".md")
HEAD = """\
# Command line reference

Every command with all its arguments and options, written from the application by `make reference`. What they are for,
exit codes and the environment: [command line](cli.md).
"""


def reference() -> str:
    """The whole document."""
    commands = list(_commands(app, "advbench"))
    index = "\n".join(f"- [`{words}`](#{words.replace(' ', '-')}): {_about(call)[0]}" for words, call in commands)
    return "\n".join([HEAD, index, *(_section(words, call) for words, call in commands)]) + "\n"


def _commands(group: Any, words: str) -> Iterator[tuple[str, Callable[..., None]]]:
    """Every command of a `typer.Typer`, those of its groups last, with its words."""
    for command in group.registered_commands:
        yield f"{words} {command.name or command.callback.__name__.replace('_', '-')}", command.callback
    for inner in group.registered_groups:
        yield from _commands(inner.typer_instance, f"{words} {inner.name}")


def _about(call: Callable[..., None]) -> list[str]:
    """Paragraphs of what a command says of itself, each on one line."""
    return [" ".join(part.split()) for part in str(inspect.getdoc(call)).split("\n\n")]


def _section(words: str, call: Callable[..., None]) -> str:
    usage, rows = [words, "[OPTIONS]"], dict[str, list[str]]()
    hints = typing.get_type_hints(call, include_extras=True)
    for name, parameter in inspect.signature(call).parameters.items():
        kind, info = typing.get_args(hints[name])
        place = _place(name, kind, info)
        if isinstance(info, ArgumentInfo):
            usage.append(place if parameter.default is parameter.empty else f"[{place}]")
        row = f"| {_code(place)} | {_meaning(kind, info)} | {_default(parameter.default, info)} |"
        rows.setdefault(info.rich_help_panel, []).append(row)
    lines = [f"\n## `{words}`\n", f"```text\n{' '.join(usage)}\n```\n", "\n\n".join(_about(call)), ""]
    lines.append(f"```sh\n{EXAMPLES[words.removeprefix('advbench ')]}\n```")
    for panel in sorted(rows, key=ORDER.index):
        lines += ["", f"| {panel} | meaning | default |", "|---|---|---|", *rows[panel]]
    return "\n".join(lines)


def _place(name: str, kind: Any, info: Any) -> str:
    """An argument as in the line of usage; an option with what follows it."""
    if isinstance(info, ArgumentInfo):
        return str(info.metavar)
    option = _names(info) or f"--{name.replace('_', '-')}"
    return option if _types(kind) == [bool] else f"{option} {info.metavar}"


def _names(info: Any) -> str:
    """Names that the code gives to an option; in an annotation typer keeps the first where a default would be."""
    return " ".join(each for each in (info.default, *info.param_decls) if isinstance(each, str))


def _types(kind: Any) -> list[type]:
    """`list[str] | None` -> `[str]`."""
    if inner := typing.get_args(kind):
        return [each for part in inner for each in _types(part)]
    return [kind] if kind is not type(None) else []


def _repeats(kind: Any) -> bool:
    return list in (typing.get_origin(each) for each in (kind, *typing.get_args(kind)))


def _meaning(kind: Any, info: Any) -> str:
    parts = [info.help or ""]
    if info.min is not None and info.max is not None:
        parts.append(f"From {info.min:,} to {info.max:,}.")
    elif info.min is not None and info.min > 0:
        parts.append(f"At least {info.min:,}.")
    if _repeats(kind) and isinstance(info, OptionInfo) and "repeat" not in str(info.help).lower():
        parts.append("Repeat it for more.")
    return " ".join(filter(None, parts)).replace("|", "\\|")


def _default(default: Any, info: Any) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    if isinstance(info.show_default, str):
        return _code(info.show_default) if re.match(r"[\w.]+(,|$)", info.show_default) else info.show_default
    if default in (None, False, ""):
        return ""
    if default is True:
        return _code(_names(info).partition("/")[0])
    return _code(str(default.value if isinstance(default, Enum) else default))


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
    written = {"advbench.schema.json": gate_rules.schema(), **{name: schema(name) for name in SCHEMAS}}
    for name, text in written.items():
        (FILE.parent / name).write_text(text, encoding="utf-8")
