"""Large logits make the cross-entropy flat in float32 (Carlini & Wagner 2017, arXiv 1608.04644, on distillation)."""

from __future__ import annotations

from advbench.attacks import Randomised
from advbench.preflight.made import Finding, NotMade
from advbench.preflight.masking.guard import missed
from advbench.preflight.masking.probe import Probe


def saturated_loss(p: Probe) -> Finding:
    """Dividing the logits by a constant changes no prediction, and must not change what an attack finds."""
    if isinstance(p.model, Randomised):
        return NotMade(("saturated_loss",), "logits of a randomised model are climbed draw by draw, as they are")
    message = "with logits rescaled, the cross-entropy breaks {count} of {n} images that it misses as they are"
    advice = "" if p.scale_free else "; no attack asked for has a loss that this leaves alone: use margin or dlr"
    return missed(
        "saturated_loss",
        p.rescaled,
        p.plain,
        message + advice,
        most="note" if p.scale_free else "invalid",
        scale=p.scale,
    )
