"""What to say where the model that attacks climb is not the one that judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from advbench.attacks import Model, Randomised
from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson
from advbench.wrappers.facing import Unaware

if TYPE_CHECKING:
    from advbench.attacks.spec import AttackSpec
    from advbench.evaluation.tally import Tally

FEW: Final = 5  # images, at least, for a verdict
SHARE: Final = 0.1  # of an attack's successes that may be undone; attacks claim what they are sure of


def view_flags(model: Model, attacks: Sequence[AttackSpec], tally: Tally) -> list[Flag]:
    """Successes that the judge undid, and attacks that trust a single answer of a randomised model."""
    return [*_undone(model, attacks, tally), *_steady(model, attacks)]


def _undone(model: Model, attacks: Sequence[AttackSpec], tally: Tally) -> list[Flag]:
    found = {}
    for a, spec in enumerate(attacks):
        claimed, undone = int(tally.claimed[a].sum()), tally.undone(a)
        low = clopper_pearson(undone, claimed)[0]
        if undone >= FEW and low > SHARE:
            found[spec.text] = {"undone": undone, "claimed": claimed, "low": low}
    if not found:
        return []
    counts = ", ".join(f"{numbers['undone']} of {numbers['claimed']} by {name}" for name, numbers in found.items())
    advice = "average more draws (--eot-samples)" if isinstance(model, Randomised) else "robust accuracy is too high"
    if isinstance(model, Unaware):
        advice = "these attacks don't know the defense: only the adaptive number bounds its robustness"
    return [
        Flag(
            name="undone_successes",
            level="invalid",
            evidence={"attacks": found, "threshold": SHARE},
            message=f"the judge undid successes that attacks were sure of ({counts}): {advice}",
        )
    ]


def _steady(model: Model, attacks: Sequence[AttackSpec]) -> list[Flag]:
    names = [spec.text for spec in attacks if spec.attack.steady]
    if not names or not isinstance(model, Randomised):
        return []
    return [
        Flag(
            name="unsteady_answers",
            level="note",
            evidence={"attacks": names},
            message=f"{', '.join(names)} compare single answers, which are noisy here, and find less than on a plain "
            "model: rest the number on attacks that climb the mean over draws (pgd, apgd)",
        )
    ]
