"""Which attacks a model can be asked to withstand: some answer without gradients, some with a class alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from advbench.attacks import ATTACKS
from advbench.core.errors import UsageError

if TYPE_CHECKING:
    from advbench.attacks.spec import AttackSpec
    from advbench.core.loaded import LoadedModel

LEVELS: Final = ("none", "decision", "score", "gradient")  # each includes those before it
ANSWERS: Final = {"score": "answers with scores and has no gradient", "decision": "answers with a class alone"}


def served(access: str) -> list[str]:
    """Names of the attacks that need no more than this access, those that use most of it first."""
    level = LEVELS.index(access)
    able = {name: LEVELS.index(kind.access) for name, kind in ATTACKS.items() if LEVELS.index(kind.access) <= level}
    return sorted(able, key=lambda name: -able[name])


def check_access(model: LoadedModel, attacks: Sequence[AttackSpec]) -> None:
    """Refuse attacks that need what the model can't give, before any compute.

    Raises
    ------
    UsageError
        With the first such attack, why, and what can be used instead.
    """
    for spec in attacks:
        if LEVELS.index(spec.attack.access) > LEVELS.index(model.access):
            raise UsageError(
                f"{spec.text} needs a {spec.attack.access}, but {model.name} {ANSWERS[model.access]}; "
                f"it can be attacked by {', '.join(served(model.access))}"
            )
