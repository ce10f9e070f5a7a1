"""One attack on arrays: images in, adversarial images out."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from advbench.api.defaults import texts_of, threats_of
from advbench.api.keywords import Eps
from advbench.api.outcome import warn_of_invalid
from advbench.api.settings import Settings
from advbench.api.subject import accelerated, model_of, widened
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.attacks import Attack
    from advbench.core.loaded import LoadedModel
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset


def attack(
    model: Any,
    images: Any,
    labels: Any,
    attack: str | Attack = "apgd",
    *,
    norm: str,
    eps: Eps,
    seed: int = 0,
    batch_size: int = 128,
    input_layout: str | None = None,
    mean: Any = None,
    std: Any = None,
    layout: str | None = None,
) -> Any:
    """Attack images, and return the adversarial ones; images that were not broken are returned unchanged.

    The attack proposes images, with all its restarts and target classes; the judge predicts and measures every proposal
    again. So the returned images differ from `images` exactly where the attack succeeded within the threat model.

    Parameters
    ----------
    model : Any
        As for `advbench.evaluate`.
    images : array
        uint8, or floats in [0, 1]: `[N, H, W, C]` or `[N, C, H, W]`, of NumPy, JAX or PyTorch.
    labels : array
        Integers `[N]`.
    attack : str or Attack
        One attack, like `"pgd:steps=100,restarts=5"` or `PGD(steps=100)`; a suite runs each of its attacks in turn.
    norm : {"linf", "l2", "l1", "l0", "any"}
        Norm of the threat model.
    eps : str or number
        Perturbation budget, for pixels from 0 to 1.
    seed : int
        Fixes every random start, together with the index of the image.
    batch_size : int
        Images in a batch; results do not depend on it.
    input_layout, mean, std
        As for `advbench.evaluate`.
    layout : {"nhwc", "nchw"}, optional
        Order of the images' axes, if their shape is ambiguous.

    Returns
    -------
    array
        float32 in [0, 1] of the shape, layout and library of `images`. Images that were not broken are unchanged, as
        are those that the model misclassified already.

    Raises
    ------
    UsageError
        In one line, for images, labels, an attack or a threat model that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import advbench
    >>> from advbench.attacks import PGD
    >>> def model(x):
    ...     return x.mean((1, 2))
    >>> images = np.full((2, 5, 6, 3), [0.3, 0.4, 0.5], np.float32)
    >>> found = advbench.attack(model, images, [2, 2], PGD(steps=30), norm="linf", eps=0.08)
    >>> bool((np.asarray(model(found)).argmax(1) != 2).all()), bool(abs(found - images).max() <= 0.08 + 1e-6)
    (True, True)
    """
    from advbench.attacks.spec import attacks_of
    from advbench.core.images import pixels
    from advbench.core.lazy import chunks
    from advbench.evaluation.evaluator import Evaluator

    settings = Settings(norm=norm, eps=eps, input_layout=input_layout, mean=mean, std=std)
    loaded = model_of(model, settings)
    data, channels_first = _data(images, labels, layout)
    loaded, data = _fitted(loaded, data)
    loaded = accelerated(loaded, data, settings)
    (threat,) = _one(threats_of(loaded, data.name, norm, settings.eps_text))
    evaluator = Evaluator(
        model=loaded,
        data=data,
        indices=np.arange(len(data), dtype=np.int32),
        attacks=attacks_of(texts_of(attack) or (), threat),
        threat=threat,
        seed=seed,
        batch_size=batch_size,
        doublings=0,
    )
    result, broken = evaluator.run(None, resume=False)
    warn_of_invalid(result.flags, but=("under_converged",))  # how long to search is the caller's choice here
    found = np.array(pixels(data.images), copy=data.images.dtype == np.float32)
    at = 0
    for part in chunks(broken.x_adv):
        found[broken.index[at : at + len(part)]] = part
        at += len(part)
    return _like(images, np.moveaxis(found, -1, 1) if channels_first else found)


def _one(threats: list[ThreatSpec]) -> list[ThreatSpec]:
    if len(threats) != 1:
        raise UsageError("attack takes one eps")
    return threats


def _data(images: Any, labels: Any, layout: str | None) -> tuple[Dataset, bool]:
    """Make a data set whose images are float32 and not rounded; return it, and whether channels came first."""
    from advbench.core.arrays import CHANNELS
    from advbench.data import Dataset

    data = Dataset.from_arrays(images, labels, layout=layout)
    shape = tuple(images.shape) if hasattr(images, "shape") else np.shape(images)
    if len(shape) != 4:
        raise UsageError(f"images are {list(shape)}: give [N, H, W, C] or [N, C, H, W]")
    first = layout == "nchw" or (layout is None and shape[3] not in CHANNELS)
    if hasattr(images, "detach"):
        images = images.detach().cpu()
    pixels = np.asarray(images)
    if pixels.dtype == np.uint8:
        return data, first
    pixels = pixels.astype(np.float32)
    exact = np.ascontiguousarray(np.moveaxis(pixels, 1, -1) if first else pixels)
    return replace(data, images=exact, digest="", notes=()), first


def _fitted(model: LoadedModel, data: Dataset) -> tuple[LoadedModel, Dataset]:
    """Return the model in the layout that fits, and the data with as many classes as the model has logits."""
    from advbench.core.images import pixels
    from advbench.core.outputs import expecting
    from advbench.preflight.layout import PROBE, find_layout

    model = expecting(model, len(data.classes))
    model, _ = find_layout(model, pixels(data.images[:PROBE]), data.labels[:PROBE])
    data = widened(model, data)
    return expecting(model, len(data.classes)), data


def _like(images: Any, found: np.ndarray) -> Any:
    """Return `found` as an array of the same library as `images`."""
    if "torch" in sys.modules and isinstance(images, sys.modules["torch"].Tensor):
        return sys.modules["torch"].from_numpy(np.ascontiguousarray(found)).to(images.device)
    import jax
    import jax.numpy as jnp

    return jnp.asarray(found) if isinstance(images, jax.Array) else np.ascontiguousarray(found)
