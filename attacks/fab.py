"""Fast adaptive boundary attack (Croce & Hein 2020, arXiv 1907.02044): the nearest adversarial image.

Each step linearises the model at the image, and takes the nearest decision boundary for a hyperplane. It moves a little
past the nearest point of the hyperplane in the box, drawn towards the point of it that is nearest to the clean image;
after a success it continues from between the adversarial and the clean image.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from advbench.attacks.base import (
    Proposal,
    Targeted,
    TargetedLabels,
    setting,
)
from advbench.attacks.hyperplane import distance, project_to_hyperplane
from advbench.attacks.loop import iterate
from advbench.attacks.losses import label_of, margin
from advbench.attacks.minimum import Best
from advbench.attacks.selection import (
    Choice,
    Look,
    beyond,
    choice,
    look,
    passes,
    sure,
)
from advbench.core.model import Model
from advbench.core.threat import Threat

SEARCHES = 3  # at the end, on the line from the nearest adversarial image to the clean one
SAFE = 1e-3  # share of the clean margin kept there, so that rounding can't undo a success


class Again(NamedTuple):
    """Reference of a restart: that of the first run, with a random start."""

    y: Any


class State(NamedTuple):
    """Per image: position, nearest adversarial image, cost. Every leaf has leading axis B."""

    x: Array
    best: Array
    size: Array  # of the best; inf before the first success
    over: Array  # broken within eps, and not minimising
    steps: Array
    chosen: Choice | None


class FAB(Targeted):
    """Minimum-norm attack; with targets, each run goes to the boundary between the label and one class (FAB-T).

    Parameters
    ----------
    steps
        Iterations, at least 1.
    alpha_max
        Largest weight of the clean image's projection, from 0 to 1.
    eta
        Overshoot of the projection, at least 1; 1 ends on the hyperplane.
    beta
        Share of the perturbation kept after a success, above 0, at most 1.
    minimise
        Continue after the first success within eps, to the smallest perturbation.

    Examples
    --------
    >>> from advbench.attacks.spec import text_of
    >>> text_of(FAB(targets=9))
    'fab:targets=9'
    """

    norms = ("linf", "l2", "l1")
    cost = "100 gradients for each class but one; 100 in all when aimed"
    paper = "Croce & Hein 2020, arXiv 1907.02044"
    stops = True  # unless it minimises

    steps: int = 100
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    minimise: bool = setting(default=False)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if self.steps < 1 or not 0 <= self.alpha_max <= 1 or self.eta < 1 or not 0 < self.beta <= 1:
            raise ValueError("FAB needs steps >= 1, alpha_max in [0, 1], eta >= 1 and beta in (0, 1]")

    def loss_reference(self, model: Model, x: Array, y: Array, run: int) -> Any:
        y = super().loss_reference(model, x, y, run)
        return Again(y) if run % self.restarts else y

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        again, y = isinstance(y, Again), y.y if isinstance(y, Again) else y
        begun = _begin(threat, x, keys, again)._replace(chosen=choice(model, x, y))
        ended = iterate(self, model, threat, x, y, begun, self.steps)
        proposal: Proposal = _end(self, model, threat, x, y, ended)
        return proposal

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Take one FAB iteration: linearise, step, evaluate."""
        label = label_of(y)
        logits, gaps, slopes = _planes(model, state.x, y)
        seen = look(model, state.x, y, logits)
        state = self._note(threat, x, state, state.x, sure(logits, label, seen), seen)
        gaps = gaps if seen is None else gaps - seen.enough
        crossed = jax.vmap(self._cross, (None, 0, 0, 1, 1))(threat, x, state.x, gaps, slopes)
        logits = model(crossed)
        seen = look(model, crossed, y, logits)
        success = sure(logits, label, seen)
        noted = self._note(threat, x, state, crossed, success, seen)
        onward = jnp.where(_wide(success), x + self.beta * (crossed - x), crossed)
        return noted._replace(x=jnp.where(_wide(state.over), state.x, onward), steps=state.steps + ~state.over)

    def done(self, state: State) -> Array:
        """Mark images already broken within eps."""
        return state.over

    def _cross(self, threat: Threat, x0: Array, x: Array, gaps: Array, slopes: Array) -> Array:
        """Step over the nearest of one image's hyperplanes."""
        norm, w, gap = threat.norm, slopes[0], gaps[0]
        if len(gaps) > 1:
            nearest = jnp.argmin(jax.vmap(distance, (None, 0, 0))(norm, slopes, gaps))
            w, gap = slopes[nearest], gaps[nearest]
        here = project_to_hyperplane(norm, x, w, gap)
        clean = project_to_hyperplane(norm, x0, w, gap + (w * (x0 - x)).sum())
        far, near = jnp.maximum(norm.length(here), 1e-8), jnp.maximum(norm.length(clean), 1e-8)
        alpha = jnp.minimum(far / (far + near), self.alpha_max)
        return jnp.clip((1 - alpha) * (x + self.eta * here) + alpha * (x0 + self.eta * clean), 0.0, 1.0)

    def _note(self, threat: Threat, x: Array, state: State, found: Array, success: Array, seen: Look | None) -> State:
        """Keep the nearest adversarial image so far; unless minimising, end at the first within eps."""
        size = jax.vmap(threat.length)(x, found)
        better = success & (size < state.size) & ~state.over
        size = jnp.where(better, size, state.size)
        over = jnp.zeros_like(state.over) if self.minimise else size <= threat.eps
        best = Best(state.best, state.size, state.chosen).or_surer(threat, x, found, seen, ~state.over)
        return State(state.x, jnp.where(_wide(better), found, state.best), size, over, state.steps, best.chosen)


def _wide(mask: Array) -> Array:
    return mask[:, None, None, None]


def _planes(model: Model, x: Array, y: Any) -> tuple[Array, Array, Array]:
    """Return the logits, the lead of each class considered over the label `[P, B]`, and their gradients."""
    logits, pull = jax.vjp(model, x)
    classes = logits.shape[-1]
    label = label_of(y)
    others = y.target[None] if isinstance(y, TargetedLabels) else (label + jnp.arange(1, classes)[:, None]) % classes
    leads = jax.nn.one_hot(others, classes) - jax.nn.one_hot(label, classes)
    slopes = jax.lax.map(lambda lead: pull(lead)[0], leads) if len(leads) > 1 else pull(leads[0])[0][None]
    gaps = (leads * logits).sum(-1)
    return logits, jnp.where(jnp.isfinite(gaps), gaps, 0.0), jnp.where(jnp.isfinite(slopes), slopes, 0.0)


@jax.jit(static_argnums=3)
def _begin(threat: Threat, x: Array, keys: Array, again: bool) -> State:
    def aside(key: Array, x: Array) -> Array:
        return jnp.clip(x + threat.eps / 2 * threat.norm.sample(key, x), 0.0, 1.0)

    start = jax.vmap(aside)(keys, x) if again else x
    no = jnp.zeros(len(x), bool)
    return State(start, x, jnp.full(len(x), jnp.inf), no, jnp.zeros(len(x), jnp.int32), None)


@jax.jit
def _end(attack: FAB, model: Model, threat: Threat, x: Array, y: Any, state: State) -> Proposal:
    """Approach the clean image from the best one by false position, then project into the ball."""
    label = label_of(y)

    def lead(x: Array) -> Array:
        logits = model(x)
        return beyond(jax.vmap(margin)(logits, label), look(model, x, y, logits))

    def search(_: int, ends: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        succeeds, right, high, low = ends
        share = jnp.clip(jnp.nan_to_num((high - safe) / (high - low)), 0.0, 1.0)
        found = succeeds + _wide(share) * (right - succeeds)
        leads = lead(found)
        success = leads > safe / 2
        return (
            jnp.where(_wide(success), found, succeeds),
            jnp.where(_wide(success), right, found),
            jnp.where(success, leads, high),
            jnp.where(success, low, leads),
        )

    high, low = lead(state.best), lead(x)
    safe = SAFE * jnp.abs(low)
    best = jax.lax.fori_loop(0, SEARCHES, search, (state.best, x, high, low))[0]
    searched = jnp.isfinite(state.size) & ~state.over & (low < 0)
    best = jnp.where(_wide(searched), best, state.best)
    classes = jax.eval_shape(model, x).shape[-1]
    gradients = state.steps * (1 if isinstance(y, TargetedLabels) else classes - 1)
    forwards = (2 * state.steps + (SEARCHES + 2) * searched) * passes(model)
    return Best(best, state.size, state.chosen).proposal(model, threat, x, y, forwards, gradients)
