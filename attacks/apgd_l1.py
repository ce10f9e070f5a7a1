"""Rules of Auto-PGD in L1 (Croce & Hein 2021, arXiv 2103.01208): steps as sparse as the best perturbation so far."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from advbench.core.threat import Threat

if TYPE_CHECKING:
    from advbench.attacks.apgd import APGD, Iterate

SPARSER = 1.5  # a step moves this many times fewer values than the best point changes


class SparseStepSize(NamedTuple):
    """Size and sparsity of one image's step."""

    size: Array  # of a step, in units of eps
    few: Array  # how many values it moves
    spread: Array  # how many values the best point changed at the last checkpoint
    steps: Array  # since then

    @classmethod
    def begin(cls, x0: Array, x: Array, large_eps: bool) -> "SparseStepSize":
        """Begin as sparse as the start with `large_eps`, else with a fifth of all values."""
        spread = _changed(x0, x) if large_eps else jnp.float32(x.size)
        return cls(jnp.float32(1), spread / SPARSER if large_eps else 0.2 * spread, spread, jnp.int32(-1))

    def update(self, attack: "APGD", x0: Array, best: "Iterate", rose: Array) -> tuple["SparseStepSize", Array]:
        """Update the step, and tell whether to return to the best point: when that has become sparser."""
        steps = self.steps + 1
        due = steps == jnp.maximum(4 * attack.steps // 100, 1)
        spread = _changed(x0, best.x)
        sparser = spread < 0.95 * self.spread
        later = SparseStepSize(
            jnp.where(sparser, 1.0, jnp.maximum(self.size / 1.5, 0.1)), spread / SPARSER, spread, 0 * steps
        )
        now = self._replace(steps=steps)
        return jax.tree.map(lambda a, b: jnp.where(due, a, b), later, now), due & sparser

    def move(self, threat: Threat, x0: Array, here: "Iterate", last: Array, first: Array) -> Array:
        """Move the few values with the largest gradients, all by the same amount."""
        signs = jnp.where(_largest(jnp.abs(here.g), self.few), jnp.sign(here.g), 0.0)
        return threat.project(x0, here.x + self.size * threat.eps * signs / jnp.maximum(jnp.abs(signs).sum(), 1.0))


def _changed(x0: Array, x: Array) -> Array:
    return (x != x0).sum().astype(jnp.float32)


def _largest(values: Array, few: Array) -> Array:
    """Mask the `few` largest values, rounded up: bisecting the threshold is cheaper than sorting."""
    few = jnp.maximum(jnp.ceil(few), 1)

    def halve(_: int, span: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (span[0] + span[1]) / 2
        enough = (values >= middle).sum() >= few
        return jnp.where(enough, middle, span[0]), jnp.where(enough, span[1], middle)

    top = values.max()
    least, _ = jax.lax.fori_loop(0, 32, halve, (jnp.zeros_like(top), 2 * top))
    largest: Array = values >= least
    return largest
