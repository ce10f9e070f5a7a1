"""`advbench list`: names for the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advbench.cli import panels
from advbench.cli.options import ToStdout
from advbench.cli.output import say
from advbench.cli.panels import argument, option
from advbench.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from rich.console import Console

Entry = dict[str, Any]
LONG = {"settings": "", "about": "", "paper": "dim"}  # fields with a line of their own, and its style


class Kind(StrEnum):
    """Things that can be listed."""

    attacks = "attacks"
    defenses = "defenses"
    models = "models"
    networks = "networks"
    datasets = "datasets"
    defenses_at_inference = "input-defenses"
    wrappers = "wrappers"  # former name of these


OWN = """Or your own data, by path:
  a folder with one subfolder for each class (in folders train, val and test, if any); PNG, JPEG, WebP, BMP
  .npz or .npy with images and labels; .parquet or datasets.save_to_disk; a .csv of paths and labels;
  WebDataset's .tar; SVHN's .mat; file.py:function that returns (images, labels)
`advbench data inspect PATH` shows its content. It has no default for --norm and --eps."""


KINDS = tuple(kind.value for kind in Kind if kind is not Kind.wrappers)


def list_names(
    kind: Annotated[Kind, argument(panels.NAMES, "KIND", f"One of {', '.join(KINDS)}.")],
    detail: Annotated[
        str | None,
        option(
            panels.OUTPUT,
            "NAME",
            "Describe one attack or defense: its settings with ranges, defaults and paper.",
        ),
    ] = None,
    json: ToStdout = False,
) -> None:
    """List attacks, defenses, released models, networks to train, data sets or input defenses."""
    if kind is Kind.wrappers:
        say("wrappers is now input-defenses")
        kind = Kind.defenses_at_inference
    if detail:
        typer.echo(described(kind, detail))
        return
    entries = ENTRIES[kind]()
    if json:
        from json import dumps

        typer.echo(dumps(entries, indent=1))
        return
    from rich.console import Console

    console = Console()
    if LONG.keys() & entries[0].keys():
        _show_plans(entries, console)
    else:
        _show_table(entries, console)
    if kind is Kind.datasets:
        console.print(OWN, highlight=False, markup=False)


def described(kind: Kind, name: str) -> str:
    """Return the documentation of an attack, a defense or an input defense.

    Parameters
    ----------
    kind : Kind
        List that has the name.
    name : str
        Name as in the list.

    Returns
    -------
    str
        Its docstring: summary, settings with type, range and default, and the paper; without examples of Python.

    Raises
    ------
    UsageError
        If the list has no such name, or its entries have no settings.
    """
    from advbench.attacks import ATTACKS
    from advbench.defenses import DEFENSES
    from advbench.wrappers import WRAPPERS

    registries: dict[Kind, Mapping[str, Any]] = {
        Kind.attacks: ATTACKS,
        Kind.defenses: DEFENSES,
        Kind.defenses_at_inference: WRAPPERS,
    }
    if kind not in registries:
        raise UsageError(f"--detail is for {', '.join(registries)}")
    known = registries[kind]
    if name not in known:
        raise unknown(kind.value.removesuffix("s").replace("-", " "), name, known)
    text = inspect.getdoc(known[name]) or ""
    return f"{name}\n\n{text.partition('Examples' + chr(10) + '--------')[0].rstrip()}"


def _show_table(entries: list[Entry], console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in entries[0]:
        table.add_column(name, overflow="fold", no_wrap=name in ("name", "threat"))
    for entry in entries:
        table.add_row(*(Text(_shown(value)) for value in entry.values()))
    console.print(table)


def _show_plans(entries: list[Entry], console: Console) -> None:
    """Print a line for each entry, and below it, across the whole width, its long fields."""
    from rich.padding import Padding
    from rich.text import Text

    columns = [name for name in entries[0] if name not in LONG]
    widths = [max(len(_shown(entry[name])) for entry in entries) for name in columns]
    for entry in entries:
        cells = (_shown(entry[name]).ljust(width) for name, width in zip(columns, widths, strict=True))
        line = Text("  ".join(cells).rstrip())
        line.stylize("bold", 0, widths[0])
        console.print(line)
        for name, style in LONG.items():
            if entry.get(name):
                console.print(Padding(Text(_shown(entry[name]), style), (0, 0, 0, 4)))


def _attacks() -> list[Entry]:
    from advbench.attacks import ATTACKS, SUITES
    from advbench.attacks.suites import AUTOATTACK

    suites = [
        {
            "name": name,
            "norms": list(recipes),
            "access": "gradient",
            "cost": f"suite of {max(map(len, recipes.values()))}",
            "settings": {},
            "paper": AUTOATTACK,
        }
        for name, recipes in SUITES.items()
    ]
    return suites + [
        {
            "name": name,
            "norms": list(attack.norms),
            "access": attack.access,
            "cost": attack.cost,
            "settings": _settings(attack),
            "paper": attack.paper,
        }
        for name, attack in ATTACKS.items()
    ]


def _plans(known: Mapping[str, Any]) -> list[Entry]:
    return [{"name": name, "settings": _settings(plan), "paper": plan.paper} for name, plan in known.items()]


def _defenses() -> list[Entry]:
    from advbench.defenses import DEFENSES

    return _plans(DEFENSES)


def _wrappers() -> list[Entry]:
    from advbench.wrappers import WRAPPERS

    return _plans(WRAPPERS)


def _models() -> list[Entry]:
    from advbench.models.load import released

    return [{"name": name} | _measured(name) for name in released()]


def _networks() -> list[Entry]:
    from advbench.nn import MODELS

    return [
        {
            "name": name,
            "settings": _options(make),
            "about": str(inspect.getdoc(getattr(make, "func", make))).split("\n")[0],
        }
        for name, make in MODELS.items()
    ]


def _options(make: Any) -> Entry:
    return {key: getattr(value, "__name__", value) for key, value in getattr(make, "keywords", {}).items()}


def _measured(name: str) -> Entry:
    """Read the card of a released model."""
    from advbench.certification.card import Card
    from advbench.models.load import RELEASED

    card = Card.load(RELEASED / name)
    if not card:
        return dict.fromkeys(("data", "threat", "clean", "robust", "certified", "images"), "")
    return {
        "data": card.data,
        "threat": str(card.threat),
        "clean": f"{card.clean.accuracy:.2%}",
        "robust": f"{card.robust.accuracy:.2%}",
        "certified": f"{card.certified.rate.accuracy:.2%}" if card.certified else "",
        "images": card.robust.n,
    }


def _datasets() -> list[Entry]:
    from advbench.data import DATASETS

    return [
        {
            "name": info.name,
            "shape": "x".join(map(str, info.shape)),
            "classes": len(info.classes),
            "splits": dict(info.splits),
            "threat": f"{info.default_norm} {info.default_eps}",
            "licence": info.licence,
        }
        for info in DATASETS.values()
    ]


ENTRIES: dict[Kind, Callable[[], list[Entry]]] = {
    Kind.attacks: _attacks,
    Kind.defenses: _defenses,
    Kind.models: _models,
    Kind.networks: _networks,
    Kind.datasets: _datasets,
    Kind.defenses_at_inference: _wrappers,
}


def _settings(plan: Any) -> Entry:
    return {field.name: field.default for field in fields(plan)}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_shown(item)}" for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
