"""Feature squeezing: an image is rejected when simpler versions of it are classified otherwise."""

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
from advbench.wrappers.facing import Unaware
from advbench.wrappers.median import Median

SHARP = 10.0  # logits for a distance of 1 beyond the threshold


@dataclass(frozen=True)
class FeatureSqueezing(Wrapper):
    """Reject images whose prediction moves when they are squeezed (Xu, Evans & Qi 2018, arXiv 1704.01155).

    The network sees each image as it is, with fewer bits, and median-filtered. An image is rejected when the softmax
    of the first is farther than a threshold from one of the others, in L1 (the paper's joint detection, by the
    maximum).

    Parameters
    ----------
    depth : int
        Bits of one squeezer.
    size : int
        Window of the other.
    threshold : float
        Largest L1 distance accepted, between 0 and 2. The paper takes what rejects 5 % of clean images.
    """

    paper = "Xu et al. 2018, arXiv 1704.01155"
    depth: int = 1
    size: int = 2
    threshold: float = 0.5

    def check(self, shape: Shape) -> None:
        """As `Wrapper.check`."""
        BitDepth(self.depth).check(shape)
        Median(self.size).check(shape)
        if not 0 < self.threshold < 2:
            raise ValueError(f"squeeze: threshold={self.threshold} should lie between 0 and 2, as L1 distances do")

    def wrap(self, model: Model, shape: Shape, *, adaptive: bool) -> Model:
        """A `Detector`; attacks that do not adapt climb the network alone."""
        if isinstance(model, Randomised):
            raise ValueError("squeeze: predictions of a randomised model differ by chance, and can't be compared")
        squeezed = tuple(before(by, model, adaptive=True) for by in (BitDepth(self.depth), Median(self.size)))
        detector = Detector(model, squeezed, self.threshold)
        return detector if adaptive else Unaware(detector, model)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Detector:
    """A `Model` with the logit "rejected" after those of the classes."""

    model: Model
    squeezed: tuple[Model, ...]
    threshold: float

    def __call__(self, x: Array, /) -> Array:
        """Logits `[B, K + 1]`: the last is the largest where the image is rejected."""
        logits, _, excess = self.seen(x)
        return jnp.concatenate([logits, (logits.max(1) + SHARP * excess)[:, None]], 1)

    def seen(self, x: Array) -> tuple[Array, Array, Array]:
        """Logits `[B, K]`, those of the squeezed images `[S, B, K]`, and how far beyond the threshold, `[B]`."""
        logits, squeezed = self.model(x), jnp.stack([model(x) for model in self.squeezed])
        moved = jnp.abs(jax.nn.softmax(logits) - jax.nn.softmax(squeezed)).sum(-1)
        return logits, squeezed, moved.max(0) - self.threshold

    def against(self, y: Array) -> Model:
        """As `Rejecting.against`."""
        return Against(self, y)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Against:
    """A detector as an adversary with these labels sees it: rejected images count as classified rightly.

    Rejected images show the view that is hardest to fool, so that gradients turn all of them; were softmax distances
    all that is climbed, they would vanish where the network is sure.
    """

    detector: Detector
    y: Array = field()  # int32 [B]

    def __call__(self, x: Array, /) -> Array:
        """Logits `[B, K]`: the largest is not the label's only if the image is accepted, and wrong."""
        if len(x) != len(self.y):
            raise UsageError("this attack changes the order of images and can't be used against a detector")
        logits, squeezed, excess = self.detector.seen(x)
        views = jnp.concatenate([logits[None], squeezed])
        margins = jax.vmap(jax.vmap(margin), (0, None))(views, self.y)
        hardest = jnp.take_along_axis(views, margins.argmin(0)[None, :, None], 0)[0]
        label = jax.nn.one_hot(self.y, logits.shape[1], dtype=bool)
        right = jnp.where(label, (hardest.max(1) + SHARP * excess)[:, None], hardest)
        return jnp.where(excess[:, None] > 0, right, logits)

    def rows(self, some: Array) -> Against:
        """The same for some of the images."""
        return Against(self.detector, self.y[some])
