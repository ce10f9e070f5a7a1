"""Documentation of settings: meaning, choices and default of each, in the docstring of its class."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from inspect import cleandoc
from typing import Any, Literal, get_args, get_origin

_HEAD = re.compile(r"\n\nParameters\n-+\n")
_ENTRY = re.compile(r"^(\w+)\n((?: +\S.*\n?)+)", re.MULTILINE)


def documented(cls: type) -> str | None:
    """The docstring of a class of settings, with a section on all of them; those of its bases are told of there.

    In the code each class says of its own settings, a name and below it the meaning; defaults are read from the fields.
    """
    if cls.__doc__ is None:  # of python -OO
        return None
    head, own = _split(cls.__doc__)
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__[1:]):
        meanings |= vars(base).get("_meanings") or _split(base.__doc__ or "")[1]
    meanings |= own
    setattr(cls, "_meanings", meanings)  # noqa: B010 - no attribute of every class
    told = [_entry(each, meanings.get(each.name, "")) for each in fields(cls)]
    return "\n".join([head, "", "Parameters", "----------", *told, ""])


def _split(doc: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into what precedes its settings, the meaning of each, and the sections that follow."""
    head, *section = _HEAD.split(cleandoc(doc), maxsplit=1)
    found = _ENTRY.findall(section[0] + "\n") if section else []
    return head.rstrip(), {name: " ".join(text.split()) for name, text in found}


def choices(cls: type) -> dict[str, tuple[str, ...]]:
    """Return the settings that accept a few words only, with these words.

    Parameters
    ----------
    cls : type
        Class of settings, a dataclass.

    Returns
    -------
    dict[str, tuple[str, ...]]
        Words by name of the setting.
    """
    return {each.name: get_args(each.type) for each in fields(cls) if get_origin(each.type) is Literal}


def _entry(each: Any, meaning: str) -> str:
    kind = each.type if isinstance(each.type, str) else getattr(each.type, "__name__", "")
    if words := get_args(each.type):
        kind = "{" + ", ".join(map(repr, words)) + "}"
    default = "" if each.default is MISSING else f", default {each.default!r}"
    return f"{each.name} : {kind}{default}\n    {meaning}"
