"""Attacks as typed (`pgd:steps=100,restarts=5`), as objects, and as suites."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from advbench.core.errors import UsageError
from advbench.core.names import ATTACK_NAMES
from advbench.core.spec import ThreatSpec, build, named

if TYPE_CHECKING:
    from advbench.attacks import Attack


@dataclass(frozen=True)
class AttackSpec:
    """An attack with its settings, and the canonical text that names it in results and keys.

    Parameters
    ----------
    text : str
        Name and settings as typed, like `pgd:steps=100`.
    attack : Attack
        The attack.
    """

    text: str
    attack: Attack

    @classmethod
    def parse(cls, text: str, threat: ThreatSpec) -> AttackSpec:
        """Build the attack that a text names and check it for a threat model.

        Parameters
        ----------
        text : str
            As typed, like `pgd:steps=100`.
        threat : ThreatSpec
            Norm and eps.

        Returns
        -------
        AttackSpec
            The attack with its canonical text.

        Raises
        ------
        UsageError
            For an unknown attack or setting, a value of the wrong kind, or an attack that does not support the norm.
        """
        from advbench.attacks import ATTACKS, SUITES

        text = named("attack", text, ATTACKS, ATTACK_NAMES, also=SUITES)
        return cls._checked(text, build("attack", text, ATTACKS), threat)

    @classmethod
    def of(cls, attack: Attack, threat: ThreatSpec) -> AttackSpec:
        """Name an attack object as it would be typed and check it for a threat model.

        Parameters
        ----------
        attack : Attack
            The attack.
        threat : ThreatSpec
            Norm and eps.

        Returns
        -------
        AttackSpec
            The attack with its canonical text.

        Raises
        ------
        UsageError
            For settings that can't work.
        """
        return cls._checked(text_of(attack), attack, threat)

    @classmethod
    def _checked(cls, text: str, attack: Attack, threat: ThreatSpec) -> AttackSpec:
        try:
            attack.check(threat.threat)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return cls(text, attack)


def text_of(attack: Attack) -> str:
    """Return name and settings of an attack as they would be typed.

    Parameters
    ----------
    attack : Attack
        The attack; one that is not in the registry is named after its class.

    Returns
    -------
    str
        Name, and those settings that differ from their defaults.

    Examples
    --------
    >>> from advbench.attacks import PGD
    >>> text_of(PGD(steps=100, restarts=5))
    'pgd:restarts=5,steps=100'
    """
    from advbench.attacks import ATTACKS

    kind = type(attack)
    name = next((name for name, known in ATTACKS.items() if known is kind), kind.__name__.lower())
    given: list[str] = []
    for each in fields(attack):
        value = getattr(attack, each.name)
        if value != each.default:
            given.append(f"{each.name}={str(value).lower() if isinstance(value, bool) else value}")
    return f"{name}:{','.join(given)}" if given else name


def attacks_of(asked: Iterable[str | Attack], threat: ThreatSpec) -> list[AttackSpec]:
    """Read attacks given as text or as objects; suites are expanded and duplicates dropped.

    Parameters
    ----------
    asked : Iterable[str or Attack]
        Texts like `pgd:steps=100` or `autoattack`, and attacks.
    threat : ThreatSpec
        Norm and eps.

    Returns
    -------
    list[AttackSpec]
        In the order given.

    Raises
    ------
    UsageError
        As `AttackSpec.parse`, and for a suite that has no recipe for the norm.
    """
    from advbench.attacks import ATTACKS, SUITES, Attack
    from advbench.attacks.suites import expand

    found: dict[str, AttackSpec] = {}
    for each in asked:
        if isinstance(each, Attack):
            specs = [AttackSpec.of(each, threat)]
        elif isinstance(each, str):
            try:
                texts = expand(named("attack", each, ATTACKS, ATTACK_NAMES, also=SUITES), threat.norm)
            except ValueError as error:
                raise UsageError(str(error)) from None
            specs = [AttackSpec.parse(text, threat) for text in texts]
        else:
            raise UsageError(f"{each!r} is no attack: give text like 'pgd:steps=100', or an object like PGD(steps=100)")
        for spec in specs:
            found.setdefault(spec.text, spec)
    return list(found.values())
