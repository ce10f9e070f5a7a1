"""Preflight checks of a model alone, without an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from advbench.api import targets
from advbench.api.defaults import texts_of, threats_of
from advbench.api.job import pool
from advbench.api.subject import model_and_data
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from advbench.api.settings import Settings
    from advbench.core.flag import Flag
    from advbench.core.loaded import LoadedModel
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset

IMAGES = 128  # examined by default


class Examined(NamedTuple):
    """A model and its preflight checks."""

    model: LoadedModel
    accuracy: float
    flags: list[Flag]
    asked: dict[str, str]  # every check that was made, by the name of its flag


def examined(model: Any, data: Any, settings: Settings) -> Examined:
    """Examine a model on `settings.n` test images, drawn by `settings.seed`; also its gradients if preflight is "full".

    Parameters
    ----------
    model, data : Any
        As for `advbench.evaluate`.
    settings : Settings
        All other options.

    Returns
    -------
    Examined
        The model, its clean accuracy, the flags, and the checks that were made.

    Raises
    ------
    AdvbenchError
        For a model or data that are missing or do not fit.
    """
    from advbench.preflight.expected import accuracy_range
    from advbench.wrappers import wrapped

    if settings.expect_clean is not None:
        accuracy_range(str(settings.expect_clean))
    bare, test = model_and_data(model, data, settings)
    defended = wrapped(bare, test.images.shape[1:], texts_of(settings.input_defense), adaptive=settings.adaptive)
    threat = None
    if settings.looks == "full":
        threat = threats_of(defended, test.name, settings.norm, settings.eps_text)[0]
    return _examine(defended, test, settings, threat)


def _examine(model: LoadedModel, test: Dataset, settings: Settings, threat: ThreatSpec | None) -> Examined:
    import numpy as np

    from advbench.core.images import pixels
    from advbench.preflight import (
        CHECKS,
        EXPECTED,
        TRANSLATED,
        clean_accuracy,
        examine,
        expected,
    )
    from advbench.preflight.made import NotMade, flags_of
    from advbench.preflight.masking import ASKED
    from advbench.preflight.queries import CHECKS as QUERIES

    n = settings.n or IMAGES
    if n > len(test.images):
        raise UsageError(f"-n {n} is more than the {len(test.images)} images of {test.name} that are here")
    chosen = np.sort(np.random.default_rng(settings.seed).choice(len(test.images), n, replace=False))
    images, labels = pixels(test.images[chosen]), test.labels[chosen]
    held: dict[str, Any] = {"classes": len(test.classes), "allow_extra_outputs": settings.allow_extra_outputs}
    ready = targets.ready(model, test, chosen.tolist())
    flags, asked = targets.preflight(ready, test.images[chosen], labels, **held), QUERIES
    if flags is None:
        flags, asked = examine(model, images, labels, **held), CHECKS | (TRANSLATED if model.compare else {})
    elif threat:
        raise UsageError("--full looks at gradients, which can't be had through queries")
    accuracy = clean_accuracy(model, images, labels)
    if settings.expect_clean is not None:
        flags, asked = flags + expected(accuracy, n, str(settings.expect_clean)), asked | EXPECTED
    if threat:
        fatal = any(flag.level == "invalid" for flag in flags)
        left_out = flags_of([NotMade(tuple(ASKED), "the model can't be evaluated as it is")])
        found = left_out if fatal else _masking(model, test, chosen, threat, settings.seed)
        flags, asked = flags + found, asked | ASKED
    return Examined(model, accuracy, flags, asked)


def _masking(model: LoadedModel, test: Dataset, chosen: np.ndarray, threat: ThreatSpec, seed: int) -> list[Flag]:
    """Run all gradient masking checks; a surrogate is trained on images that were not chosen."""
    import numpy as np

    from advbench.core.images import pixels
    from advbench.preflight.masking import examine_masking

    at = np.concatenate([chosen, np.setdiff1d(np.arange(pool(test)), chosen)])
    images, labels = pixels(test.images[at]), test.labels[at]
    classes = len(test.classes)
    return examine_masking(model, images, labels, threat, seed=seed, batch_size=64, full=True, classes=classes)
