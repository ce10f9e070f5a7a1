"""Work of the pytest plugin when a marked test runs: a marker becomes the rules of a gate, a call an evaluation."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from advbench.core.errors import (
    AdvbenchError,
    Interrupted,
    UsageError,
    unknown,
)
from advbench.core.renamed import current

if TYPE_CHECKING:
    from advbench.evaluation import Result
    from advbench.gating.verdict import Gate

THREAT: Final = {
    "min": "min-robust",
    "min_class": "min-class",
    "min_worst_class": "min-worst-class",
    "norm": "norm",
    "eps": "eps",
}
"""Settings of `[[gate.threats]]` in advbench.toml, by their names there; all others belong to `[gate]`."""

NO_MODEL: Final = (
    "no model: give @pytest.mark.robust(model=...), override the fixture robust_model, "
    "or set advbench_model in pytest's configuration"
)

_gates: dict[tuple[Any, ...], tuple[list[Any], Gate]] = {}  # with the objects, so that their ids stay their own


def decided(settings: Mapping[str, Any], file: str, line: int) -> Gate:
    """Decide the gate of a marker in `file` at `line`; an equal gate is run once in a session."""
    from advbench.api import gating
    from advbench.api.gate_rules import keys
    from advbench.api.runtime import prepare
    from advbench.gating.rules import GateRules
    from advbench.gating.source import RulesSource, validated

    with _failing():
        given = _checked(current(settings, _deprecated), {*THREAT, *GateRules.model_fields} - {"threats"})
        threat = {name: given.pop(key) for key, name in THREAT.items() if key in given}
        if not {"min-robust", "min-class", "min-worst-class"} & threat.keys():
            raise UsageError("@pytest.mark.robust asks for nothing: add min, like min=0.4 or min='40%'")
        asked = given.pop("model")
        rest, objects = keys(given)
        rest["model"] = asked if isinstance(asked, str) else getattr(asked, "__name__", type(asked).__name__)
        source = RulesSource(file, dict.fromkeys([("threats",), *((name,) for name in rest)], line))
        rules = validated({"gate": {**rest, "threats": [threat]}}, source)
        kept = [each for each in (asked, *objects.values()) if not isinstance(each, str)]
        key = repr(rules), *map(id, kept)
        if key not in _gates:
            prepare()
            _gates[key] = kept, gating.decided(rules, source, model=_made(asked), **objects).gate
        return _gates[key][1]


def evaluated(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Result:
    """Evaluate as `advbench attack` does, without a verdict; a marker gives the defaults of settings."""
    from advbench.api.job import Job
    from advbench.api.runtime import prepare
    from advbench.api.settings import Settings

    with _failing():
        evaluation = Settings.names() | {"model", "data"}
        known = {name: value for name, value in current(defaults, _deprecated).items() if name in evaluation}
        given = _checked({**known, **current(settings, _deprecated)}, evaluation)
        if "," in given.get("eps", ""):
            raise UsageError("one eps at a time, like eps='8/255'")
        model, data = _made(given.pop("model")), given.pop("data", None)
        asked = Settings(**given)
        prepare()
        (result,) = Job.of(model, data, asked).run()
        return result


def _made(model: Any) -> Any:
    """Return the model, or what a function without parameters makes."""
    makes = inspect.isfunction(model) and not inspect.signature(model).parameters
    return model() if makes else model


def _checked(settings: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Settings that are given, `eps` as text.

    Raises
    ------
    UsageError
        For a setting that there is not, with the nearest one, and where there is no model.
    """
    for name in settings:
        if name not in known:
            raise unknown("setting", name, sorted(known))
    given = {name: value for name, value in settings.items() if value is not None}
    if "model" not in given:
        raise UsageError(NO_MODEL)
    if "eps" in given:
        given["eps"] = str(given["eps"])
    if isinstance(given.get("attacks"), str):
        given["attacks"] = [given["attacks"]]
    return given


def _deprecated(text: str) -> None:
    """Warn of a setting's former name; pytest lists it with the test."""
    warnings.warn(f"@pytest.mark.robust: {text}", DeprecationWarning, stacklevel=4)


@contextmanager
def _failing() -> Iterator[None]:
    """Fail the test in one line on an error of advbench; end the session on Ctrl-C."""
    __tracebackhide__ = True
    try:
        yield
    except Interrupted as error:
        raise KeyboardInterrupt(str(error)) from None
    except AdvbenchError as error:
        raise pytest.fail.Exception(f"advbench: {error}", pytrace=False) from None
