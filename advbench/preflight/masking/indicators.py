"""Indicators of attack failure (Pintor et al. 2022, arXiv 2106.09947) beyond the five signs of gradient masking."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from advbench.attacks import PGD, Model
from advbench.attacks.losses import margin
from advbench.core.flag import Flag
from advbench.preflight.made import Finding, NotMade
from advbench.preflight.masking.guard import level, missed
from advbench.preflight.masking.probe import STEPS, Probe

RADIUS = 8 / 255
ROUGH = 0.25  # change at RADIUS / 10 over that at RADIUS from which outputs count as unstable; 0.1 if they are smooth
DIRECTIONS = 8
DEAD = 0.1  # share of images without gradient that is normal for a network


def unavailable_gradients(p: Probe) -> Flag | None:
    """Check that the margin has a non-zero, finite gradient at a random image of the ball."""
    bad = (p.largest_gradients == 0) | ~np.isfinite(p.largest_gradients)
    count, n = int(bad.sum()), len(bad)
    if (how := level(count, n, DEAD)) is None:
        return None
    return Flag(
        name="unavailable_gradients",
        level=how,
        evidence={"images": count, "n": n, "threshold": DEAD},
        message=f"within the ball the margin's gradient is zero or not finite at {count} of {n} images",
    )


def unstable_predictions(p: Probe) -> Finding:
    """Check that the margin is smooth: a tenth of a random step changes it by about a tenth."""

    def both(keys: jax.Array, x: np.ndarray, y: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return _change(p.model, keys, x, y, RADIUS), _change(p.model, keys, x, y, RADIUS / 10)

    far, near = p.map(both, "rough", p.x, p.y)
    moves = far > 0
    if not moves.any():
        return NotMade(("unstable_predictions",), "no random step changes the margin of any image")
    rough = float(np.median(near[moves] / far[moves]))
    if not rough > ROUGH:
        return None
    return Flag(
        name="unstable_predictions",
        level="note",
        evidence={"ratio": rough, "n": int(moves.sum()), "smooth": 0.1, "threshold": ROUGH, "radius": RADIUS},
        message=f"a tenth of a random step changes the margin by {rough:.0%} of the full change, not 10 %: outputs "
        "jump or are noisy, and gradients mislead; use expectation over transformation (EOT) or score attacks",
    )


@partial(jax.jit, static_argnums=4)
def _change(model: Model, keys: jax.Array, x: jax.Array, y: jax.Array, radius: float) -> jax.Array:
    """Return the root mean square change of each image's margin over random sign steps, float32 `[B]`."""
    gain = jax.vmap(margin)
    here = gain(model(x), y)

    def squared(i: jax.Array) -> jax.Array:
        signs = jax.vmap(lambda key: jax.random.rademacher(jax.random.fold_in(key, i), x.shape[1:], jnp.float32))(keys)
        return jnp.square(gain(model(jnp.clip(x + radius * signs, 0, 1)), y) - here)

    return jnp.sqrt(jax.lax.map(squared, jnp.arange(DIRECTIONS)).mean(0))


def incomplete_optimisation(p: Probe) -> Flag | None:
    """Check that twice the steps break hardly more images."""
    twice = p.ascend(p.threat, steps=2 * STEPS)
    message = f"{2 * STEPS} gradient steps break {{count}} of {{n}} images that {STEPS} don't: give attacks more steps"
    return missed("incomplete_optimisation", twice, p.iterated, message, most="note", steps=STEPS)


def silent_success(p: Probe) -> Flag | None:
    """Check whether an attack that returns its last image (`keep=false`) loses successes it had on the way."""
    attack = PGD(steps=STEPS, rel_step_size=0.1, start="clean", keep=False)
    last = p.breaks(p.attack(attack, p.threat))
    message = "an attack that returns its last image loses its success on {count} of {n} images: don't set keep=false"
    return missed("silent_success", p.plain, last, message, most="note", steps=STEPS)
