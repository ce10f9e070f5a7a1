"""Momentum iterative FGSM (Dong, Liao, Pang, Su, Zhu, Hu & Li 2018, arXiv 1710.06081), and attacks that build on it.

    m <- decay m + g / |g|_1,   x <- project(x + step steepest(m))

The others change the gradient g: DI takes it at a randomly shrunk and shifted image, TI averages it over shifts; VMI
(`vmi.py`) corrects it by the gradients around the previous image.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Proposal, setting
from advbench.attacks.loop import iterate
from advbench.attacks.losses import input_gradient, losses
from advbench.attacks.pgd import PGD, start
from advbench.attacks.rows import blank, filled
from advbench.attacks.selection import (
    Choice,
    choice,
    consider,
    proposal,
    settled,
)
from advbench.core.model import Model
from advbench.core.norms import TINY
from advbench.core.randomised import Randomised
from advbench.core.threat import Threat


class State(NamedTuple):
    """Per image: position, momentum, and cost. Every leaf has leading axis B."""

    x: Array
    misclassified: Array
    forwards: Array
    gradients: Array
    momentum: Array
    keys: Array
    memory: Any  # memory of a variant
    chosen: Choice | None


class MIFGSM(PGD):
    """Ascent along a decaying sum of gradients, each of mean size 1.

    Parameters
    ----------
    decay
        Weight of the earlier gradients, at least 0; 0 is no momentum.

    Examples
    --------
    With `model`, `linf`, `x`, `y` and `keys` of the example of `Attack`:

    >>> MIFGSM(decay=0.9)(model, linf, x, y, keys).claims.tolist()
    [True, True]
    """

    norms = ("linf", "l2")
    cost = "10 gradients"
    paper = "Dong et al. 2018, arXiv 1710.06081"

    steps: int = 10
    rel_step_size: float = 0.1
    start: Literal["uniform", "clean", "jitter"] = setting(default="clean")
    decay: float = 1.0

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if not self.decay >= 0:
            raise ValueError(f"{type(self).__name__} needs decay >= 0, not {self.decay:g}")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        zero, none = filled(x, 0, np.int32), blank(x)
        chosen = choice(model, x, y) if self.keep else None
        begin = State(start(self, threat, x, keys), zero > 0, zero, zero, none, keys, self.remember(x), chosen)
        ended = iterate(self, model, threat, x, y, begin, self.steps * self.gradients_per_step)
        return proposal(ended.chosen, model, ended.x, y, ended.misclassified, ended.forwards, ended.gradients)

    @property
    def gradients_per_step(self) -> Array | int:
        """Gradients per ascent step."""
        return 1

    def remember(self, x: Array) -> Any:
        """Return the initial memory of a variant.

        Parameters
        ----------
        x : Array
            Clean images, float32 `[B, H, W, C]`.

        Returns
        -------
        Any
            Pytree, every leaf with leading axis B.
        """
        return ()

    def gradient(self, model: Model, x: Array, y: Any, state: State) -> tuple[Array, Array | None, int]:
        """Return the gradient to follow.

        Parameters
        ----------
        model : Model
            Images float32 `[B, H, W, C]` in [0, 1] to logits `[B, K]`.
        x : Array
            Current images, float32 `[B, H, W, C]`.
        y : Any
            Reference of the loss, leading axis B: labels int32 `[B]`, a `TargetedLabels`, or clean logits.
        state : State
            State before the step.

        Returns
        -------
        tuple[Array, Array or None, int]
            Gradient in the shape of `x`, the logits `[B, K]` of `x` if needed, and the number of forward passes.
        """
        g, logits = input_gradient(model, losses(self.targets)[self.loss], x, y)
        return g, logits if self.keep else None, 1

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: Any) -> Any:
        """Take one ascent step; misclassified images stay."""
        g, logits, forwards = self.gradient(model, state.x, y, state)
        done = state.misclassified if logits is None else state.misclassified | settled(model, logits, y)
        moved, momentum = self.move(threat, x, state, g)
        return state._replace(
            x=jnp.where(done[:, None, None, None], state.x, moved),
            misclassified=done,
            forwards=state.forwards + jnp.where(state.misclassified, 0, forwards),
            gradients=state.gradients + ~state.misclassified,
            momentum=momentum,
            chosen=consider(state.chosen, model, state.x, y, logits, path=True),
        )

    def move(self, threat: Threat, x: Array, state: State, g: Array) -> tuple[Array, Array]:
        """Take a step along the momentum.

        Parameters
        ----------
        threat : Threat
            Norm ball and pixel box to stay in.
        x : Array
            Clean images, float32 `[B, H, W, C]`.
        state : State
            State before the step.
        g : Array
            Gradient to follow.

        Returns
        -------
        tuple[Array, Array]
            Next images, and their momentum.
        """
        g = jnp.where(jnp.isfinite(g), g, 0.0)
        g = g / jnp.maximum(jnp.abs(g).max((1, 2, 3), keepdims=True), TINY)  # else tiny gradients underflow in the sum
        mean = jnp.maximum(jnp.abs(g).sum((1, 2, 3), keepdims=True), 1.0) / g[0].size  # a sum is 0 or at least 1
        momentum = self.decay * state.momentum + g / mean
        return jax.vmap(threat.step, (0, 0, 0, None))(x, state.x, momentum, self.rel_step_size), momentum


class DIFGSM(MIFGSM):
    """Input diversity: the gradient of the image pasted at random into a larger black frame, which is then shrunk.

    With momentum, as in the authors' strongest single attack; `decay=0` is without.

    Parameters
    ----------
    probability
        Probability that a gradient is taken through a random frame, from 0 to 1.
    resize
        Side of the largest frame, in sides of the image, at least 1.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(DIFGSM(probability=0.7))
    'di-fgsm:probability=0.7'
    """

    cost = "10 gradients and 10 forwards"
    paper = "Xie et al. 2019, arXiv 1803.06978"

    probability: float = 0.5
    resize: float = 330 / 299

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if not 0 <= self.probability <= 1 or not self.resize >= 1:
            raise ValueError("DIFGSM needs probability in [0, 1] and resize >= 1")

    def gradient(self, model: Model, x: Array, y: Any, state: State) -> tuple[Array, Array | None, int]:
        """Return the gradient through a random frame, and the logits of the image as it is."""
        keys = jax.vmap(jax.random.fold_in)(state.keys, state.gradients)
        framed = jax.vmap(_framed, (None, None, 0, 0))
        diverse, pull = jax.vjp(lambda x: framed(self.probability, self.resize, keys, x), x)
        g, _ = input_gradient(model, losses(self.targets)[self.loss], diverse, y)
        if not self.keep or isinstance(model, Randomised):
            return pull(g)[0], None, 1
        return pull(g)[0], model(x), 2


class TIFGSM(MIFGSM):
    """Translation invariance: the gradient averaged over shifts, which is the gradient blurred.

    The authors' kernel has 15 values for 299 pixels; 5 are the fewest that still blur, for 28 or 32. It has the shape
    of theirs, three deviations to its edge, and momentum as they use it; `decay=0` is without.

    Parameters
    ----------
    kernel
        Width of the blur in pixels, odd; 1 does not blur.

    Examples
    --------
    With `model`, `linf`, `x`, `y` and `keys` of the example of `Attack`:

    >>> TIFGSM(kernel=3)(model, linf, x, y, keys).claims.tolist()
    [True, True]
    """

    paper = "Dong et al. 2019, arXiv 1904.02884"

    kernel: int = setting(default=5)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"TIFGSM needs an odd kernel of at least 1, not {self.kernel}")

    def gradient(self, model: Model, x: Array, y: Any, state: State) -> tuple[Array, Array | None, int]:
        """Return the blurred gradient."""
        g, logits, forwards = super().gradient(model, x, y, state)
        down, across = _blur(x.shape[1], self.kernel), _blur(x.shape[2], self.kernel)
        return jnp.einsum("hi,wj,bijc->bhwc", down, across, g), logits, forwards


def _framed(probability: Array | float, resize: Array | float, key: Array, x: Array) -> Array:
    """Shrink and shift `[H, W, C]` within black, with some probability: pasted into a frame, then resized back."""
    whether, size, down, across = jax.random.split(key, 4)
    scale = jax.random.uniform(size, minval=1.0, maxval=resize) / resize
    room = jnp.array(x.shape[:2]) * (1 - scale)
    shift = room * jnp.stack([jax.random.uniform(down), jax.random.uniform(across)])
    framed = jax.image.scale_and_translate(x, x.shape, (0, 1), jnp.stack([scale, scale]), shift, "linear", False)
    return jnp.where(jax.random.uniform(whether) < probability, framed, x)


def _blur(side: int, kernel: int) -> np.ndarray:
    """Return the matrix `[side, side]` of a Gaussian over `kernel` neighbours, zero beyond the border."""
    values = np.exp(-0.5 * np.linspace(-3, 3, kernel) ** 2) if kernel > 1 else np.ones(1)
    matrix = sum(np.eye(side, k=k - kernel // 2) * value for k, value in enumerate(values / values.sum()))
    return np.asarray(matrix, np.float32)
