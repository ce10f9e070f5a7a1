"""The five signs of masked gradients of Athalye, Carlini & Wagner (2018, arXiv 1802.00420)."""

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
    """A single step breaks what many steps don't."""
    message = f"one gradient step breaks {{count}} of {{n}} images that {STEPS} steps don't: gradients mislead"
    return missed("single_step_beats_iterative", p.single, p.iterated, message, steps=STEPS)


def black_box_beats_gradients(p: Probe) -> Flag | None:
    """A search by scores alone breaks what gradients don't."""
    queries = QUERIES[p.full]
    message = f"{queries} queries of Square break {{count}} of {{n}} images that gradient attacks don't"
    return missed("black_box_beats_gradients", p.searched, p.white, _advised(message), queries=queries)


def random_beats_gradients(p: Probe) -> Flag | None:
    """Random images of the ball break what gradients don't."""
    message = f"{DRAWS} random images of the ball break {{count}} of {{n}} images that gradient attacks don't"
    return missed("random_beats_gradients", p.drawn, p.white, _advised(message), draws=DRAWS)


def unbounded_attack_fails(p: Probe) -> Flag | None:
    """An attack that may change everything leaves images standing."""
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
        message=f"{count} of {n} images withstand {STEPS} gradient steps that may change every pixel at will: "
        "these are failures of the attack, not robustness",
    )


def larger_eps_breaks_less(p: Probe) -> Flag | None:
    """A larger ball holds every image of the smaller one, and must break at least as many."""
    twice = p.climb(p.wider(2))
    message = "{count} of {n} images that gradients break at eps withstand them at twice that"
    return missed("larger_eps_breaks_less", p.rescaled, twice, message, eps=float(p.threat.eps))


def _advised(message: str) -> str:
    return f"{message}; if these are few, more steps or queries will tell, else gradients are masked"
