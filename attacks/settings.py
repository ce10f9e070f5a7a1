"""Settings as people read them: each with its meaning, its choices and its default, in the class's docstring."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin

_HEAD = re.compile(r"\n\n *Parameters\n *-+\n")
_ENTRY = re.compile(r"^ *(\w+)\n((?: +\S.*\n?)+)", re.MULTILINE)


def documented(cls: type) -> str | None:
    """The docstring of a class of settings, with a section on all of them; those of its bases are told of there.

    In the code each class says of its own settings, a name and below it the meaning; defaults are read from the fields.
    """
    if cls.__doc__ is None:  # of python -OO
        return None
    head, *section = _HEAD.split(cls.__doc__.rstrip(), maxsplit=1)
    own = {name: _plain(text) for name, text in _ENTRY.findall(section[0] + "\n")} if section else {}
    cls._meanings = {**getattr(cls, "_meanings", {}), **own}  # type: ignore[attr-defined]
    told = [_entry(each, cls._meanings.get(each.name, "")) for each in fields(cls)]  # type: ignore[attr-defined]
    return "\n".join([head.rstrip(), "", "    Parameters", "    ----------", *told])


def choices(cls: type) -> dict[str, tuple[str, ...]]:
    """The settings that are one of a few words, with these."""
    return {each.name: get_args(each.type) for each in fields(cls) if get_origin(each.type) is Literal}


def _entry(each: Any, meaning: str) -> str:
    kind = each.type if isinstance(each.type, str) else getattr(each.type, "__name__", "")
    if words := get_args(each.type):
        kind = "{" + ", ".join(map(repr, words)) + "}"
    default = "" if each.default is MISSING else f", default {each.default!r}"
    return f"    {each.name} : {kind}{default}\n        {meaning}"


def _plain(text: str) -> str:
    return " ".join(text.split())
