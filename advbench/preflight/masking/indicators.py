"""Indicators of attack failure (Pintor et al. 2022, arXiv 2106.09947) beyond the five signs of gradient masking."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from advbench.attacks import PGD
from advbench.core.flag import Flag
from advbench.core.outputs import margins
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
    rng = np.random.default_rng([p.seed, crc32(b"rough")])
    here, squares = margins(p.logits(p.x, p.model), p.y), np.zeros((2, len(p.y)))
    for _ in range(DIRECTIONS):
        signs = rng.integers(0, 2, p.x.shape, np.int8) * np.float32(2) - 1
        for radius, square in zip((RADIUS, RADIUS / 10), squares, strict=True):
            moved = np.clip(p.x + np.float32(radius) * signs, 0, 1)
            square += np.square(margins(p.logits(moved, p.model), p.y) - here)
    far, near = np.sqrt(squares / DIRECTIONS)
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


def incomplete_optimisation(p: Probe) -> Flag | None:
    """Check that twice the steps break hardly more images."""
    message = f"{2 * STEPS} gradient steps break {{count}} of {{n}} images that {STEPS} don't: give attacks more steps"
    return missed("incomplete_optimisation", p.twice, *p.iterated, message=message, most="note", steps=STEPS)


def silent_success(p: Probe) -> Flag | None:
    """Check whether an attack that returns its last image (`keep=false`) loses successes it had on the way."""
    attack = PGD(steps=STEPS, rel_step_size=0.1, start="clean", keep=False)
    last = p.breaks(p.attack(attack, p.threat))
    message = "an attack that returns its last image loses its success on {count} of {n} images: don't set keep=false"
    return missed("silent_success", p.plain, last, message=message, most="note", steps=STEPS)
