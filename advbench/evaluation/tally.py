"""Tally of an evaluation: the outcome of every image so far, to which each judged batch is added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np

from advbench.attacks.spec import AttackSpec
from advbench.core.lazy import chunks
from advbench.evaluation.convergence import (
    Amount,
    Falls,
    Phase,
    bound,
)
from advbench.evaluation.judge import Verdict
from advbench.evaluation.kept import ImageStore
from advbench.evaluation.result import Rate, Row

PER_ATTACK = (
    *("fell", "tried", "started", "claimed", "forwards", "gradients", "out_of_bounds", "fell_at"),
)  # arrays [attacks, n]
PER_IMAGE = ("prediction", "margin", "finite", "distance")  # arrays [n]


class BatchOutcome(NamedTuple):
    """One judged batch of m images, b of them broken, as stored in a run directory."""

    positions: np.ndarray  # int32 [m], in the evaluation's list of images
    verdict: Verdict
    x_adv: np.ndarray  # float32 [b, H, W, C], the broken ones in order
    forwards: np.ndarray  # int32 [m]
    gradients: np.ndarray  # int32 [m]
    tried: np.ndarray  # bool [m]: the attack found where to start from
    claims: np.ndarray  # bool [m]: what the attack itself counts as broken
    reached: np.ndarray  # int32 [m]: forward passes by which it first did
    seconds: float
    compile_seconds: float
    limit: int  # images that fitted in memory at once

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> BatchOutcome:
        """Return the outcome of no images, for images of this shape."""
        no, none = np.zeros(0, bool), np.zeros(0, np.int32)
        verdict = Verdict(no, no, no, none, np.zeros(0, np.float32), np.zeros(0))
        return cls(none, verdict, np.zeros((0, *shape), np.float32), none, none, no, no, none, 0.0, 0.0, 0)


@dataclass(frozen=True)
class AdversarialImages:
    """The adversarial images of all images that an attack broke.

    Attributes
    ----------
    index : np.ndarray
        int32 `[b]`, increasing: indices in the data set.
    x_adv : np.ndarray or Lazy
        float32 `[b, H, W, C]` in [0, 1]; a Lazy reads them from a file.
    """

    index: np.ndarray  # int32 [b], rising, in the data set
    x_adv: Any  # float32 [b, H, W, C]: an array, or a Lazy that reads them from a file

    def digest(self) -> str:
        """Return the sha256 over both arrays, in hex."""
        digest = sha256(self.index.astype("<i4").tobytes())
        for part in chunks(self.x_adv):
            digest.update(part.astype("<f4").tobytes())
        return digest.hexdigest()


class Tally:
    """Outcome of each image, and cost of each attack.

    Parameters
    ----------
    attacks : list of AttackSpec
        Attacks in the order in which they run.
    indices, labels : np.ndarray
        int32 `[n]`: indices in the data set and labels of the images.
    clean : Verdict
        The judge's findings on the clean images; a misclassified one counts as broken.
    """

    def __init__(self, attacks: list[AttackSpec], indices: np.ndarray, labels: np.ndarray, clean: Verdict):
        shape = (len(attacks), len(labels))
        self.attacks, self.indices, self.labels, self.clean = attacks, indices, labels, clean
        self.fell = np.zeros(shape, bool)
        self.tried = np.zeros(shape, bool)
        self.started = np.zeros(shape, bool)  # in some run the attack found where to start from
        self.claimed = np.zeros(shape, bool)
        self.forwards, self.gradients, self.out_of_bounds = (np.zeros(shape, np.int64) for _ in range(3))
        self.seconds, self.compile_seconds = np.zeros(shape[0]), np.zeros(shape[0])
        self.prediction, self.margin, self.finite = clean.prediction.copy(), clean.margin.copy(), clean.finite.copy()
        self.distance = np.where(clean.broken, 0.0, np.nan)
        self.fell_at = np.zeros(shape, np.int64)  # forward passes of the attack by the time the image fell to it
        self.after_runs: list[list[int]] = [[] for _ in attacks]
        self.falls = Falls(*shape)
        self.images = ImageStore()
        self.carried = 0

    @classmethod
    def join(cls, parts: Sequence[Tally]) -> Tally:
        """Join tallies of the same attacks on different images, in that order."""
        clean = Verdict(*(np.concatenate(fields) for fields in zip(*(part.clean for part in parts), strict=True)))
        indices, labels = (np.concatenate([getattr(p, name) for p in parts]) for name in ("indices", "labels"))
        joined = cls(parts[0].attacks, indices, labels, clean)
        for name in PER_ATTACK + PER_IMAGE:
            setattr(joined, name, np.concatenate([getattr(part, name) for part in parts], axis=-1))
        joined.seconds = sum((part.seconds for part in parts), joined.seconds)
        joined.compile_seconds = sum((part.compile_seconds for part in parts), joined.compile_seconds)
        joined.after_runs = [
            [sum(run) for run in zip(*runs, strict=True)]
            for runs in zip(*(part.after_runs for part in parts), strict=True)
        ]
        joined.falls = Falls.join([part.falls for part in parts])
        joined.carried = sum(part.carried for part in parts)
        before = 0
        for part in parts:
            for at, x in part.images.items():
                joined.images[before + at] = x
            before += len(part.labels)
        return joined

    @property
    def correct(self) -> np.ndarray:
        """Mask of images classified correctly when clean, bool `[n]`."""
        return ~self.clean.broken

    @property
    def robust(self) -> np.ndarray:
        """Mask of images classified correctly when clean and not broken by any attack so far, bool `[n]`."""
        return self.correct & ~self.fell.any(0)

    def remaining(self, attack: int, each: bool) -> np.ndarray:
        """Return the positions that this attack must still try: not broken by any attack or, with `each`, by itself."""
        return np.flatnonzero(self.correct & ~self.fell[attack] if each else self.robust)

    def add(self, attack: int, shard: BatchOutcome) -> None:
        """Add one judged batch."""
        at, verdict = shard.positions, shard.verdict
        self.tried[attack, at] = True
        self.started[attack, at] |= shard.tried
        self.claimed[attack, at] |= shard.claims & verdict.allowed
        self.forwards[attack, at] += shard.forwards
        self.gradients[attack, at] += shard.gradients
        self.out_of_bounds[attack, at] += ~verdict.allowed
        self.seconds[attack] += shard.seconds
        self.compile_seconds[attack] += shard.compile_seconds
        self.finite[at] &= verdict.finite | ~verdict.allowed

        standing = self.robust[at]
        higher = standing & verdict.allowed & (verdict.margin > self.margin[at])
        self.margin[at[higher]] = verdict.margin[higher]
        first = verdict.broken & standing
        for name in ("prediction", "margin", "distance"):
            getattr(self, name)[at[first]] = getattr(verdict, name)[first]
        broken = np.flatnonzero(verdict.broken)
        self.images |= {int(at[i]): x for i, x in zip(broken, shard.x_adv, strict=True) if standing[i]}
        broken = broken[~self.fell[attack, at[broken]]]
        new = at[broken]
        self.fell[attack, new] = True
        self.fell_at[attack, new] = self.forwards[attack, new] - (shard.forwards - shard.reached)[broken]
        self.falls.add(attack, shard.forwards, new, shard.reached[broken])

    def end_run(self, attack: int) -> None:
        """Record how many of the images given to an attack are not broken after a whole trial of it."""
        self.after_runs[attack].append(int((self.tried[attack] & ~self.fell[attack]).sum()))

    def begin_run(self, attack: int, phase: Phase) -> None:
        """Set the phase to which the attack's next batches belong."""
        self.falls.begin(attack, phase)

    def late(self, attack: int, amount: Amount) -> int | None:
        """Count images that only the last doubling of the attack's steps or restarts broke; None if unknown."""
        return self.falls.late(attack, self.attacks[attack], amount, self.fell[attack] & self.tried[attack])

    def moving(self, attack: int, amount: Amount, each: bool) -> bool:
        """Return whether that doubling broke more images than a converged attack may, see `convergence.bound`."""
        standing = len(self.remaining(attack, each))
        return standing > 0 and (self.late(attack, amount) or 0) > bound(standing)

    def falling(self, attack: int, amount: Amount, each: bool) -> bool:
        """Return whether the attack still broke images near its end, see `Falls.falling`."""
        fell = self.fell[attack] & self.tried[attack]
        return self.falls.falling(attack, amount, fell, bound(len(self.remaining(attack, each))))

    def unstarted(self, attack: int, each: bool) -> int:
        """Count robust images for which the attack found no image to start from in any trial."""
        standing = self.remaining(attack, each)
        return int((self.tried[attack] & ~self.started[attack])[standing].sum())

    def carry(self, rows: tuple[Row, ...], images: AdversarialImages) -> None:
        """Copy the outcomes of images broken at a smaller eps of the same norm: the larger ball holds them too."""
        names = [attack.text for attack in self.attacks]
        stored = {index: place for place, index in enumerate(images.index.tolist())}
        for at, row in enumerate(rows):
            if row.robust or row.broken_by == "clean":
                continue
            for by in (row.broken_by, *row.also_broken_by):
                self.fell[names.index(str(by)), at] = True
            self.prediction[at] = -1 if row.prediction is None else row.prediction
            self.margin[at] = np.nan if row.margin is None else row.margin
            self.distance[at], self.finite[at] = row.distance, row.finite
            self.images[at] = images.x_adv[stored[row.index]]
            self.carried += 1

    def adversarial(self, shape: tuple[int, ...]) -> AdversarialImages:
        """Return the adversarial images to store, each of `shape` (H, W, C)."""
        at = sorted(self.images, key=lambda position: int(self.indices[position]))
        return AdversarialImages(self.indices[at].astype(np.int32), self.images.stacked(at, shape))

    def rate(self, mask: np.ndarray) -> Rate:
        """Return the share of the images in a mask, bool `[n]`, with its interval."""
        return Rate.of(int(mask.sum()), len(self.labels))

    def undone(self, attack: int) -> int:
        """Count images that the attack counts as broken and the judge does not, after all of its trials."""
        return int((self.claimed[attack] & ~self.fell[attack]).sum())
