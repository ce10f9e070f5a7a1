"""Input defense: feature squeezing, which rejects images whose simplified versions are classified differently."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks import Model, Randomised
from advbench.attacks.losses import margin
from advbench.core.errors import UsageError
from advbench.wrappers.base import Shape, Wrapper, before
from advbench.wrappers.bits import BitDepth
from advbench.wrappers.facing import NonAdaptive
from advbench.wrappers.median import Median

SHARP = 10.0  # logits for a distance of 1 beyond the threshold


@dataclass(frozen=True)
class FeatureSqueezing(Wrapper):
    """Reject images whose prediction changes when they are squeezed (Xu, Evans & Qi 2018, arXiv 1704.01155).

    The network sees each image unchanged, with fewer bits, and median-filtered. An image is rejected if the softmax of
    the first differs from one of the others by more than a threshold in L1 (the paper's joint detection).

    Parameters
    ----------
    depth : int
        Bits per value of the first squeezer, from 1 to 8.
    size : int
        Side of the median window in pixels, at least 2.
    threshold : float
        Largest L1 distance accepted, in (0, 2). The paper chooses it to reject 5 % of clean images.
    """

    paper = "Xu et al. 2018, arXiv 1704.01155"
    depth: int = 1
    size: int = 2
    threshold: float = 0.5

    def check(self, shape: Shape) -> None:
        """Refuse a depth, window or threshold out of range."""
        BitDepth(self.depth).check(shape)
        Median(self.size).check(shape)
        if not 0 < self.threshold < 2:
            raise ValueError(f"squeeze: threshold={self.threshold} should be an L1 distance, above 0 and below 2")

    def wrap(self, model: Model, shape: Shape, *, adaptive: bool) -> Model:
        """Return a `Detector`; non-adaptive attacks see the network alone."""
        if isinstance(model, Randomised):
            raise ValueError("squeeze: can't defend a randomised model, whose predictions differ by chance anyway")
        squeezed = tuple(before(by, model, adaptive=True) for by in (BitDepth(self.depth), Median(self.size)))
        detector = Detector(model, squeezed, self.threshold)
        return detector if adaptive else NonAdaptive(detector, model)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Detector:
    """A `Model` with a logit for "rejected" after those of the classes.

    Attributes
    ----------
    model : Model
        Maps images to logits `[B, K]`.
    squeezed : tuple of Model
        The same on squeezed images.
    threshold : float
        Distance of predictions from which on an image is rejected.
    """

    model: Model
    squeezed: tuple[Model, ...]
    threshold: float

    def __call__(self, x: Array, /) -> Array:
        """Return logits `[B, K + 1]`; the last one is the largest if the image is rejected."""
        logits, _, excess = self.seen(x)
        return jnp.concatenate([logits, (logits.max(1) + SHARP * excess)[:, None]], 1)

    def seen(self, x: Array) -> tuple[Array, Array, Array]:
        """Return logits `[B, K]`, logits of the squeezed images `[S, B, K]`, and distance minus threshold `[B]`."""
        logits, squeezed = self.model(x), jnp.stack([model(x) for model in self.squeezed])
        moved = jnp.abs(jax.nn.softmax(logits) - jax.nn.softmax(squeezed)).sum(-1)
        return logits, squeezed, moved.max(0) - self.threshold

    def against(self, y: Array) -> Model:
        """Return the detector for adversarial images with labels `y`, see `Rejecting.against`."""
        return Against(self, y)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Against:
    """A detector as attacks on these labels see it: rejected images count as classified correctly.

    For a rejected image the logits are those of the version with the smallest margin, so that gradients change the
    prediction of all versions. Gradients of the softmax distance alone would vanish where the network is confident.

    Attributes
    ----------
    detector : Detector
        The defended model.
    y : Array
        Labels, int32 `[B]`.
    """

    detector: Detector
    y: Array = field()  # int32 [B]

    def __call__(self, x: Array, /) -> Array:
        """Return logits `[B, K]`: the largest is not the label's only if the image is accepted and misclassified."""
        if len(x) != len(self.y):
            raise UsageError("this attack reorders images, so it can't be used against squeeze: choose another attack")
        logits, squeezed, excess = self.detector.seen(x)
        views = jnp.concatenate([logits[None], squeezed])
        margins = jax.vmap(jax.vmap(margin), (0, None))(views, self.y)
        hardest = jnp.take_along_axis(views, margins.argmin(0)[None, :, None], 0)[0]
        label = jax.nn.one_hot(self.y, logits.shape[1], dtype=bool)
        right = jnp.where(label, (hardest.max(1) + SHARP * excess)[:, None], hardest)
        return jnp.where(excess[:, None] > 0, right, logits)

    def rows(self, some: Array) -> Against:
        """Return the same model for some of the images, by position."""
        return Against(self.detector, self.y[some])
