"""Former names of options, keys and keywords: one table for the command line, Python, pytest and files of rules."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from advbench.core.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS: Final[Mapping[str, str]] = {
    "--budget": "--time-limit",
    "--checks": "--preflight",
    "--craft": "--perturb-dtype",
    "--each": "--no-cascade",
    "--eot": "--eot-samples",
    "--error": "--error-rate",
    "--model": "--arch",
    "--query-budget": "--query-limit",
    "--wrap": "--input-defense",
}
"""Options of the command line: the former name, and the present one of a command that has it."""

KEYWORDS: Final[Mapping[str, str]] = {
    "budget": "time_limit",
    "checks": "preflight",
    "craft": "perturb_dtype",
    "each": "cascade",
    "eot": "eot_samples",
    "error": "error_rate",
    "query_budget": "query_limit",
    "wrap": "input_defense",
}
"""Keywords of Python and of the pytest marker."""

KEYS: Final[Mapping[str, str]] = {old.replace("_", "-"): new.replace("_", "-") for old, new in KEYWORDS.items()}
"""Keys of `advbench.toml`."""

NEGATED: Final = frozenset({"each"})
"""Former keywords that mean the opposite of the present ones."""


def current(given: Mapping[str, Any], notify: Callable[[str], None], *, dashes: bool = False) -> dict[str, Any]:
    """Replace former names of settings by the present ones.

    Parameters
    ----------
    given : mapping
        Values by name.
    notify : callable
        Receives one line for each former name.
    dashes : bool
        Names are keys of a file, like `time-limit`, instead of keywords, like `time_limit`.

    Returns
    -------
    dict
        Values by present name, in the same order.

    Raises
    ------
    UsageError
        When a setting is given by both names.
    """
    found: dict[str, Any] = {}
    names = KEYS if dashes else KEYWORDS
    for name, value in given.items():
        if name not in names:
            found[name] = value
            continue
        new = names[name]
        if new in given:
            raise UsageError(f"{name} is the former name of {new}: give one of them")
        found[new] = not value if name in NEGATED else value
        notify(f"{name} is now {new}{', its opposite' if name in NEGATED else ''}")
    return found


def former_properties(properties: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Describe the former names of keys for a JSON Schema: as the present ones, but deprecated.

    Parameters
    ----------
    properties : mapping
        Schema of each key.

    Returns
    -------
    dict
        Schema of each former key.
    """
    found: dict[str, dict[str, Any]] = {}
    for old, new in KEYS.items():
        if new in properties:
            shape = {name: value for name, value in properties[new].items() if name not in ("default", "title")}
            found[old] = {**shape, "deprecated": True, "description": f"Former name of {new}."}
    return found


def accepts_former_names(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function, or the constructor of a class, take former keywords too, each with a DeprecationWarning.

    Parameters
    ----------
    function : callable
        Function with the present keywords.

    Returns
    -------
    callable
        The same function for all keywords.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **current(kwargs, warn))

    def warn(text: str) -> None:
        warnings.warn(text, DeprecationWarning, stacklevel=4)  # of the caller's line

    return call
