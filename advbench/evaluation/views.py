"""Flags for models that attacks see differently from the judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from advbench.attacks import Model, Randomised
from advbench.core.flag import Flag
from advbench.core.intervals import clopper_pearson
from advbench.wrappers.facing import NonAdaptive

if TYPE_CHECKING:
    from advbench.attacks.spec import AttackSpec
    from advbench.evaluation.tally import Tally

FEW: Final = 5  # rejected successes from which the flag is raised
SHARE: Final = 0.1  # of an attack's successes that the judge may reject; attacks claim only clear successes


def view_flags(model: Model, attacks: Sequence[AttackSpec], tally: Tally) -> list[Flag]:
    """Flag successes that the judge rejected, and attacks that rely on single answers of a randomised model.

    Parameters
    ----------
    model : Model
        The model as the evaluation holds it.
    attacks : sequence of AttackSpec
        The attacks that ran.
    tally : Tally
        Their outcomes.

    Returns
    -------
    list of Flag
        `undone_successes` (invalid) and `unsteady_answers` (note), where they apply.
    """
    return [*_undone(model, attacks, tally), *_steady(model, attacks)]


def _undone(model: Model, attacks: Sequence[AttackSpec], tally: Tally) -> list[Flag]:
    found = {}
    for a, spec in enumerate(attacks):
        claimed, undone = int(tally.claimed[a].sum()), tally.undone(a)
        if undone >= FEW and (low := clopper_pearson(undone, claimed)[0]) > SHARE:
            found[spec.text] = {"undone": undone, "claimed": claimed, "low": low}
    if not found:
        return []
    counts = ", ".join(f"{numbers['undone']} of {numbers['claimed']} by {name}" for name, numbers in found.items())
    advice = "average more draws (--eot-samples)" if isinstance(model, Randomised) else "robust accuracy is too high"
    if isinstance(model, NonAdaptive):
        advice = "these attacks don't know the defense: only adaptive attacks bound its robustness"
    return [
        Flag(
            name="undone_successes",
            level="invalid",
            evidence={"attacks": found, "threshold": SHARE},
            message=f"the judge rejected clear successes of attacks ({counts}): {advice}",
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
            message=f"{', '.join(names)} compare single answers, which are noisy here, and break fewer images than on "
            "a deterministic model: add attacks on the mean over draws (pgd, apgd)",
        )
    ]
