"""What is done about models that only answer queries, and count them."""

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

IMAGES = 100  # attacked unless told otherwise
ASKED = 32  # looked at before the attack

BY_SCORES = dict.fromkeys(("linf", "l2", "l1"), ("square:queries=1000,rescale=true",))
BY_DECISIONS = {"linf": ("rays:queries=1000",), "l2": ("hopskipjump:steps=10",)}
CASCADES = {"score": BY_SCORES, "decision": BY_DECISIONS}
"""Attacks used unless others are named, by what the model answers and by norm."""


def cascade(model: LoadedModel, norm: str) -> tuple[str, ...]:
    """Attacks for a model that has no gradient.

    Raises
    ------
    UsageError
        When none is used by itself under this norm.
    """
    if norm not in CASCADES[model.access]:
        raise UsageError(f"name the attacks on {model.name} under {norm} with --attack")
    return CASCADES[model.access][norm]


def target_of(model: LoadedModel) -> Target | None:
    """What lies behind the URL, if the model does."""
    from advbench.remote import Remote

    return model.predict.target if isinstance(model.predict, Remote) else None


def limited(model: LoadedModel, budget: int | None) -> LoadedModel:
    """The model, with a bound on what may be asked of it.

    Raises
    ------
    UsageError
        When it is no target.
    """
    if target := target_of(model):
        target.budget = budget
    elif budget is not None:
        raise UsageError(f"--query-limit is for targets behind a URL; {model.name} is computed here")
    return model


def ready(model: LoadedModel, data: Dataset, indices: list[int]) -> LoadedModel:
    """A target once it was tried with a few of the images; any other model as it is."""
    from advbench.remote import tried

    return tried(model, data.images[indices[:ASKED]], len(data.classes))


def preflight(
    model: LoadedModel, images: np.ndarray, labels: np.ndarray, *, classes: int, allow_extra_outputs: bool = False
) -> list[Flag] | None:
    """What a target's answers to a few images say, uint8 `[n, H, W, C]`; None for any other model."""
    import numpy as np

    from advbench.preflight.queries import examine_answers

    if (target := target_of(model)) is None:
        return None
    logits = target.ask(images[:ASKED].astype(np.float32) / np.float32(255))
    step = target.found.resolution if target.found else 0.0
    return examine_answers(model, logits, labels[:ASKED], step, classes, allow_extra_outputs=allow_extra_outputs)


def announce(model: LoadedModel, attacks: list[AttackSpec], n: int, notify: Callable[[str], None]) -> None:
    """Say what the attacks may cost, before they begin."""
    if (target := target_of(model)) is None or target.found is None:
        return
    costs = "; ".join(f"{spec.text} {cost(spec)}" for spec in attacks)
    bound = f"at most {target.budget:,} in all" if target.budget else "no bound (--query-limit N sets one)"
    what = f"{target.transport.address} answers with {target.found.kind}"
    notify(f"{what}; queries for each of {n:,} images: {costs}; {bound}")


def cost(spec: AttackSpec) -> str:
    """Queries an image, in words."""
    queries = getattr(spec.attack, "queries", None)
    return f"{queries:,}" if queries else f"{spec.attack.cost} at its defaults"
