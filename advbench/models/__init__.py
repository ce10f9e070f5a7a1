"""Architectures by name, and models from files and from the user's own code.

A new architecture is one class `(shape, classes, *, rngs)` and one line in `MODELS`.
"""

from collections.abc import Callable

from flax import nnx

from advbench.errors import unknown
from advbench.models.mnist import MLP, MadryCNN, SmallCNN

MODELS: dict[str, Callable[..., nnx.Module]] = {
    "mlp": MLP,
    "small-cnn": SmallCNN,
    "madry-cnn": MadryCNN,
}


def create(name: str, *, shape: tuple[int, int, int], classes: int, seed: int) -> nnx.Module:
    """Make a freshly initialised network.

    Parameters
    ----------
    name : str
        A name in `MODELS`.
    shape : tuple of int
        Image shape (H, W, C).
    classes : int
        Number of logits K.
    seed : int
        Fixes the weights and the dropout masks.

    Returns
    -------
    nnx.Module
        Callable on images [B, H, W, C] float32 in [0, 1], returning logits [B, K]; in training mode.

    Raises
    ------
    UsageError
        The name is not in `MODELS`.
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name](shape, classes, rngs=nnx.Rngs(seed))
