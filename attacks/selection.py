"""Successes that count where another model judges than the one an attack climbs.

A randomised model is judged on other draws than those climbed, and a `Substitute` is climbed in place of the model that
judges. There the first image that fools is most often luck, and the judge undoes it. So an attack goes on for all its
steps, estimates the margin of its iterates on draws that it does not climb (nor are they the judge's), and proposes the
one of the largest margin. Minimum-norm attacks, and those that see decisions alone, count as a success only what fools
by a margin to spare. No attack claims more than that.

All of this is decided while a program is traced: against a model that judges itself nothing is added to an attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks.base import Proposal
from advbench.attacks.losses import fooled, label_of, margin
from advbench.attacks.rows import per_image
from advbench.core.model import Model
from advbench.core.randomised import Randomised

SURE = 4.0  # standard errors of the mean margin over the draws that a success must be positive by
FRESH = 0.3  # weight of the latest look, where iterates lie close to each other


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Substitute:
    """A `Model` that is climbed in place of another one, of which the attack knows nothing.

    Parameters
    ----------
    model : Model
        What is climbed.
    enough : Array
        The margin in logits that a minimum-norm attack must reach on each image, float32 `[B]`.
    """

    model: Model
    enough: Array

    def __call__(self, x: Array, /) -> Array:
        """Logits `[B, K]` of the model that is climbed."""
        return self.model(x)

    def rows(self, some: Array) -> Substitute:
        """The same for some of the images."""
        return Substitute(self.model, self.enough[some])


class Look(NamedTuple):
    """What draws that are not climbed say of each image; float32 `[B]` each."""

    margin: Array
    enough: Array  # the margin that a minimum-norm attack must reach
    doubt: Array  # the margin beyond which it counts as a success


class Choice(NamedTuple):
    """The iterate of the largest margin so far; every leaf has leading axis B."""

    x: Array
    margin: Array  # -inf before the first look
    sure: Array  # whether it counts as a success
    trend: Array  # mean margin of the latest iterates
    looks: Array  # iterates that were looked at
    first: Array  # looks by which one first fooled; 0: none did

    def better(self, seen: Look, x: Array, where: Array | bool = True, *, path: bool = False) -> Choice:
        """Take those of `x` that have a larger margin.

        Parameters
        ----------
        seen : what is known of `x`.
        x : images `[B, H, W, C]`.
        where : bool `[B]`, which of them are looked at.
        path : whether each lies close to the one looked at before. Then the margins of both tell of it, and averaging
            keeps one lucky look from deciding.
        """
        trend = (1 - FRESH) * self.trend + FRESH * seen.margin
        margin = jnp.where((self.looks > 0) & jnp.isfinite(trend), trend, seen.margin) if path else seen.margin
        better = where & (margin > self.margin)
        looks = self.looks + where
        return Choice(
            per_image(better)(x, self.x),
            jnp.where(better, margin, self.margin),
            jnp.where(better, margin > seen.doubt, self.sure),
            jnp.where(where, margin, self.trend),
            looks,
            jnp.where((self.first == 0) & where & (margin > 0), looks, self.first),
        )


def judged_elsewhere(model: Model) -> bool:
    """Whether another model judges than the one that is climbed."""
    return isinstance(model, Randomised | Substitute)


def settled(model: Model, logits: Array, y: Any) -> Array:
    """Images on which an attack may rest, bool `[B]`: those that fool; none where another model judges."""
    fools = fooled(logits, y)
    return jnp.zeros_like(fools) if judged_elsewhere(model) else fools


def look(model: Model, x: Array, y: Any, logits: Array | None) -> Look | None:
    """Estimate margins anew; None where the model judges itself.

    Parameters
    ----------
    model : what is climbed.
    x : images `[B, H, W, C]`.
    y : what the loss refers to: labels or an `Aim`. The margin is that over the label in either case.
    logits : what `model` gives for `x`, `[B, K]`; a randomised one is asked again and does not need them.
    """
    label = label_of(y)
    if isinstance(model, Substitute) and logits is not None:
        return Look(_number(jax.vmap(margin)(jax.lax.stop_gradient(logits), label)), model.enough, 0 * model.enough)
    if not isinstance(model, Randomised):
        return None
    draws = model.checking().sample(jax.lax.stop_gradient(x))
    mean = draws.mean(0)
    wrong = jnp.where(jax.nn.one_hot(label, mean.shape[-1], dtype=bool), -jnp.inf, mean).argmax(-1)
    lead = jnp.take_along_axis(draws - jnp.take_along_axis(draws, label[None, :, None], 2), wrong[None, :, None], 2)
    doubt = SURE * lead.std((0, 2), ddof=1) / jnp.sqrt(model.draws)
    return Look(_number(lead.mean((0, 2))), doubt, doubt)


def _number(margins: Array) -> Array:
    """Outputs that are no numbers are worst of all."""
    return jnp.where(jnp.isnan(margins), jnp.inf, margins)


def beyond(gain: Array, seen: Look | None) -> Array:
    """`gain`, `[B]`, less what is to spare, by the draws climbed and by the others; its slope is that of `gain`."""
    if seen is None:
        return gain
    return gain + jax.lax.stop_gradient(jnp.minimum(gain, seen.margin) - seen.enough - gain)


def sure(logits: Array, label: Array, seen: Look | None) -> Array:
    """Which rows of logits `[B, K]` fool, bool `[B]`; where another model judges, by a margin to spare."""
    return fooled(logits, label) if seen is None else beyond(jax.vmap(margin)(logits, label), seen) > 0


def surely_fooled(model: Model, x: Array, y: Any) -> Array:
    """Which images fool, bool `[B]`, as `sure`."""
    logits = model(x)
    return sure(logits, label_of(y), look(model, x, y, logits))


def passes(model: Model) -> int:
    """Forward passes that each image costs which is climbed and looked at."""
    return 1 + (model.checking().draws // model.draws if isinstance(model, Randomised) else 0)


def choice(model: Model, x: Array, y: Any) -> Choice | None:
    """The beginning of a choice; None where the model judges itself, or nothing is known of labels."""
    if not judged_elsewhere(model) or label_of(y).ndim != 1:
        return None
    none = jnp.zeros(len(x), jnp.int32)
    return Choice(x, jnp.full(len(x), -jnp.inf), none > 0, jnp.zeros(len(x)), none, none)


def consider(
    chosen: Choice | None,
    model: Model,
    x: Array,
    y: Any,
    logits: Array | None,
    where: Array | bool = True,
    *,
    path: bool = False,
) -> Choice | None:
    """Look at `x`, in `where`, and keep what has the largest margin; as `look` and `Choice.better`."""
    if chosen is None:
        return None

    def looked(chosen: Choice) -> Choice:
        seen = look(model, x, y, logits)
        return chosen if seen is None else chosen.better(seen, x, where, path=path)

    if where is True:
        return looked(chosen)
    considered: Choice = jax.lax.cond(jnp.any(where), looked, lambda chosen: chosen, chosen)
    return considered


def proposal(
    chosen: Choice | None, model: Model, x: Array, y: Any, fools: Array, forwards: Array, gradients: Array
) -> Proposal:
    """What an attack ends with.

    Parameters
    ----------
    chosen : the iterate of the largest margin, where another model judges.
    model : what was climbed.
    x : the last images, `[B, H, W, C]`, at the end of a path.
    y : what the loss refers to.
    fools : which of `x` are known to fool, bool `[B]`.
    forwards, gradients : int32 `[B]`, without what the looks cost.
    """
    if chosen is None:
        return Proposal(x, forwards, gradients, fools)
    ended: Proposal = _chosen(chosen, model, x, y, forwards, gradients)
    return ended


def last_look(chosen: Choice, model: Model, x: Array, y: Any, *, path: bool) -> Choice:
    """Look at the images that an attack ends with; as `Choice.better`."""
    seen = look(model, x, y, model(x))
    return chosen if seen is None else chosen.better(seen, x, path=path)


@jax.jit
def _chosen(chosen: Choice, model: Model, x: Array, y: Any, forwards: Array, gradients: Array) -> Proposal:
    chosen = last_look(chosen, model, x, y, path=True)
    forwards = forwards + chosen.looks * (passes(model) - 1) + isinstance(model, Substitute)
    reached = jnp.ceil(forwards * (chosen.first / chosen.looks)).astype(jnp.int32)
    return Proposal(chosen.x, forwards, gradients, chosen.sure, jnp.where(chosen.first > 0, reached, forwards))
