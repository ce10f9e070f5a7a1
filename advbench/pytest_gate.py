"""What the pytest plugin does once a marked test runs: a marker becomes the rules of a gate, a call an evaluation."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pytest

from advbench.core.errors import (
    AdvbenchError,
    Interrupted,
    UsageError,
    unknown,
)

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
        *("model", "data", "n", "seed", "batch_size", "attacks", "checks", "budget", "error", "allow_flags"),
        "min_clean",
    )
}
"""Those that stand in `[gate]`."""

EVALUATION: Final = ("model", "data", "n", "seed", "batch_size", "attacks", "checks", "budget", "norm", "eps")

NO_MODEL: Final = (
    "no model: give @pytest.mark.robust(model=...), override the fixture robust_model, "
    "or set advbench_model in pytest's configuration"
)

_gates: dict[str, Gate] = {}
_held: list[tuple[Any, str]] = []


def decided(settings: Mapping[str, Any], file: str, line: int) -> Gate:
    """The gate of a marker in `file` at `line`; one that was decided in this session already is not run again."""
    from advbench.cli import gating
    from advbench.gating.source import Source, validated

    with _failing():
        given = _checked(settings, {**THREAT, **GATE})
        threat = {name: given[key] for key, name in THREAT.items() if key in given}
        rest = {name: given[key] for key, name in GATE.items() if key in given}
        if not {"min-robust", "min-class", "min-worst-class"} & threat.keys():
            raise UsageError("@pytest.mark.robust asks for nothing: add min, like min=0.4 or min='40%'")
        keys = [("threats",), *((name,) for name in rest)]
        source = Source(file, dict.fromkeys(keys, line))
        rules = validated({"gate": {**rest, "threats": [threat]}}, source)
        if (known := _gates.get(repr(rules))) is not None:
            return known
        with TemporaryDirectory() as scratch:
            written = Path(scratch) / "gate.json"
            try:
                gating.decide(rules, source, update=False, json=str(written), reports=(), out=None, resume=False)
            except AdvbenchError:  # also what it ends with when it does not pass
                if not written.exists():
                    raise
            from advbench.gating.verdict import Gate

            return _gates.setdefault(repr(rules), Gate.load(written))


def evaluated(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Result:
    """What `advbench attack` finds on the first `n` images, without a verdict; of a marker's settings what it knows."""
    from advbench.cli.evaluating import Job, Request
    from advbench.cli.runtime import prepare

    with _failing():
        known = {name: value for name, value in defaults.items() if name in EVALUATION}
        given = _checked({**known, **settings}, EVALUATION)
        if "," in given.get("eps", ""):
            raise UsageError("one eps at a time, like eps='8/255'")
        typed: dict[str, Any] = {name: given.get(name) for name in ("data", "attacks", "norm", "eps", "n", "budget")}
        request = Request(
            **typed,
            indices=None,
            seed=given.get("seed", 0),
            batch_size=given.get("batch_size", 128),
            resume=False,
            force=False,
            checks=given.get("checks", "fast"),
        )
        prepare()
        (result,) = Job.of(given["model"], request).run(None, each=False)
        return result


def named(model: Any) -> str:
    """What names a model on the command line, also for one that is an object here, or a function that makes one.

    Raises
    ------
    UsageError
        When there is none.
    """
    if model is None:
        raise UsageError(NO_MODEL)
    if isinstance(model, str):
        return model
    for held, name in _held:
        if held is model:
            return name
    module = ModuleType(f"robust_model_{len(_held) + 1}")
    makes = inspect.isfunction(model) and not inspect.signature(model).parameters
    module.__dict__.update(make=model if makes else lambda: model, __file__=__file__)
    sys.modules[module.__name__] = module
    _held.append((model, f"{module.__name__}:make"))
    return _held[-1][1]


def _checked(settings: Mapping[str, Any], known: Mapping[str, str] | tuple[str, ...]) -> dict[str, Any]:
    """Settings that are given, the model by its name, `eps` as text.

    Raises
    ------
    UsageError
        For a setting that there is not, with the nearest one.
    """
    for name in settings:
        if name not in known:
            raise unknown("setting", name, known)
    given = {name: value for name, value in settings.items() if value is not None}
    given["model"] = named(given.get("model"))
    if "eps" in given:
        given["eps"] = str(given["eps"])
    if isinstance(given.get("attacks"), str):
        given["attacks"] = [given["attacks"]]
    return given


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
