"""What the pytest plugin does once a marked test runs: a marker becomes the rules of a gate, a call an evaluation."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
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
"""Settings that stand under `[[gate.threats]]` in advbench.toml, with their names there."""

GATE: Final = {
    name: name.replace("_", "-")
    for name in (
        *(
            "model",
            "data",
            "n",
            "seed",
            "batch_size",
            "attacks",
            "preflight",
            "time_limit",
            "error_rate",
            "allow_flags",
        ),
        "min_clean",
    )
}
"""Those that stand in `[gate]`."""

EVALUATION: Final = ("model", "data", "n", "seed", "batch_size", "attacks", "preflight", "time_limit", "norm", "eps")

NO_MODEL: Final = (
    "no model: give @pytest.mark.robust(model=...), override the fixture robust_model, "
    "or set advbench_model in pytest's configuration"
)

_gates: dict[tuple[str, int], tuple[Any, Gate]] = {}  # with the model, so that its id stays its own


def decided(settings: Mapping[str, Any], file: str, line: int) -> Gate:
    """The gate of a marker in `file` at `line`; one that was decided in this session already is not run again."""
    from advbench.api import gating
    from advbench.api.runtime import prepare
    from advbench.gating.source import Source, validated

    with _failing():
        given = _checked(current(settings, _deprecated), {**THREAT, **GATE})
        threat = {name: given[key] for key, name in THREAT.items() if key in given}
        rest = {name: given[key] for key, name in GATE.items() if key in given}
        if not {"min-robust", "min-class", "min-worst-class"} & threat.keys():
            raise UsageError("@pytest.mark.robust asks for nothing: add min, like min=0.4 or min='40%'")
        asked = rest["model"]
        rest["model"] = asked if isinstance(asked, str) else getattr(asked, "__name__", type(asked).__name__)
        keys = [("threats",), *((name,) for name in rest)]
        source = Source(file, dict.fromkeys(keys, line))
        rules = validated({"gate": {**rest, "threats": [threat]}}, source)
        key = repr(rules), 0 if isinstance(asked, str) else id(asked)
        if key not in _gates:
            prepare()
            _gates[key] = asked, gating.decided(rules, source, model=_made(asked)).gate
        return _gates[key][1]


def evaluated(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Result:
    """What `advbench attack` finds on the first `n` images, without a verdict; of a marker's settings what it knows."""
    from advbench.api.job import Job
    from advbench.api.runtime import prepare
    from advbench.api.settings import Settings

    with _failing():
        known = {name: value for name, value in current(defaults, _deprecated).items() if name in EVALUATION}
        given = _checked({**known, **current(settings, _deprecated)}, EVALUATION)
        if "," in given.get("eps", ""):
            raise UsageError("one eps at a time, like eps='8/255'")
        model, data = _made(given.pop("model")), given.pop("data", None)
        asked = Settings(**given)
        prepare()
        (result,) = Job.of(model, data, asked).run()
        return result


def _made(model: Any) -> Any:
    """A model, or what a function without parameters makes."""
    makes = inspect.isfunction(model) and not inspect.signature(model).parameters
    return model() if makes else model


def _checked(settings: Mapping[str, Any], known: Mapping[str, str] | tuple[str, ...]) -> dict[str, Any]:
    """Settings that are given, `eps` as text.

    Raises
    ------
    UsageError
        For a setting that there is not, with the nearest one, and where there is no model.
    """
    for name in settings:
        if name not in known:
            raise unknown("setting", name, known)
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
    """An error of advbench fails the test in one line; Ctrl-C ends the session."""
    __tracebackhide__ = True
    try:
        yield
    except Interrupted as error:
        raise KeyboardInterrupt(str(error)) from None
    except AdvbenchError as error:
        raise pytest.fail.Exception(f"advbench: {error}", pytrace=False) from None
