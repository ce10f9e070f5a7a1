"""Rotations and translations (Engstrom, Tran, Tsipras, Schmidt & Madry 2019, arXiv 1712.02779), by exhaustive search.

All of a grid is tried, small transformations before large ones, and the first misclassified image is kept: no gradient
is involved, so nothing can mask it. Between pixels the image is interpolated linearly, and beyond its border black.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.ndimage import map_coordinates

from advbench.attacks.base import Attack, Proposal, setting
from advbench.attacks.loop import iterate
from advbench.attacks.rows import filled
from advbench.attacks.selection import (
    Choice,
    choice,
    consider,
    proposal,
    settled,
)
from advbench.core.model import Model
from advbench.core.threat import Threat


class State(NamedTuple):
    """The misclassified image, or else the clean one, and the number of transformations tried."""

    x: Array
    misclassified: Array
    forwards: Array
    chosen: Choice | None


class Spatial(Attack):
    """Worst case over a grid of rotations and translations; the authors' grid by default.

    Parameters
    ----------
    degrees
        Largest rotation, either way, in degrees, at least 0.
    pixels
        Largest shift, in each direction, in pixels, at least 0.
    angles
        Number of angles in the grid, at least 1.
    shifts
        Number of shifts in the grid, along each axis, at least 1.

    Examples
    --------
    With `model`, `x`, `y` and `keys` of the example of `Attack`; on a flat image only the black border matters:

    >>> Spatial(angles=3, shifts=3)(model, Threat(NORMS["any"], 1.0), x, y, keys).claims.tolist()
    [False, False]
    """

    norms = ("any",)
    access = "decision"
    cost = "775 queries"
    paper = "Engstrom et al. 2019, arXiv 1712.02779"
    stops = True

    degrees: float = 30.0
    pixels: float = 3.0
    angles: int = setting(default=31)
    shifts: int = setting(default=5)

    def check(self, threat: Threat) -> None:
        super().check(threat)
        if min(self.angles, self.shifts) < 1 or not min(self.degrees, self.pixels) >= 0:
            raise ValueError("Spatial needs angles >= 1, shifts >= 1, degrees >= 0 and pixels >= 0")

    def __call__(self, model: Model, threat: Threat, x: Array, y: Any, keys: Array) -> Proposal:
        begin = State(x, filled(x, False, bool), filled(x, 0, np.int32), choice(model, x, y))
        ended = iterate(self, model, threat, x, y, begin, self.angles * self.shifts**2)
        return proposal(ended.chosen, model, ended.x, y, ended.misclassified, ended.forwards, 0 * ended.forwards)

    def step(self, model: Model, threat: Threat, x: Array, y: Any, state: State) -> State:
        """Try the next transformation on every image that is not yet misclassified."""
        grid = jnp.asarray(_grid(self.angles, self.shifts), jnp.float32)
        limits = jnp.stack([jnp.deg2rad(self.degrees), jnp.asarray(self.pixels), jnp.asarray(self.pixels)])
        moved = jax.vmap(transformed)(x, grid[jnp.minimum(state.forwards, len(grid) - 1)] * limits)
        moved = jax.vmap(threat.project)(x, moved)
        logits = model(moved)
        succeeds = settled(model, logits, y) & ~state.misclassified
        return State(
            jnp.where(succeeds[:, None, None, None], moved, state.x),
            state.misclassified | succeeds,
            state.forwards + ~state.misclassified,
            consider(state.chosen, model, moved, y, logits),
        )

    def done(self, state: State) -> Array:
        """Mark images that are misclassified already."""
        return state.misclassified


def transformed(x: Array, move: Array) -> Array:
    """Rotate an image about its centre, then shift it; black beyond the border.

    Parameters
    ----------
    x : Array
        Image, float32 `[H, W, C]`.
    move : Array
        float32 `[3]`: angle in radians, anticlockwise; shifts down and right in pixels.

    Returns
    -------
    Array
        float32 `[H, W, C]`.
    """
    height, width, _ = x.shape
    middle = jnp.array([(height - 1) / 2, (width - 1) / 2])
    down, across = jnp.meshgrid(jnp.arange(height) - middle[0], jnp.arange(width) - middle[1], indexing="ij")
    down, across = down - move[1], across - move[2]
    cos, sin = jnp.cos(move[0]), jnp.sin(move[0])
    source = [cos * down + sin * across + middle[0], cos * across - sin * down + middle[1]]

    def one(channel: Array) -> Array:
        turned: Array = map_coordinates(channel, source, order=1, mode="constant")
        return turned

    return jax.vmap(one, 2, 2)(x)


def _grid(angles: int, shifts: int) -> np.ndarray:
    """List transformations `[n, 3]` in [-1, 1]: angle, shift down, shift right; small before large."""
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in (angles, shifts, shifts)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return grid[np.argsort(np.linalg.norm(grid, axis=1), kind="stable")]
