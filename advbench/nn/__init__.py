"""Architectures by name.

A new architecture is one class `(shape, classes, *, rngs)` and one line in `MODELS`.
"""

from collections.abc import Callable
from functools import partial

from flax import nnx

from advbench.core.ambient import own_settings
from advbench.core.names import found
from advbench.nn.mnist import (
    MLP,
    MadryCNN,
    SmallCNN,
    WongCNN,
)
from advbench.nn.resnet import ResNet, preact_resnet18, wide_resnet

MODELS: dict[str, Callable[..., nnx.Module]] = {
    "mlp": MLP,
    "small-cnn": SmallCNN,
    "madry-cnn": MadryCNN,
    "wong-cnn": WongCNN,
    "resnet8": partial(ResNet, depth=8, width=24, stem=2),
    "resnet14": partial(ResNet, depth=14, width=48, stem=2),
    "resnet20": ResNet,
    "preact-resnet18": preact_resnet18,
    "preact-resnet18-silu": partial(preact_resnet18, activation=nnx.silu),
    "wrn-28-10": partial(wide_resnet, depth=28, widen=10),
    "wrn-28-10-silu": partial(wide_resnet, depth=28, widen=10, activation=nnx.silu),
    "wrn-34-10": partial(wide_resnet, depth=34, widen=10),
    "wrn-34-10-silu": partial(wide_resnet, depth=34, widen=10, activation=nnx.silu),
}
"""Architectures by the name that is typed."""


@own_settings()
def create(name: str, *, shape: tuple[int, int, int], classes: int, seed: int) -> nnx.Module:
    """Make a freshly initialised network.

    Parameters
    ----------
    name : str
        A name in `MODELS`.
    shape : tuple[int, int, int]
        Shape of one image, (H, W, C).
    classes : int
        Number of logits K.
    seed : int
        Fixes the weights and the dropout masks.

    Returns
    -------
    nnx.Module
        Callable on images `[B, H, W, C]` float32 in [0, 1], returning logits `[B, K]`; in training mode.

    Raises
    ------
    UsageError
        When the name is not in `MODELS`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> network = create("mlp", shape=(6, 6, 1), classes=3, seed=0)
    >>> network(jnp.zeros((2, 6, 6, 1))).shape
    (2, 3)
    """
    return MODELS[found("network", name, MODELS)](shape, classes, rngs=nnx.Rngs(seed))
