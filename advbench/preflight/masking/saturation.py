"""Large logits make the cross-entropy flat in float32 (Carlini & Wagner 2017, arXiv 1608.04644, on distillation)."""

from __future__ import annotations

from advbench.attacks import Randomised
from advbench.preflight.made import Finding, NotMade
from advbench.preflight.masking.guard import missed
from advbench.preflight.masking.probe import Probe


def saturated_loss(p: Probe) -> Finding:
    """Compare PGD on rescaled and on original logits: scaling changes no prediction, so it must not change success."""
    if isinstance(p.model, Randomised):
        return NotMade(("saturated_loss",), "attacks on a randomised model use the logits of each draw unscaled")
    message = "with rescaled logits, the cross-entropy breaks {count} of {n} images that it misses otherwise"
    advice = "" if p.scale_free else "; every attack asked for depends on that scale: use loss margin or dlr"
    return missed(
        "saturated_loss",
        p.rescaled,
        p.plain,
        message=message + advice,
        most="note" if p.scale_free else "invalid",
        scale=p.scale,
    )
