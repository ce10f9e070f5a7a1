"""Accuracy of a model on corrupted images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from advbench.api import targets
from advbench.api.subject import load_model_and_data

if TYPE_CHECKING:
    from advbench.api.settings import Settings
    from advbench.evaluation.corrupted import Corruptions


def corrupted(
    model: Any,
    data: Any,
    settings: Settings,
    *,
    kinds: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    tell: Callable[[str, str, int, int], None],
) -> Corruptions:
    """Measure accuracy under every kind and severity of corruption.

    Parameters
    ----------
    model, data : Any
        As for `advbench.evaluate`.
    settings : Settings
        All other options.
    kinds : sequence of str, optional
        Kinds of corruption; by default all that suit such images.
    severities : sequence of int, optional
        Severities from 1 to 5; by default all.
    tell : callable
        Called after each kind with the name of the model, the kind, and the measurements done and in total.

    Returns
    -------
    Corruptions
        Accuracy for each kind and severity.

    Raises
    ------
    AdvbenchError
        For a model or data that are missing or do not fit, and for an unknown kind.
    """
    from advbench.core.names import found
    from advbench.data.corruptions import SEVERITIES
    from advbench.data.corruptions import kinds as there_are
    from advbench.evaluation.corrupted import measure

    loaded, images, indices = load_model_and_data(model, data, settings)
    loaded = targets.ready(loaded, images, indices)
    known = there_are(images.images.shape[-1])
    asked = kinds and [found(f"{images.name} corruption", name, known) for name in kinds]
    loaded.require(images)
    levels = tuple(sorted(set(severities or SEVERITIES)))

    def told(kind: str, done: int, total: int) -> None:
        if done % len(levels) == 0:
            tell(loaded.name, kind, done, total)

    return measure(
        loaded,
        images,
        indices,
        tuple(dict.fromkeys(asked or known)),
        levels,
        seed=settings.seed,
        batch_size=settings.batch_size,
        tell=told,
        allow_extra_outputs=settings.allow_extra_outputs,
    )
