"""Choice of the proposed image where the judge sees another model than the attack differentiates.

A randomised model is judged on other draws than those attacked, and a `Substitute` is attacked in place of the model
that judges. There the first misclassified image is most often luck, and does not survive the judge. So an attack uses
all its steps, estimates the margin of its iterates on draws that it does not attack (nor does the judge use them), and
proposes the iterate with the largest margin. Minimum-norm attacks, and those that see decisions alone, count as a
success only an image with a margin to spare. No attack claims more than that.

All of this is decided while a program is traced: for a model that judges itself nothing is added to an attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from advbench.attacks.base import Proposal
from advbench.attacks.losses import label_of, margin, misclassified
from advbench.attacks.rows import filled, per_image
from advbench.core.model import Model
from advbench.core.randomised import Randomised

SURE = 4.0  # a success needs a mean margin over the draws above this many standard errors
FRESH = 0.3  # weight of the latest estimate, where iterates lie close to each other


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Substitute:
    """A `Model` that is attacked in place of another one, of which the attack knows nothing.

    Parameters
    ----------
    model : Model
        Model that is differentiated or queried.
    enough : Array
        Margin in logits that a minimum-norm attack must reach on each image, float32 `[B]`.
    """

    model: Model
    enough: Array

    def __call__(self, x: Array, /) -> Array:
        """Logits `[B, K]` of the attacked model."""
        return self.model(x)

    def rows(self, some: Array) -> Substitute:
        """Select some of the images.

        Parameters
        ----------
        some : Array
            Indices, int32 `[n]`.

        Returns
        -------
        Substitute
            The same model for these images.
        """
        return Substitute(self.model, self.enough[some])


class Look(NamedTuple):
    """Margins of images on draws that are not attacked; float32 `[B]` each."""

    margin: Array
    enough: Array  # the margin that a minimum-norm attack must reach
    doubt: Array  # the margin beyond which it counts as a success


class Choice(NamedTuple):
    """The iterate with the largest margin so far; every leaf has leading axis B."""

    x: Array
    margin: Array  # -inf before the first estimate
    sure: Array  # whether it counts as a success
    trend: Array  # mean margin of the latest iterates
    looks: Array  # iterates considered
    first: Array  # number of the first misclassified one, from 1; 0: none

    def better(self, seen: Look, x: Array, where: Array | bool = True, *, path: bool = False) -> Choice:
        """Take those of `x` that have a larger margin.

        Parameters
        ----------
        seen, x
            Margins float32 `[B]`, and the images `[B, H, W, C]` that have them.
        where : Array or bool, default True
            bool `[B]`: images to consider.
        path : bool, default False
            Whether each image lies close to the one considered before. Then both margins are informative, and averaging
            them keeps one lucky estimate from deciding.

        Returns
        -------
        Choice
            The updated choice.
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
    """Tell whether the judge sees another model than the one attacked.

    Parameters
    ----------
    model : Model
        Model that is attacked.

    Returns
    -------
    bool
        True for a randomised model and a `Substitute`.
    """
    return isinstance(model, Randomised | Substitute)


def settled(model: Model, logits: Array, y: Any) -> Array:
    """Mark images that an attack may leave alone: misclassified ones; none where another model judges.

    Parameters
    ----------
    model, logits, y
        The attacked model, its output `[B, K]`, and the reference of the loss.

    Returns
    -------
    Array
        bool `[B]`.
    """
    succeeds = misclassified(logits, y)
    return jnp.zeros_like(succeeds) if judged_elsewhere(model) else succeeds


def look(model: Model, x: Array, y: Any, logits: Array | None) -> Look | None:
    """Estimate margins on fresh draws; None where the model judges itself.

    Parameters
    ----------
    model, x, y
        Arguments of the attack's call. The margin is that over the label, also for a `TargetedLabels`.
    logits : Array or None
        Output of `model` for `x`, `[B, K]`; a randomised model is sampled again and does not need them.

    Returns
    -------
    Look or None
        Margins float32 `[B]`.
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
    """Replace NaN by infinity: such outputs count as the worst of all."""
    return jnp.where(jnp.isnan(margins), jnp.inf, margins)


def beyond(gain: Array, seen: Look | None) -> Array:
    """Subtract the margin to spare from `gain`; the gradient stays that of `gain`.

    Parameters
    ----------
    gain, seen
        Margins on the attacked draws, float32 `[B]`, and on others; None where the model judges itself.

    Returns
    -------
    Array
        float32 `[B]`; positive where both margins suffice.
    """
    if seen is None:
        return gain
    return gain + jax.lax.stop_gradient(jnp.minimum(gain, seen.margin) - seen.enough - gain)


def sure(logits: Array, label: Array, seen: Look | None) -> Array:
    """Mark misclassified rows; where another model judges, those with a margin to spare.

    Parameters
    ----------
    logits, label, seen
        float32 `[B, K]`, int32 `[B]`, and margins on other draws if another model judges.

    Returns
    -------
    Array
        bool `[B]`.
    """
    return misclassified(logits, label) if seen is None else beyond(jax.vmap(margin)(logits, label), seen) > 0


def surely_misclassified(model: Model, x: Array, y: Any) -> Array:
    """Query the model and mark misclassified images, as `sure` does.

    Parameters
    ----------
    model, x, y
        Arguments of the attack's call.

    Returns
    -------
    Array
        bool `[B]`.
    """
    logits = model(x)
    return sure(logits, label_of(y), look(model, x, y, logits))


def passes(model: Model) -> int:
    """Count the forward passes of one query, with those that estimate its margin.

    Parameters
    ----------
    model : Model
        Model that is attacked.

    Returns
    -------
    int
        At least 1.
    """
    return 1 + (model.checking().draws // model.draws if isinstance(model, Randomised) else 0)


def choice(model: Model, x: Array, y: Any) -> Choice | None:
    """Begin a choice; None where the model judges itself, or labels are unknown.

    Parameters
    ----------
    model, x, y
        Arguments of the attack's call.

    Returns
    -------
    Choice or None
        An empty choice.
    """
    if not judged_elsewhere(model) or label_of(y).ndim != 1:
        return None
    none = filled(x, 0, np.int32)
    return Choice(x, filled(x, -np.inf), none > 0, filled(x, 0), none, none)


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
    """Estimate the margin of `x` and keep the image with the largest; see `look` and `Choice.better`.

    Parameters
    ----------
    chosen : Choice or None
        Choice so far; None where the model judges itself.
    model, x, y, logits
        As for `look`.
    where, path
        As for `Choice.better`.

    Returns
    -------
    Choice or None
        The updated choice.
    """
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
    chosen: Choice | None, model: Model, x: Array, y: Any, succeeds: Array, forwards: Array, gradients: Array
) -> Proposal:
    """Assemble the result of an attack.

    Parameters
    ----------
    chosen : Choice or None
        Iterate with the largest margin, where another model judges.
    model, x, y
        The attacked model, the last images `[B, H, W, C]` of a path, and the reference of the loss.
    succeeds : Array
        bool `[B]`: images known to be misclassified.
    forwards, gradients : Array
        int32 `[B]`, without the cost of margin estimates.

    Returns
    -------
    Proposal
        The chosen images, or `x`.
    """
    if chosen is None:
        return Proposal(x, forwards, gradients, succeeds)
    ended: Proposal = _chosen(chosen, model, x, y, forwards, gradients)
    return ended


def last_look(chosen: Choice, model: Model, x: Array, y: Any, *, path: bool) -> Choice:
    """Consider the final images of an attack.

    Parameters
    ----------
    chosen, path
        As for `Choice.better`.
    model, x, y
        Arguments of the attack's call.

    Returns
    -------
    Choice
        The updated choice.
    """
    seen = look(model, x, y, model(x))
    return chosen if seen is None else chosen.better(seen, x, path=path)


@jax.jit
def _chosen(chosen: Choice, model: Model, x: Array, y: Any, forwards: Array, gradients: Array) -> Proposal:
    chosen = last_look(chosen, model, x, y, path=True)
    forwards = forwards + chosen.looks * (passes(model) - 1) + isinstance(model, Substitute)
    reached = jnp.ceil(forwards * (chosen.first / chosen.looks)).astype(jnp.int32)
    return Proposal(chosen.x, forwards, gradients, chosen.sure, jnp.where(chosen.first > 0, reached, forwards))
