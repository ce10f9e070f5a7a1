"""Record of a training: what its network was made from, by what, and where."""

from __future__ import annotations

import os
import platform
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from advbench.data import DATASETS
from advbench.defenses import DEFENSES, Defense
from advbench.defenses.recipe import Recipe
from advbench.nn import native

if TYPE_CHECKING:
    from advbench.api.checked_training import Training
    from advbench.defenses.training import Fitted


def record(run: Training, recipe: Recipe, fitted: Fitted, replaced: list[str], command: str | None) -> dict[str, Any]:
    """Return the record of a finished training.

    Parameters
    ----------
    run : Training
        The training.
    recipe : Recipe
        Its recipe, with the seed.
    fitted : Fitted
        The outcome.
    replaced : list of str
        Layers that did not get the given initial weights.
    command : str or None
        The command as typed; None for the call in Python.

    Returns
    -------
    dict
        JSON.
    """
    from advbench.evaluation.provenance import machine, versions

    return {
        "command": command or _call(run, recipe),
        "defense": run.spec,
        "threat": {"norm": run.threat.norm, "eps": run.threat.eps.text},
        "recipe": recipe.stored,
        **_init(run, replaced),
        "images": _images(run),
        **_own(run),
        "validation": {**fitted.best, "robust_against": run.defense.against},
        "seconds": round(fitted.seconds, 1),
        "hardware": {"cpus": os.cpu_count(), "processor": platform.machine(), **machine()},
        "versions": versions(),
    }


def shared(run: Training) -> dict[str, str]:
    """Return facts beside the recipe that a resumed training must share.

    Parameters
    ----------
    run : Training
        The training.

    Returns
    -------
    dict of str to str
        By name.
    """
    about = {"model": run.made.name, "native convolutions": native.status()}
    if run.made.code:
        about["code of the model"] = run.made.code.sha256
    if run.init:
        about["initial weights"] = run.init.digest
    return about


def _call(run: Training, recipe: Recipe) -> str:
    """Return the call in Python, for the record; data and code by their names."""
    default = Recipe()
    what = [f.name for f in fields(recipe) if getattr(recipe, f.name) != getattr(default, f.name)]
    given = {"norm": run.threat.norm, "eps": run.threat.eps.text} | {n: getattr(recipe, n) for n in what}
    more = "".join(f", {name}={value!r}" for name, value in given.items())
    return f"advbench.train({run.data.name!r}, {run.made.name!r}, {run.spec!r}{more})"


def _init(run: Training, replaced: list[str]) -> dict[str, Any]:
    if run.init is None:
        return {}
    return {"init": {"source": run.init.source, "digest": run.init.digest, "replaced": replaced}}


def _own(run: Training) -> dict[str, Any]:
    """Return the record of data of the user's own: source, split, reading, classes and digest."""
    data = run.data
    if data.reading is None and data.name in DATASETS:
        return {}
    reading = data.reading.record() if data.reading else {}
    about = {"source": data.source, "split": data.split, "reading": reading}
    return {"data": {**about, "classes": list(data.classes), "digest": data.digest}}


def _images(run: Training) -> dict[str, Any]:
    held = run.recipe.validation
    trained_on = run.size if run.val is not None else run.size - held
    counts: dict[str, Any] = {"trained_on": trained_on, "validated_on": held, "digest": run.data.digest}
    if run.val is not None:
        counts["validation"] = {"split": run.val.split, "digest": run.val.digest}
    if run.extra:
        counts["extra"] = {"trained_on": len(run.extra.images), "digest": run.extra.digest}
    return counts


def typed(defense: str | Defense) -> str:
    """Return a defense as it would be typed.

    Parameters
    ----------
    defense : str or Defense
        Text, which is returned as it is, or an object.

    Returns
    -------
    str
        Name and settings.
    """
    if isinstance(defense, str):
        return defense
    kind = type(defense)
    name = next((name for name, known in DEFENSES.items() if known is kind), kind.__name__)
    given = ",".join(f"{f.name}={getattr(defense, f.name)}" for f in fields(kind))
    return f"{name}:{given}" if given else name
