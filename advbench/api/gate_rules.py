"""What a gate is asked for: rules from a file or from flags."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.gating.rules import GateRules
    from advbench.gating.source import Source

NOTHING = (
    "nothing to decide: write [gate] into advbench.toml, or give a model and a rule, like: "
    "advbench gate mnist-pgd --min-robust 80%"
)


def schema() -> str:
    """The JSON Schema of the configuration, ended by a newline."""
    from advbench.gating.rules import json_schema

    return json.dumps(json_schema(), indent=1) + "\n"


def classes(texts: Sequence[str] | None) -> dict[str, str] | None:
    """`cat=20%`, each class once -> a table.

    Raises
    ------
    UsageError
        For anything else.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, share = text.rpartition("=")
        if not equals or name in found:
            raise UsageError(f"--min-class {text[:40]} should be CLASS=PERCENT, each class once, like cat=20%")
        found[name] = share
    return found or None


SURROUNDING = ("out", "resume", "command", "should_stop", "notify")
"""Settings that are about one run of a gate, and so stand in no file of rules."""


def keys(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of an evaluation as keys of `[gate]`, and those that no file can hold, as they are.

    Parameters
    ----------
    given : mapping
        As `advbench.evaluate` takes them, and `model` and `data`; None is not given.

    Returns
    -------
    written : dict
        Text and numbers by key, like `{"batch-size": 64}`; of an object its name.
    objects : dict
        By the names of `advbench.evaluate`: objects, and `SURROUNDING`.

    Raises
    ------
    UsageError
        For a setting that a gate has none of.
    """
    from advbench.api.settings import number_text
    from advbench.api.subject import texts_of
    from advbench.core.errors import unknown
    from advbench.gating.rules import GateRules

    found: dict[str, Any] = {}
    objects = {name: given[name] for name in SURROUNDING if name in given}
    known = GateRules.model_fields.keys() - {"threats"}
    for name, value in given.items():
        if value is None or name in objects:
            continue
        if name not in known:
            raise UsageError(f"a gate has no {name}") if name in _OTHERS else unknown("setting", name, known)
        if name in ("attacks", "input_defense"):
            several = texts_of(value) or []
            found[name], plain = list(map(_text, several)), all(isinstance(each, str) for each in several)
        elif name in ("mean", "std"):
            found[name], plain = number_text(value), True
        elif name == "indices" and not isinstance(value, str):
            found[name], plain = ",".join(map(str, value)), True
        elif name == "preflight":
            found["preflight"], plain = {True: "fast", False: "none"}.get(value, value), True
        elif name == "time_limit" or isinstance(value, Path):
            found[name], plain = str(value), True
        else:
            plain = isinstance(value, str | int | float) or name == "allow_flags"
            found[name] = value if plain else f"the {name} given"
        if not plain:
            objects[name] = value
    return {name.replace("_", "-"): value for name, value in found.items()}, objects


_OTHERS = ("cascade", "force", "doublings", "progress")


def _text(attack: Any) -> str:
    """An attack as it would be typed."""
    if isinstance(attack, str):
        return attack
    from advbench.attacks import Attack
    from advbench.attacks.spec import text_of

    return text_of(attack) if isinstance(attack, Attack) else repr(attack)


def written(
    target: str | None,
    settings: Mapping[str, Any],
    overall: Mapping[str, Any],
    threat: Mapping[str, Any],
    *,
    update: bool,
    notify: Callable[[str], None],
) -> tuple[GateRules, Source]:
    """The rules, from a file or from flags but never from both; settings that were typed go before the file's.

    Raises
    ------
    UsageError
        In one line, for rules that are wrong, in two places, or nowhere.
    """
    from advbench.gating.source import (
        Source,
        discover,
        read,
        validated,
    )

    typed = {name: value for name, value in settings.items() if value is not None}
    here, under = ({name: value for name, value in rules.items() if value is not None} for rules in (overall, threat))
    is_file = target is not None and target.endswith(".toml")
    if target and not is_file:
        if "model" in typed:
            raise UsageError(f"two models are given: {target} and --model {typed['model']}")
        typed["model"] = target
    path = Path(target) if target and is_file else None if here or under else discover()
    if path is not None and (here or under):
        raise UsageError(f"give rules in {path} or as options like --{next(iter({**here, **under}))}, not both")
    if path is not None:
        rules, source = read(path, typed, notify)
    elif here or under or update:
        threats = [under] if under or "max-drop" in here or update else []
        source = Source()
        rules = validated({"gate": {**typed, **here, "threats": threats}}, source)
    else:
        raise UsageError(NOTHING)
    _whole(rules, source, update)
    return rules, source


def _whole(rules: GateRules, source: Source, update: bool) -> None:
    """Refuse what is valid line by line, and yet asks for nothing."""
    from advbench.gating.rules import rules_of

    asked = rules_of(rules)
    if rules.model is None:
        raise source.problem((), "no model: give it in the file, model = ..., or on the command line")
    if update:
        if rules.baseline is None or not rules.threats:
            raise UsageError("--update-baseline needs --baseline FILE and a threat model, like --norm linf --eps 8/255")
        return
    if not asked:
        raise UsageError(NOTHING)
    for number, threat in enumerate(rules.threats):
        if not any(rule.threat == number for rule in asked):
            if source.file is None:
                raise UsageError(f"there is no rule for {threat}: add one, like --min-robust 40%")
            raise source.problem(("threats", number), f"there is no rule for {threat}: add one, like min-robust")
    if rules.baseline is not None and not any(rule.kind == "max_drop" for rule in asked):
        raise source.problem(("baseline",), "no rule compares with it: add max-drop, or leave it out")


def summary(rules: GateRules, source: Source) -> str:
    """What `--check` says."""
    from advbench.gating.rules import rules_of

    asked = rules_of(rules)
    where = f"{source.file} is" if source.file else "the options are"
    return f"{where} valid (rules: {len(asked)}, threat models: {len(rules.threats)})"
