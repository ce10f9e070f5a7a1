"""Remote models: default attacks, query limits and preflight checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from advbench.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from advbench.attacks.spec import AttackSpec
    from advbench.core.flag import Flag
    from advbench.core.loaded import LoadedModel
    from advbench.data import Dataset
    from advbench.remote.target import Target

IMAGES = 100  # attacked by default
ASKED = 32  # examined before the attack

BY_SCORES = dict.fromkeys(("linf", "l2", "l1"), ("square:queries=1000,rescale=true",))
BY_DECISIONS = {"linf": ("rays:queries=1000",), "l2": ("hopskipjump:steps=10",)}
CASCADES = {"score": BY_SCORES, "decision": BY_DECISIONS}
"""Default attacks, by access and by norm."""


def cascade(model: LoadedModel, norm: str) -> tuple[str, ...]:
    """Return the default attacks on a model without a gradient.

    Parameters
    ----------
    model : LoadedModel
        The model.
    norm : str
        Norm of the threat model.

    Returns
    -------
    tuple of str
        Attacks as typed, in order.

    Raises
    ------
    UsageError
        When this norm has no default attack.
    """
    if norm not in CASCADES[model.access]:
        raise UsageError(f"{model.name} has no default attacks under {norm}: name them with --attack")
    return CASCADES[model.access][norm]


def target_of(model: LoadedModel) -> Target | None:
    """Return the remote model behind a model.

    Parameters
    ----------
    model : LoadedModel
        The model.

    Returns
    -------
    Target or None
        None for a model that is computed here.
    """
    from advbench.remote import Remote

    return model.predict.target if isinstance(model.predict, Remote) else None


def limited(model: LoadedModel, budget: int | None) -> LoadedModel:
    """Set the query limit of a remote model.

    Parameters
    ----------
    model : LoadedModel
        The model.
    budget : int or None
        Query limit.

    Returns
    -------
    LoadedModel
        The same model.

    Raises
    ------
    UsageError
        For a limit on a model that is not remote.
    """
    if target := target_of(model):
        target.budget = budget
    elif budget is not None:
        raise UsageError(f"--query-limit is for remote models; {model.name} is computed here")
    return model


def ready(model: LoadedModel, data: Dataset, indices: list[int]) -> LoadedModel:
    """Try a remote model with a few of the images, to learn what it answers; leave any other model unchanged.

    Parameters
    ----------
    model : LoadedModel
        The model.
    data : Dataset
        Test images.
    indices : list of int
        Indices of the images to attack.

    Returns
    -------
    LoadedModel
        The model, with its access known.
    """
    from advbench.remote import probed

    return probed(model, data.images[indices[:ASKED]], len(data.classes))


def preflight(
    model: LoadedModel, images: np.ndarray, labels: np.ndarray, *, classes: int, allow_extra_outputs: bool = False
) -> list[Flag] | None:
    """Check the answers of a remote model to a few images.

    Parameters
    ----------
    model : LoadedModel
        The model.
    images : np.ndarray
        uint8 `[n, H, W, C]`.
    labels : np.ndarray
        int32 `[n]`.
    classes : int
        Number of classes of the data.
    allow_extra_outputs : bool
        The model may have more outputs than classes.

    Returns
    -------
    list of Flag or None
        None for a model that is not remote.
    """
    import numpy as np

    from advbench.preflight.queries import examine_answers

    if (target := target_of(model)) is None:
        return None
    logits = target.ask(images[:ASKED].astype(np.float32) / np.float32(255))
    step = target.found.resolution if target.found else 0.0
    return examine_answers(model, logits, labels[:ASKED], step, classes, allow_extra_outputs=allow_extra_outputs)


def announce(model: LoadedModel, attacks: list[AttackSpec], n: int, notify: Callable[[str], None]) -> None:
    """Say how many queries the attacks may need, before they begin.

    Parameters
    ----------
    model : LoadedModel
        The model; nothing is said of one that is not remote.
    attacks : list of AttackSpec
        Attacks.
    n : int
        Number of images.
    notify : callable
        Called with one line.
    """
    if (target := target_of(model)) is None or target.found is None:
        return
    costs = "; ".join(f"{spec.text} {cost(spec)}" for spec in attacks)
    bound = f"at most {target.budget:,} in all" if target.budget else "no query limit (--query-limit N sets one)"
    what = f"{target.transport.address} answers with {target.found.kind}"
    notify(f"{what}; queries for each of {n:,} images: {costs}; {bound}")


def cost(spec: AttackSpec) -> str:
    """Return the number of queries for each image, in words.

    Parameters
    ----------
    spec : AttackSpec
        The attack.

    Returns
    -------
    str
        A number, or a range that holds for the defaults.
    """
    queries = getattr(spec.attack, "queries", None)
    return f"{queries:,}" if queries else f"{spec.attack.cost} at its defaults"
