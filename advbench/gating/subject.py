"""Subject of a gate: a model, images in the order in which they are drawn, and the rules to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from advbench.core.errors import UsageError
from advbench.core.lazy import choose, content_digest
from advbench.evaluation.provenance import versions
from advbench.evaluation.result import ThreatInfo
from advbench.gating.baseline import Baseline, Outcomes, Scope
from advbench.gating.measure import RuleInstance
from advbench.gating.rules import GateRules, rules_of
from advbench.gating.source import RulesSource

if TYPE_CHECKING:
    from advbench.attacks.spec import AttackSpec
    from advbench.core.loaded import LoadedModel
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset


@dataclass(frozen=True)
class Subject:
    """A model, the population of images in the order in which they are drawn, and the attacks.

    Parameters
    ----------
    model : LoadedModel
        Model to evaluate.
    data : Dataset
        Images and labels.
    order : np.ndarray
        int32 `[population]`: indices in the order drawn.
    threats : list[ThreatSpec]
        Threat models.
    attacks : list[list[AttackSpec]]
        Attacks of each threat model.
    """

    model: LoadedModel
    data: Dataset
    order: np.ndarray
    threats: list[ThreatSpec]
    attacks: list[list[AttackSpec]]

    def scope(self, n: int, seed: int) -> Scope:
        """Return the facts that a baseline of the first `n` images must share.

        Parameters
        ----------
        n : int
            Number of images.
        seed : int
            Seed of the gate.

        Returns
        -------
        Scope
            The facts.
        """
        images, labels = choose(self.data.images, self.order[:n]), self.data.labels[self.order[:n]]
        return Scope(f"{self.data.name} {self.data.split}", seed, content_digest(images, labels))

    @property
    def suites(self) -> list[tuple[ThreatInfo, list[str]]]:
        """Threat models with the texts of their attacks."""
        texts = [[attack.text for attack in attacks] for attacks in self.attacks]
        return list(zip(map(ThreatInfo.of, self.threats), texts, strict=True))

    def baseline(self, good: Sequence[np.ndarray], seed: int) -> Baseline:
        """Make a baseline for later comparisons.

        Parameters
        ----------
        good : Sequence[np.ndarray]
            Outcomes of the first images under each threat model, bool `[n]` each.
        seed : int
            Seed of the gate.

        Returns
        -------
        Baseline
            The baseline.
        """
        scope = self.scope(len(good[0]), seed)
        return Baseline(
            model=self.model.name,
            model_digest=self.model.digest,
            data=scope.data,
            n=len(good[0]),
            images_digest=scope.images_digest,
            seed=seed,
            threats=tuple(Outcomes.of(*suite, bits) for suite, bits in zip(self.suites, good, strict=True)),
            versions=versions(),
        )


def drawn(indices: Sequence[int], seed: int) -> np.ndarray:
    """Shuffle images by a hash of seed and index: a subset keeps its order in any larger set.

    Parameters
    ----------
    indices : Sequence[int]
        Indices of images.
    seed : int
        Seed of the gate.

    Returns
    -------
    np.ndarray
        int32 `[n]`.

    Examples
    --------
    >>> drawn([3, 1, 2], 0).tolist() == [i for i in drawn(range(10), 0).tolist() if i in (1, 2, 3)]
    True
    """
    keys = {index: sha256(f"{seed} {index}".encode()).digest() for index in indices}
    return np.array(sorted(indices, key=keys.__getitem__), np.int32)


def asked_of(rules: GateRules, subject: Subject, source: RulesSource, *, update: bool) -> list[RuleInstance]:
    """List the rules to decide, with equal shares of the error (Bonferroni).

    Parameters
    ----------
    rules : GateRules
        Table of the gate.
    subject : Subject
        Model, images and threat models.
    source : RulesSource
        Places of the rules.
    update : bool
        Skip rules about drops, since a new baseline is not compared with the old one.

    Returns
    -------
    list[RuleInstance]
        The rules.

    Raises
    ------
    UsageError
        For a threat model given twice, or a class that does not exist or has no images.
    """
    if twice := next((t for i, t in enumerate(subject.threats) if str(t) in map(str, subject.threats[:i])), None):
        raise UsageError(f"{twice} is there twice: write all its rules in one [[gate.threats]]")
    wanted = [rule for rule in rules_of(rules) if not (update and rule.kind == "max_drop")]
    there = {subject.data.classes[label] for label in np.unique(subject.data.labels[subject.order]).tolist()}
    for rule in wanted:
        if rule.class_name is not None and rule.class_name not in there:
            names = ", ".join(name for name in subject.data.classes if name in there)
            raise source.problem(rule.at, f"there are no images of class {rule.class_name!r} (there are: {names})")
    return [
        RuleInstance(
            rule,
            None if rule.threat is None else str(subject.threats[rule.threat]),
            source.place(rule.at),
            rules.error_rate / len(wanted),
        )
        for rule in wanted
    ]
