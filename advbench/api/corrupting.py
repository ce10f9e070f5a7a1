"""How a model does on corrupted images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from advbench.api import targets
from advbench.api.subject import subject

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
    model, data : as for `advbench.evaluate`.
    settings : Settings
    kinds, severities : which; by default all that there are for such images.
    tell : told the model's name and the kind, and how many of how many are done, after each kind.

    Raises
    ------
    AdvbenchError
        For a model or data that are not there or do not fit, and an unknown kind.
    """
    from advbench.core.names import found
    from advbench.data.corruptions import SEVERITIES
    from advbench.data.corruptions import kinds as there_are
    from advbench.evaluation.corrupted import measure

    loaded, images, indices = subject(model, data, settings)
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
