"""One model with all that is needed to attack it: from settings to results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.api import targets
from advbench.api.arming import armed, defended
from advbench.api.defaults import texts_of, threats_of
from advbench.core.errors import InvalidEvaluation, UsageError

if TYPE_CHECKING:
    from advbench.api.settings import Settings
    from advbench.attacks.spec import AttackSpec
    from advbench.core.flag import Flag
    from advbench.core.loaded import LoadedModel
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset
    from advbench.evaluation import Result

PREFLIGHT = 128  # images that the doctor looks at
MEMORY = 1 << 29  # bytes of them, at most
POOL = 4096  # more images, on which the full checks train a surrogate


@dataclass(frozen=True)
class Job:
    """One model with all that is needed to attack it; everything has been checked.

    Attributes
    ----------
    model : LoadedModel
        The model, with its input defenses.
    data : Dataset
        Test images.
    indices : list of int
        Indices of the images to attack.
    threats : list of ThreatSpec
        Threat models, one for each eps.
    attacks : list of AttackSpec
        Attacks, in order.
    settings : Settings
        All options.
    """

    model: LoadedModel
    data: Dataset
    indices: list[int]
    threats: list[ThreatSpec]
    attacks: list[AttackSpec]
    settings: Settings

    @classmethod
    def of(cls, model: Any, data: Any, settings: Settings) -> Job:
        """Load the model and its data, and fill in defaults.

        Parameters
        ----------
        model, data : Any
            As for `advbench.evaluate`.
        settings : Settings
            All other options.

        Returns
        -------
        Job
            Ready to run.

        Raises
        ------
        AdvbenchError
            For anything that can't be attacked as asked, in one line.
        """
        loaded, images, indices = defended(model, data, settings)
        threats = threats_of(loaded, images.name, settings.norm, settings.eps_text)
        asked = texts_of(settings.attacks)
        loaded, attacks = armed(loaded, images, indices, threats, [asked] * len(threats))
        return cls(loaded, images, indices, threats, attacks[0], settings)

    @classmethod
    def several(cls, models: Sequence[Any], data: Any, settings: Settings) -> list[Job]:
        """Make one job for each model, on the same images under the same threat model.

        Preprocessing options apply to models that do not declare their own.

        Parameters
        ----------
        models : sequence
            Each as for `advbench.evaluate`.
        data : Any
            As for `advbench.evaluate`.
        settings : Settings
            All other options.

        Returns
        -------
        list of Job
            In the order of the models.

        Raises
        ------
        AdvbenchError
            As `of`, and when the numbers could not be compared.
        """
        from advbench.core.preprocess import OwnPreprocessing

        def job(model: Any) -> Job:
            try:
                return cls.of(model, data, settings)
            except OwnPreprocessing:
                return cls.of(model, data, replace(settings, input_layout=None, mean=None, std=None))

        jobs = [job(model) for model in models]
        for what, option, seen in (
            ("data sets", "--data", [job.data.name for job in jobs]),
            ("threats", "--norm and --eps", [str(job.threats[0]) for job in jobs]),
        ):
            if len(set(seen)) > 1:
                made = f"these models were made for different {what} ({', '.join(seen)})"
                raise UsageError(f"{made}; choose one by {option}")
        return jobs

    def run(self) -> list[Result]:
        """Examine the model and attack it.

        Returns
        -------
        list of Result
            One for each eps.

        Raises
        ------
        InvalidEvaluation
            When the preflight checks say that no number would mean anything, unless forced.
        AdvbenchError
            As `advbench.evaluation.evaluate`.
        """
        from advbench.evaluation import curve, evaluate

        asked, flags = self.settings, self._preflight()
        targets.announce(self.model, self.attacks, len(self.indices), asked.notify)
        told: dict[str, Any] = {
            "flags": flags,
            "budget": asked.seconds,
            "each": not asked.cascade,
            "out": Path(asked.out) if asked.out else None,
            **{name: getattr(asked, name) for name in AS_THEY_ARE},
        }
        what = (self.model, self.data, self.indices, self.attacks)
        if len(self.threats) > 1:
            return curve(*what, self.threats, **told)
        return [evaluate(*what, self.threats[0], **told)]

    def _preflight(self) -> list[Flag]:
        """Run the preflight checks; a flag that makes every number worthless ends the evaluation."""
        if self.settings.looks == "off":
            return self._known()
        flags = self.doctor()
        fatal = [flag.name for flag in flags if flag.level == "invalid"]
        if fatal and not self.settings.force:
            raise InvalidEvaluation(
                f"{self.model.name} can't be evaluated ({', '.join(fatal)}); --force attacks it all the same"
            )
        return flags if fatal else flags + self.masking()

    def _known(self) -> list[Flag]:
        """Return the notes on the data as flags."""
        from advbench.core.flag import Flag

        return [Flag(name="data_note", level="note", evidence={}, message=note) for note in self.data.notes]

    def doctor(self) -> list[Flag]:
        """Examine the model itself, not its translation, and announce the findings.

        Returns
        -------
        list of Flag
            Notes on the data, and flags of the model.
        """
        from advbench.core.images import pixels
        from advbench.core.translated import originals
        from advbench.preflight import examine

        few = self.indices[:PREFLIGHT]
        images, labels = self.data.images[few], self.data.labels[few]
        held: dict[str, Any] = {
            "classes": len(self.data.classes),
            "allow_extra_outputs": self.settings.allow_extra_outputs,
        }
        flags = targets.preflight(self.model, images, labels, **held)
        if flags is None:
            itself = replace(self.model, predict=originals(self.model.predict))
            flags = examine(itself, pixels(images), labels, **held)
        return self._known() + self._told(flags + self._unexpected())

    def _unexpected(self) -> list[Flag]:
        """Return a flag if the clean accuracy is not the expected one."""
        from advbench.core.images import parts
        from advbench.preflight import clean_accuracy, expected

        if self.settings.expect_clean is None:
            return []
        size, right = self.settings.batch_size, 0.0
        for part in parts(self.data, self.indices, size):
            right += len(part.y) * clean_accuracy(self.model, part.x, part.y, batch_size=size)
        return expected(right / len(self.indices), len(self.indices), str(self.settings.expect_clean))

    def masking(self) -> list[Flag]:
        """Look for signs of gradient masking; these flags mark the result but do not end the evaluation.

        Returns
        -------
        list of Flag
            Empty where the settings ask for no such check, or the model has no gradient.
        """
        import numpy as np

        from advbench.core.images import pixels
        from advbench.preflight.masking import examine_masking

        full = self.settings.looks == "full"
        if self.model.access != "gradient" and full:
            raise UsageError(f"--preflight full looks at gradients, which {self.model.name} does not have")
        if self.settings.looks in ("off", "none") or self.model.access != "gradient":
            return []
        sample = self.indices[:PREFLIGHT]
        others = np.setdiff1d(np.arange(pool(self.data)), sample) if full else np.arange(0)
        chosen = [*sample, *others.tolist()]
        flags = examine_masking(
            self.model,
            pixels(self.data.images[chosen]),
            self.data.labels[chosen],
            sorted(self.threats, key=lambda threat: threat.eps.value)[len(self.threats) // 2],
            seed=self.settings.seed,
            batch_size=self.settings.batch_size,
            full=full,
            scale_free=any(_scale_free(spec) for spec in self.attacks),
            classes=len(self.data.classes),
        )
        return self._told(flags)

    def _told(self, flags: list[Flag]) -> list[Flag]:
        for flag in flags:
            self.settings.notify(f"{flag.level}: {flag.name}: {flag.message}")
        return flags


AS_THEY_ARE = ("seed", "batch_size", "resume", "doublings", "command", "progress", "should_stop")
"""Settings that the evaluator takes as they are."""


def pool(data: Dataset) -> int:
    """Return how many of the first images a surrogate may be trained on: all of them are held in memory as float32.

    Parameters
    ----------
    data : Dataset
        Test images.

    Returns
    -------
    int
        At most 4096 images and 512 MiB.
    """
    return min(POOL, MEMORY // (4 * math.prod(data.shape)), len(data))


def _scale_free(spec: AttackSpec) -> bool:
    """Return whether an attack works at any scale of the logits: all but those that maximise cross-entropy or KL do."""
    return getattr(spec.attack, "loss", "") not in ("ce", "kl")
