"""Groups of options as parameters of commands, and what was typed as settings."""

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, get_args, get_type_hints


def expanded(command: Callable[..., None], *, unset: bool = False) -> Callable[..., None]:
    """Replace each parameter that is a group by one option for every field of it.

    A parameter of the command's own takes the place of a field of the same name. With `unset` the fields of groups are
    None unless they are typed, so that something else, like a file, has their defaults.
    """
    hints = get_type_hints(command, include_extras=True)
    own = {
        name: parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
    }
    groups = {name: hints[name] for name in own if is_dataclass(hints[name])}
    options: dict[str, inspect.Parameter] = {}
    for name, parameter in own.items():
        if name not in groups:
            options.setdefault(name, parameter)
            continue
        for each in fields(groups[name]):
            default, annotation = _unset(each.type, each.default) if unset else (each.default, each.type)
            typed = inspect.Parameter(each.name, parameter.kind, default=default, annotation=annotation)
            options[each.name] = own.get(each.name, typed)

    def invoke(**typed: Any) -> None:
        made = {name: group(**{f.name: typed[f.name] for f in fields(group)}) for name, group in groups.items()}
        command(**{name: made[name] if name in made else typed[name] for name in own})

    invoke.__name__, invoke.__doc__, invoke.__module__ = command.__name__, command.__doc__, command.__module__
    invoke.__annotations__ = {name: option.annotation for name, option in options.items()}
    invoke.__signature__ = inspect.Signature(list(options.values()))  # type: ignore[attr-defined]
    return invoke


def _unset(annotation: Any, default: Any) -> tuple[None, Any]:
    """Make an option without a default, whose help still shows the one that holds."""
    kind, option = get_args(annotation)
    if default is not None:
        option = copy(option)
        option.show_default = str(default) if not isinstance(default, bool) else False
    return None, Annotated[kind | None, option]


def settings_of(*groups: Any, **own: Any) -> dict[str, Any]:
    """Collect options as keywords of `advbench.evaluate`; the data is left out, for it is no setting."""
    typed = {name: value for group in groups for name, value in vars(group).items()} | own
    typed.pop("data", None)
    return {name: value.value if isinstance(value, Enum) else value for name, value in typed.items()}
