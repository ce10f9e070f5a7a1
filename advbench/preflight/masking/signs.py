"""The five signs of gradient masking of Athalye, Carlini & Wagner (2018, arXiv 1802.00420)."""

from __future__ import annotations

from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson
from advbench.preflight.masking.guard import level, missed
from advbench.preflight.masking.probe import (
    DRAWS,
    QUERIES,
    STEPS,
    Probe,
)


def single_step_beats_iterative(p: Probe) -> Flag | None:
    """Check that many gradient steps break what a single step breaks."""
    message = f"one gradient step breaks {{count}} of {{n}} images that {STEPS} steps don't: gradients mislead"
    return missed("single_step_beats_iterative", p.single, *p.iterated, message=message, steps=STEPS)


def black_box_beats_gradients(p: Probe) -> Flag | None:
    """Check that gradient attacks break what a score attack breaks."""
    queries = QUERIES[p.full]
    message = f"Square with {queries} queries breaks {{count}} of {{n}} images that gradient attacks don't"
    return missed("black_box_beats_gradients", p.searched, *p.white, message=_advised(message), queries=queries)


def random_beats_gradients(p: Probe) -> Flag | None:
    """Check that gradient attacks break what random images of the ball break."""
    message = f"{DRAWS} random images of the ball break {{count}} of {{n}} images that gradient attacks don't"
    return missed("random_beats_gradients", p.drawn, *p.white, message=_advised(message), draws=DRAWS)


def unbounded_attack_fails(p: Probe) -> Flag | None:
    """Check that an attack with an unlimited perturbation budget breaks all images."""
    count, n = int((~p.unbounded).sum()), len(p.y)
    if (how := level(count, n, p.chance)) is None:
        return None
    return Flag(
        name="unbounded_attack_fails",
        level=how,
        evidence={
            "standing": count,
            "n": n,
            "accuracy": count / n,
            "chance": p.chance,
            "threshold": p.chance,
            "low": clopper_pearson(count, n)[0],
            "eps": float(p.everything.eps),
        },
        message=f"{STEPS} gradient steps without a limit on the perturbation fail on {count} of {n} images: "
        "these are failures of the attack, not robustness",
    )


def larger_eps_breaks_less(p: Probe) -> Flag | None:
    """Check that gradient attacks break at 2 eps what they break at eps: the larger ball contains the smaller one."""
    message = "gradient attacks break {count} of {n} images at eps that they don't break at 2 eps: gradients mislead"
    return missed("larger_eps_breaks_less", p.rescaled, p.farther, message=message, eps=float(p.threat.eps))


def _advised(message: str) -> str:
    return f"{message}: gradients are masked, or the attacks need more steps"
