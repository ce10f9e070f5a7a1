"""What a gate is about: a model, images in the order in which they are drawn, and the rules to decide."""

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
from advbench.gating.decide import Asked
from advbench.gating.rules import GateRules, rules_of
from advbench.gating.source import Source

if TYPE_CHECKING:
    from advbench.attacks.spec import AttackSpec
    from advbench.core.loaded import LoadedModel
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset


@dataclass(frozen=True)
class Subject:
    """A model, the images that there are in the order in which they are drawn, and what attacks it."""

    model: LoadedModel
    data: Dataset
    order: np.ndarray  # int32 [population]
    threats: list[ThreatSpec]
    attacks: list[list[AttackSpec]]  # per threat

    def scope(self, n: int, seed: int) -> Scope:
        """What a baseline of the first `n` images must share."""
        images, labels = choose(self.data.images, self.order[:n]), self.data.labels[self.order[:n]]
        return Scope(f"{self.data.name} {self.data.split}", seed, content_digest(images, labels))

    @property
    def suites(self) -> list[tuple[ThreatInfo, list[str]]]:
        """Every threat with the texts of its attacks."""
        texts = [[attack.text for attack in attacks] for attacks in self.attacks]
        return list(zip(map(ThreatInfo.of, self.threats), texts, strict=True))

    def baseline(self, good: Sequence[np.ndarray], seed: int) -> Baseline:
        """What the first images withstood, bool `[n]` for each threat, to compare with later."""
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
    """Images in a random order that depends on nothing but the seed: of part of them it is the same, int32 `[n]`."""
    keys = {index: sha256(f"{seed} {index}".encode()).digest() for index in indices}
    return np.array(sorted(indices, key=keys.__getitem__), np.int32)


def asked_of(rules: GateRules, subject: Subject, source: Source, *, update: bool) -> list[Asked]:
    """What there is to decide; the error is shared evenly (Bonferroni). A new baseline is not compared with the old.

    Raises
    ------
    UsageError
        For a threat that is there twice, or a class that does not exist or has no images.
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
        Asked(
            rule,
            None if rule.threat is None else str(subject.threats[rule.threat]),
            source.place(rule.at),
            rules.error_rate / len(wanted),
        )
        for rule in wanted
    ]
