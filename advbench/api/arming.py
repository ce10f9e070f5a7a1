"""Model with its input defenses, and the attacks on it, from settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from advbench.api import targets
from advbench.api.defaults import cascade, texts_of
from advbench.api.subject import accelerated, load_model_and_data
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.api.settings import Settings
    from advbench.attacks.spec import AttackSpec
    from advbench.core.loaded import LoadedModel
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset


def defended(
    model: Any, data: Any, settings: Settings, *, most: int | None = None
) -> tuple[LoadedModel, Dataset, list[int]]:
    """Load a model and its data, and apply the input defenses, draws and query limit of the settings.

    Parameters
    ----------
    model, data : Any
        As for `advbench.evaluate`.
    settings : Settings
        All other options.
    most : int, optional
        Number of images by default.

    Returns
    -------
    LoadedModel
        The defended model.
    Dataset
        Test images.
    list of int
        Indices of the images to attack.

    Raises
    ------
    AdvbenchError
        When the model or the data are missing or do not fit the settings.
    """
    from advbench.preflight.expected import accuracy_range
    from advbench.wrappers import wrapped

    if settings.expect_clean is not None:
        accuracy_range(str(settings.expect_clean))
    loaded, images, indices = load_model_and_data(model, data, settings, most=most)
    loaded = accelerated(loaded, images, settings)
    loaded = wrapped(loaded, images.images.shape[1:], texts_of(settings.input_defense), adaptive=settings.adaptive)
    return targets.limited(_averaging(loaded, settings.eot_samples), settings.query_limit), images, indices


def armed(
    model: LoadedModel,
    data: Dataset,
    indices: list[int],
    threats: Sequence[ThreatSpec],
    asked: Sequence[Sequence[Any] | None],
) -> tuple[LoadedModel, list[list[AttackSpec]]]:
    """Read the attacks for every threat model: those asked for, or the default ones.

    Parameters
    ----------
    model : LoadedModel
        The model; a remote one is first tried with a few images.
    data : Dataset
        Test images.
    indices : list of int
        Indices of the images to attack.
    threats : sequence of ThreatSpec
        Threat models.
    asked : sequence
        Attacks for each threat model; None for the default ones.

    Returns
    -------
    LoadedModel
        The model.
    list of list of AttackSpec
        Attacks for each threat model.

    Raises
    ------
    AdvbenchError
        For attacks that do not support a threat model, or need more access than the model gives. The latter is checked
        before a remote model gets a query.
    """
    from advbench.attacks.spec import attacks_of
    from advbench.evaluation.access import check_access

    for own, threat in zip(asked, threats, strict=True):
        check_access(model, attacks_of(own or (), threat))
    model = targets.ready(model, data, indices)
    classes = len(data.classes)
    attacks = [
        attacks_of(own or cascade(model, threat.norm, classes), threat)
        for own, threat in zip(asked, threats, strict=True)
    ]
    for specs in attacks:
        check_access(model, specs)
    return model, attacks


def _averaging(model: LoadedModel, draws: int | None) -> LoadedModel:
    """Return a randomised model with the given number of draws in each forward pass."""
    from advbench.attacks import Randomised

    if draws is None:
        return model
    if not isinstance(model.predict, Randomised):
        raise UsageError(f"--eot-samples is for randomised models; {model.name} does not say that it is one")
    return replace(model, predict=replace(model.predict, draws=draws))
