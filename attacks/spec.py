"""Attacks as typed: `pgd:steps=100,restarts=5`, and suites."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advbench.core.errors import UsageError
from advbench.core.names import ATTACK_NAMES
from advbench.core.spec import ThreatSpec, build, named

if TYPE_CHECKING:
    from advbench.attacks import Attack


@dataclass(frozen=True)
class AttackSpec:
    """An attack with its settings, and the canonical text that names it in results and keys."""

    text: str
    attack: Attack

    @classmethod
    def parse(cls, text: str, threat: ThreatSpec) -> AttackSpec:
        """Build the attack and refuse what can't work under this threat.

        Raises
        ------
        UsageError
            For an unknown attack or setting, a value of the wrong kind, or an attack that can't serve the norm.
        """
        from advbench.attacks import ATTACKS, SUITES

        text = named("attack", text, ATTACKS, ATTACK_NAMES, also=SUITES)
        attack = build("attack", text, ATTACKS)
        try:
            attack.check(threat.threat)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return cls(text, attack)


def attacks_of(texts: Iterable[str], threat: ThreatSpec) -> list[AttackSpec]:
    """Attacks as typed, each suite replaced by the attacks it stands for; what is named twice counts once.

    Raises
    ------
    UsageError
        As `AttackSpec.parse`, and for a suite that has no recipe for the norm.
    """
    from advbench.attacks import ATTACKS, SUITES
    from advbench.attacks.suites import expand

    try:
        asked = [named("attack", text, ATTACKS, ATTACK_NAMES, also=SUITES) for text in texts]
        expanded = [part for text in asked for part in expand(text, threat.norm)]
    except ValueError as error:
        raise UsageError(str(error)) from None
    return [AttackSpec.parse(text, threat) for text in dict.fromkeys(expanded)]
