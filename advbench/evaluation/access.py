"""Check that a model gives the access an attack needs: a gradient, scores, or a decision alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from advbench.attacks import ATTACKS
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.attacks.spec import AttackSpec
    from advbench.core.loaded import LoadedModel

LEVELS: Final = ("none", "decision", "score", "gradient")  # each includes those before it
ANSWERS: Final = {"score": "gives scores and no gradient", "decision": "gives the predicted class only"}


def served(access: str) -> list[str]:
    """List the attacks that need no more than this access.

    Parameters
    ----------
    access : str
        One of `LEVELS`.

    Returns
    -------
    list of str
        Names of attacks, those that use the most access first.
    """
    level = LEVELS.index(access)
    able = {name: LEVELS.index(kind.access) for name, kind in ATTACKS.items() if LEVELS.index(kind.access) <= level}
    return sorted(able, key=lambda name: -able[name])


def check_access(model: LoadedModel, attacks: Sequence[AttackSpec]) -> None:
    """Refuse attacks that need more access than the model gives, before anything is computed.

    Parameters
    ----------
    model : LoadedModel
        The model; `model.access` is one of `LEVELS`.
    attacks : sequence of AttackSpec
        The attacks asked for.

    Raises
    ------
    UsageError
        Naming the first such attack, the reason, and the attacks that can be used instead.
    """
    for spec in attacks:
        if LEVELS.index(spec.attack.access) > LEVELS.index(model.access):
            raise UsageError(
                f"{spec.text} needs a {spec.attack.access}, but {model.name} {ANSWERS[model.access]}; "
                f"choose among {', '.join(served(model.access))}"
            )
