"""Documentation of settings: meaning, choices and default of each, in the docstring of its class."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from inspect import cleandoc
from typing import Any, Literal, get_args, get_origin

_SECTION = re.compile(r"\n\n(?=[A-Z]\w+\n-{3,}\n)")
_SETTINGS = "Parameters\n----------\n"
_ENTRY = re.compile(r"^(\w+)\n((?: +\S.*\n?)+)", re.MULTILINE)


def documented(cls: type) -> str | None:
    """Compose the docstring of a class of settings: a section on all of them, also those of its bases, and the paper.

    In the code each class documents its own settings, a name and below it the meaning; fields give the defaults.

    Parameters
    ----------
    cls : type
        Class of settings, a dataclass.

    Returns
    -------
    str or None
        None under `python -OO`, which drops docstrings.
    """
    if cls.__doc__ is None:
        return None
    head, own, rest = _split(cls.__doc__)
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__[1:]):
        meanings |= vars(base).get("_meanings") or _split(base.__doc__ or "")[1]
    meanings |= own
    setattr(cls, "_meanings", meanings)  # noqa: B010 - no attribute of every class
    entries = [_entry(each, meanings.get(each.name, "")) for each in fields(cls)]
    settings = [_SETTINGS + "\n".join(entries)] if entries else []
    return "\n\n".join([head, *settings, *_facts(cls), *rest]) + "\n"


def _facts(cls: type) -> list[str]:
    """Write sections on what an attack supports, needs and costs, and on the paper of an attack or a defense."""
    found = []
    if norms := getattr(cls, "norms", ()):
        facts = ", ".join(norms), getattr(cls, "access", ""), getattr(cls, "cost", "not stated")
        found.append("Notes\n-----\nNorms: {}. Access: {}. Cost: {}.".format(*facts))
    if paper := getattr(cls, "paper", ""):
        found.append(f"References\n----------\n{paper}")
    return found


def _split(doc: str) -> tuple[str, dict[str, str], list[str]]:
    """Split a docstring into what precedes its settings, the meaning of each, and the sections that follow."""
    head, *sections = _SECTION.split(cleandoc(doc))
    settings = next((each.removeprefix(_SETTINGS) for each in sections if each.startswith(_SETTINGS)), "")
    rest = [each.rstrip() for each in sections if not each.startswith(_SETTINGS)]
    found = _ENTRY.findall(settings + "\n")
    return head.rstrip(), {name: " ".join(text.split()) for name, text in found}, rest


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
