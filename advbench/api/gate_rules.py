"""Rules of a gate, from a file or from options."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.gating.rules import GateRules
    from advbench.gating.source import RulesSource

NOTHING = (
    "nothing to decide: write [gate] into advbench.toml, or give a model and a rule, like: "
    "advbench gate mnist-pgd --min-robust 80%"
)


def schema() -> str:
    """Return the JSON Schema of the configuration file.

    Returns
    -------
    str
        JSON, ended by a newline.
    """
    from advbench.gating.rules import json_schema

    return json.dumps(json_schema(), indent=1) + "\n"


def classes(texts: Sequence[str] | None) -> dict[str, str] | None:
    """Read `cat=20%` and the like into a table.

    Parameters
    ----------
    texts : sequence of str or None
        One text for each class.

    Returns
    -------
    dict or None
        Share by class; None for no texts.

    Raises
    ------
    UsageError
        For a text of another form, or a class that occurs twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, share = text.rpartition("=")
        if not equals or name in found:
            raise UsageError(f"--min-class {text[:40]} should be CLASS=PERCENT, each class once, like cat=20%")
        found[name] = share
    return found or None


SURROUNDING = ("out", "resume", "command", "should_stop", "notify")
"""Settings of one run of a gate, which no file of rules contains."""


def keys(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write settings of an evaluation as keys of `[gate]`; keep apart those that no file can hold.

    Parameters
    ----------
    given : mapping
        Options of `advbench.evaluate`, and `model` and `data`; None counts as not given.

    Returns
    -------
    written : dict
        Text and numbers by key, like `{"batch-size": 64}`; for an object its name.
    objects : dict
        Objects, and the settings in `SURROUNDING`, by the names of `advbench.evaluate`.

    Raises
    ------
    UsageError
        For a setting that a gate does not have.
    """
    from advbench.api.defaults import texts_of
    from advbench.api.settings import number_text
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
    """Return an attack as it would be typed."""
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
) -> tuple[GateRules, RulesSource]:
    """Read rules from a file or from options, never from both; options override the settings of a file.

    Parameters
    ----------
    target : str or None
        A model, or a file of rules that ends in `.toml`.
    settings : mapping
        Settings of the evaluation, by key of `[gate]`; None counts as not given.
    overall : mapping
        Rules without a threat model, by key.
    threat : mapping
        One threat model and its rules, by key.
    update : bool
        A baseline is to be written.
    notify : callable
        Called with each note as a line.

    Returns
    -------
    GateRules
        The rules.
    RulesSource
        File and lines that they come from.

    Raises
    ------
    UsageError
        In one line, for rules that are wrong, given twice, or missing.
    """
    from advbench.gating.source import (
        RulesSource,
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
        source = RulesSource()
        rules = validated({"gate": {**typed, **here, "threats": threats}}, source)
    else:
        raise UsageError(NOTHING)
    _whole(rules, source, update)
    return rules, source


def _whole(rules: GateRules, source: RulesSource, update: bool) -> None:
    """Refuse rules that are valid one by one but together ask for nothing."""
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


def summary(rules: GateRules, source: RulesSource) -> str:
    """Summarise valid rules in a line, for `--check`.

    Parameters
    ----------
    rules : GateRules
        The rules.
    source : RulesSource
        File that they come from, if any.

    Returns
    -------
    str
        One line.
    """
    from advbench.gating.rules import rules_of

    asked = rules_of(rules)
    where = f"{source.file} is" if source.file else "the options are"
    return f"{where} valid (rules: {len(asked)}, threat models: {len(rules.threats)})"
